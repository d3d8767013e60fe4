//! `kubectl apply` and server-side apply: of the definition, of the example, of one job by two managers.

use std::fs;
use std::process::Command;

use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::{Cluster, not_applicable, repository, wait_for};
use serde_json::{Value, json};

use crate::job::{Job, job};
use crate::rig::{BINARY, Rig, TIMEOUT, cluster_without_definition, install_identity, refusal};

const PRESERVE: &str = "--preserve-unknown-pod-fields";

/// The definition that stores pod fields which it does not know, as the program prints it.
fn preserving() -> Value {
    let printed = Command::new(BINARY).args(["crd", PRESERVE]).output().unwrap();
    serde_saphyr::from_str(&String::from_utf8(printed.stdout).unwrap()).unwrap()
}

/// The schema of the pod in the template of a replica.
fn pod_schema(definition: &mut Value) -> &mut Value {
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let replica = &mut schema["spec"]["properties"]["pytorchReplicaSpecs"]["additionalProperties"];
    &mut replica["properties"]["template"]["properties"]["spec"]["properties"]
}

#[tokio::test]
async fn a_plain_kubectl_apply_installs_the_definition_and_an_older_one_can_let_newer_pod_fields_through() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    // It keeps the whole definition in an annotation, which may have 256 KiB.
    let directory = repository().join("crds").display().to_string();
    let printed = cluster.kubectl(&["apply", "-f", &directory]).await.unwrap();
    assert!(printed.ends_with("pytorchjobs.kubeflow.org created\n"), "{printed}");
    cluster.established("pytorchjobs.kubeflow.org").await.unwrap();

    // A definition from before these two fields: a newer Kubernetes knows them, the schema does not.
    let mut older = preserving();
    let pod = pod_schema(&mut older);
    assert!(pod.as_object_mut().unwrap().remove("hostname").is_some());
    let container = &mut pod["containers"]["items"]["properties"];
    assert!(container.as_object_mut().unwrap().remove("workingDir").is_some());
    let older_file = cluster.directory().join("older.json");
    fs::write(&older_file, older.to_string()).unwrap();
    let older_file = older_file.display().to_string();
    cluster.kubectl(&["replace", "-f", &older_file]).await.unwrap();

    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    // The server serves the new schema a moment after it has stored it: until then the fields are known, and kept as
    // well.
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
async fn a_pod_field_that_nobody_knows_can_be_kept_and_does_not_keep_the_pod_from_being_created() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    cluster.install_crd(&preserving().to_string()).await.unwrap();
    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    let mut unknown = job("unknown", 0);
    let template = &mut unknown["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    template["fromTheFuture"] = json!({ "a": [1] });
    template["containers"][0]["alsoFromTheFuture"] = json!(true);
    let (stored, pods) = rig.create_with_pods(&unknown).await;
    let template = &stored.spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    assert_eq!(template["fromTheFuture"], json!({ "a": [1] }));
    assert_eq!(template["containers"][0]["alsoFromTheFuture"], true);

    // This API server drops what it does not know. What the operator sends is what `plan` prints.
    let file = rig.cluster.directory().join(format!("{}.json", rig.namespace.name()));
    fs::write(&file, unknown.to_string()).unwrap();
    let planned = Command::new(BINARY)
        .args(["plan", PRESERVE, "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let planned = String::from_utf8(planned.stdout).unwrap();
    assert!(
        planned.contains("fromTheFuture:") && planned.contains("alsoFromTheFuture: true"),
        "{planned}"
    );

    // To the rules a renamed field is no edit. To the operator it is one.
    let renamed = json!({ "fromTheFuture": null, "fromLater": { "a": [1] } });
    let renamed = json!({ "pytorchReplicaSpecs": { "Master": { "template": { "spec": renamed } } } });
    rig.patch("unknown", &json!({ "spec": renamed })).await;
    rig.wait_replaced(&pods[0]).await;
}

#[tokio::test]
async fn what_is_misspelt_in_a_template_is_an_error_of_kubectl_apply() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("misspelt").await.unwrap();
    let option = format!("--namespace={}", namespace.name());
    let pod = "/spec/pytorchReplicaSpecs/Master/template/spec";
    let container = "/spec/pytorchReplicaSpecs/Master/template/spec/containers/0";
    for (parent, field, value, says) in [
        (pod, "nodeselector", json!({ "pool": "gpu" }), "unknown field"),
        (container, "volumeMount", json!([]), "unknown field"),
        (
            container,
            "resources",
            json!({ "limits": { "memory": "16GB" } }),
            "memory in body should match",
        ),
    ] {
        let mut job = job("misspelt", 0);
        job.pointer_mut(parent).unwrap()[field] = value;
        let file = cluster.directory().join(format!("{}.json", namespace.name()));
        fs::write(&file, job.to_string()).unwrap();
        let apply = ["apply", option.as_str(), "-f", file.to_str().unwrap()];
        let error = cluster.kubectl(&apply).await.unwrap_err().to_string();
        assert!(error.contains(says), "{field}: {error}");
        let validate = Command::new(BINARY)
            .args(["validate", "-f"])
            .arg(&file)
            .output()
            .unwrap();
        let faults = String::from_utf8(validate.stderr).unwrap();
        assert!(
            faults.contains(field) && faults.lines().count() == 1,
            "{field}: {faults}"
        );
    }
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

/// A job whose Master has one container with one variable, as `manager` applies it.
fn with_variable(name: &str) -> Value {
    let container = json!({
        "name": "pytorch",
        "image": "registry.example/training:v1",
        "env": [{ "name": name, "value": "1" }],
    });
    json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": { "name": "shared" },
        "spec": {
            "runPolicy": { "suspend": true },
            "pytorchReplicaSpecs": { "Master": { "template": { "spec": { "containers": [container] } } } },
        },
    })
}

fn variables(job: &Job) -> Value {
    job.spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["env"].clone()
}

#[tokio::test]
async fn a_list_of_a_template_belongs_to_one_manager_and_another_is_told_so() {
    let rig = Rig::start().await;
    let jobs = rig.jobs();
    let apply = async |params: &PatchParams, job: &Value| jobs.patch("shared", params, &Patch::Apply(job)).await;
    apply(&PatchParams::apply("one"), &with_variable("FIRST"))
        .await
        .unwrap();
    let refused = apply(&PatchParams::apply("two"), &with_variable("SECOND")).await;
    assert_eq!(refusal(refused).code, 409);
    let forced = PatchParams::apply("two").force();
    let job = apply(&forced, &with_variable("SECOND")).await.unwrap();
    assert_eq!(variables(&job), json!([{ "name": "SECOND", "value": "1" }]));
}

/// Marks containers and their variables as lists that merge by name, as definitions of Kubeflow have it.
fn merge_by_name(definition: &mut Value) {
    let containers = &mut pod_schema(definition)["containers"];
    for list in ["/items/properties/env", ""] {
        let list = containers.pointer_mut(list).unwrap();
        list["x-kubernetes-list-type"] = json!("map");
        list["x-kubernetes-list-map-keys"] = json!(["name"]);
    }
}

#[tokio::test]
async fn what_was_applied_under_a_definition_whose_lists_merge_can_be_applied_again_under_ours() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    let shipped = serde_json::to_value(pytorchjob_operator::api::crd()).unwrap();
    let mut merging = shipped.clone();
    merge_by_name(&mut merging);
    cluster.install_crd(&merging.to_string()).await.unwrap();
    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    let jobs = rig.jobs();
    let apply = async |job: &Value| {
        jobs.patch("shared", &PatchParams::apply("one"), &Patch::Apply(job))
            .await
    };
    let owned = |job: &Job| serde_json::to_string(&job.metadata.managed_fields).unwrap();
    let before = apply(&with_variable("FIRST")).await.unwrap();
    assert!(owned(&before).contains("FIRST"), "{}", owned(&before));

    cluster.install_crd(&shipped.to_string()).await.unwrap();
    wait_for(&jobs, "shared", TIMEOUT, |_| true).await.unwrap();
    let mut after = apply(&with_variable("SECOND")).await.unwrap();
    // The API server serves the new definition a moment after it has stored it.
    while owned(&after).contains("SECOND") {
        after = apply(&with_variable("SECOND")).await.unwrap();
    }
    assert_eq!(variables(&after), json!([{ "name": "SECOND", "value": "1" }]));
}

#[tokio::test]
async fn the_single_file_is_what_config_default_makes_and_can_be_applied_again_in_either_way() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("installs everything");
    }
    let path = |name: &str| repository().join(name).display().to_string();
    let (file, directory) = (path("dist/install.yaml"), path("config/default"));
    let made = cluster.kubectl(&["kustomize", &directory]).await.unwrap();
    assert!(made == fs::read_to_string(&file).unwrap(), "run `make dist`");

    let created = cluster.kubectl(&["apply", "-f", &file]).await.unwrap();
    assert!(created.lines().all(|line| line.ends_with(" created")), "{created}");
    let budget = [
        "get",
        "pdb",
        "-n",
        "kubeflow",
        "-o",
        "jsonpath={.items[*].metadata.resourceVersion}",
    ];
    let before = cluster.kubectl(&budget).await.unwrap();
    let again = cluster.kubectl(&["apply", "-f", &file]).await.unwrap();
    let configured: Vec<&str> = again.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    // See `no_spelling_of_a_disruption_budget_is_unchanged_for_kubectl`.
    assert_eq!(
        configured,
        ["poddisruptionbudget.policy/pytorchjob-operator configured"]
    );
    assert_eq!(cluster.kubectl(&budget).await.unwrap(), before);
    assert_eq!(cluster.kubectl(&["diff", "-f", &file]).await.unwrap(), "");
    for source in [["-f", file.as_str()], ["-k", directory.as_str()]] {
        for _ in 0..2 {
            let applied = cluster
                .kubectl(&[&["apply", "--server-side"], &source[..]].concat())
                .await
                .unwrap();
            assert!(
                applied.lines().all(|line| line.ends_with(" serverside-applied")),
                "{applied}"
            );
        }
        let diff = [&["diff", "--server-side"], &source[..]].concat();
        assert_eq!(cluster.kubectl(&diff).await.unwrap(), "");
    }
}

/// kubectl puts a field that patches replace into each of its patches, whether it differs or not, and says "configured"
/// unless the patch is empty.
#[tokio::test]
async fn no_spelling_of_a_disruption_budget_is_unchanged_for_kubectl() {
    let cluster = Cluster::shared().await;
    let read = async |arguments: &[&str]| cluster.kubectl(arguments).await.unwrap();
    let schemas: Value = serde_json::from_str(&read(&["get", "--raw", "/openapi/v3/apis/policy/v1"]).await).unwrap();
    let spec = &schemas["components"]["schemas"]["io.k8s.api.policy.v1.PodDisruptionBudgetSpec"];
    assert_eq!(spec["properties"]["selector"]["x-kubernetes-patch-strategy"], "replace");

    let namespace = cluster.namespace("budget").await.unwrap();
    let shipped = fs::read_to_string(repository().join("config/manager/disruption-budget.yaml")).unwrap();
    let mut budget: Value = serde_saphyr::from_str(&shipped).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let apply = async |budget: &Value| {
        fs::write(&path, budget.to_string()).unwrap();
        read(&["apply", "--namespace", &namespace, "-f", &path]).await
    };
    apply(&budget).await;
    assert!(apply(&budget).await.ends_with(" configured\n"));
    let stored = [
        "get",
        "pdb",
        "--namespace",
        &namespace,
        "-o",
        "json",
        "pytorchjob-operator",
    ];
    let stored: Value = serde_json::from_str(&read(&stored).await).unwrap();
    budget["spec"] = stored["spec"].clone();
    apply(&budget).await;
    assert!(apply(&budget).await.ends_with(" configured\n"));
}
