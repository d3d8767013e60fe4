//! `runPolicy.gracefulStopSeconds` on the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use pytorchjob_test_cluster::{bind_pod, remove_pod, wait_for};
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{Rig, TIMEOUT, names};

#[tokio::test]
async fn a_suspended_job_gives_its_pods_the_time_it_says_and_tells_how_long_they_took() {
    let rig = Rig::start().await;
    let policy = json!({ "spec": { "runPolicy": { "gracefulStopSeconds": 90 } } });
    let (_, pods) = rig.create_with_pods(&with(job("graceful", 1), &policy)).await;
    for pod in &pods {
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.termination_grace_period_seconds, Some(90));
        let env = spec.containers[0].env.iter().flatten();
        let wait = env.filter(|entry| entry.name == "TORCH_ELASTIC_SHUTDOWN_TIMEOUT");
        let values: Vec<_> = wait.filter_map(|entry| entry.value.as_deref()).collect();
        assert_eq!(values, ["85"]);
        bind_pod(&rig.client, &rig.namespace, &pod.name_any(), "node")
            .await
            .unwrap();
    }
    rig.patch("graceful", &json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await;
    for name in names(&pods) {
        let going = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        wait_for(&rig.pods(), &name, TIMEOUT, going).await.unwrap();
        remove_pod(&rig.client, &rig.namespace, &name).await.unwrap();
    }
    let note = rig.wait_event("graceful", "Normal", "PodsStopped").await;
    assert!(note.ends_with("after they were asked to; they had 90 s."), "{note}");
}
