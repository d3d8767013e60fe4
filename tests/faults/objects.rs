//! What stored jobs and pods say.

use pytorchjob_operator::api::names;
use serde_json::Value;

use crate::stage::has;

pub fn finished(job: &Value) -> bool {
    has(job, "Succeeded") || has(job, "Failed")
}

/// The verdict with its reason and message, and its time.
pub fn outcome(job: &Value) -> (Vec<[Value; 4]>, Value) {
    let conditions = job["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let verdicts = conditions
        .iter()
        .filter(|entry| matches!(entry["type"].as_str(), Some("Succeeded" | "Failed")) && entry["status"] == "True");
    let verdicts =
        verdicts.map(|entry| ["type", "reason", "message", "lastTransitionTime"].map(|field| entry[field].clone()));
    (verdicts.collect(), job["status"]["completionTime"].clone())
}

pub fn suspends(job: &Value) -> bool {
    job["spec"]["runPolicy"]["suspend"] == true
}

pub fn count(number: &Value) -> u64 {
    number.as_u64().unwrap_or_default()
}

/// The attempt that a pod is of, if its job has such.
pub fn attempt(pod: &Value) -> Option<u64> {
    let annotation = pod["metadata"]["annotations"][names::ANNOTATION_ATTEMPT].as_str()?;
    annotation.parse().ok()
}

pub fn newest_attempt(job: &Value) -> Option<u64> {
    job["status"]["attempts"].as_array()?.last()?["number"].as_u64()
}

/// Whether a rule says that this failure is not counted.
pub fn is_ignored(job: &Value, pod: &Value) -> bool {
    let code = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
    let rules = job["spec"]["runPolicy"]["failurePolicy"]["rules"].as_array();
    let mut ignored = rules.into_iter().flatten().filter(|rule| rule["action"] == "Ignore");
    ignored.any(|rule| rule["exitCodes"]["values"][0] == *code)
}

/// The nodes that a pod stays away from.
pub fn excluded(pod: &Value) -> Vec<&str> {
    let names = pod["metadata"]["annotations"][names::ANNOTATION_EXCLUDED_NODES].as_str();
    names.into_iter().flat_map(|names| names.split(',')).collect()
}

/// The nodes that new pods of a job have to stay away from.
pub fn excluded_by(job: &Value) -> Vec<&str> {
    let stored = job["status"]["excludedNodes"].as_array().into_iter().flatten();
    stored.filter_map(|node| node["name"].as_str()).collect()
}

/// The UID of the job that controls a pod.
pub fn owner(pod: &Value) -> Option<String> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let controller = owners.iter().find(|owner| owner["controller"] == true)?;
    Some(uid_of(controller))
}

pub fn uid_of(reference: &Value) -> String {
    reference["uid"].as_str().unwrap_or_default().to_owned()
}

/// Role and index.
pub fn place(pod: &Value) -> (String, u64) {
    let label = |name: &str| pod["metadata"]["labels"][format!("training.kubeflow.org/{name}")].as_str();
    let index = label("replica-index").and_then(|index| index.parse().ok());
    (
        label("replica-type").unwrap_or_default().to_owned(),
        index.unwrap_or(u64::MAX),
    )
}

pub fn is_wanted(job: &Value, pod: &Value) -> bool {
    let (role, index) = place(pod);
    let specs = job["spec"]["pytorchReplicaSpecs"].as_object();
    let spec = specs
        .into_iter()
        .flatten()
        .find(|(name, _)| name.to_lowercase() == role);
    spec.is_some_and(|(_, spec)| index < spec["replicas"].as_u64().unwrap_or(1))
}

pub fn is_unfinished(pod: &Value) -> bool {
    !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}
