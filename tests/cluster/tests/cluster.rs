//! The rig itself: what the tests of the operator take for granted.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use pytorchjob_test_cluster::{
    AuditFilter, Cluster, Error, Options, PodPhase, User, bind_pod, not_applicable, remove_pod, set_pod_phase,
    wait_for, wait_for_all, wait_gone,
};

const TIMEOUT: Duration = Duration::from_secs(30);

const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: samples.test.pytorchjob
spec:
  group: test.pytorchjob
  names: { kind: Sample, plural: samples }
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true }
";

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn pod(name: &str) -> Pod {
    let containers = ["pytorch", "sidecar"].map(|container| Container {
        name: container.to_owned(),
        image: Some("image".to_owned()),
        ..Container::default()
    });
    let labels = BTreeMap::from([("app".to_owned(), "test".to_owned())]);
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: containers.to_vec(),
            restart_policy: Some("Never".to_owned()),
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

/// A pod that the scheduler of an existing cluster leaves alone.
fn unscheduled(name: &str) -> Pod {
    let mut pod = pod(name);
    pod.spec.as_mut().unwrap().scheduler_name = Some("nobody".to_owned());
    pod
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

#[tokio::test]
async fn a_test_in_one_namespace_does_not_see_the_objects_of_another() {
    let cluster = Cluster::shared().await;
    let (one, two) = (
        cluster.namespace("same").await.unwrap(),
        cluster.namespace("same").await.unwrap(),
    );
    assert_ne!(one.name(), two.name());
    let api = |namespace: &str| Api::<ConfigMap>::namespaced(cluster.admin(), namespace);
    api(&one)
        .create(&PostParams::default(), &config_map("mine"))
        .await
        .unwrap();
    assert!(api(&one).get_opt("mine").await.unwrap().is_some());
    assert!(api(&two).get_opt("mine").await.unwrap().is_none());
}

#[tokio::test]
async fn users_get_401_403_and_200_by_their_tokens() {
    let cluster = Cluster::shared().await;
    if !cluster.is_ours() {
        return not_applicable("needs the tokens of a control plane of our own");
    }
    let namespace = cluster.namespace("users").await.unwrap();
    let account = User::ServiceAccount {
        namespace: &namespace,
        name: "default",
    };
    let mut codes = Vec::new();
    for client in [
        cluster.client_as_token("wrong").await.unwrap(),
        cluster.client(User::Unprivileged).await.unwrap(),
        cluster.client(account).await.unwrap(),
        cluster.client(User::Admin).await.unwrap(),
    ] {
        let answer = Api::<ConfigMap>::namespaced(client, &namespace)
            .list(&ListParams::default())
            .await;
        codes.push(match answer {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        });
    }
    assert_eq!(codes, [401, 403, 403, 200]);
}

#[tokio::test]
async fn the_audit_log_counts_requests_by_user_verb_and_object() {
    let cluster = Cluster::shared().await;
    let Some(audit) = cluster.audit().unwrap() else {
        return not_applicable("needs the audit log");
    };
    let namespace = cluster.namespace("audit").await.unwrap();
    let api = Api::<ConfigMap>::namespaced(cluster.admin(), &namespace);
    for name in ["job-a", "job-b", "other"] {
        api.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    api.get("job-a").await.unwrap();
    let mine = AuditFilter {
        user: Some("admin"),
        namespace: Some(&namespace),
        ..AuditFilter::default()
    };
    let jobs = AuditFilter {
        resource: Some("configmaps"),
        name_prefix: Some("job-"),
        ..mine
    };
    assert_eq!(audit.count(&jobs).unwrap(), 3);
    assert_eq!(audit.count(&AuditFilter { writes: true, ..jobs }).unwrap(), 2);
    assert_eq!(
        audit
            .count(&AuditFilter {
                verb: Some("get"),
                ..jobs
            })
            .unwrap(),
        1
    );
    assert_eq!(
        audit
            .count(&AuditFilter {
                user: Some("nobody"),
                ..jobs
            })
            .unwrap(),
        0
    );
    let later = cluster.audit().unwrap().unwrap();
    assert_eq!(later.count(&jobs).unwrap(), 0);
}

#[tokio::test]
async fn a_played_kubelet_reports_every_container_and_lets_deleted_pods_terminate() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("kubelet").await.unwrap();
    let client = cluster.admin();
    let api = Api::<Pod>::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &unscheduled("worker"))
        .await
        .unwrap();
    bind_pod(&client, &namespace, "worker", "somewhere").await.unwrap();
    set_pod_phase(&client, &namespace, "worker", &PodPhase::Running, 2)
        .await
        .unwrap();
    api.create(&PostParams::default(), &unscheduled("deleted"))
        .await
        .unwrap();
    bind_pod(&client, &namespace, "deleted", "somewhere").await.unwrap();
    api.delete("deleted", &DeleteParams::default()).await.unwrap();
    assert!(api.get("deleted").await.unwrap().meta().deletion_timestamp.is_some());
    remove_pod(&client, &namespace, "deleted").await.unwrap();
    wait_gone(&api, "deleted", TIMEOUT).await.unwrap();

    let failed = PodPhase::Failed {
        exit_code: 137,
        reason: "OOMKilled".to_owned(),
        message: "too big".to_owned(),
    };
    set_pod_phase(&client, &namespace, "worker", &failed, 2).await.unwrap();

    let seen = wait_for(&api, "worker", TIMEOUT, |pod| phase(pod) == Some("Failed"))
        .await
        .unwrap();
    let statuses = seen.status.unwrap().container_statuses.unwrap();
    let terminated: Vec<_> = statuses
        .iter()
        .map(|status| {
            let terminated = status.state.as_ref().unwrap().terminated.as_ref().unwrap();
            (
                status.name.as_str(),
                status.restart_count,
                terminated.exit_code,
                terminated.reason.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        terminated,
        [
            ("pytorch", 2, 137, Some("OOMKilled")),
            ("sidecar", 0, 137, Some("OOMKilled"))
        ]
    );
}

#[tokio::test]
async fn waiting_in_vain_shows_the_last_state_of_the_object() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("vain").await.unwrap();
    let api = Api::<ConfigMap>::namespaced(cluster.admin(), &namespace);
    let mut map = config_map("map");
    map.data = Some([("colour".to_owned(), "blue".to_owned())].into());
    api.create(&PostParams::default(), &map).await.unwrap();
    let error = wait_for(&api, "map", Duration::from_millis(500), |_| false)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("ConfigMap map") && text.contains("colour: blue"),
        "{text}"
    );
    assert!(matches!(error, Error::Condition { .. }));
}

#[tokio::test]
async fn a_dependent_goes_with_its_owner() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("garbage").await.unwrap();
    let api = Api::<ConfigMap>::namespaced(cluster.admin(), &namespace);
    let owner = api.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let mut dependent = config_map("dependent");
    dependent.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: "owner".to_owned(),
        uid: owner.uid().unwrap(),
        ..OwnerReference::default()
    }]);
    api.create(&PostParams::default(), &dependent).await.unwrap();
    api.delete("owner", &DeleteParams::background()).await.unwrap();
    wait_gone(&api, "dependent", TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn objects_of_a_definition_are_served_when_it_has_been_installed() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("definition").await.unwrap();
    cluster.install_crd(CRD).await.unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("test.pytorchjob", "v1", "Sample"));
    let api = Api::<DynamicObject>::namespaced_with(cluster.admin(), &namespace, &resource);
    api.create(&PostParams::default(), &DynamicObject::new("sample", &resource))
        .await
        .unwrap();
    let listed = cluster
        .kubectl(&["get", "samples", "--namespace", &namespace, "--output=name"])
        .await
        .unwrap();
    assert_eq!(listed, "sample.test.pytorchjob/sample\n");
}

#[tokio::test]
async fn pods_on_a_node_of_kwok_run_end_as_labelled_and_go_when_deleted() {
    let cluster = Cluster::shared_with_node().await;
    if !cluster.is_ours() {
        return not_applicable("needs nodes that KWOK plays");
    }
    let namespace = cluster.namespace("kwok").await.unwrap();
    let api = Api::<Pod>::namespaced(cluster.admin(), &namespace);
    for (name, finish) in [
        ("runs", None),
        ("succeeds", Some("Succeeded")),
        ("fails", Some("Failed")),
    ] {
        let mut pod = pod(name);
        if let Some(finish) = finish {
            pod.labels_mut()
                .insert("pytorchjob-test/finish".to_owned(), finish.to_owned());
            pod.annotations_mut()
                .insert("pytorchjob-test/exit-code".to_owned(), "42".to_owned());
        }
        api.create(&PostParams::default(), &pod).await.unwrap();
    }
    let ended = |pods: &[Pod]| {
        pods.iter()
            .map(phase)
            .eq([Some("Failed"), Some("Running"), Some("Succeeded")])
    };
    let pods = wait_for_all(&api, "app=test", TIMEOUT, ended).await.unwrap();
    let states = pods[0].status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    assert_eq!(
        states[1].state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code,
        42
    );

    api.delete("runs", &DeleteParams::default()).await.unwrap();
    wait_gone(&api, "runs", TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn data_survive_a_restart_of_the_api_server() {
    let mut cluster = Cluster::start(Options {
        crds: Vec::new(),
        ..Options::default()
    })
    .await
    .unwrap();
    if !cluster.is_ours() {
        return not_applicable("restarts the API server");
    }
    let api = Api::<ConfigMap>::namespaced(cluster.admin(), "default");
    api.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    cluster.restart_api_server().await.unwrap();
    let api = Api::<ConfigMap>::namespaced(cluster.admin(), "default");
    assert!(api.get_opt("kept").await.unwrap().is_some());
    let directory = cluster.directory().to_owned();
    drop(cluster);
    assert!(!directory.exists());
}
