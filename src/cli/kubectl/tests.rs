//! Jobs and pods that the tests of subcommands are about.

use serde_json::{Value, json};

use crate::cli::kubectl::observation::{Facts, Observation};

/// A job of one Master, with these fields in its spec.
pub(super) fn job(spec: &Value, status: &Value) -> Value {
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
    let mut job = json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": { "name": "train", "namespace": "team", "uid": "u", "generation": 1 },
        "spec": { "pytorchReplicaSpecs": { "Master": { "template": template } } }, "status": status,
    });
    let fields = spec.as_object().unwrap();
    fields
        .iter()
        .for_each(|(field, value)| job["spec"][field] = value.clone());
    job
}

/// Its pod.
pub(super) fn pod(status: &Value) -> Value {
    json!({
        "metadata": { "name": "train-master-0", "uid": "p", "ownerReferences": [
            { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "train", "uid": "u", "controller": true },
        ] },
        "status": status,
    })
}

/// A job as it is read at ten minutes past midnight, with whatever is added.
pub(super) fn world_of(job: Value, add: impl FnOnce(&mut Observation)) -> Observation {
    let mut observation = Observation::new(job, "2026-01-01T00:10:00Z".parse().unwrap());
    add(&mut observation);
    observation
}

/// The same as `why` sees it.
pub(super) fn facts_of(job: Value, add: impl FnOnce(&mut Observation)) -> Facts {
    world_of(job, add).facts().unwrap()
}
