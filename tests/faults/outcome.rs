//! What a run leaves behind, and what it did to get there, in a form in which two runs can be compared.

use std::collections::{BTreeMap, BTreeSet};

use pytorchjob_operator::api::names;
use serde_json::{Value, json};

use crate::observer::{Kind, Record, State};
use crate::stage::{second, uid};

/// The end of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// By kind and name, without what differs from run to run.
    pub objects: BTreeMap<String, Value>,
    /// How many objects of a name there have been, those aside that a stray request created.
    pub created: BTreeMap<String, usize>,
    /// How many of these a stray request created. They may have taken the place of others.
    pub strays: BTreeMap<String, usize>,
}

impl Outcome {
    pub fn new(state: &State, history: &[Record], strays: &BTreeSet<String>) -> Self {
        let mut uids = BTreeSet::new();
        let (mut created, mut astray) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, usize>::new());
        for record in history.iter().filter(|record| record.kind != Kind::Event) {
            let uid = uid(&record.object);
            if uids.insert(uid.clone()) {
                let counts = if strays.contains(&uid) {
                    &mut astray
                } else {
                    &mut created
                };
                *counts.entry(format!("{:?} {}", record.kind, record.name)).or_default() += 1;
            }
        }
        Self {
            objects: objects(state),
            created,
            strays: astray,
        }
    }

    /// What is not as it should be.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let names: BTreeSet<_> = self.objects.keys().chain(expected.objects.keys()).collect();
        for name in names {
            let (is, should) = (self.objects.get(name), expected.objects.get(name));
            if is != should {
                found.push(format!(
                    "L4: {name} differs:\n  is     {}\n  should {}",
                    text(is),
                    text(should)
                ));
            }
        }
        let count = |counts: &BTreeMap<String, usize>, name: &String| counts.get(name).copied().unwrap_or_default();
        let names: BTreeSet<_> = self.created.keys().chain(expected.created.keys()).collect();
        let same = |name: &String| {
            let (is, should) = (count(&self.created, name), count(&expected.created, name));
            is <= should && is + count(&self.strays, name) >= should
        };
        if !names.into_iter().all(same) {
            found.push(format!(
                "L4: created differs:\n  is     {:?}\n  should {:?}",
                self.created, expected.created
            ));
        }
        found
    }
}

fn text(object: Option<&Value>) -> String {
    object.map_or_else(|| "not there".to_owned(), Value::to_string)
}

/// What is stored, masked.
pub fn objects(state: &State) -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for kind in [Kind::Job, Kind::Pod, Kind::Service, Kind::Group] {
        for (name, object) in state.all(kind) {
            let masked = if kind == Kind::Job { job(object) } else { child(object) };
            objects.insert(format!("{kind:?} {name}"), masked);
        }
    }
    objects
}

fn job(job: &Value) -> Value {
    let mut status = job["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    // The others tell of the way here, and a state that a fault made short is not always stored.
    let shown = conditions
        .iter()
        .filter(|entry| entry["status"] == "True")
        .map(|entry| {
            json!([
                entry["type"],
                entry["reason"],
                entry["message"].as_str().map(without_numbers)
            ])
        });
    status["conditions"] = shown.collect();
    mask_times(&mut status);
    // Seconds that differ; a life within one second has none.
    status.as_object_mut().and_then(|status| status.remove("accounting"));
    let mut spec = job["spec"].clone();
    let policy = spec["runPolicy"].as_object_mut();
    if let Some(deadline) = policy.and_then(|policy| policy.get_mut("activeDeadlineSeconds")) {
        *deadline = true.into();
    }
    // UIDs.
    status["replacedPods"] = json!(status["replacedPods"].as_array().map_or(0, Vec::len));
    json!({ "spec": spec, "labels": job["metadata"]["labels"], "generation": job["metadata"]["generation"],
        "status": status })
}

/// Times differ, wherever they are.
fn mask_times(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(mask_times),
        Value::Object(fields) => fields.values_mut().for_each(mask_times),
        value if second(value).is_some() => *value = "a time".into(),
        _ => {}
    }
}

/// The numbers in messages are times that differ.
fn without_numbers(message: &str) -> String {
    message.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn child(object: &Value) -> Value {
    let mut annotations = object["metadata"]["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        // A stray request may have created a pod before there was a node to stay away from. The laws look at others.
        annotations.remove(names::ANNOTATION_EXCLUDED_NODES);
    }
    annotations = Some(annotations).filter(|left| left != &json!({})).unwrap_or_default();
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| json!([owner["kind"], owner["name"], owner["controller"]]))
        .collect();
    let containers = object["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!([
                container["name"],
                container["image"],
                container["env"],
                container["command"],
                container["args"]
            ])
        })
        .collect();
    let spec = &object["spec"];
    json!({
        "labels": object["metadata"]["labels"],
        "annotations": annotations,
        "owners": owners,
        "containers": containers,
        "spec": [spec["restartPolicy"], spec["schedulerName"], spec["ports"], spec["selector"], spec["minMember"],
            spec["terminationGracePeriodSeconds"]],
        "phase": object["status"]["phase"],
        "deleted": object["metadata"]["deletionTimestamp"].is_string(),
    })
}
