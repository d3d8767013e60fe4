//! `status.firstFailure` on the API server: what the kubelet brings of a log, and which of several failures came first.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{End, Rig};

const PEER: &str = "RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:40312";

#[expect(
    clippy::disallowed_methods,
    reason = "the test writes times as the kubelet does, whose clock this one is"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A pod that has run for a minute and failed so many seconds ago, with this end of its log.
async fn fail(rig: &Rig, pod: &str, seconds_ago: i64, log: &str) {
    let finished = now() - SignedDuration::from_secs(seconds_ago);
    let second = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap().to_string();
    let terminated = json!({ "exitCode": 1, "reason": "Error", "message": log,
        "startedAt": second(finished - SignedDuration::from_mins(1)), "finishedAt": second(finished) });
    let container = json!({ "name": "pytorch", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": terminated } });
    let status = json!({ "status": { "phase": "Failed", "containerStatuses": [container] } });
    let pods = rig.pods();
    let patch = Patch::Merge(&status);
    pods.patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn the_rank_that_ran_out_of_memory_is_named_although_its_peers_are_seen_to_fail_first_over_a_crash() {
    let mut rig = Rig::start().await;
    let never = json!({ "Master": { "restartPolicy": "Never" }, "Worker": { "restartPolicy": "Never" } });
    let never = json!({ "spec": { "pytorchReplicaSpecs": never, "runPolicy": { "cleanPodPolicy": "None" } } });
    rig.running(&with(job("memory", 2), &never)).await;
    let policy = |pod: &Pod| {
        pod.spec.as_ref().unwrap().containers[0]
            .termination_message_policy
            .clone()
    };
    let pod = rig.pods().get("memory-worker-1").await.unwrap();
    assert_eq!(policy(&pod).as_deref(), Some("FallbackToLogsOnError"));

    fail(&rig, "memory-master-0", 3, PEER).await;
    let failed = rig.wait_finished("memory").await;
    let first = &failed.status["firstFailure"];
    assert_eq!(
        (&first["pod"], &first["class"]),
        (&json!("memory-master-0"), &json!("PeerFailure"))
    );

    rig.end_operator(End::Kill).await;
    let log = format!(
        "{}\n[rank2]: torch.OutOfMemoryError: CUDA out of memory. Tried",
        "step\n".repeat(300)
    );
    fail(&rig, "memory-worker-1", 2, &log).await;
    fail(&rig, "memory-worker-0", 2, PEER).await;
    rig.go_on().await;
    let told = rig
        .wait("memory", |job| job.status["firstFailure"]["class"] == "CudaOutOfMemory")
        .await;
    let first = &told.status["firstFailure"];
    assert_eq!((&first["pod"], &first["rank"]), (&json!("memory-worker-1"), &json!(2)));
    assert_eq!(first["excerpt"], "torch.OutOfMemoryError: CUDA out of memory. Tried");
    assert!(first["message"].as_str().unwrap().len() <= 1_024);
    assert_eq!(told.conditions(), failed.conditions(), "the outcome stays");
    assert_eq!(told.status["completionTime"], failed.status["completionTime"]);
}
