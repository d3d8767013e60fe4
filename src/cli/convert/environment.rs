//! The environment of the containers, in both directions.

use k8s_openapi::api::core::v1::EnvVar;
use serde_json::{Value, json};

use crate::api::names::{CONTAINER, env};
use crate::api::{ChildKind, ChildRef, PyTorchJob, RawJson, Replica, ReplicaType};
use crate::cli::convert::names::{INDEX_FIELD, NAME_FIELD, NAME_VARIABLE, NODE};
use crate::cli::convert::parts::Loss;
use crate::cli::convert::template::{containers, take_container};
use crate::planner::{Builder, Settings};

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

/// Takes the user's own variables of a container, but for those that the operator set anyway and those that are
/// reserved to Trainer.
pub(super) fn own(
    container: &mut Value,
    set: &[(String, String)],
    reserved: &[&str],
    path: &str,
    losses: &mut Vec<Loss>,
) -> Vec<Value> {
    let taken = container.as_object_mut().and_then(|fields| fields.remove("env"));
    let variables: Vec<Value> = taken.and_then(|env| env.as_array().cloned()).unwrap_or_default();
    let mut own = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let name = variable["name"].as_str().unwrap_or_default();
        let mut lost = |why: &str| {
            let field = format!("{path}.env[{name}]");
            losses.push(Loss::new(field, why, "nothing is to be done"));
        };
        if set.iter().any(|(other, _)| other == name) {
            lost("it has no effect in a PyTorchJob: the operator's own value holds");
        } else if reserved.contains(&name) {
            lost("Trainer sets it itself");
        } else if variables[index + 1..].iter().any(|other| other["name"] == name) {
            lost("it has no effect: a later one has the same name");
        } else {
            own.push(variable.clone());
        }
    }
    own
}

/// Sets in the containers beside the training one what the operator sets in all, and Trainer in that one alone.
pub(super) fn tell_others(template: &mut Value, set: &[(String, String)], path: &str, losses: &mut Vec<Loss>) {
    let containers = containers(template).into_iter().flatten().enumerate();
    let others = containers.filter(|(_, container)| container.is_object() && container["name"] != NODE);
    for (index, container) in others {
        let own = own(container, set, &[], &format!("{path}.spec.containers[{index}]"), losses);
        let told = of_runtime(set).into_iter().chain(of_job(set)).chain(own);
        container["env"] = told.collect();
    }
}

/// Removes from the templates of a PyTorchJob what its operator sets itself, and returns what had another value. The
/// template of the runtime stands at this path.
pub(super) fn without_set(job: &mut Value, path: &str) -> Vec<Loss> {
    // What does not decode is a fault of the job, which is found when it is validated.
    let Ok(decoded) = serde_json::from_str::<PyTorchJob>(&job.to_string()) else {
        return Vec::new();
    };
    let set = set_by_operator(&decoded);
    let mut losses = Vec::new();
    let roles = job["spec"]["pytorchReplicaSpecs"].as_object_mut().into_iter().flatten();
    for template in roles.filter_map(|(_, replica)| replica.get_mut("template")) {
        // Both roles have the same template.
        losses.clear();
        for (index, container) in containers(template).into_iter().flatten().enumerate() {
            let place = if container["name"] == CONTAINER {
                "spec.trainer".to_owned()
            } else {
                format!("{path}.spec.containers[{index}]")
            };
            losses.extend(remove_set(container, &set, &place));
        }
    }
    losses
}

fn remove_set(container: &mut Value, set: &[(String, String)], place: &str) -> Vec<Loss> {
    let same: Vec<Value> = of_runtime(set).into_iter().chain(of_job(set)).collect();
    let Some(fields) = container.as_object_mut() else {
        return Vec::new();
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
    lost.iter().map(|variable| set_anyway(place, variable)).collect()
}

fn set_anyway(place: &str, variable: &Value) -> Loss {
    let name = variable["name"].as_str().unwrap_or_default();
    let why = "the operator's own value holds in a PyTorchJob";
    Loss::new(format!("{place}.env[{name}]"), why, "nothing is to be done")
}
