//! The law: a job that was edited into a state is like one that was created in it.
//!
//! Compared are the spec, the job's labels and annotations, the pods, services and the autoscaler as they were built,
//! the phases of the pods and the status. What is left out, each for its reason:
//!
//! * Times, UIDs, resource versions and the generation: they belong to the object and not to its state.
//!   `observedGeneration` is held to `generation` instead.
//! * The conditions `Suspended=False`, `Running=False` by a suspension, and `Restarting`: history. A job created in the
//!   same state has not been suspended and has not lost a pod.
//! * `restarts` and `firstFailure` are history as well, but `backoffLimit` is judged by them: the new job is given the
//!   old one's; so are `restartTimes` for `restartWindow`. `attempts` and `accounting` are history that nothing is judged by, and so is the
//!   number of the attempt in pods. So is `Running=True`, which says that a job has run since its start: all pods of the new job run for a
//!   moment.
//! * `WORLD_SIZE` in an elastic job with a Master: running pods keep the number of their start when the job is scaled.
//!   Those who join by the elastic rendezvous get the number from torchrun, which overwrites the variable; Kubeflow's
//!   pods keep it in the same way.

use k8s_openapi::jiff::Timestamp;
use pytorchjob_operator::api::names::{self, env, reason};
use pytorchjob_operator::api::{ChildKind, ConditionType, JobStatus};
use pytorchjob_operator::planner::{Pod, is_true};
use serde_json::{Map, Value, json};

use crate::support::differential::simulation::{JOB, Simulation};
use crate::support::environment::Event;

/// What of a job at rest is compared.
pub fn image(sim: &Simulation<'_>) -> Value {
    let stored = sim.stored();
    let masked = unsteady_variables(&stored["spec"]);
    let pods: Map<String, Value> = sim
        .built(ChildKind::Pod)
        .map(|(name, built)| {
            let (mut built, pod) = (built.clone(), &sim.pods()[name]);
            mask_environment(&mut built["spec"], masked);
            mask_generation(&mut built["metadata"]["labels"]);
            mask_attempt(&mut built["metadata"]["annotations"]);
            let state = format!("{:?}, {} restarts", pod.phase, pod.restarts);
            (name.to_owned(), json!({ "built": built, "state": state }))
        })
        .collect();
    let others = |kind| -> Map<String, Value> {
        let built = sim.built(kind);
        built.map(|(name, object)| (name.to_owned(), object.clone())).collect()
    };
    json!({
        "job": {
            "spec": stored["spec"],
            "labels": stored["metadata"]["labels"],
            "annotations": stored["metadata"]["annotations"],
        },
        "pods": pods,
        "services": others(ChildKind::Service),
        "autoscaler": others(ChildKind::HorizontalPodAutoscaler),
        "status": status(sim.status()),
    })
}

/// Takes the generation out of the labels: it is history.
pub fn mask_generation(labels: &mut Value) {
    let label = &mut labels[names::LABEL_POD_TEMPLATE_HASH];
    if let Some((hash, _)) = label.as_str().and_then(|label| label.split_once('-')) {
        *label = json!(hash);
    }
}

/// Takes the number of the attempt out of the annotations: it is history.
pub fn mask_attempt(annotations: &mut Value) {
    if let Some(number) = annotations.get_mut(names::ANNOTATION_ATTEMPT) {
        number.take();
    }
}

/// The status without history and times.
pub fn status(mut status: JobStatus) -> Value {
    (status.start_time, status.completion_time) = (None, None);
    status.observed_generation = None;
    status.restart_times.clear();
    status.attempts.clear();
    status.accounting = None;
    if let Some(failure) = &mut status.first_failure {
        failure.finished_at = None;
    }
    status.conditions.retain(|entry| {
        let by_suspension = entry.reason.as_deref() == Some(reason::SUSPENDED);
        let ended = entry.status == "False";
        match entry.type_.as_str() {
            "Restarting" => false,
            "Suspended" => !ended,
            "Running" => !(ended && by_suspension),
            _ => true,
        }
    });
    for entry in &mut status.conditions {
        (entry.last_update_time, entry.last_transition_time) = (None, None);
    }
    json!(status)
}

/// The variables that differ between pods of different age.
pub fn unsteady_variables(spec: &Value) -> &'static [&'static str] {
    let elastic = !spec["elasticPolicy"].is_null();
    if elastic && !spec["pytorchReplicaSpecs"]["Master"].is_null() {
        &[env::WORLD_SIZE, env::TRAINING_ATTEMPT]
    } else {
        &[env::TRAINING_ATTEMPT]
    }
}

/// Removes the values of variables from the containers of a pod.
pub fn mask_environment(spec: &mut Value, masked: &[&str]) {
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        for variable in container["env"].as_array_mut().into_iter().flatten() {
            if variable["name"].as_str().is_some_and(|name| masked.contains(&name)) {
                variable["value"].take();
            }
        }
    }
}

/// A job created in the state of `sim`, whose pods are where those of `sim` are.
pub fn twin<'a>(sim: &Simulation<'a>) -> Result<Simulation<'a>, String> {
    let mut twin = sim
        .fresh(born(sim))
        .map_err(|refusal| format!("no job can be created in the state it was edited into: {refusal}"))?;
    twin.settle()?;
    have_run_like(&mut twin, sim)?;
    twin.cluster.now = sim.cluster.now;
    if twin.stored().get("status").is_some() {
        let mut status = twin.status();
        status.restarts = sim.status().restarts;
        status.restart_times = sim.status().restart_times;
        status.first_failure = sim.status().first_failure;
        twin.set_status(&status);
    }
    adopt(&mut twin, sim);
    twin.rest()?;
    Ok(twin)
}

/// Lets all pods of `sim` run for a moment when the other job has run since its start.
pub fn have_run_like(sim: &mut Simulation<'_>, other: &Simulation<'_>) -> Result<(), String> {
    if is_true(&other.status(), ConditionType::Running) {
        let names: Vec<_> = sim.pods().keys().cloned().collect();
        for name in &names {
            sim.happen(name, &Event::Run);
        }
        sim.settle()?;
    }
    Ok(())
}

/// Takes the pods of `sim` to where those of the same names in `other` are.
pub fn adopt(sim: &mut Simulation<'_>, other: &Simulation<'_>) {
    for (name, pod) in &mut sim.cluster.stored.pods {
        if let Some(other) = other.pods().get(name) {
            pod.phase = other.phase;
            pod.restarts = other.restarts;
            pod.failure.clone_from(&other.failure);
        }
    }
}

/// When a job has to be created for its deadline to pass with that of `sim`.
fn born(sim: &Simulation<'_>) -> Timestamp {
    let suspended = sim.stored()["spec"]["runPolicy"]["suspend"] == true;
    let start = sim.status().start_time.filter(|_| !suspended);
    start.map_or(sim.cluster.now, |start| start.0)
}

/// An edit restarts nothing: as long as the job is not suspended and has not finished, a pod that is there after it was
/// there before.
pub fn kept(before: &Simulation<'_>, after: &Simulation<'_>) -> Result<(), String> {
    let suspended = |sim: &Simulation<'_>| {
        sim.stored()["spec"]["runPolicy"]["suspend"] == true || is_true(&sim.status(), ConditionType::Suspended)
    };
    if after.over() || suspended(before) || suspended(after) {
        return Ok(());
    }
    let kept = |(name, pod): (&String, &Pod)| after.pods().get(name).is_none_or(|now| now.uid == pod.uid);
    let mut live = before.pods().iter().filter(|(_, pod)| !pod.terminating);
    match live.find(|&entry| !kept(entry)) {
        None => Ok(()),
        Some((name, _)) => Err(format!("the edit replaces {name} of a job that is not suspended")),
    }
}

/// Where the two differ first, and how.
pub fn compare(edited: &Value, created: &Value) -> Result<(), String> {
    match difference("", edited, created) {
        None => Ok(()),
        Some((path, edited, created)) => Err(format!(
            "{path} differs\n    edited into the state:  {edited}\n    created in the state:   {created}"
        )),
    }
}

fn difference(path: &str, one: &Value, other: &Value) -> Option<(String, Value, Value)> {
    if one == other {
        return None;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
            keys.sort();
            keys.into_iter().find_map(|key| {
                let absent = &Value::Null;
                let (one, other) = (one.get(key).unwrap_or(absent), other.get(key).unwrap_or(absent));
                difference(&format!("{path}.{key}"), one, other)
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => one
            .iter()
            .zip(other)
            .enumerate()
            .find_map(|(index, (one, other))| difference(&format!("{path}[{index}]"), one, other)),
        _ => Some((path.to_owned(), one.clone(), other.clone())),
    }
}

/// What holds of every job at rest, without comparison.
pub fn sound(sim: &Simulation<'_>) -> Result<(), String> {
    if sim.job.is_none() {
        return Ok(());
    }
    let (stored, status) = (sim.stored(), sim.status());
    if let Some(entry) = status
        .conditions
        .iter()
        .find(|entry| entry.reason.as_deref() == Some(reason::INVALID))
    {
        return Err(format!("accepted, and then failed as invalid: {:?}", entry.message));
    }
    if !sim.elsewhere() && status.observed_generation != stored["metadata"]["generation"].as_i64() {
        return Err(format!(
            "generation {} of {JOB} is not acted on: observedGeneration is {:?}",
            stored["metadata"]["generation"], status.observed_generation
        ));
    }
    Ok(())
}
