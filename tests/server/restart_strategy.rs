//! `restartStrategy: InPlace` on the API server: the test plays the kubelet, which restarts a container whose request
//! changes. `real_node` shows that one does.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::{PodPhase, remove_pod};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{End, Rig, names};

const ATTEMPT: &str = "training.kubeflow.org/attempt";
const MARK: &str = "training.kubeflow.org/restart-in-place";

fn in_place(name: &str) -> Value {
    let policy = json!({ "restartScope": "Job", "restartStrategy": "InPlace", "backoffLimit": 3 });
    with(job(name, 2), &json!({ "spec": { "runPolicy": policy } }))
}

/// Writes the status that a kubelet reports of the one container of a pod, which runs with what it requests now.
async fn report(rig: &Rig, pod: &str, restarts: i32, state: &Value, last: &Value) {
    let now = rig.pods().get(pod).await.unwrap();
    let requests = request(&now);
    let container = json!({
        "name": "pytorch", "image": "i", "imageID": "i", "ready": true, "restartCount": restarts,
        "state": state, "lastState": last, "resources": { "requests": { "cpu": requests } },
    });
    let ready = json!({ "type": "Ready", "status": "True" });
    let status = json!({ "phase": "Running", "conditions": [ready], "containerStatuses": [container] });
    let patch = Patch::Merge(json!({ "status": status }));
    rig.pods()
        .patch_status(pod, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn runs() -> Value {
    json!({ "running": { "startedAt": "2027-01-15T08:00:10Z" } })
}

fn ended(code: i32) -> Value {
    json!({ "terminated": { "exitCode": code, "reason": "Error",
        "startedAt": "2027-01-15T08:00:00Z", "finishedAt": "2027-01-15T08:00:09Z" } })
}

fn request(pod: &Pod) -> String {
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let requests = container
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    requests.map_or_else(String::new, |requests| requests["cpu"].0.clone())
}

fn is_asked(pod: &Pod) -> bool {
    pod.annotations()[ATTEMPT] == "2" && request(pod) == "9m"
}

/// Creates the job and lets it run.
async fn running(rig: &Rig, name: &str) -> Vec<Pod> {
    let (_, pods) = rig.create_with_pods(&in_place(name)).await;
    for pod in &pods {
        report(rig, &pod.name_any(), 0, &runs(), &json!({})).await;
    }
    rig.wait(name, |job| job.is("Running") && job.status["ready"] == "3/3")
        .await;
    pods
}

#[tokio::test]
async fn one_failure_restarts_all_containers_in_their_pods_as_one_restart_over_a_crash_of_the_operator() {
    let mut rig = Rig::start().await;
    let before = running(&rig, "place").await;
    for pod in &before {
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.restart_policy.as_deref(), Some("OnFailure"));
        assert_eq!(
            (request(pod), pod.annotations()[MARK].as_str()),
            ("10m".to_owned(), "cpu")
        );
        let policies = spec.containers[0].resize_policy.as_ref().unwrap();
        let cpu = policies.iter().find(|policy| policy.resource_name == "cpu").unwrap();
        assert_eq!(cpu.restart_policy, "RestartContainer");
    }

    report(&rig, "place-worker-1", 0, &ended(1), &json!({})).await;
    rig.wait("place", |job| job.is("Restarting")).await;
    rig.end_operator(End::Kill).await;
    // The kubelet has started it again by itself, and a peer has failed of it.
    report(&rig, "place-worker-1", 1, &runs(), &ended(1)).await;
    report(&rig, "place-worker-0", 0, &ended(1), &json!({})).await;
    rig.go_on().await;
    let asked = rig.wait_pods("place", |pods| pods.iter().all(is_asked)).await;
    let marks: Vec<_> = asked.iter().map(|pod| pod.annotations()[MARK].clone()).collect();
    assert!(
        marks.iter().all(|mark| mark.starts_with("cpu=9m,restarts=")),
        "{marks:?}"
    );
    let restarting = rig.get("place").await;
    assert!(
        restarting.is("Restarting") && !restarting.is("Running"),
        "{}",
        restarting.status
    );

    report(&rig, "place-master-0", 1, &runs(), &ended(143)).await;
    report(&rig, "place-worker-0", 1, &runs(), &ended(1)).await;
    // It was asked while it ran or before, as the crash would have it.
    report(&rig, "place-worker-1", 2, &runs(), &ended(143)).await;
    let running = rig
        .wait("place", |job| job.is("Running") && job.status["ready"] == "3/3")
        .await;
    assert_eq!(running.status["restarts"], 1, "{}", running.status);
    assert_eq!(running.status["firstFailure"]["pod"], "place-worker-1");
    let attempts = running.status["attempts"].as_array().unwrap();
    assert_eq!(
        (&attempts[0]["why"], &attempts[1]["number"]),
        (&json!("Restarting"), &json!(2))
    );
    assert!(attempts[1]["runningSince"].is_string());
    let after = rig.wait_pods("place", |pods| pods.len() == 3).await;
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid().unwrap()).collect::<Vec<_>>();
    assert_eq!(uids(&after), uids(&before));
    let settled = rig.settle("place").await;
    assert_eq!(settled.status["restarts"], 1, "what the restart ended is no failure");
    rig.wait_event("place", "Normal", "RestartedInPlace").await;

    // The next one steps up again.
    report(&rig, "place-worker-0", 1, &ended(1), &json!({})).await;
    rig.wait_pods("place", |pods| {
        pods.iter()
            .all(|pod| pod.annotations()[ATTEMPT] == "3" && request(pod) == "10m")
    })
    .await;
    assert_eq!(rig.get("place").await.status["restarts"], 2);
}

#[tokio::test]
async fn a_pod_that_the_api_server_does_not_resize_is_created_again_and_an_event_says_why() {
    let rig = Rig::start().await;
    let before = running(&rig, "refused").await;
    // The API server takes its node for one that cannot do it.
    let silence = json!([{ "op": "remove", "path": "/status/containerStatuses/0/resources" }]);
    let silence = Patch::Json::<()>(serde_json::from_value(silence).unwrap());
    let parameters = PatchParams::default();
    let pods = rig.pods();
    let silent = pods.patch_status("refused-worker-0", &parameters, &silence);
    let silent = silent.await.unwrap();
    report(&rig, "refused-worker-1", 0, &ended(1), &json!({})).await;

    rig.finish_deletion(&silent).await;
    let new = rig.wait_replaced(&silent).await;
    assert_eq!(new.annotations()[ATTEMPT], "2");
    let note = rig.wait_event("refused", "Warning", "NotRestartedInPlace").await;
    assert!(
        note.contains("refused-worker-0") && note.contains("without support for resize"),
        "{note}"
    );

    report(&rig, "refused-worker-0", 0, &runs(), &json!({})).await;
    report(&rig, "refused-master-0", 1, &runs(), &ended(143)).await;
    report(&rig, "refused-worker-1", 1, &runs(), &ended(1)).await;
    let job = rig.wait("refused", |job| job.is("Running")).await;
    assert_eq!(job.status["restarts"], 1, "{}", job.status);
    let after = rig.wait_pods("refused", |pods| pods.len() == 3).await;
    let kept = after
        .iter()
        .filter(|pod| before.iter().any(|old| old.uid() == pod.uid()));
    assert_eq!(
        kept.map(kube::ResourceExt::name_any).collect::<Vec<_>>(),
        ["refused-master-0", "refused-worker-1"]
    );
}

#[tokio::test]
async fn a_pod_that_has_completed_is_created_again_beside_those_that_start_again_in_place() {
    let rig = Rig::start().await;
    let before = running(&rig, "done").await;
    rig.set_phase("done-worker-0", &PodPhase::Succeeded).await;
    report(&rig, "done-worker-1", 0, &ended(1), &json!({})).await;
    rig.wait_replaced(&before[1]).await;
    let note = rig.wait_event("done", "Warning", "NotRestartedInPlace").await;
    assert_eq!(
        note,
        "Cannot restart in place, and created again: done-worker-0 (it has completed)"
    );
    let others = |pods: &[Pod]| {
        let others = pods.iter().filter(|pod| pod.name_any() != "done-worker-0");
        others.filter(|pod| is_asked(pod)).count() == 2
    };
    rig.wait_pods("done", others).await;

    // Suspended in the middle of it, nothing is asked any more.
    rig.patch("done", &crate::job::suspend(true)).await;
    rig.wait("done", |job| job.is("Suspended")).await;
    for pod in names(&before) {
        // One that has not begun to run goes at once.
        let _ = remove_pod(&rig.client, &rig.namespace, &pod).await;
    }
    rig.wait_pod_names("done", &[]).await;
}
