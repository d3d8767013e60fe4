//! `config/namespaced`: an operator that serves the namespace it runs in and has no right anywhere else.

use std::fs;

use kube::Api;
use kube::api::ListParams;
use pytorchjob_test_cluster::{Cluster, User, repository};
use serde_json::Value;

use crate::job::{Job, job};
use crate::rig::{Rig, refusal};

const ACCOUNT: &str = "pytorchjob-operator";

/// The objects of the overlay, for another namespace.
async fn manifests(cluster: &Cluster, namespace: &str) -> String {
    let overlay = repository().join("config/namespaced").display().to_string();
    let manifests = cluster.kubectl(&["kustomize", &overlay]).await.unwrap();
    manifests.replace("namespace: kubeflow", &format!("namespace: {namespace}"))
}

#[tokio::test]
async fn an_operator_with_rights_in_one_namespace_runs_its_jobs_and_is_refused_nothing() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("namespaced").await.unwrap();
    let file = cluster.directory().join(format!("{}.yaml", namespace.name()));
    fs::write(&file, manifests(cluster, &namespace).await).unwrap();
    let file = file.display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-f", &file]).await.unwrap();
    let account = User::ServiceAccount {
        namespace: namespace.name(),
        name: ACCOUNT,
    };
    let elsewhere: Api<Job> = Api::namespaced(cluster.client(account).await.unwrap(), "default");
    let kubeconfig = cluster.kubeconfig(account).await.unwrap();

    let rig = Rig::start_in(cluster, namespace, kubeconfig).await;
    rig.succeeded(&job("own", 1)).await;
    let metrics = rig.operator.metrics().await.unwrap();
    let refused = |line: &&str| line.starts_with("rest_client_requests_total") && line.contains("\"403\"");
    assert_eq!(metrics.lines().find(refused), None);
    assert_eq!(refusal(elsewhere.list(&ListParams::default()).await).code, 403);
}

#[tokio::test]
async fn the_overlay_of_one_namespace_has_nothing_of_the_cluster_and_tells_the_operator_its_namespace() {
    let manifests = manifests(Cluster::shared().await, "kubeflow").await;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&manifests).unwrap();
    let mut kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    kinds.sort_unstable();
    let expected = [
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "Role",
        "RoleBinding",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds, expected);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let field = &container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(
        (&container["env"][0]["name"], field),
        (&"KUBEFLOW_NAMESPACE".into(), &"metadata.namespace".into())
    );
}
