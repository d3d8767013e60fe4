//! The pod template, in both directions: the name of the training container, and the environment.

use k8s_openapi::api::core::v1::EnvVar;
use serde_json::{Value, json};

use crate::api::names::{CONTAINER, env};
use crate::api::structural::Misfit;
use crate::api::{ChildKind, ChildRef, PyTorchJob, RawJson, Replica, ReplicaType};
use crate::cli::convert::names::{INDEX_FIELD, NAME_FIELD, NAME_VARIABLE, NODE};
use crate::cli::convert::parts::Loss;
use crate::planner::{Builder, Settings};

/// Renames a container, and whatever refers to it. Another one of the new name is a fault.
pub(super) fn rename_container(template: &mut Value, path: &str, from: &str, to: &str) -> Result<(), Misfit> {
    for list in ["initContainers", "containers"] {
        let items = template["spec"][list].as_array().into_iter().flatten();
        for (index, container) in items.enumerate() {
            if container["name"] == to {
                return Err(Misfit {
                    field: format!("{path}.spec.{list}[{index}].name"),
                    message: format!("{to} will be the name of the training container: give this one another"),
                });
            }
        }
    }
    let containers = containers(template).into_iter().flatten();
    for container in containers.filter(|container| container["name"] == from) {
        container["name"] = to.into();
    }
    rename_references(template, from, to);
    Ok(())
}

/// `resourceFieldRef` names a container.
fn rename_references(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get_mut("containerName").filter(|name| *name == from) {
                *name = to.into();
            }
            fields.values_mut().for_each(|field| rename_references(field, from, to));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_references(item, from, to)),
        _ => {}
    }
}

/// The containers, if there are any.
fn containers(template: &mut Value) -> Option<&mut Vec<Value>> {
    template.pointer_mut("/spec/containers")?.as_array_mut()
}

/// Whether there is a container of this name.
pub(super) fn has_container(template: &Value, name: &str) -> bool {
    let containers = template["spec"]["containers"].as_array();
    containers.is_some_and(|containers| containers.iter().any(|container| container["name"] == name))
}

/// The fault of a template without the container that trains.
pub(super) fn no_container(path: &str, name: &str) -> Misfit {
    Misfit {
        field: format!("{path}.spec.containers"),
        message: format!("none is called {name}, so nothing says which one trains"),
    }
}

/// Removes the container of this name from the template's list, to be put back by [`insert_container`].
pub(super) fn take_container(template: &mut Value, name: &str) -> Option<(usize, Value)> {
    let containers = containers(template)?;
    let index = containers.iter().position(|container| container["name"] == name)?;
    Some((index, containers.remove(index)))
}

/// Puts a container where it was.
pub(super) fn insert_container(template: &mut Value, index: usize, container: Value) {
    if let Some(containers) = containers(template) {
        containers.insert(index, container);
    }
}

/// The variables that a PyTorchJob's pods get whatever the user sets: those of a pod of which the user sets none.
pub(super) fn set_by_operator(job: &PyTorchJob) -> Vec<(String, String)> {
    let mut bare = job.clone();
    for replica in bare.spec.pytorch_replica_specs.values_mut() {
        let mut template: Value = replica.template.parse().unwrap_or_default();
        for container in containers(&mut template).into_iter().flatten() {
            container.as_object_mut().map(|fields| fields.remove("env"));
        }
        replica.template = RawJson::new(&template).unwrap_or_default();
    }
    let role = ReplicaType::ALL
        .into_iter()
        .find(|role| bare.spec.replica(*role).is_some());
    let first = role.map(|role| ChildRef::of_replica(ChildKind::Pod, Replica::new(role, 0)));
    let mut pod = first
        .and_then(|first| Builder::new(&bare, &Settings::default()).build(first))
        .unwrap_or_default();
    let training = take_container(&mut pod, CONTAINER).map(|(_, container)| container["env"].clone());
    let variables: Vec<EnvVar> = training
        .and_then(|env| serde_json::from_value(env).ok())
        .unwrap_or_default();
    variables
        .into_iter()
        .map(|variable| (variable.name, variable.value.unwrap_or_default()))
        .collect()
}

/// What Trainer does not set of it, for the runtime: for programs that are not started by torchrun. It depends on
/// neither the name nor the size of a job.
pub(super) fn of_runtime(set: &[(String, String)]) -> Vec<Value> {
    let of_field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let known = set.iter().flat_map(|(name, value)| match name.as_str() {
        env::PYTHONUNBUFFERED | env::MASTER_PORT => vec![json!({ "name": name, "value": value })],
        env::MASTER_ADDR => vec![
            of_field(NAME_VARIABLE, NAME_FIELD),
            json!({ "name": name, "value": format!("$({NAME_VARIABLE})-{NODE}-0-0.$({NAME_VARIABLE})") }),
        ],
        env::RANK => vec![of_field(name, INDEX_FIELD)],
        _ => Vec::new(),
    });
    known.collect()
}

/// The rest, for the `TrainJob`: the size of the job.
pub(super) fn of_job(set: &[(String, String)]) -> Option<Value> {
    let size = set.iter().find(|(name, _)| *name == env::WORLD_SIZE)?;
    Some(json!({ "name": size.0, "value": size.1 }))
}

/// A list of variables with those of a `TrainJob` set in it, as Trainer does: in their places, or at the end.
pub(super) fn merged(list: &Value, own: Vec<Value>) -> Value {
    let mut merged: Vec<Value> = list.as_array().cloned().unwrap_or_default();
    for variable in own {
        match merged.iter_mut().find(|other| other["name"] == variable["name"]) {
            Some(other) => *other = variable,
            None => merged.push(variable),
        }
    }
    merged.into()
}

/// Removes from the templates of a PyTorchJob what its operator sets itself, and returns what had another value.
pub(super) fn without_set(job: &mut Value) -> Vec<Loss> {
    // What does not decode is a fault of the job, which is found when it is validated.
    let Ok(decoded) = serde_json::from_str::<PyTorchJob>(&job.to_string()) else {
        return Vec::new();
    };
    let set = set_by_operator(&decoded);
    let same: Vec<Value> = of_runtime(&set).into_iter().chain(of_job(&set)).collect();
    let mut losses = Vec::new();
    let roles = job["spec"]["pytorchReplicaSpecs"].as_object_mut().into_iter().flatten();
    for template in roles.filter_map(|(_, replica)| replica.get_mut("template")) {
        let mut training = containers(template).into_iter().flatten();
        let training = training.find(|container| container["name"] == CONTAINER);
        let Some(fields) = training.and_then(Value::as_object_mut) else {
            continue;
        };
        let variables = fields.remove("env").and_then(|env| env.as_array().cloned());
        let others = variables
            .into_iter()
            .flatten()
            .filter(|variable| !same.contains(variable));
        let is_set = |variable: &Value| set.iter().any(|(name, _)| variable["name"] == name.as_str());
        let (lost, own): (Vec<Value>, Vec<Value>) = others.partition(is_set);
        if !own.is_empty() {
            fields.insert("env".into(), own.into());
        }
        // Both roles have the same template.
        losses = lost.iter().map(set_anyway).collect();
    }
    losses
}

fn set_anyway(variable: &Value) -> Loss {
    let name = variable["name"].as_str().unwrap_or_default();
    let why = "the operator's own value holds in a PyTorchJob";
    Loss::new(format!("spec.trainer.env[{name}]"), why, "nothing is to be done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_training_container_is_renamed_wherever_it_is_referred_to() {
        let reference =
            |name: &str| json!([{ "name": "a", "valueFrom": { "resourceFieldRef": { "containerName": name } } }]);
        let template = |name: &str| {
            let containers = json!([{ "name": "side" }, { "name": name, "env": reference(name) }]);
            json!({ "spec": { "containers": containers } })
        };
        let mut renamed = template("pytorch");
        rename_container(&mut renamed, "t", "pytorch", "node").unwrap();
        assert_eq!(renamed, template("node"));
        let clash = rename_container(&mut template("node"), "t", "pytorch", "node").unwrap_err();
        assert_eq!(clash.field, "t.spec.containers[1].name");
        let (index, container) = take_container(&mut renamed, "node").unwrap();
        assert_eq!(renamed["spec"]["containers"], json!([{ "name": "side" }]));
        insert_container(&mut renamed, index, container);
        assert_eq!(renamed, template("node"));
    }
}
