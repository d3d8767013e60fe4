//! What stored objects say.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::names;
use crate::simulation::api_server::{Object, Resource, Store};
use crate::simulation::nodes::{deleting, owner, uid};
use crate::simulation::policies::gave_up;

pub(crate) fn condition<'a>(job: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = job["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

pub(crate) fn is_true(job: &Value, type_: &str) -> bool {
    condition(job, type_).is_some_and(|condition| condition["status"] == "True")
}

/// Whether the job has an outcome.
pub(crate) fn terminal(job: &Value) -> bool {
    is_true(job, "Succeeded") || is_true(job, "Failed")
}

pub(crate) fn suspended(job: &Value) -> bool {
    job["spec"]["runPolicy"]["suspend"] == true
}

/// Whether the job is to have no pods although it has not finished.
pub(crate) fn rests(job: &Value) -> bool {
    suspended(job) || gave_up(job)
}

pub(crate) fn replicas(job: &Value, role: &str) -> u64 {
    let spec = &job["spec"]["pytorchReplicaSpecs"][role];
    if spec.is_null() {
        return 0;
    }
    spec["replicas"].as_u64().unwrap_or(1)
}

/// The image of the training container in a pod or in what pods are made from. All replicas have the same.
pub(super) fn image(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["image"]
}

/// The image that the pods of a job are to have.
pub(super) fn image_of_templates(job: &Value) -> Option<&Value> {
    let mut replicas = job["spec"]["pytorchReplicaSpecs"].as_object()?.values();
    replicas.next().map(|replica| image(&replica["template"]))
}

/// A pod of the job that is older than its templates and has not been asked to go.
pub(crate) fn of_another_image<'a>(job: &Value, mut pods: impl Iterator<Item = &'a Value>) -> Option<&'a Value> {
    let wanted = image_of_templates(job)?;
    pods.find(|pod| owner(pod) == Some(uid(job)) && !deleting(pod) && image(pod) != wanted)
}

/// A policy in either spelling.
pub(crate) fn policy<'a>(job: &'a Value, name: &str) -> &'a Value {
    let flat = &job["spec"][name];
    if flat.is_null() {
        &job["spec"]["runPolicy"][name]
    } else {
        flat
    }
}

/// Role and index of a pod.
pub(crate) fn replica_of(object: &Value) -> Option<(&'static str, u64)> {
    let labels = &object["metadata"]["labels"];
    let role = match labels["training.kubeflow.org/replica-type"].as_str()? {
        "master" => "Master",
        "worker" => "Worker",
        _ => return None,
    };
    let index = labels["training.kubeflow.org/replica-index"].as_str()?.parse().ok()?;
    Some((role, index))
}

pub(super) fn stored_job<'a>(store: &'a Store, namespace: &'a str, id: &str) -> Option<&'a Object> {
    let mut jobs = store.all(Resource::named("pytorchjobs"), namespace);
    jobs.find(|job| uid(job) == id)
}

/// The attempt that a pod is of. The pods of a scale-down go while those of the same attempt come.
pub(super) fn attempt(pod: &Value) -> Option<i64> {
    let annotation = &pod["metadata"]["annotations"][names::ANNOTATION_ATTEMPT];
    annotation.as_str()?.parse().ok()
}

pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Whether the attempt of the pod has ended: what fails of it later counts no more.
pub(super) fn is_of_ended_attempt(pod: &Value, job: &Value) -> bool {
    let mut attempts = job["status"]["attempts"].as_array().into_iter().flatten();
    let of_pod = attempts.find(|known| known["number"].as_i64() == attempt(pod));
    of_pod.is_some_and(|of_pod| !of_pod["ended"].is_null())
}
