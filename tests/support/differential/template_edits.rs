//! Edits of pod templates: what people change in them, what Kueue does on admission, and what only looks like a change.

use serde_json::{Value, json};

use crate::support::dice::Dice;

/// A role of the job, or now and then one that it has not.
pub fn role(dice: &mut Dice, job: &Value) -> &'static str {
    let has = |role: &str| !job["spec"]["pytorchReplicaSpecs"][role].is_null();
    let roles: Vec<_> = ["Master", "Worker"].into_iter().filter(|role| has(role)).collect();
    if roles.is_empty() || dice.one_in(10) {
        dice.pick(&["Master", "Worker"])
    } else {
        dice.pick(&roles)
    }
}

/// A merge patch of a template. A merge patch replaces lists whole, so they are sent whole.
pub fn patch(dice: &mut Dice, job: &Value) -> Value {
    let role = role(dice, job);
    let template = &job["spec"]["pytorchReplicaSpecs"][role]["template"];
    let value = dice.pick(&["a", "b", "c"]);
    let or_none = |dice: &mut Dice| dice.pick(&[json!(value), json!(value), Value::Null]);
    let patch = match dice.below(13) {
        0 => json!({ "spec": { "nodeSelector": { "pool": or_none(dice) } } }),
        1 => json!({ "spec": { "nodeSelector": or_none(dice).as_str().map(|pool| json!({ "pool": pool })) } }),
        2 => json!({ "spec": { "tolerations": [{ "key": value, "operator": "Exists" }] } }),
        3 => json!({ "metadata": { "labels": { "app": or_none(dice) } } }),
        4 => json!({ "metadata": { "annotations": { "note": or_none(dice) } } }),
        5 => json!({ "spec": { "terminationGracePeriodSeconds": dice.pick(&[0, 30, 60]) } }),
        6 => json!({ "spec": null }),
        7 => json!({ "spec": { "fieldOfTheFuture": or_none(dice) } }),
        8 => renamed(dice),
        9 => json!({ "spec": { "initContainers": reordered(&template["spec"]["initContainers"]) } }),
        10 => json!({ "spec": { "containers": reordered(&template["spec"]["containers"]) } }),
        _ => json!({ "spec": { "containers": containers(dice, &template["spec"]["containers"]) } }),
    };
    json!({ "spec": { "pytorchReplicaSpecs": { role: { "template": patch } } } })
}

/// A field that is newer than the schema makes room for another one.
fn renamed(dice: &mut Dice) -> Value {
    let (old, new) = dice.pick(&[("futureOne", "futureTwo"), ("futureTwo", "futureOne")]);
    json!({ "spec": { old: null, new: "a" } })
}

fn reordered(list: &Value) -> Value {
    let mut list = list.clone();
    if let Some(items) = list.as_array_mut() {
        items.reverse();
    }
    list
}

/// The containers with a change in the one that trains.
fn containers(dice: &mut Dice, old: &Value) -> Value {
    let mut containers = old.clone();
    let Some(container) = containers
        .as_array_mut()
        .and_then(|all| all.iter_mut().find(|container| container["name"] == "pytorch"))
    else {
        return json!([{ "name": "pytorch", "image": "t:1" }]);
    };
    match dice.below(9) {
        0 => container["image"] = json!(dice.pick(&["t:1", "t:2", "t:3"])),
        1 => container["image"] = json!(dice.pick(&[json!(""), json!(7), Value::Null])),
        2 => container["name"] = json!("train"),
        3 => container["env"] = reordered(&container["env"]),
        4 => container["env"] = json!([{ "name": "A", "value": dice.pick(&["1", "2"]) }]),
        5 => {
            let port = dice.pick(&[23_456, 29_500]);
            container["ports"] = json!([{ "name": "pytorchjob-port", "containerPort": port }]);
        }
        6 => {
            let ports =
                [("one", 8080), ("two", 9090)].map(|(name, port)| json!({ "name": name, "containerPort": port }));
            container["ports"] = json!(ports);
            if dice.one_in(2) {
                container["ports"] = reordered(&container["ports"]);
            }
        }
        7 => container["resources"] = json!({ "limits": { "cpu": dice.pick(&[json!("1"), json!(2), json!(true)]) } }),
        _ => container["command"] = json!(["python", dice.pick(&["a.py", "b.py"])]),
    }
    containers
}
