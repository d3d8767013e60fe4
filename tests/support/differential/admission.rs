//! What the API server does with a PyTorchJob before it is stored: pruning, defaults, the schema, the CEL rules.
//!
//! The schema is the checked-in CRD, the rules are evaluated by `kube_cel`. The walks on the real API server hold this
//! module to the server's own answers.

use std::fs;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use pytorchjob_operator::api::structural::{keeps_unknown, member, misfits};
use pytorchjob_operator::api::{UnknownPodFields, definition};
use serde_json::{Map, Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/kubeflow.org_pytorchjobs.yaml");

/// The schema and rules of one version of the CRD.
pub struct Admission {
    schema: Value,
    rules: CompiledSchema,
    cel: Validator,
}

impl Admission {
    /// The CRD as checked in.
    pub fn checked_in() -> Self {
        Self::of(checked_in_schema())
    }

    /// The CRD that stores pod fields which it does not know.
    pub fn preserving() -> Self {
        let mut definition = json!(definition(UnknownPodFields::Preserved));
        Self::of(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take())
    }

    /// The CRD without the rule whose message begins so.
    pub fn without(message: &str) -> Self {
        let mut schema = checked_in_schema();
        assert_eq!(remove_rule(&mut schema, message), 1, "one rule says: {message}");
        Self::of(schema)
    }

    fn of(mut schema: Value) -> Self {
        for known in ["apiVersion", "kind", "metadata"] {
            schema["properties"][known] = json!({ "x-kubernetes-preserve-unknown-fields": true });
        }
        let rules = compile_schema(&schema);
        assert!(!rules.has_errors(), "the rules compile");
        Self {
            schema,
            rules,
            cel: Validator::new(),
        }
    }

    /// The schema of `spec`.
    pub fn spec(&self) -> &Value {
        &self.schema["properties"]["spec"]
    }

    /// The object as it is stored, or why it is refused. `old` is the stored object that it replaces.
    pub fn admit(&self, mut object: Value, old: Option<&Value>) -> Result<Value, String> {
        prune(&self.schema, &mut object);
        set_defaults(&self.schema, &mut object);
        let mut problems = metadata_problems(&mut object["metadata"]);
        problems.extend(misfits(&self.schema, &object).iter().map(ToString::to_string));
        if problems.is_empty()
            && let Err(errors) = self.cel.validate_compiled(&self.rules, &object, old)
        {
            problems.extend(errors.into_vec().into_iter().map(|error| error.message));
        }
        if problems.is_empty() {
            Ok(object)
        } else {
            Err(problems.join("; "))
        }
    }
}

fn checked_in_schema() -> Value {
    let text = fs::read_to_string(FILE).expect("the CRD is checked in");
    let mut crd: Value = serde_saphyr::from_str(&text).expect("the CRD is YAML");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

/// Removes the rules whose message begins so, wherever they stand, and returns how many there were.
fn remove_rule(schema: &mut Value, message: &str) -> usize {
    let Some(object) = schema.as_object_mut() else { return 0 };
    let mut removed = 0;
    if let Some(rules) = object.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        let before = rules.len();
        rules.retain(|rule| !rule["message"].as_str().is_some_and(|text| text.starts_with(message)));
        removed = before - rules.len();
    }
    removed
        + object
            .values_mut()
            .map(|child| remove_rule(child, message))
            .sum::<usize>()
}

/// Drops what the schema does not know.
fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            if !keeps_unknown(schema) {
                members.retain(|name, _| member(schema, name).is_some());
            }
            for (name, value) in members {
                if let Some(schema) = member(schema, name) {
                    prune(schema, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(&schema["items"], item)),
        _ => {}
    }
}

/// Drops the nulls of known fields, of which none is nullable, and fills in defaults.
fn set_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| !value.is_null() || schema["properties"].get(name).is_none());
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    members.entry(name.clone()).or_insert_with(|| default.clone());
                }
            }
            for (name, value) in members {
                if let Some(schema) = member(schema, name) {
                    set_defaults(schema, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set_defaults(&schema["items"], item)),
        _ => {}
    }
}

/// Labels and annotations are strings under qualified names; an empty map is none.
fn metadata_problems(metadata: &mut Value) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(metadata) = metadata.as_object_mut() else {
        return vec!["metadata is no object".into()];
    };
    for field in ["labels", "annotations"] {
        let map = metadata.get(field).and_then(Value::as_object);
        if map.is_none_or(Map::is_empty) {
            metadata.remove(field);
            continue;
        }
        for (key, value) in map.into_iter().flatten() {
            let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
            let text = value.as_str().unwrap_or(" ");
            if name.is_empty() || !is_label(name) || (field == "labels" && !is_label(text)) {
                problems.push(format!("metadata.{field}: {key}: {value}"));
            }
        }
    }
    problems
}

fn is_label(text: &str) -> bool {
    let inner = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    let outer = |letter: Option<&u8>| letter.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|&letter| inner(letter)) && outer(bytes.first()) && outer(bytes.last())
}
