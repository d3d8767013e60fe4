//! `status.accounting` on the API server.

use pytorchjob_test_cluster::PodPhase;
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{End, Rig, names};

#[tokio::test]
async fn what_the_time_of_a_job_was_spent_on_is_told_over_a_crash_of_the_operator_and_counted_once() {
    let mut rig = Rig::start().await;
    let gpus = json!({ "template": { "spec": { "containers": [{
        "name": "pytorch", "image": "registry.example/train:1", "resources": { "limits": { "nvidia.com/gpu": 4 } } }] } } });
    let patch = json!({ "spec": {
        "runPolicy": { "activeDeadlineSeconds": 4 },
        "pytorchReplicaSpecs": { "Master": gpus, "Worker": gpus },
    } });
    let (_, pods) = rig.create_with_pods(&with(job("spends", 1), &patch)).await;
    rig.set_phases(names(&pods), &PodPhase::Running).await;
    rig.wait("spends", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    rig.end_operator(End::Kill).await;
    rig.go_on().await;
    let failed = rig.wait_finished("spends").await;
    let accounting = &failed.status["accounting"];
    let spent = |of: &str, on: &str| accounting[of][on].as_i64().unwrap_or(0);
    let (waited, ran) = (spent("seconds", "waiting"), spent("seconds", "running"));
    assert!(ran >= 1 && waited + ran == failed.duration(), "{accounting}");
    assert_eq!(spent("seconds", "lost"), ran, "the attempt has failed");
    assert_eq!(
        (spent("gpuSeconds", "running"), &accounting["gpus"]),
        (8 * ran, &json!(8))
    );
    assert_eq!(accounting["goodput"], format!("{}%", 100 * ran / (waited + ran)));
    // What is told is counted by then.
    rig.wait_event("spends", "Warning", "PyTorchJobFailed").await;
    let metrics = rig.operator.metrics().await.unwrap();
    let counted = [
        r#"job_seconds_total{state="running"}"#,
        r#"job_gpu_seconds_total{state="running"}"#,
        "job_lost_seconds_total",
        "job_lost_gpu_seconds_total",
    ]
    .map(|name| counter(&metrics, name));
    assert_eq!(counted, [ran, 8 * ran, ran, 8 * ran]);
}

/// The value of a counter.
fn counter(metrics: &str, name: &str) -> i64 {
    let name = format!("pytorchjob_operator_{name} ");
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(&name));
    values
        .next()
        .unwrap_or_else(|| panic!("no {name}in {metrics}"))
        .parse()
        .unwrap()
}
