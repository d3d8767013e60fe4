//! `kubectl apply` and server-side apply: of the definition, of the example, of one job by two managers.

use std::fs;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::{Cluster, Options, not_applicable, repository, wait_for};
use serde_json::{Value, json};

use crate::{
    job::{Job, job, with},
    rig::{BINARY, Rig, TIMEOUT, install_identity},
};

/// The file of the definition that is shipped.
fn definition() -> std::path::PathBuf {
    repository().join("crds/kubeflow.org_pytorchjobs.yaml")
}

/// A cluster without the definition.
async fn empty_cluster() -> &'static Cluster {
    let options = Options {
        crds: Vec::new(),
        ..Options::default()
    };
    Box::leak(Box::new(Cluster::start(options).await.unwrap()))
}

/// The schema of the pod in the template of a replica.
fn pod_schema(definition: &mut Value) -> &mut Value {
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let replica = &mut schema["spec"]["properties"]["pytorchReplicaSpecs"]["additionalProperties"];
    &mut replica["properties"]["template"]["properties"]["spec"]["properties"]
}

#[tokio::test]
async fn a_plain_kubectl_apply_installs_the_definition_and_pod_fields_unknown_to_it_reach_the_pod() {
    let cluster = empty_cluster().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    // It keeps the whole file in an annotation, which may have 256 KiB.
    let file = definition().display().to_string();
    let printed = cluster.kubectl(&["apply", "-f", &file]).await.unwrap();
    assert!(printed.ends_with("pytorchjobs.kubeflow.org created\n"), "{printed}");
    let definitions = kube::Api::<CustomResourceDefinition>::all(cluster.admin());
    let established = |definition: &CustomResourceDefinition| {
        let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
    };
    wait_for(&definitions, "pytorchjobs.kubeflow.org", TIMEOUT, established)
        .await
        .unwrap();

    // A definition from before these two fields: a newer Kubernetes knows them, the schema does not.
    let shipped = cluster
        .kubectl(&["get", "crd", "pytorchjobs.kubeflow.org", "--output=json"])
        .await
        .unwrap();
    let mut older: Value = serde_json::from_str(&shipped).unwrap();
    let pod = pod_schema(&mut older);
    assert!(pod.as_object_mut().unwrap().remove("hostname").is_some());
    let container = &mut pod["containers"]["items"]["properties"];
    assert!(container.as_object_mut().unwrap().remove("workingDir").is_some());
    let older_file = cluster.directory().join("older.json");
    fs::write(&older_file, older.to_string()).unwrap();
    let older_file = older_file.display().to_string();
    cluster.kubectl(&["replace", "-f", &older_file]).await.unwrap();

    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    // The server serves the new schema a moment after it has stored it: until then the fields are known, and kept as well.
    let mut newer = job("newer", 0);
    let template = &mut newer["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    template["hostname"] = json!("trainer");
    template["containers"][0]["workingDir"] = json!("/training");
    let (stored, pods) = rig.create_with_pods(&newer).await;
    let template = &stored.spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    assert_eq!(template["hostname"], "trainer");
    let pod = pods[0].spec.as_ref().unwrap();
    assert_eq!(pod.hostname.as_deref(), Some("trainer"));
    assert_eq!(pod.containers[0].working_dir.as_deref(), Some("/training"));
}

#[tokio::test]
async fn a_pod_field_that_nobody_knows_is_kept_and_does_not_keep_the_pod_from_being_created() {
    let rig = Rig::start().await;
    let mut unknown = job("unknown", 0);
    let template = &mut unknown["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    template["fromTheFuture"] = json!({ "a": [1] });
    template["containers"][0]["alsoFromTheFuture"] = json!(true);
    let (stored, _) = rig.create_with_pods(&unknown).await;
    let template = &stored.spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    assert_eq!(template["fromTheFuture"], json!({ "a": [1] }));
    assert_eq!(template["containers"][0]["alsoFromTheFuture"], true);

    // This API server drops what it does not know. What the operator sends is what `plan` prints.
    let file = rig.cluster.directory().join(format!("{}.json", rig.namespace.name()));
    fs::write(&file, unknown.to_string()).unwrap();
    let planned = std::process::Command::new(BINARY)
        .args(["plan", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let planned = String::from_utf8(planned.stdout).unwrap();
    assert!(
        planned.contains("fromTheFuture:") && planned.contains("alsoFromTheFuture: true"),
        "{planned}"
    );
}

#[tokio::test]
async fn the_example_applied_twice_is_unchanged_the_second_time() {
    let rig = Rig::start().await;
    let file = repository().join("examples/seed.yaml").display().to_string();
    let namespace = format!("--namespace={}", rig.namespace.name());
    let apply = ["apply", namespace.as_str(), "-f", &file];
    assert_eq!(
        rig.cluster.kubectl(&apply).await.unwrap(),
        "pytorchjob.kubeflow.org/pytorch-test created\n"
    );
    rig.wait_pods("pytorch-test", |pods| pods.len() == 2).await;
    let before = rig.settle("pytorch-test").await;
    assert_eq!(
        rig.cluster.kubectl(&apply).await.unwrap(),
        "pytorchjob.kubeflow.org/pytorch-test unchanged\n"
    );
    assert_eq!(
        rig.get("pytorch-test").await.metadata.resource_version,
        before.metadata.resource_version
    );
}

#[tokio::test]
async fn two_managers_that_apply_variables_of_one_container_keep_each_others() {
    let rig = Rig::start().await;
    let applied = async |manager: &str, job: &Value| -> Job {
        rig.jobs()
            .patch("shared", &PatchParams::apply(manager), &Patch::Apply(job))
            .await
            .unwrap()
    };
    let variable = |name: &str, value: &str| {
        let mut container = json!({ "name": "pytorch", "env": [{ "name": name, "value": value }] });
        if name == "FIRST" {
            container["image"] = json!("registry.example/training:v1");
        }
        json!({
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": { "name": "shared" },
            "spec": { "pytorchReplicaSpecs": { "Master": { "template": { "spec": { "containers": [container] } } } } },
        })
    };
    // Templates can be edited while the job is suspended.
    let suspended = json!({ "spec": { "runPolicy": { "suspend": true } } });
    applied("one", &with(variable("FIRST", "1"), &suspended)).await;
    let both = applied("two", &variable("SECOND", "2")).await;
    let container = |job: &Job| job.spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(
        container(&both)["env"],
        json!([{ "name": "FIRST", "value": "1" }, { "name": "SECOND", "value": "2" }])
    );
    assert_eq!(container(&both)["image"], "registry.example/training:v1");

    let changed = applied("two", &variable("SECOND", "3")).await;
    assert_eq!(container(&changed)["env"][0]["value"], "1", "the other's is left alone");
    assert_eq!(container(&changed)["env"][1]["value"], "3");
}
