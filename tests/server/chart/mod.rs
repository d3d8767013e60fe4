//! The Helm chart, with the real Helm: `make test-chart` builds it.

mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use pytorchjob_test_cluster::{Cluster, not_applicable, repository};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::job::{Job, job};
use crate::rig::{cluster_without_definition, create};

/// What Helm adds to the labels of everything.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// Objects by kind and name.
type Objects = BTreeMap<(String, String), Value>;

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
    chart_in(&repository().join("config/helm"))
}

fn chart_in(directory: &Path) -> String {
    directory.join("pytorchjob-operator").display().to_string()
}

/// The objects of the chart with these values.
async fn rendered(values: &Value) -> Result<Objects, String> {
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

fn objects(text: &str) -> Objects {
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

/// The objects without what Helm adds to them.
fn without_helm(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
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
    objects
}

fn assert_the_same(chart: &Objects, manifests: &Objects) {
    assert_eq!(chart.keys().collect::<Vec<_>>(), manifests.keys().collect::<Vec<_>>());
    for (name, object) in manifests {
        assert_eq!(chart[name], *object, "{name:?}");
    }
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn the_chart_installs_what_the_single_file_installs() {
    let chart = rendered(&json!({ "image": { "tag": "dev" }, "crd": { "keep": false } })).await;
    let mut file = objects(&fs::read_to_string(repository().join("dist/install.yaml")).unwrap());
    file.remove(&("Namespace".to_owned(), "kubeflow".to_owned())).unwrap();
    assert_the_same(&without_helm(chart.unwrap()), &file);
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn the_chart_of_one_namespace_installs_what_the_overlay_of_one_namespace_installs() {
    let values = json!({ "image": { "tag": "dev" }, "namespaced": true, "crd": { "install": false } });
    let chart = rendered(&values).await.unwrap();
    let overlay = repository().join("config/namespaced").display().to_string();
    let overlay = Cluster::shared().await.kubectl(&["kustomize", &overlay]).await;
    assert_the_same(&without_helm(chart), &objects(&overlay.unwrap()));
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn values_that_do_not_exist_or_cannot_be_are_refused_by_name() {
    for (values, named) in [
        (json!({ "replica": 3 }), "replica"),
        (json!({ "replicas": "3" }), "replicas"),
        (json!({ "extraArgs": ["leader-elect"] }), "extraArgs"),
        (
            json!({ "extraArgs": ["--log-format=text", "--health-probe-bind-address=:9090"] }),
            "extraArgs",
        ),
        (json!({ "extraArgs": ["--metrics-bind-address=0"] }), "extraArgs"),
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

const DEFINITION: &str = "pytorchjobs.kubeflow.org";
/// Where the schema is in the definition.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";
/// Where a field is in the schema that the older release does not have.
const NEW_FIELD: &str = "/properties/spec/properties/runPolicy/properties/unreachableSeconds";

/// A directory with the chart of a release whose definition does not have the new field.
fn older_release() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-rL")
        .args([chart(), directory.path().display().to_string()])
        .status();
    assert!(copied.unwrap().success());
    let chart = directory.path().join("pytorchjob-operator");
    let edit = |file: &str, edited: &dyn Fn(String) -> String| {
        let file = chart.join(file);
        fs::write(&file, edited(fs::read_to_string(&file).unwrap())).unwrap();
    };
    edit("Chart.yaml", &|text| text.replace(env!("CARGO_PKG_VERSION"), "0.0.1"));
    edit("files/crd.yaml", &|text| {
        let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
        let (parent, field) = NEW_FIELD.rsplit_once('/').unwrap();
        let fields = definition.pointer_mut(&format!("{SCHEMA}{parent}")).unwrap();
        fields.as_object_mut().unwrap().remove(field).unwrap();
        definition.to_string()
    });
    directory
}

/// The schema of the definition in a cluster.
async fn stored_schema(cluster: &Cluster) -> Value {
    let definition = cluster
        .kubectl(&["get", "crd", DEFINITION, "-o", "json"])
        .await
        .unwrap();
    let definition: Value = serde_json::from_str(&definition).unwrap();
    definition.pointer(SCHEMA).unwrap().clone()
}

#[tokio::test]
#[ignore = "needs target/helm: make test-chart"]
async fn the_chart_is_installed_upgraded_and_uninstalled_and_no_job_is_lost() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("installs the chart");
    }
    let run = async |arguments: &[&str]| release(cluster, arguments).await;
    let older = older_release();
    run(&["install", "operator", &chart_in(older.path()), "--create-namespace"])
        .await
        .unwrap();
    cluster.established(DEFINITION).await.unwrap();
    assert_eq!(stored_schema(cluster).await.pointer(NEW_FIELD), None);
    let namespace = cluster.namespace("of-a-user").await.unwrap();
    let kept = create(&cluster.admin(), &namespace, &job("kept", 1)).await.unwrap();

    run(&["upgrade", "operator", &chart(), "--set", "replicas=3"])
        .await
        .unwrap();
    assert!(stored_schema(cluster).await.pointer(NEW_FIELD).is_some());
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
    let jobs = Api::<Job>::namespaced(cluster.admin(), &namespace);
    let edit = json!({ "spec": { "runPolicy": { "unreachableSeconds": 60 } } });
    let edited = async || {
        jobs.patch("kept", &PatchParams::default(), &Patch::Merge(&edit))
            .await
            .unwrap()
    };
    // The API server serves the new definition a moment after it has stored it.
    while edited().await.spec["runPolicy"]["unreachableSeconds"].is_null() {}

    run(&["uninstall", "operator"]).await.unwrap();
    let left = jobs.list(&ListParams::default()).await.unwrap().items;
    let uids: Vec<_> = left.iter().map(|job| &job.metadata.uid).collect();
    assert_eq!(uids, [&kept.metadata.uid]);
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
