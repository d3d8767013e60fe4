//! The Helm chart, with the real Helm: `make test-chart` builds it.

use std::collections::BTreeMap;
use std::fs;

use kube::Api;
use kube::api::ListParams;
use pytorchjob_test_cluster::{Cluster, Options, not_applicable, repository};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::job::{Job, job};
use crate::rig::{create, own_cluster};

/// What Helm adds to the labels of everything.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// Runs Helm on the chart; the error is what it says.
async fn helm(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(repository().join("target/helm/helm"))
        .args(arguments)
        .output()
        .await
        .expect("make test-chart builds target/helm");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

fn chart() -> String {
    repository()
        .join("config/helm/pytorchjob-operator")
        .display()
        .to_string()
}

/// The objects of the chart with these values, by kind and name.
async fn rendered(values: &Value) -> Result<BTreeMap<(String, String), Value>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    let (chart, values) = (chart(), file.path().display().to_string());
    let arguments = [
        "template",
        "release",
        &chart,
        "--namespace",
        "kubeflow",
        "--values",
        &values,
    ];
    helm(&arguments).await.map(|text| objects(&text))
}

fn objects(text: &str) -> BTreeMap<(String, String), Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let name = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&object["kind"]), text(&object["metadata"]["name"]))
    };
    objects
        .into_iter()
        .filter(Value::is_object)
        .map(|object| (name(&object), object))
        .collect()
}

/// The value at a path, or null.
fn at<'a>(objects: &'a BTreeMap<(String, String), Value>, kind: &str, path: &str) -> &'a Value {
    let key = (kind.to_owned(), "pytorchjob-operator".to_owned());
    objects
        .get(&key)
        .and_then(|object| object.pointer(path))
        .unwrap_or(&Value::Null)
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn the_chart_installs_what_the_single_file_installs() {
    let mut chart = rendered(&json!({ "image": { "tag": "dev" }, "crd": { "keep": false } }))
        .await
        .unwrap();
    let mut file = objects(&fs::read_to_string(repository().join("dist/install.yaml")).unwrap());
    file.remove(&("Namespace".to_owned(), "kubeflow".to_owned())).unwrap();
    for object in chart.values_mut() {
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
                labels.retain(|label, _| !OF_HELM.contains(&label.as_str()));
            }
        }
        if let Some(container) = object.pointer_mut("/spec/template/spec/containers/0") {
            let policy = container.as_object_mut().unwrap().remove("imagePullPolicy");
            assert_eq!(
                policy,
                Some(json!("IfNotPresent")),
                "the default of an image that has a tag"
            );
        }
    }
    assert_eq!(chart.keys().collect::<Vec<_>>(), file.keys().collect::<Vec<_>>());
    for (name, object) in file {
        assert_eq!(chart[&name], object, "{name:?}");
    }
}

/// Values, and the field of the Deployment's pods that they set.
fn values_of_pods() -> Vec<(Value, &'static str, Value)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![
        (
            json!({ "image": { "repository": "r.example/o", "tag": "1" } }),
            "/spec/containers/0/image",
            json!("r.example/o:1"),
        ),
        (
            json!({ "image": { "digest": digest } }),
            "/spec/containers/0/image",
            json!(format!("pytorchjob-operator@{digest}")),
        ),
        (
            json!({ "extraArgs": ["--gang-scheduler-name=volcano"] }),
            "/spec/containers/0/args",
            json!(["--leader-elect", "--gang-scheduler-name=volcano"]),
        ),
        (
            json!({ "resources": { "limits": { "memory": "1Gi" } } }),
            "/spec/containers/0/resources/limits/memory",
            json!("1Gi"),
        ),
        (
            json!({ "namespaced": true }),
            "/spec/containers/0/env/0/name",
            json!("KUBEFLOW_NAMESPACE"),
        ),
        (
            json!({ "imagePullSecrets": [{ "name": "s" }] }),
            "/spec/imagePullSecrets/0/name",
            json!("s"),
        ),
        (
            json!({ "priorityClassName": "p" }),
            "/spec/priorityClassName",
            json!("p"),
        ),
        (
            json!({ "nodeSelector": { "a": "b" } }),
            "/spec/nodeSelector/a",
            json!("b"),
        ),
        (
            json!({ "tolerations": [{ "operator": "Exists" }] }),
            "/spec/tolerations/0/operator",
            json!("Exists"),
        ),
        (
            json!({ "affinity": { "nodeAffinity": {} } }),
            "/spec/affinity/nodeAffinity",
            json!({}),
        ),
        (
            json!({ "podLabels": { "team": "a" } }),
            "/metadata/labels/team",
            json!("a"),
        ),
        (
            json!({ "podAnnotations": { "note": "a" } }),
            "/metadata/annotations/note",
            json!("a"),
        ),
    ]
}

/// Values, and what they set or leave out of other objects.
fn values_of_others() -> Vec<(Value, &'static str, &'static str, Value)> {
    let metrics = |value: Value| json!({ "metrics": value });
    vec![
        (json!({ "replicas": 3 }), "Deployment", "/spec/replicas", json!(3)),
        (
            json!({ "serviceAccount": { "annotations": { "a": "b" } } }),
            "ServiceAccount",
            "/metadata/annotations/a",
            json!("b"),
        ),
        (
            json!({ "namespaced": true }),
            "Role",
            "/rules/0/apiGroups/0",
            json!("kubeflow.org"),
        ),
        (json!({ "namespaced": true }), "ClusterRole", "", Value::Null),
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
            metrics(json!({ "serviceMonitor": { "enabled": true, "interval": "15s" } })),
            "ServiceMonitor",
            "/spec/endpoints/0/interval",
            json!("15s"),
        ),
        (
            metrics(json!({ "rules": { "enabled": true, "labels": { "release": "p" } } })),
            "PrometheusRule",
            "/spec/groups/0/name",
            json!("pytorchjob-operator"),
        ),
    ]
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn each_value_of_the_chart_does_what_it_says() {
    for (values, path, expected) in values_of_pods() {
        let objects = rendered(&values).await.unwrap();
        let path = format!("/spec/template{path}");
        assert_eq!(*at(&objects, "Deployment", &path), expected, "{values}: {path}");
    }
    for (values, kind, path, expected) in values_of_others() {
        let objects = rendered(&values).await.unwrap();
        assert_eq!(*at(&objects, kind, path), expected, "{values}: {kind} {path}");
    }
    let switched = json!({
        "crd": { "install": false }, "rbac": { "aggregate": false },
        "metrics": { "service": { "enabled": false }, "dashboard": { "enabled": true } },
    });
    let objects = rendered(&switched).await.unwrap();
    let has = |kind: &str, name: &str| objects.contains_key(&(kind.to_owned(), name.to_owned()));
    assert!(!has("CustomResourceDefinition", "pytorchjobs.kubeflow.org"));
    assert!(!has("ClusterRole", "kubeflow-pytorchjob-edit"));
    assert!(!has("Service", "pytorchjob-operator-metrics"));
    assert!(has("ConfigMap", "pytorchjob-operator-dashboard"));
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn values_that_do_not_exist_or_cannot_be_are_refused_by_name() {
    for (values, named) in [
        (json!({ "replica": 3 }), "replica"),
        (json!({ "replicas": "3" }), "replicas"),
        (json!({ "extraArgs": ["leader-elect"] }), "extraArgs"),
        (json!({ "image": { "digest": "latest" } }), "digest"),
        (
            json!({ "metrics": { "serviceMonitor": { "interval": "often" } } }),
            "interval",
        ),
    ] {
        let refusal = rendered(&values).await.unwrap_err();
        assert!(refusal.contains(named), "{values}: {refusal}");
    }
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn the_chart_is_installed_upgraded_and_uninstalled_and_no_job_is_lost() {
    let cluster = own_cluster(Options {
        crds: Vec::new(),
        ..Options::default()
    })
    .await;
    if !cluster.is_ours() {
        return not_applicable("installs the chart");
    }
    let run = async |arguments: &[&str]| release(cluster, arguments).await;
    run(&["install", "operator", &chart(), "--create-namespace"])
        .await
        .unwrap();
    cluster.established("pytorchjobs.kubeflow.org").await.unwrap();
    let namespace = cluster.namespace("of-a-user").await.unwrap();
    create(&cluster.admin(), &namespace, &job("kept", 1)).await.unwrap();
    run(&["upgrade", "operator", &chart(), "--set", "replicas=3"])
        .await
        .unwrap();
    let deployment = cluster.kubectl(&[
        "--namespace=kubeflow",
        "get",
        "deployment",
        "pytorchjob-operator",
        "-o",
        "json",
    ]);
    let deployment: Value = serde_json::from_str(&deployment.await.unwrap()).unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    run(&["uninstall", "operator"]).await.unwrap();
    let jobs = Api::<Job>::namespaced(cluster.admin(), &namespace);
    let left = jobs.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.iter().map(Job::name).collect::<Vec<_>>(), ["kept"]);
    // What is left does not stand in the way of the next release.
    run(&["install", "operator", &chart()]).await.unwrap();
}

/// Runs Helm against a cluster, in the namespace kubeflow.
async fn release(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let kubeconfig = cluster.admin_kubeconfig().display().to_string();
    let home = cluster.directory().join("helm").display().to_string();
    let mut all = vec![
        "--kubeconfig",
        &kubeconfig,
        "--namespace",
        "kubeflow",
        "--registry-config",
        &home,
    ];
    all.extend(arguments);
    helm(&all).await
}
