//! `restartScope: Job` on the API server: one failure ends all pods and brings all back, over a crash in between.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use pytorchjob_test_cluster::{PodPhase, bind_pod, remove_pod, wait_for};
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{End, Rig, TIMEOUT, failed, names, replica_names};

#[tokio::test]
async fn one_failure_ends_all_pods_and_brings_all_back_as_one_restart_over_a_crash_of_the_operator() {
    let mut rig = Rig::start().await;
    let whole = json!({ "spec": { "runPolicy": { "restartScope": "Job", "backoffLimit": 1 } } });
    let (_, before) = rig.create_with_pods(&with(job("whole", 2), &whole)).await;
    for pod in &before {
        assert_eq!(pod.spec.as_ref().unwrap().restart_policy.as_deref(), Some("Never"));
        bind_pod(&rig.client, &rig.namespace, &pod.name_any(), "node")
            .await
            .unwrap();
    }
    rig.set_phases(names(&before), &PodPhase::Running).await;
    rig.wait("whole", |job| job.is("Running")).await;

    rig.set_phase("whole-worker-1", &failed(1)).await;
    // The others are asked to end, and take their time.
    for name in ["whole-master-0", "whole-worker-0"] {
        let going = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        wait_for(&rig.pods(), name, TIMEOUT, going).await.unwrap();
    }
    rig.end_operator(End::Kill).await;
    // A peer ends by an error of its own before it is gone, and its operator is away.
    rig.set_phase("whole-worker-0", &failed(1)).await;
    rig.go_on().await;
    remove_pod(&rig.client, &rig.namespace, "whole-worker-0").await.unwrap();
    let going = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    rig.wait_pods("whole", |pods| pods.iter().all(going)).await;
    // A killed client leaves a deletion half done; the kubelet does the rest. It may be done, too.
    let _ = remove_pod(&rig.client, &rig.namespace, "whole-worker-1").await;
    let left = rig.wait_pods("whole", |pods| pods.len() == 1).await;
    assert_eq!(left[0].uid(), before[0].uid(), "nothing is created beside the master");
    let restarting = rig.get("whole").await;
    assert!(restarting.is("Restarting"), "{}", restarting.status);
    remove_pod(&rig.client, &rig.namespace, "whole-master-0").await.unwrap();

    let all = replica_names("whole", &["master-0", "worker-0", "worker-1"]);
    rig.wait_pod_names("whole", &all).await;
    let after = rig.wait_pods("whole", |pods| pods.len() == 3).await;
    assert!(after.iter().all(|pod| before.iter().all(|old| old.uid() != pod.uid())));
    rig.set_phases(names(&after), &PodPhase::Running).await;
    let running = rig
        .wait("whole", |job| job.is("Running") && job.status["ready"] == "3/3")
        .await;
    assert_eq!(running.status["restarts"], 1);
    let attempts = running.status["attempts"].as_array().unwrap();
    assert_eq!((&attempts[0]["number"], &attempts[1]["number"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&attempts[0]["why"], &attempts[0]["nodes"]),
        (&json!("Restarting"), &json!(["node"]))
    );
    assert_eq!(attempts[0]["firstFailure"]["pod"], "whole-worker-1");
    assert!(attempts[0]["ended"].is_string() && attempts[1]["runningSince"].is_string());
    assert_eq!(attempts[1]["ended"], json!(null));
    let attempt = |pod: &Pod| pod.annotations().get("training.kubeflow.org/attempt").cloned();
    assert!(before.iter().all(|pod| attempt(pod).as_deref() == Some("1")));
    assert!(after.iter().all(|pod| attempt(pod).as_deref() == Some("2")));
    assert_eq!(running.status["firstFailure"]["pod"], "whole-worker-1");
    rig.wait_event("whole", "Warning", "PyTorchJobRestarting").await;
}
