//! Edits drawn from the schema alone: any field, any value around its type and bounds.

use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::differential::edit::Edit;
use crate::support::differential::generator::Taste;

/// Deepest path of an edit.
const DEPTH: usize = 9;

/// Puts a value at a random place of `spec`, or removes what is there.
pub fn edit(dice: &mut Dice, schema: &Value, job: &Value, taste: Taste) -> Edit {
    let (path, schema) = place(dice, schema);
    let value = match dice.below(6) {
        0 => Value::Null,
        1 => wrong(dice, schema),
        _ => value(dice, schema, 0),
    };
    // Some seconds are over before the real API server has answered; nothing has to pass in the simulation.
    let passing = taste == Taste::RealPods && path.last().is_some_and(|name| name.ends_with("Seconds"));
    let value = if passing && (1..60).contains(&value.as_i64().unwrap_or(0)) {
        json!(3600)
    } else {
        value
    };
    let pointer = format!("/spec/{}", path.join("/"));
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    // Of what is inside a template or a metric the real API server knows more than the schema.
    let delicate = path.iter().any(|name| name == "template" || name == "metrics");
    if job.pointer(parent).is_some_and(Value::is_object) && dice.one_in(3) {
        return if value.is_null() && !delicate && taste == Taste::Anything {
            Edit::remove(&pointer)
        } else {
            Edit::put(&pointer, &value)
        };
    }
    let merge = path
        .iter()
        .rev()
        .fold(value, |inner, name| json!({ name.as_str(): inner }));
    Edit::Merge(json!({ "spec": merge }))
}

/// A path through objects, and the schema at its end.
fn place<'a>(dice: &mut Dice, spec: &'a Value) -> (Vec<String>, &'a Value) {
    let (mut path, mut schema) = (Vec::new(), spec);
    while path.len() < DEPTH && (path.is_empty() || !dice.one_in(5)) {
        let Some((name, below)) = member(dice, schema) else {
            break;
        };
        path.push(name);
        schema = below;
    }
    (path, schema)
}

/// A member of an object, from the schema.
fn member<'a>(dice: &mut Dice, schema: &'a Value) -> Option<(String, &'a Value)> {
    if let Some(properties) = schema["properties"].as_object() {
        let names: Vec<_> = properties.keys().cloned().collect();
        let name = dice.pick(&names);
        let below = &properties[&name];
        return Some((name, below));
    }
    let below = schema.get("additionalProperties")?;
    let roles = !below["properties"]["template"].is_null();
    let name = if roles {
        dice.pick(&["Master", "Worker", "Worker", "worker"])
    } else {
        dice.pick(&["a", "b"])
    };
    Some((name.to_owned(), below))
}

/// A value of the type, in bounds or just beyond.
fn value(dice: &mut Dice, schema: &Value, depth: usize) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return dice.pick(values);
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return dice.pick(&[json!(1), json!("1Gi"), json!("50%")]);
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(dice.one_in(2)),
        Some("integer") => number(dice, schema),
        Some("string") => dice.pick(&[json!("a"), json!("b"), json!("auto"), json!("")]),
        Some("array") if dice.one_in(3) => json!([]),
        Some("array") => json!([value(dice, &schema["items"], depth + 1)]),
        Some("object") => object(dice, schema, depth),
        _ => json!({ "unknown": 1 }),
    }
}

fn number(dice: &mut Dice, schema: &Value) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the bounds of the schema are whole numbers"
    )]
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    let edges = [bound("minimum"), bound("maximum")].into_iter().flatten();
    let around: Vec<i64> = edges
        .flat_map(|edge| [edge - 1, edge, edge + 1])
        .chain([1, 2, 3])
        .collect();
    json!(dice.pick(&around))
}

/// What is required and one member more, or without what is required.
fn object(dice: &mut Dice, schema: &Value, depth: usize) -> Value {
    let mut object = json!({});
    if depth < 3 {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for name in required.iter().filter_map(Value::as_str) {
            if !dice.one_in(8) {
                object[name] = value(dice, &schema["properties"][name], depth + 1);
            }
        }
        if let Some((name, below)) = member(dice, schema).filter(|_| dice.one_in(2)) {
            object[name] = value(dice, below, depth + 1);
        }
    }
    object
}

/// A value of another type.
fn wrong(dice: &mut Dice, schema: &Value) -> Value {
    let values = [json!(true), json!("text"), json!(7), json!([]), json!({})];
    let type_ = schema["type"].as_str().unwrap_or("boolean");
    let others: Vec<_> = values
        .into_iter()
        .filter(|value| match value {
            Value::Bool(_) => type_ != "boolean",
            Value::Number(_) => type_ != "integer",
            Value::String(_) => type_ != "string",
            Value::Array(_) => type_ != "array",
            _ => type_ != "object",
        })
        .collect();
    dice.pick(&others)
}
