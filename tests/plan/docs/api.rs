//! `docs/api.md`.

use std::collections::BTreeSet;

use pytorchjob_operator::api::{ConditionType, RULES, crd};
use serde_json::Value;

use crate::support::page::{assert_same, page};

/// What belongs to Kubernetes and is described there.
pub(super) const FOREIGN: [&str; 3] = ["template", "metrics", "minResources"];

pub(super) fn schema() -> Value {
    let crd = serde_json::to_value(crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// A row for each field below `schema`: path, type, default that the API server stores, bounds.
fn fields(schema: &Value, path: &str, rows: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        rows.push(format!("{path} | {} | {}", kind(field), bounds(field)));
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        fields(field, &path, rows);
        fields(&field["additionalProperties"], &format!("{path}.*"), rows);
        fields(&field["items"], &format!("{path}[]"), rows);
    }
}

pub(super) fn kind(field: &Value) -> &str {
    match field["type"].as_str() {
        Some("array") => "list",
        Some("object") if field["additionalProperties"].is_object() => "map",
        Some("string") if field["format"] == "date-time" => "time",
        Some(other) => other,
        None if field["x-kubernetes-int-or-string"] == true => "integer or string",
        None => "any",
    }
}

pub(super) fn bounds(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        // The empty string is accepted as another way to say nothing.
        let said = values
            .iter()
            .filter_map(Value::as_str)
            .filter(|value| !value.is_empty());
        let values: Vec<&str> = said.collect();
        return values.join(", ");
    }
    if let Some(pattern) = field["pattern"].as_str() {
        return pattern.to_owned();
    }
    for (min, max, unit) in [
        ("minimum", "maximum", ""),
        ("minProperties", "maxProperties", " entries"),
    ] {
        if let (Some(min), Some(max)) = (field[min].as_f64(), field[max].as_f64()) {
            return format!("{min} to {max}{unit}");
        }
    }
    String::new()
}

/// Path, type and bounds as documented.
fn documented(heading: &str) -> Vec<String> {
    let rows = page("docs/api.md").table(heading);
    rows.into_iter()
        .map(|row| format!("{} | {} | {}", row[0], row[1], row[3]))
        .collect()
}

#[test]
fn every_field_of_the_spec_is_documented_with_its_type_and_bounds() {
    let mut actual = Vec::new();
    fields(&schema()["properties"]["spec"], "", &mut actual);
    assert_same("fields of spec", documented("## Spec"), actual);
}

#[test]
fn every_field_of_the_status_is_documented_with_its_type() {
    let mut actual = Vec::new();
    fields(&schema()["properties"]["status"], "", &mut actual);
    let documented = page("docs/api.md").table("## Status");
    let documented = documented.into_iter().map(|row| format!("{} | {} | ", row[0], row[1]));
    assert_same("fields of status", documented.collect(), actual);
}

#[test]
fn the_defaults_that_are_stored_are_the_ones_marked_so() {
    fn stored(schema: &Value, path: &str, rows: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if !field["default"].is_null() {
                rows.push(format!("{path} | {}, stored", field["default"]));
            }
            if !FOREIGN.contains(&name.as_str()) {
                stored(field, &path, rows);
                stored(&field["additionalProperties"], &format!("{path}.*"), rows);
            }
        }
    }
    let mut actual = Vec::new();
    stored(&schema()["properties"]["spec"], "", &mut actual);
    let rows = page("docs/api.md").table("## Spec").into_iter();
    let marked = rows.filter(|row| row[2].ends_with(", stored"));
    assert_same(
        "stored defaults",
        marked.map(|row| format!("{} | {}", row[0], row[2])).collect(),
        actual,
    );
}

#[test]
fn every_condition_is_documented() {
    use ConditionType::{Created, Failed, Restarting, Running, Succeeded, Suspended};
    let all = [Created, Running, Restarting, Succeeded, Suspended, Failed];
    let mut documented = page("docs/api.md").column("## Conditions", 0);
    documented.dedup();
    assert_same(
        "conditions",
        documented,
        all.map(|condition| condition.as_str().to_owned()).to_vec(),
    );
}

#[test]
fn every_reason_is_documented_as_one_of_a_condition_or_of_an_event() {
    let page = page("docs/api.md");
    let mut documented = page.column("## Conditions", 2);
    documented.extend(page.column("## Events", 0));
    documented.sort();
    documented.dedup();
    assert_same("reasons", documented, reasons());
}

/// The constants of `api::names::reason`, which is the only place that spells them.
fn reasons() -> Vec<String> {
    let names = include_str!("../../../src/api/names.rs");
    let module = names
        .split("pub mod reason {")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let values = module.lines().filter_map(|line| line.split('"').nth(1));
    values.map(str::to_owned).collect()
}

#[test]
fn every_rule_of_the_definition_is_documented_by_its_message() {
    let documented = page("docs/api.md").column("## What is refused", 1);
    // What creation and edit are asked separately about is said in the same words.
    let messages: BTreeSet<&str> = RULES.iter().map(|rule| rule.message.as_str()).collect();
    let actual = messages.into_iter().map(ToOwned::to_owned).collect();
    assert_same("messages of rules", documented, actual);
}
