//! The files under `config/`, installed and asked about on a real API server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::PostParams;
use pytorchjob_test_cluster::{Cluster, User, not_applicable, repository, wait_for};

const TIMEOUT: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "kubeflow";
const OPERATOR: &str = "pytorchjob-operator";
/// What the operator does with the PodGroups of each gang scheduler.
const POD_GROUPS: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// The shared cluster with `config/default` installed; `None` on an existing cluster, which is not ours to install on.
async fn installed() -> Option<&'static Cluster> {
    let cluster = Cluster::shared().await;
    if !cluster.is_ours() {
        not_applicable("installs config/default");
        return None;
    }
    cluster
        .apply_kustomize(&repository().join("config/default"))
        .await
        .unwrap();
    Some(cluster)
}

/// Asks until the answer is yes. The API server applies new roles and bindings a moment after it has stored them, and
/// what it has applied cannot be watched.
async fn applied(question: impl AsyncFn() -> bool) {
    let asked = async {
        while !question().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // An answer that stays no fails the assertion that follows.
    let _ = tokio::time::timeout(TIMEOUT, asked).await;
}

async fn rights(cluster: &Cluster, account: &str, namespace: &str) -> BTreeSet<String> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let client = cluster
        .client(User::ServiceAccount {
            namespace: NAMESPACE,
            name: account,
        })
        .await
        .unwrap();
    let review = Api::all(client).create(&PostParams::default(), &review).await.unwrap();
    let mut rights = BTreeSet::new();
    for rule in review.status.unwrap().resource_rules {
        let names = rule.resource_names.unwrap_or_default().join(",");
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let object = format!("{resource}.{group} {names}");
                rights.extend(rule.verbs.iter().map(|verb| format!("{verb} {}", object.trim())));
            }
        }
    }
    rights
}

/// What the operator may do in a namespace beyond what every service account may.
async fn operator_rights(cluster: &Cluster, namespace: &str) -> BTreeSet<String> {
    &rights(cluster, OPERATOR, namespace).await - &rights(cluster, "default", namespace).await
}

fn expected(rights: &[(&str, &[&str])]) -> BTreeSet<String> {
    rights
        .iter()
        .flat_map(|(object, verbs)| verbs.iter().map(move |verb| format!("{verb} {object}")))
        .collect()
}

#[tokio::test]
async fn the_operator_may_do_what_it_does_and_nothing_else() {
    let Some(cluster) = installed().await else { return };
    let everywhere: &[(&str, &[&str])] = &[
        ("pytorchjobs.kubeflow.org", &["get", "list", "watch", "delete"]),
        ("pytorchjobs/status.kubeflow.org", &["patch"]),
        ("pytorchjobs/finalizers.kubeflow.org", &["update"]),
        ("pods.", &["get", "list", "watch", "create", "patch", "delete"]),
        ("pods/resize.", &["patch"]),
        ("services.", &["get", "list", "watch", "create", "patch", "delete"]),
        (
            "horizontalpodautoscalers.autoscaling",
            &["get", "list", "watch", "create", "patch", "delete"],
        ),
        ("podgroups.scheduling.volcano.sh", POD_GROUPS),
        ("podgroups.scheduling.x-k8s.io", POD_GROUPS),
        ("podgroups.scheduling.k8s.io", POD_GROUPS),
        ("priorityclasses.scheduling.k8s.io", &["list", "watch"]),
        ("events.events.k8s.io", &["create", "patch"]),
    ];
    let everywhere = expected(everywhere);
    let leases = expected(&[
        ("leases.coordination.k8s.io", &["create"]),
        (
            "leases.coordination.k8s.io 1ca428e5.training-operator.kubeflow.org",
            &["get", "update"],
        ),
    ]);
    let at_home = &everywhere | &leases;
    applied(async || operator_rights(cluster, NAMESPACE).await == at_home).await;
    assert_eq!(operator_rights(cluster, NAMESPACE).await, at_home);
    assert_eq!(operator_rights(cluster, "default").await, everywhere);
}

#[tokio::test]
async fn the_pods_of_the_deployment_pass_the_restricted_level_and_others_do_not() {
    let Some(cluster) = installed().await else { return };
    let deployment = Api::<Deployment>::namespaced(cluster.admin(), NAMESPACE)
        .get(OPERATOR)
        .await
        .unwrap();
    let template = deployment.spec.template;
    let metadata = ObjectMeta {
        name: Some("probe".to_owned()),
        ..template.metadata.unwrap()
    };
    let mut pod = Pod {
        metadata,
        spec: template.spec,
        ..Pod::default()
    };
    let api = Api::<Pod>::namespaced(cluster.admin(), NAMESPACE);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&dry_run, &pod).await.unwrap();

    pod.spec.as_mut().unwrap().security_context = None;
    let refused = api.create(&dry_run, &pod).await.unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
}

#[tokio::test]
async fn the_network_policy_lets_the_metrics_of_the_deployment_be_scraped_and_nothing_else_in() {
    let Some(cluster) = installed().await else { return };
    let policy = Api::<NetworkPolicy>::namespaced(cluster.admin(), NAMESPACE);
    let policy = policy.get(OPERATOR).await.unwrap().spec.unwrap();
    let deployment = Api::<Deployment>::namespaced(cluster.admin(), NAMESPACE);
    let template = deployment.get(OPERATOR).await.unwrap().spec.template;

    let selected = policy.pod_selector.unwrap().match_labels.unwrap();
    let labels = template.metadata.unwrap().labels.unwrap();
    assert!(!selected.is_empty() && selected.iter().all(|(key, value)| labels.get(key) == Some(value)));

    assert_eq!(policy.policy_types.unwrap(), ["Ingress"]);
    let [rule] = &policy.ingress.unwrap()[..] else {
        panic!("one rule")
    };
    let sources = rule.from.as_ref().unwrap();
    let namespaces = sources.iter().filter_map(|source| source.namespace_selector.as_ref());
    let namespaces: Vec<_> = namespaces
        .map(|selector| selector.match_labels.clone().unwrap())
        .collect();
    assert_eq!(namespaces, [[("metrics".to_owned(), "enabled".to_owned())].into()]);
    let ports = rule.ports.iter().flatten();
    let ports: Vec<_> = ports.map(|port| port.port.clone().unwrap()).collect();
    assert_eq!(ports, [IntOrString::String("metrics".to_owned())]);
    let container = &template.spec.unwrap().containers[0];
    let named = container.ports.iter().flatten().filter_map(|port| port.name.as_deref());
    assert!(named.eq(["metrics", "probes"]));
}

/// Whether somebody who is bound to the cluster role `role` in `namespace` may do `verb` on a resource of kubeflow.org.
async fn bound_may(cluster: &Cluster, namespace: &str, role: &str, verb: &str, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("{role}-user")),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                group: Some("kubeflow.org".to_owned()),
                resource: Some(resource.to_owned()),
                subresource: Some(subresource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api = Api::<SubjectAccessReview>::all(cluster.admin());
    api.create(&PostParams::default(), &review)
        .await
        .unwrap()
        .status
        .unwrap()
        .allowed
}

#[tokio::test]
async fn whoever_may_view_edit_or_administer_a_namespace_may_do_so_with_its_jobs() {
    let Some(cluster) = installed().await else { return };
    let namespace = cluster.namespace("users").await.unwrap();
    let roles = ["view", "edit", "admin", "kubeflow-pytorchjob-admin"];
    for role in roles {
        let kubeflow = |rule: &PolicyRule| rule.api_groups.iter().flatten().any(|group| group == "kubeflow.org");
        let aggregated = |role: &ClusterRole| role.rules.iter().flatten().any(kubeflow);
        wait_for(&Api::all(cluster.admin()), role, TIMEOUT, aggregated)
            .await
            .unwrap();
        let binding = RoleBinding {
            metadata: ObjectMeta {
                name: Some(role.to_owned()),
                ..ObjectMeta::default()
            },
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "ClusterRole".to_owned(),
                name: role.to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: "User".to_owned(),
                name: format!("{role}-user"),
                ..Subject::default()
            }]),
        };
        Api::namespaced(cluster.admin(), &namespace)
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
        applied(async || bound_may(cluster, &namespace, role, "get", "pytorchjobs").await).await;
    }
    for (verb, resource, who_may) in [
        ("get", "pytorchjobs", &roles[..]),
        ("get", "pytorchjobs/status", &roles[..]),
        ("create", "pytorchjobs", &roles[1..]),
        ("deletecollection", "pytorchjobs", &roles[1..]),
        ("patch", "pytorchjobs/scale", &roles[1..]),
        ("patch", "pytorchjobs/status", &[]),
        ("update", "pytorchjobs/finalizers", &[]),
    ] {
        let mut may = Vec::new();
        for role in roles {
            if bound_may(cluster, &namespace, role, verb, resource).await {
                may.push(role);
            }
        }
        assert_eq!(may, who_may, "{verb} {resource}");
    }
}
