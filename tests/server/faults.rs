//! What goes wrong outside of the operator: users' mistakes, missing rights, namespaces that end, outages.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{
    AuditFilter, Cluster, Operator, Options, PodPhase, User, bind_pod, not_applicable, remove_pod, set_pod_phase,
    wait_for,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::job::{job, with};
use crate::rig::{BINARY, Rig, TIMEOUT, create};

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
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    store::<ResourceQuota>(rig.cluster, &rig.namespace, quota).await;
    rig.create(&job("limited", 0)).await;
    let note = rig.wait_event("limited", "Warning", "FailedCreatePod").await;
    assert!(
        note.contains("exceeded quota: none") || note.contains("status unknown for quota"),
        "{note}"
    );
    assert_eq!(errors(&rig.operator).await, 0);
}

#[tokio::test]
async fn a_right_that_the_operator_lacks_is_an_error_of_the_operator() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("rights").await.unwrap();
    let user = User::ServiceAccount {
        namespace: &namespace,
        name: "default",
    };
    let kubeconfig = cluster.kubeconfig(user).await.unwrap();
    let may = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    let role = json!({ "metadata": { "name": "no-pods" }, "rules": [
        may("", &["pods"], &["get", "list", "watch"]),
        may("", &["services"], &["*"]),
        may("autoscaling", &["*"], &["*"]),
        may("kubeflow.org", &["*"], &["*"]),
        may("events.k8s.io", &["events"], &["*"]),
    ] });
    let binding = json!({ "metadata": { "name": "no-pods" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "no-pods" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": namespace.name(), "name": "default" }] });
    store::<Role>(cluster, &namespace, role).await;
    store::<RoleBinding>(cluster, &namespace, binding).await;
    let rig = Rig::start_in(cluster, namespace, kubeconfig).await;
    rig.create(&job("refused", 0)).await;
    let note = rig.wait_event("refused", "Warning", "FailedCreatePod").await;
    assert!(note.contains("cannot create resource \"pods\""), "{note}");
    assert!(errors(&rig.operator).await > 0);
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

/// A replica of two, as the shipped Deployment has, that is not awaited.
fn replica(cluster: &Cluster, name: &str) -> Operator {
    let name = format!("--pod-name={name}");
    let arguments = ["--leader-elect", "--leader-election-namespace=default", &name];
    Operator::start(Path::new(BINARY), cluster.admin_kubeconfig(), &arguments).unwrap()
}

#[tokio::test]
async fn an_outage_of_etcd_ends_the_leader_and_another_leads_soon_after_its_return() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let Some(etcd) = cluster.process("etcd") else {
        return not_applicable("stops etcd");
    };
    let (client, namespace) = (cluster.admin(), cluster.namespace("outage").await.unwrap());
    let leader = replica(&cluster, "first");
    leader.ready().await.unwrap();
    create(&client, &namespace, &job("before", 0)).await.unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let pod = wait_for(&pods, "before-master-0", TIMEOUT, |_| true).await.unwrap();
    set_pod_phase(&client, &namespace, "before-master-0", &PodPhase::Running, 0)
        .await
        .unwrap();
    let standby = replica(&cluster, "second");
    standby.ready().await.unwrap();

    etcd.pause();
    sleep(Duration::from_secs(20)).await;
    etcd.resume();
    while create(&client, &namespace, &job("after", 0)).await.is_err() {
        sleep(Duration::from_millis(100)).await;
    }
    let back = Instant::now();
    wait_for(&pods, "after-master-0", TIMEOUT, |_| true).await.unwrap();
    println!(
        "from the return of etcd to the pod of the next job: {:?}",
        back.elapsed()
    );
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    let ended = leader.process().exited_within(TIMEOUT).await.unwrap();
    assert!(
        !ended.success() && leader.log().contains("leadership lost"),
        "{}",
        leader.log()
    );
    let leases = Api::<Lease>::namespaced(client.clone(), "default");
    let lease = leases.get("1ca428e5.training-operator.kubeflow.org").await.unwrap();
    assert!(lease.spec.unwrap().holder_identity.unwrap().starts_with("second"));
    assert_eq!(pods.get("before-master-0").await.unwrap().uid(), pod.uid());
}
