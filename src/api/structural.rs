//! What the API server has against an object before it asks the rules: fields that the definition does not know, and
//! values that do not fit their schema. Works on structural schemas, in which `$ref`, `oneOf` and the like do not
//! occur.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use regex_lite::Regex;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::api::schema::{UnknownPodFields, definition};

/// A part of an object that does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Path of the field, as the API server writes it: `spec.pytorchReplicaSpecs.Master.replicas`.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The schema of a whole `PyTorchJob`, its metadata included, which a definition leaves to the API server.
///
/// # Panics
/// As [`definition`].
#[must_use]
pub fn schema_of_jobs(unknown: UnknownPodFields) -> Value {
    let inline = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut metadata = inline.into_generator().into_root_schema_for::<ObjectMeta>().to_value();
    metadata["properties"]["managedFields"] = json!({ "x-kubernetes-preserve-unknown-fields": true });
    let mut definition = json!(definition(unknown));
    let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    schema["properties"]["metadata"] = metadata;
    schema["properties"]["apiVersion"] = json!({ "type": "string" });
    schema["properties"]["kind"] = json!({ "type": "string" });
    schema
}

/// Everything in `object` that does not fit. A field that is null is absent, since nothing in our schema is nullable.
#[must_use]
pub fn misfits(schema: &Value, object: &Value) -> Vec<Misfit> {
    let mut found = Vec::new();
    check("", schema, object, &mut found);
    found
}

fn check(field: &str, schema: &Value, value: &Value, found: &mut Vec<Misfit>) {
    let mut misfit = |field: String, message: String| found.push(Misfit { field, message });
    if let Some(expected) = expected_type(schema, value) {
        return misfit(field.to_owned(), format!("must be {expected}"));
    }
    if let Some(message) = out_of_bounds(schema, value) {
        misfit(field.to_owned(), message);
    }
    let below = |name: &str| {
        if field.is_empty() {
            name.to_owned()
        } else {
            format!("{field}.{name}")
        }
    };
    let required = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    for name in required.filter(|name| value.is_object() && value[name].is_null()) {
        misfit(below(name), "is required".into());
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match member(schema, name) {
            None if !keeps_unknown(schema) => found.push(Misfit {
                field: below(name),
                message: "unknown field".into(),
            }),
            Some(schema) if !value.is_null() => check(&below(name), schema, value, found),
            _ => {}
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        check(&format!("{field}[{index}]"), &schema["items"], value, found);
    }
}

/// The schema of a member.
#[must_use]
pub fn member<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema["properties"]
        .get(name)
        .or_else(|| schema.get("additionalProperties"))
}

/// Whether what the schema does not know is stored.
#[must_use]
pub fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

/// What the value should have been, if it is of the wrong type.
fn expected_type(schema: &Value, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match schema["type"].as_str() {
        _ if schema["x-kubernetes-int-or-string"] == true => {
            (value.is_i64() || value.is_string(), "an integer or a string")
        }
        Some("object") => (value.is_object(), "an object"),
        Some("array") => (value.is_array(), "a list"),
        Some("string") => (value.is_string(), "a string"),
        Some("integer") => (value.is_i64(), "an integer"),
        Some("number") => (value.is_number(), "a number"),
        Some("boolean") => (value.is_boolean(), "true or false"),
        _ => (true, ""),
    };
    (!fits).then_some(expected)
}

fn out_of_bounds(schema: &Value, value: &Value) -> Option<String> {
    let limit = |name: &str| schema[name].as_f64();
    let listed = schema["enum"].as_array();
    if let Some(values) = listed.filter(|values| !values.contains(value)) {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        return Some(format!("must be one of {}", values.join(", ")));
    }
    let sizes = [
        (value.as_f64(), "minimum", "maximum", ""),
        (
            size(value.as_object().map(serde_json::Map::len)),
            "minProperties",
            "maxProperties",
            " entries",
        ),
        (size(value.as_array().map(Vec::len)), "minItems", "maxItems", " entries"),
        (
            size(value.as_str().map(|text| text.chars().count())),
            "minLength",
            "maxLength",
            " characters",
        ),
    ];
    for (size, min, max, unit) in sizes {
        let Some(size) = size else { continue };
        if let Some(min) = limit(min).filter(|min| size < *min) {
            return Some(format!("must not be less than {min}{unit}"));
        }
        if let Some(max) = limit(max).filter(|max| size > *max) {
            return Some(format!("must not be more than {max}{unit}"));
        }
    }
    let text = value.as_str()?;
    let pattern = schema["pattern"].as_str();
    if let Some(pattern) = pattern.filter(|pattern| !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))) {
        return Some(format!("is {text:?} and must match {pattern}"));
    }
    let is_time = schema["format"] == "date-time";
    (is_time && text.parse::<Timestamp>().is_err()).then(|| format!("is {text:?} and must be a time as in RFC 3339"))
}

#[expect(clippy::cast_precision_loss, reason = "no list is that long")]
fn size(length: Option<usize>) -> Option<f64> {
    length.map(|length| length as f64)
}
