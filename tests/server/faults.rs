//! What goes wrong outside of the operator: users' mistakes, missing rights, namespaces that end, outages.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{
    AuditFilter, Cluster, Operator, Options, PodPhase, User, bind_pod, not_applicable, remove_pod, repository,
    wait_for, wait_gone,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::job::{job, with};
use crate::rig::{BINARY, Rig, TIMEOUT, create, of_job, replica_names};

/// Reconciles that the operator counts as failed.
async fn errors(operator: &Operator) -> u64 {
    let metrics = operator.metrics().await.unwrap();
    let count = |line: &str| {
        line.strip_prefix("controller_runtime_reconcile_errors_total")?
            .split(' ')
            .nth(1)?
            .parse()
            .ok()
    };
    metrics.lines().find_map(count).unwrap_or_default()
}

async fn store<K>(cluster: &Cluster, namespace: &str, object: Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    let api = Api::<K>::namespaced(cluster.admin(), namespace);
    api.create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_because_of_a_job_or_its_namespace_is_no_error_of_the_operator() {
    let rig = Rig::start().await;
    let mount =
        json!([{ "name": "pytorch", "image": "i", "volumeMounts": [{ "name": "missing", "mountPath": "/data" }] }]);
    let template = json!({ "template": { "spec": { "containers": mount } } });
    let invalid = with(
        job("invalid", 0),
        &json!({ "spec": { "pytorchReplicaSpecs": { "Master": template } } }),
    );
    let pod = json!({ "metadata": { "name": "taken-master-0" },
        "spec": { "schedulerName": "the-test", "containers": [{ "name": "main", "image": "image" }] } });
    store::<Pod>(rig.cluster, &rig.namespace, pod).await;
    for (name, job, cause) in [
        ("invalid", invalid, "volumeMounts[0].name: Not found"),
        ("taken", job("taken", 0), "is controlled by nobody"),
    ] {
        rig.create(&job).await;
        let note = rig.wait_event(name, "Warning", "FailedCreatePod").await;
        assert!(note.contains(cause), "{note}");
    }
    rig.quota("pods", 0).await;
    rig.create(&job("limited", 0)).await;
    let note = rig.wait_event("limited", "Warning", "FailedCreatePod").await;
    assert!(note.contains("exceeded quota: pods"), "{note}");
    assert_eq!(errors(&rig.operator).await, 0);
}

/// All that the operator needs in its namespace, with these verbs for pods.
fn rights(pods: &[&str]) -> Value {
    let may = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    json!({ "metadata": { "name": "operator" }, "rules": [
        may("", &["pods"], pods),
        may("", &["services"], &["*"]),
        may("autoscaling", &["*"], &["*"]),
        may("kubeflow.org", &["*"], &["*"]),
        may("events.k8s.io", &["events"], &["*"]),
    ] })
}

#[tokio::test]
async fn a_right_that_the_operator_lacks_is_an_error_of_the_operator_and_used_once_it_is_given() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("rights").await.unwrap();
    let user = User::ServiceAccount {
        namespace: &namespace,
        name: "default",
    };
    let kubeconfig = cluster.kubeconfig(user).await.unwrap();
    let binding = json!({ "metadata": { "name": "operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": namespace.name(), "name": "default" }] });
    let reads = ["get", "list", "watch"];
    store::<Role>(cluster, &namespace, rights(&reads)).await;
    store::<RoleBinding>(cluster, &namespace, binding).await;
    let rig = Rig::start_in(cluster, namespace, kubeconfig).await;
    rig.create(&job("refused", 0)).await;
    let note = rig.wait_event("refused", "Warning", "FailedCreatePod").await;
    assert!(note.contains("cannot create resource \"pods\""), "{note}");
    assert!(errors(&rig.operator).await > 0);

    let given = Patch::Merge(rights(&[&reads[..], &["create"]].concat()));
    rig.api::<Role>()
        .patch("operator", &PatchParams::default(), &given)
        .await
        .unwrap();
    rig.wait_pod_names("refused", &replica_names("refused", &["master-0"]))
        .await;
}

#[tokio::test]
async fn jobs_are_served_again_when_their_definition_is_installed_again() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    if !cluster.is_ours() {
        return not_applicable("deletes the definition");
    }
    let (client, namespace) = (cluster.admin(), cluster.namespace("definition").await.unwrap());
    let operator = Operator::start(Path::new(BINARY), cluster.admin_kubeconfig(), &[]).unwrap();
    operator.ready().await.unwrap();
    create(&client, &namespace, &job("before", 0)).await.unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    wait_for(&pods, "before-master-0", TIMEOUT, |_| true).await.unwrap();

    let name = "pytorchjobs.kubeflow.org";
    cluster.kubectl(&["delete", "crd", name]).await.unwrap();
    wait_gone(&pods, "before-master-0", TIMEOUT).await.unwrap();
    let definition = repository().join("crds/kubeflow.org_pytorchjobs.yaml");
    cluster
        .install_crd(&std::fs::read_to_string(definition).unwrap())
        .await
        .unwrap();
    cluster.established(name).await.unwrap();
    let back = Instant::now();
    create(&client, &namespace, &job("after", 0)).await.unwrap();
    wait_for(&pods, "after-master-0", TIMEOUT, |_| true).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
}

#[tokio::test]
async fn pods_that_are_deleted_all_at_once_come_back_once_and_are_no_restart() {
    let rig = Rig::start().await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    rig.running(&job("emptied", 3)).await;
    let now = DeleteParams::default().grace_period(0);
    let all = ListParams::default().labels(&of_job("emptied"));
    let gone = rig.pods().delete_collection(&now, &all).await.unwrap();
    let gone: Vec<_> = gone.left().unwrap().items.iter().filter_map(ResourceExt::uid).collect();
    let is_new = |pod: &Pod| pod.uid().is_some_and(|uid| !gone.contains(&uid));
    let pods = rig
        .wait_pods("emptied", |pods| pods.len() == 4 && pods.iter().all(is_new))
        .await;
    rig.set_phases(pods.iter().map(ResourceExt::name_any), &PodPhase::Running)
        .await;
    let job = rig
        .wait("emptied", |job| job.is("Running") && job.status["ready"] == "4/4")
        .await;
    assert_eq!(job.status["restarts"], Value::Null);
    assert_eq!(rig.requests(&audit)["create pods"], 8);
}

#[tokio::test]
async fn a_pod_whose_labels_were_taken_gets_them_back_and_there_is_no_other() {
    let rig = Rig::start().await;
    rig.running(&job("bare", 1)).await;
    let before = rig.pods().get("bare-worker-0").await.unwrap();
    let none = Patch::Merge(json!({ "metadata": { "labels": null } }));
    let taken = rig
        .pods()
        .patch("bare-worker-0", &PatchParams::default(), &none)
        .await
        .unwrap();
    assert!(taken.labels().is_empty());
    rig.wait_pods("bare", |pods| pods.len() == 2).await;
    let after = rig.pods().get("bare-worker-0").await.unwrap();
    assert_eq!(after.uid(), before.uid());
    let job = rig.wait("bare", |job| job.status["ready"] == "2/2").await;
    assert_eq!(job.outline(), ["Created", "Running"]);
    assert_eq!(job.status["restarts"], Value::Null);
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_is_left_in_peace() {
    let rig = Rig::start().await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    let mut pods = rig.create_with_pods(&job("ending", 0)).await.1;
    pods.extend(rig.create_with_pods(&job("clock", 0)).await.1);
    // Pods go first, and while one is left its job stays. It stays as long as its node does not let it go.
    for pod in &pods {
        bind_pod(&rig.client, &rig.namespace, &pod.name_any(), "node")
            .await
            .unwrap();
    }
    let namespaces = Api::<Namespace>::all(rig.client.clone());
    namespaces
        .delete(&rig.namespace, &DeleteParams::background())
        .await
        .unwrap();
    rig.wait_pods("ending", |pods| {
        pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_some())
    })
    .await;
    remove_pod(&rig.client, &rig.namespace, "ending-master-0")
        .await
        .unwrap();

    // Time for many attempts.
    let started = rig.get("clock").await.second("startTime").unwrap();
    let deadline = clock::now().as_second() - started + 3;
    rig.patch("clock", &json!({ "spec": { "activeDeadlineSeconds": deadline } }))
        .await;
    rig.wait_finished("clock").await;
    let created = AuditFilter {
        verb: Some("create"),
        resource: Some("pods"),
        name_prefix: Some("ending"),
        ..rig.writes()
    };
    let refused = audit
        .entries(&created)
        .unwrap()
        .into_iter()
        .filter(|request| request.code == 403);
    assert_eq!(refused.count(), 1, "one attempt was made and no other");
    assert_eq!(errors(&rig.operator).await, 0);
    assert!(!rig.operator.log().contains("reconcile failed"));
}
