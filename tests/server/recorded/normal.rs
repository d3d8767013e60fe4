//! What is kept of a record: the same in every run, no more than decisions read, and in few lines.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::api::names;

/// Widest line that has more than one field.
const WIDTH: usize = 118;

/// When every job was created.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// What is kept of the metadata of a job, and of the metadata, labels and owners of what it owns.
const OF_JOB: [&str; 7] = [
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "name",
    "namespace",
    "uid",
];
const METADATA: [&str; 7] = [
    "annotations",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "labels",
    "name",
    "ownerReferences",
    "uid",
];
const LABELS: [&str; 2] = [names::LABEL_POD_TEMPLATE_HASH, names::COSCHEDULING_GROUP];
const STATUS: [&str; 6] = [
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
    "message",
    "phase",
    "reason",
];
const OWNER: [&str; 4] = ["apiVersion", "kind", "name", "uid"];

/// Takes away what no decision reads.
pub fn prune(world: &mut Value) {
    world["events"] = json!([]);
    retain(&mut world["job"]["metadata"], &OF_JOB);
    for pod in world["pods"].as_array_mut().unwrap() {
        retain(pod, &["metadata", "spec", "status"]);
        prune_metadata(&mut pod["metadata"]);
        retain(&mut pod["spec"], &["containers", "nodeName", "schedulingGroup"]);
        retain(&mut pod["status"], &STATUS);
        for container in pod["spec"]["containers"].as_array_mut().unwrap() {
            retain(container, &["name"]);
        }
    }
    for other in world["others"].as_array_mut().unwrap() {
        prune_metadata(&mut other["metadata"]);
        if other["kind"] == "Service" {
            retain(other, &["apiVersion", "kind", "metadata"]);
        }
    }
    remove_nothings(&mut world["pods"]);
    remove_nothings(&mut world["others"]);
}

/// Of an object that a job owns.
fn prune_metadata(metadata: &mut Value) {
    retain(metadata, &METADATA);
    retain(&mut metadata["labels"], &LABELS);
    for owner in metadata["ownerReferences"].as_array_mut().unwrap() {
        retain(owner, &OWNER);
    }
}

fn retain(object: &mut Value, fields: &[&str]) {
    let fields = |name: &String, _: &mut Value| fields.contains(&name.as_str());
    object.as_object_mut().unwrap().retain(fields);
}

/// Takes away what is null or empty.
fn remove_nothings(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(remove_nothings);
            fields.retain(|_, value| !value.is_null() && *value != json!({}) && *value != json!(""));
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nothings),
        _ => {}
    }
}

/// JSON in which what fits into a line is in one.
pub fn printed(value: &Value, indent: &str) -> String {
    let line = value.to_string();
    if indent.len() + line.len() <= WIDTH {
        return line;
    }
    let inner = format!("{indent}  ");
    let block = |open: char, items: Vec<String>, close: char| {
        let items: Vec<String> = items.into_iter().map(|item| inner.clone() + &item).collect();
        format!("{open}\n{}\n{indent}{close}", items.join(",\n"))
    };
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{}: {}", json!(name), printed(value, &inner));
            block('{', fields.iter().map(field).collect(), '}')
        }
        Value::Array(items) => block('[', items.iter().map(|item| printed(item, &inner)).collect(), ']'),
        _ => line,
    }
}

/// Gives namespace, UIDs and times the same values in every run; the time between two of them stays.
pub fn normal(world: &Value, namespace: &str) -> Value {
    let created = world["job"]["metadata"]["creationTimestamp"].as_str().unwrap();
    let created: Timestamp = created.parse().unwrap();
    let to = CREATED.parse::<Timestamp>().unwrap();
    let mut change = Change {
        namespace,
        shift: to.duration_since(created),
        uids: Vec::new(),
    };
    change.of(world)
}

struct Change<'a> {
    namespace: &'a str,
    shift: SignedDuration,
    /// As they were met.
    uids: Vec<String>,
}

impl Change<'_> {
    fn of(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.clone(), self.of(value)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            Value::String(text) => self.of_text(text).into(),
            other => other.clone(),
        }
    }

    fn of_text(&mut self, text: &str) -> String {
        if let Ok(time) = text.parse::<Timestamp>() {
            return (time + self.shift).to_string();
        }
        let is_uid = text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if !is_uid {
            return text.replace(self.namespace, "team");
        }
        let known = self.uids.iter().position(|uid| uid == text);
        let number = known.unwrap_or_else(|| {
            self.uids.push(text.to_owned());
            self.uids.len() - 1
        });
        format!("uid-{number}")
    }
}
