//! `runPolicy.gracefulStopSeconds` on the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use pytorchjob_test_cluster::{bind_pod, remove_pod, wait_for};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{Rig, TIMEOUT, names};

/// A job whose pods are on a node, which ends them when a test says so.
async fn start(rig: &Rig, name: &str, policy: &Value) -> Vec<Pod> {
    let policy = json!({ "spec": { "runPolicy": policy } });
    let (_, pods) = rig.create_with_pods(&with(job(name, 1), &policy)).await;
    put_on_a_node(rig, &pods).await;
    pods
}

async fn put_on_a_node(rig: &Rig, pods: &[Pod]) {
    for pod in pods {
        bind_pod(&rig.client, &rig.namespace, &pod.name_any(), "node")
            .await
            .unwrap();
    }
}

/// The node ends the pods, which have to be going by themselves. Returns what is said of it.
async fn stopped(rig: &Rig, name: &str, pods: &[Pod]) -> String {
    for name in names(pods) {
        let going = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        let pod = wait_for(&rig.pods(), &name, TIMEOUT, going).await.unwrap();
        assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(90));
        remove_pod(&rig.client, &rig.namespace, &name).await.unwrap();
    }
    rig.wait_event(name, "Normal", "PodsStopped").await
}

#[tokio::test]
async fn a_suspended_job_gives_its_pods_the_time_it_says_and_tells_how_long_they_took() {
    let rig = Rig::start().await;
    let pods = start(&rig, "graceful", &json!({ "gracefulStopSeconds": 90 })).await;
    for pod in &pods {
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.termination_grace_period_seconds, Some(90));
        let env = spec.containers[0].env.iter().flatten();
        let wait = env.filter(|entry| entry.name == "TORCH_ELASTIC_SHUTDOWN_TIMEOUT");
        let values: Vec<_> = wait.filter_map(|entry| entry.value.as_deref()).collect();
        assert_eq!(values, ["85"]);
    }
    rig.patch("graceful", &json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await;
    let note = stopped(&rig, "graceful", &pods).await;
    assert!(note.ends_with("after they were asked to; they had 90 s."), "{note}");
}

#[tokio::test]
async fn a_deadline_gives_pods_the_same_time_and_tells_how_long_they_took() {
    let rig = Rig::start().await;
    let pods = start(&rig, "overdue", &json!({ "gracefulStopSeconds": 90 })).await;
    rig.patch(
        "overdue",
        &json!({ "spec": { "runPolicy": { "activeDeadlineSeconds": 1 } } }),
    )
    .await;
    rig.wait_finished("overdue").await;
    let note = stopped(&rig, "overdue", &pods).await;
    assert!(note.ends_with("after they were asked to; they had 90 s."), "{note}");
}

#[tokio::test]
async fn a_scale_down_tells_it_when_its_last_pod_is_gone() {
    let rig = Rig::start().await;
    let elastic = json!({ "spec": { "elasticPolicy": { "minReplicas": 1, "maxReplicas": 4 },
        "pytorchReplicaSpecs": { "Worker": { "replicas": 3 } } } });
    let policy = json!({ "spec": { "runPolicy": { "gracefulStopSeconds": 90 } } });
    let (_, pods) = rig
        .create_with_pods(&with(with(job("less", 3), &elastic), &policy))
        .await;
    put_on_a_node(&rig, &pods).await;
    rig.patch(
        "less",
        &json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": 1 } } } }),
    )
    .await;
    let surplus: Vec<Pod> = pods[2..].to_vec();
    let note = stopped(&rig, "less", &surplus).await;
    assert!(note.starts_with("All pods of the scale-down have ended "), "{note}");
    assert!(note.ends_with("after they were asked to; they had 90 s."), "{note}");
}

#[tokio::test]
async fn a_pod_that_a_user_deletes_tells_how_long_it_took() {
    let rig = Rig::start().await;
    let pods = start(&rig, "taken", &json!({ "gracefulStopSeconds": 90 })).await;
    let worker = &pods[1];
    rig.pods()
        .delete(&worker.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    rig.finish_deletion(worker).await;
    let note = rig.wait_event("taken", "Normal", "PodsStopped").await;
    assert!(note.starts_with("Pod taken-worker-0 has ended "), "{note}");
}
