//! `validate` and the API server, asked about the same manifests.

use std::fs;
use std::path::Path;
use std::process::Command;

use http::Request;
use kube::Client;
use pytorchjob_operator::api::UnknownPodFields;
use pytorchjob_operator::api::structural::schema_of_jobs;
use pytorchjob_test_cluster::Cluster;
use serde_json::{Value, json};

use crate::rig::BINARY;
use crate::support::dice::Dice;
use crate::support::differential::generator::{Taste, base};
use crate::support::differential::schema_walk;

const MANIFESTS: u64 = 500;

/// A job with a fault or two, or none. Most faults are small, so that the rest is looked at too.
fn manifest(seed: u64, namespace: &str, schema: &Value) -> Value {
    let mut dice = Dice::new(seed);
    let mut job = base(&mut dice, namespace);
    for role in ["Master", "Worker"] {
        let pod = job.pointer_mut(&format!("/spec/pytorchReplicaSpecs/{role}/template/spec"));
        pod.and_then(Value::as_object_mut).map(|pod| pod.remove("futureOne"));
    }
    for _ in 0..dice.below(3) {
        match dice.below(7) {
            0 => misspell(&mut dice, &mut job),
            1 => metadata(&mut dice, &mut job),
            2 => amount(&mut dice, &mut job),
            3 => replace(&mut dice, &mut job),
            _ => {
                let edit = schema_walk::edit(&mut dice, &schema["properties"]["spec"], &job, Taste::Anything);
                job = edit.apply(&job).unwrap_or(job);
            }
        }
    }
    job["metadata"]["name"] = json!(format!("m-{seed}"));
    job["apiVersion"] = json!("kubeflow.org/v1");
    job["kind"] = json!("PyTorchJob");
    job
}

/// Writes the name of some field otherwise.
fn misspell(dice: &mut Dice, job: &mut Value) {
    let mut paths = Vec::new();
    objects("", job, &mut paths);
    let object = job.pointer_mut(&dice.pick(&paths)).unwrap().as_object_mut().unwrap();
    let names: Vec<String> = object.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = dice.pick(&names);
    let value = object.remove(&name).unwrap();
    let wrong = [
        name.to_lowercase(),
        name.to_uppercase(),
        format!("{name}s"),
        name[..name.len() - 1].to_owned(),
    ];
    object.insert(dice.pick(&wrong), dice.pick(&[value, Value::Null]));
}

/// The paths of all objects.
fn objects(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(path.to_owned());
            for (name, value) in fields {
                objects(
                    &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")),
                    value,
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                objects(&format!("{path}/{index}"), value, found);
            }
        }
        _ => {}
    }
}

/// Puts something else in the place of some field.
fn replace(dice: &mut Dice, job: &mut Value) {
    let mut paths = Vec::new();
    objects("", &job["spec"], &mut paths);
    if paths.is_empty() {
        return;
    }
    let object = job["spec"]
        .pointer_mut(&dice.pick(&paths))
        .unwrap()
        .as_object_mut()
        .unwrap();
    let names: Vec<String> = object.keys().cloned().collect();
    let numbers = [
        json!(2.0),
        json!(2.5),
        json!(1e3),
        json!(4_294_967_296_u64),
        json!(-1),
        json!(0),
        json!(u64::MAX),
    ];
    let others = [
        json!([null]),
        json!([[]]),
        json!({ "a": null }),
        json!(""),
        json!("1"),
        json!("é"),
        Value::Null,
    ];
    if !names.is_empty() {
        object[&dice.pick(&names)] = dice.pick(&[numbers, others].concat());
    }
}

/// Sets something in the metadata.
fn metadata(dice: &mut Dice, job: &mut Value) {
    let texts = [
        "a",
        "A.b_c",
        "",
        "-a",
        "two words",
        "a/b/c",
        "example.com/a",
        "Example.com/a",
        "/a",
    ]
    .map(|text| json!(text));
    let long = [
        json!("x".repeat(63)),
        json!("x".repeat(64)),
        json!(1),
        json!(true),
        Value::Null,
    ];
    let value = dice.pick(&[&texts[..], &long].concat());
    let key = dice.pick(&texts).as_str().unwrap_or_default().to_owned();
    let time = dice.pick(&[json!("2026-01-01T00:00:00Z"), json!("yesterday"), Value::Null]);
    let (field, value) = dice.pick(&[
        ("labels", json!({ "team": value })),
        ("labels", json!({ key.as_str(): "a" })),
        ("annotations", json!({ "note": value })),
        ("annotations", json!({ key.as_str(): "a" })),
        ("finalizers", json!([value])),
        ("creationTimestamp", time),
    ]);
    job["metadata"][field] = value;
}

/// Sets the memory of some container.
fn amount(dice: &mut Dice, job: &mut Value) {
    let amounts = [
        "16Gi", "16GB", "1e3", "1E3", "1e", "0.5", ".5", "5.", "much", "-1", "+1Ki", "", "1 Gi",
    ]
    .map(Value::from);
    let others = [json!(1), json!(1.5), json!(true), Value::Null];
    let amount = dice.pick(&[&amounts[..], &others].concat());
    let roles = job["spec"]["pytorchReplicaSpecs"].as_object_mut();
    let mut containers = roles
        .into_iter()
        .flat_map(|roles| roles.values_mut())
        .filter_map(|role| role.pointer_mut("/template/spec/containers/0"));
    if let Some(container) = containers.next().filter(|container| container.is_object()) {
        container["resources"] = json!({ dice.pick(&["limits", "requests"]): { "memory": amount } });
    }
}

/// What `validate` says of them, a fault a line.
fn validate(file: &Path, manifests: &[Value]) -> String {
    let documents = manifests.iter().map(|manifest| format!("---\n{manifest}\n"));
    fs::write(file, documents.collect::<String>()).unwrap();
    let output = Command::new(BINARY)
        .args(["validate", "-f"])
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

/// Why the API server refuses the manifest, asked as strictly as `kubectl apply` asks.
async fn refusal(client: &Client, namespace: &str, manifest: &Value) -> Option<String> {
    let path = format!("/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs?dryRun=All&fieldValidation=Strict");
    let request = Request::post(path).body(manifest.to_string().into_bytes()).unwrap();
    client
        .request::<Value>(request)
        .await
        .err()
        .map(|error| error.to_string())
}

#[tokio::test]
async fn validate_calls_valid_what_the_api_server_accepts_and_nothing_else() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("validate").await.unwrap();
    let schema = schema_of_jobs(UnknownPodFields::Refused);
    let client = cluster.admin();
    let manifests: Vec<_> = (0..MANIFESTS)
        .map(|seed| manifest(seed, namespace.name(), &schema))
        .collect();
    let file = cluster.directory().join("manifests.yaml");
    let faults: String = manifests.chunks(100).map(|some| validate(&file, some)).collect();
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for manifest in &manifests {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let faults = faults
            .lines()
            .filter(|line| line.split([' ', ':']).next() == Some(format!("pytorchjob/{name}").as_str()));
        let faults: Vec<_> = faults.collect();
        let refusal = refusal(&client, namespace.name(), manifest).await;
        refused += usize::from(refusal.is_some());
        // The API server takes 2.0 for 2, unless a rule reads it; to `validate` it is no integer.
        let fraction = refusal.is_none() && manifest.to_string().contains(".0");
        if refusal.is_none() != faults.is_empty() && !fraction {
            wrong.push(format!("{manifest}\n  API server: {refusal:?}\n  validate: {faults:?}"));
        }
    }
    println!("{refused} of {} refused", manifests.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!((manifests.len() / 4..manifests.len() * 3 / 4).contains(&refused));
}

#[tokio::test]
async fn validate_reads_a_word_as_kubectl_does() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("words").await.unwrap();
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for word in [
        "yes", "Off", "y", "NULL", "0777", "0o17", "1_000", "1:30", "\"yes\"", "~", ".inf", "1,5",
    ] {
        for field in ["suspend", "backoffLimit", "cleanPodPolicy"] {
            let manifest = format!(
                "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {{ name: word }}\nspec:\n  \
                 runPolicy: {{ {field}: {word} }}\n  pytorchReplicaSpecs: {{ Master: {{ template: {template} }} }}\n",
            );
            let file = cluster.directory().join("word.yaml");
            fs::write(&file, &manifest).unwrap();
            let path = file.to_str().unwrap();
            let create = ["create", "--dry-run=server", "-n", namespace.name(), "-f", path];
            let kubectl = cluster.kubectl(&create).await.is_ok();
            let validate = Command::new(BINARY).args(["validate", "-f", path]).output().unwrap();
            accepted += usize::from(kubectl);
            if validate.status.success() != kubectl {
                wrong.push(format!("{field}: {word}; kubectl accepts it: {kubectl}; {validate:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 5, "{accepted}");
}
