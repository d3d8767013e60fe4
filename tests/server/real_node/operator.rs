//! The operator's own pods, and the API server, while a training runs.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::real_node::{available, job, site};

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_training_does_not_notice_that_the_operators_pods_are_deleted() {
    let site = site().await;
    let operators = Api::<Pod>::namespaced(site.cluster.admin(), "kubeflow");
    let ours = ListParams::default().labels("app.kubernetes.io/name=pytorchjob-operator");
    for (name, how_many) in [("one-gone", 1), ("both-gone", 2)] {
        site.create(&job(name, "OnFailure", "sleep 12")).await;
        let before = site.pod_running(&format!("{name}-master-0")).await;
        for pod in operators.list(&ours).await.unwrap().items.iter().take(how_many) {
            let name = pod.metadata.name.as_deref().unwrap();
            operators.delete(name, &DeleteParams::default()).await.unwrap();
        }
        let done = site.wait(name, |job| job.is("Succeeded")).await;
        let after = site.pods().get(&format!("{name}-master-0")).await.unwrap();
        assert_eq!(after.metadata.uid, before.metadata.uid);
        assert!(done.status["restarts"].is_null(), "{}", done.status);
        available(site.cluster).await;
    }
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_training_goes_on_and_is_looked_after_when_the_api_server_was_away() {
    let site = site().await;
    site.create(&job("cut-off", "OnFailure", "sleep 20")).await;
    let limited = job("limited", "OnFailure", "sleep 600");
    site.create(&limited).await;
    let before = site.pod_running("cut-off-master-0").await;
    site.pod_running("limited-master-0").await;
    site.patch("limited", &json!({ "spec": { "activeDeadlineSeconds": 15 } }))
        .await;
    let server = site.cluster.process("kube-apiserver").unwrap();
    server.pause();
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    server.resume();
    let done = site.wait("cut-off", |job| job.is("Succeeded")).await;
    assert_eq!(
        site.pods().get("cut-off-master-0").await.unwrap().metadata.uid,
        before.metadata.uid
    );
    assert!(done.status["restarts"].is_null(), "{}", done.status);
    let failed = site.wait("limited", |job| job.is("Failed")).await;
    assert!(failed.why().contains("specified deadline (15 s)"), "{}", failed.why());
    site.described("limited", &["Warning", "specified deadline (15 s)"])
        .await;
    available(site.cluster).await;
}
