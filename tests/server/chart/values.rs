//! The values of the chart, each with what it sets.

use std::fs;

use pytorchjob_test_cluster::repository;
use serde_json::{Value, json};

use super::{Objects, rendered};

/// Values; an object, by kind and name, or by the kind alone when its name is that of the chart; a path in it; what is
/// there, or null where it is left out.
type Case = (Value, &'static str, &'static str, Value);

/// The value at a path, or null.
fn at<'a>(objects: &'a Objects, object: &str, path: &str) -> &'a Value {
    let (kind, name) = object.split_once(' ').unwrap_or((object, "pytorchjob-operator"));
    objects
        .get(&(kind.to_owned(), name.to_owned()))
        .and_then(|object| object.pointer(path))
        .unwrap_or(&Value::Null)
}

const CRD: &str = "CustomResourceDefinition pytorchjobs.kubeflow.org";
const DASHBOARD: &str = "ConfigMap pytorchjob-operator-dashboard";
const METRICS: &str = "Service pytorchjob-operator-metrics";

/// What the operator's container gets.
fn container() -> Vec<Case> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let resources = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "memory": "2Gi" } });
    let case = |values: Value, path: &'static str, expected: Value| (values, "Deployment", path, expected);
    vec![
        case(
            json!({ "image": { "repository": "r.example/o", "tag": "1" } }),
            "/spec/template/spec/containers/0/image",
            json!("r.example/o:1"),
        ),
        case(
            json!({ "image": { "digest": digest } }),
            "/spec/template/spec/containers/0/image",
            json!(format!("pytorchjob-operator@{digest}")),
        ),
        case(
            json!({ "image": { "pullPolicy": "Always" } }),
            "/spec/template/spec/containers/0/imagePullPolicy",
            json!("Always"),
        ),
        case(
            json!({ "extraArgs": ["--gang-scheduler-name=volcano"] }),
            "/spec/template/spec/containers/0/args",
            json!(["--leader-elect", "--gang-scheduler-name=volcano"]),
        ),
        case(
            json!({ "resources": resources }),
            "/spec/template/spec/containers/0/resources",
            resources,
        ),
        case(
            json!({ "namespaced": true }),
            "/spec/template/spec/containers/0/env/0/name",
            json!("KUBEFLOW_NAMESPACE"),
        ),
    ]
}

/// What the Deployment's pods get besides.
fn pods() -> Vec<Case> {
    let case = |values: Value, path: &'static str, expected: Value| (values, "Deployment", path, expected);
    let user = json!({ "runAsNonRoot": false, "runAsUser": 1000, "runAsGroup": 1000,
        "seccompProfile": { "type": "Unconfined" } });
    vec![
        case(
            json!({ "podSecurityContext": user }),
            "/spec/template/spec/securityContext",
            user,
        ),
        // As on OpenShift.
        case(
            json!({ "podSecurityContext": { "runAsUser": null, "runAsGroup": null } }),
            "/spec/template/spec/securityContext",
            json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } }),
        ),
        case(json!({ "replicas": 3 }), "/spec/replicas", json!(3)),
        case(
            json!({ "imagePullSecrets": [{ "name": "s" }] }),
            "/spec/template/spec/imagePullSecrets",
            json!([{ "name": "s" }]),
        ),
        case(
            json!({ "priorityClassName": "p" }),
            "/spec/template/spec/priorityClassName",
            json!("p"),
        ),
        case(
            json!({ "nodeSelector": { "a": "b" } }),
            "/spec/template/spec/nodeSelector",
            json!({ "a": "b" }),
        ),
        case(
            json!({ "tolerations": [{ "operator": "Exists" }] }),
            "/spec/template/spec/tolerations",
            json!([{ "operator": "Exists" }]),
        ),
        case(
            json!({ "affinity": { "nodeAffinity": {} } }),
            "/spec/template/spec/affinity",
            json!({ "nodeAffinity": {} }),
        ),
        case(
            json!({ "podLabels": { "team": "a" } }),
            "/spec/template/metadata/labels/team",
            json!("a"),
        ),
        case(
            json!({ "podAnnotations": { "note": "a" } }),
            "/spec/template/metadata/annotations/note",
            json!("a"),
        ),
        // The chart's own keys: its labels are what selectors look for, its annotations are a user's to change.
        case(
            json!({ "podLabels": { "app.kubernetes.io/name": "mine" } }),
            "/spec/template/metadata/labels/app.kubernetes.io~1name",
            json!("pytorchjob-operator"),
        ),
        case(
            json!({ "podAnnotations": { "sidecar.istio.io/inject": "true" } }),
            "/spec/template/metadata/annotations/sidecar.istio.io~1inject",
            json!("true"),
        ),
    ]
}

/// What stands beside the Deployment.
fn objects() -> Vec<Case> {
    let from = json!([{ "podSelector": { "matchLabels": { "app": "prometheus" } } }]);
    let keep = "/metadata/annotations/helm.sh~1resource-policy";
    vec![
        (
            json!({ "serviceAccount": { "annotations": { "a": "b" } } }),
            "ServiceAccount",
            "/metadata/annotations",
            json!({ "a": "b" }),
        ),
        (
            json!({ "namespaced": true }),
            "Role",
            "/rules/0/apiGroups/0",
            json!("kubeflow.org"),
        ),
        (json!({ "namespaced": true }), "ClusterRole", "", Value::Null),
        (
            json!({ "namespaced": true }),
            "ClusterRole kubeflow-pytorchjob-edit",
            "",
            Value::Null,
        ),
        (
            json!({ "rbac": { "aggregate": false } }),
            "ClusterRole kubeflow-pytorchjob-edit",
            "",
            Value::Null,
        ),
        (json!({ "crd": { "install": false } }), CRD, "", Value::Null),
        (json!({}), CRD, keep, json!("keep")),
        (json!({ "crd": { "keep": false } }), CRD, keep, Value::Null),
        (
            json!({ "podDisruptionBudget": { "enabled": false } }),
            "PodDisruptionBudget",
            "",
            Value::Null,
        ),
        (
            json!({ "networkPolicy": { "enabled": false } }),
            "NetworkPolicy",
            "",
            Value::Null,
        ),
        (
            json!({ "networkPolicy": { "from": from } }),
            "NetworkPolicy",
            "/spec/ingress/0/from",
            from,
        ),
    ]
}

/// What there is for metrics.
fn metrics() -> Vec<Case> {
    let monitor = |values: Value| json!({ "metrics": { "serviceMonitor": values } });
    let label = "/metadata/labels/release";
    let (name, ours) = ("/metadata/labels/app.kubernetes.io~1name", json!("pytorchjob-operator"));
    let mine = json!({ "enabled": true, "labels": { "app.kubernetes.io/name": "mine" } });
    vec![
        (monitor(mine.clone()), "ServiceMonitor", name, ours.clone()),
        (
            json!({ "metrics": { "rules": mine } }),
            "PrometheusRule",
            name,
            ours.clone(),
        ),
        (json!({ "metrics": { "dashboard": mine } }), DASHBOARD, name, ours),
        (
            json!({ "metrics": { "service": { "enabled": false } } }),
            METRICS,
            "",
            Value::Null,
        ),
        (json!({}), "ServiceMonitor", "", Value::Null),
        (
            monitor(json!({ "enabled": true, "interval": "15s" })),
            "ServiceMonitor",
            "/spec/endpoints/0/interval",
            json!("15s"),
        ),
        (
            monitor(json!({ "enabled": true, "labels": { "release": "p" } })),
            "ServiceMonitor",
            label,
            json!("p"),
        ),
        (json!({}), "PrometheusRule", "", Value::Null),
        (
            json!({ "metrics": { "rules": { "enabled": true, "labels": { "release": "p" } } } }),
            "PrometheusRule",
            label,
            json!("p"),
        ),
        (json!({}), DASHBOARD, "", Value::Null),
        (
            json!({ "metrics": { "dashboard": { "enabled": true, "labels": { "grafana_dashboard": "yes" } } } }),
            DASHBOARD,
            "/metadata/labels/grafana_dashboard",
            json!("yes"),
        ),
    ]
}

fn cases() -> Vec<Case> {
    [container(), pods(), objects(), metrics()].concat()
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn each_value_of_the_chart_does_what_it_says() {
    for (values, object, path, expected) in cases() {
        let objects = rendered(&values).await.unwrap();
        assert_eq!(*at(&objects, object, path), expected, "{values}: {object} {path}");
    }
}

/// The paths of all that is no object with fields.
fn leaves(value: &Value, path: &str) -> Vec<String> {
    match value.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => fields
            .iter()
            .flat_map(|(name, value)| leaves(value, &format!("{path}/{name}")))
            .collect(),
        None => vec![path.to_owned()],
    }
}

#[test]
fn no_value_of_the_chart_is_without_a_case_that_sets_it_to_something_else_than_its_default() {
    let file = repository().join("config/helm/pytorchjob-operator/values.yaml");
    let defaults: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let cases = cases();
    let mut leaves = leaves(&defaults, "");
    assert!(leaves.len() > 20, "{leaves:?}");
    leaves.retain(|leaf| {
        let mut set = cases.iter().filter_map(|(values, ..)| values.pointer(leaf));
        !set.any(|value| Some(value) != defaults.pointer(leaf))
    });
    assert_eq!(leaves, [""; 0]);
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn rules_and_dashboard_of_the_chart_are_those_of_the_monitoring_directory() {
    let values = json!({ "metrics": { "rules": { "enabled": true }, "dashboard": { "enabled": true } } });
    let objects = rendered(&values).await.unwrap();
    let read = |name: &str| fs::read_to_string(repository().join("config/monitoring").join(name)).unwrap();
    let rules: Value = serde_saphyr::from_str(&read("rules.yaml")).unwrap();
    assert_eq!(*at(&objects, "PrometheusRule", "/spec"), rules);
    let dashboard = at(&objects, DASHBOARD, "/data/pytorchjob-operator.json");
    assert!(*dashboard == read("dashboard.json"), "{dashboard}");
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn the_service_monitor_selects_the_service_for_metrics_and_a_port_that_it_has() {
    let values = json!({ "metrics": { "serviceMonitor": { "enabled": true } } });
    let objects = rendered(&values).await.unwrap();
    let monitor = at(&objects, "ServiceMonitor", "");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let has_labels = |object: &Value| {
        wanted
            .iter()
            .all(|(label, value)| object["metadata"]["labels"][label] == *value)
    };
    let services = objects.values().filter(|object| object["kind"] == "Service");
    let selected: Vec<&Value> = services.filter(|service| has_labels(service)).collect();
    assert_eq!(selected, [at(&objects, METRICS, "")]);
    // Without a selector of namespaces it looks in its own.
    assert_eq!(monitor["spec"]["namespaceSelector"], Value::Null);
    assert_eq!(monitor["metadata"]["namespace"], selected[0]["metadata"]["namespace"]);
    let ports = selected[0]["spec"]["ports"].as_array().unwrap();
    let endpoints = monitor["spec"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1);
    assert!(
        ports.iter().any(|port| port["name"] == endpoints[0]["port"]),
        "{ports:?}"
    );
}
