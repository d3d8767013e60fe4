//! `replay`: what an operator decides about a recorded job, step by step, as long as nothing else happens.
//!
//! After each step the world is as an API server has it that refuses nothing: the status is stored, what was created is
//! there, and what was deleted is gone. Time stands still, and neither schedulers nor kubelets do anything.

use std::fmt::Write;

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Map, Value, json};

use crate::api::{ChildKind, JobStatus};
use crate::cli::kubectl::age::{age, time};
use crate::cli::kubectl::observation::{Facts, Observation};
use crate::cli::kubectl::why::described;
use crate::planner::{Action, Builder, Plan, ask_again, patch, resize, state};

/// Steps that are shown at most.
const STEPS: usize = 10;
/// Requests of a step that are shown one by one.
const REQUESTS: usize = 32;

/// The steps, until nothing is left to do; nothing where nothing is to be done, or nobody knows what, as `why` says.
pub(super) fn steps(observation: &Observation) -> Result<String, String> {
    let mut world = observation.clone();
    let mut text = String::new();
    for number in 1..=STEPS {
        let facts = world.facts()?;
        let Ok(plan) = facts.plan() else { return Ok(text) };
        if plan.is_idle() {
            return Ok(text + &rest(&facts, &plan, number - 1));
        }
        if number == 1 {
            text += "If nothing else happens, an operator goes on so:\n";
        }
        // Writing to a text does not fail.
        let _ = write!(text, "Step {number}:\n{}", step(&facts, &plan));
        if plan.actions.contains(&Action::DeleteJob) {
            return Ok(text);
        }
        world.carry_out(&facts, plan, number);
    }
    Ok(text + "And so on: there is more to do than is shown.\n")
}

/// What is left after the last step.
fn rest(facts: &Facts, plan: &Plan, steps: usize) -> String {
    if steps == 0 {
        return String::new();
    }
    let after = plan.requeue.and_then(|after| SignedDuration::try_from(after).ok());
    let looks = after.and_then(|after| Some((after, facts.now.checked_add(after).ok()?)));
    let looks = looks.map(|(after, at)| format!(", or until {}, in {}", time(at), age(after)));
    format!(
        "Then nothing is to be done until a pod or the job changes{}.\n",
        looks.unwrap_or_default()
    )
}

/// The lines of a step: requests, status, events.
fn step(facts: &Facts, plan: &Plan) -> String {
    let world = facts.world();
    let shown = plan.actions.iter().take(REQUESTS);
    let requests = shown.map(|action| described(action, world.name()));
    let more = plan.actions.len().saturating_sub(REQUESTS);
    let more = (more > 0).then(|| format!("and {more} more requests"));
    let before = world.status();
    let status = plan.status.iter().map(|write| changes(&before, &write.status));
    let events = plan.events.iter().map(|event| {
        let type_ = if event.warning { "Warning" } else { "Normal" };
        format!("publish the event {type_} {}: {}", event.reason, event.message)
    });
    let lines = requests.chain(more).chain(status).chain(events);
    let lines: Vec<String> = lines.map(|line| format!("  {line}\n")).collect();
    lines.concat()
}

/// Which fields of the status change, and what the job's state is then, if that is news.
fn changes(before: &JobStatus, after: &JobStatus) -> String {
    let fields = |status: &JobStatus| serde_json::to_value(status).unwrap_or_default();
    let (old, new) = (fields(before), fields(after));
    let names = |status: &Value| {
        status
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut changed = [names(&old), names(&new)].concat();
    changed.retain(|field| old.get(field) != new.get(field));
    changed.sort();
    changed.dedup();
    let told = |status: &JobStatus| {
        let word = state(status)?.as_str();
        let entry = status.conditions.iter().rfind(|entry| entry.type_ == word)?;
        Some(format!("{word}: {}", entry.message.as_deref().unwrap_or_default()))
    };
    let news = told(after).filter(|now| told(before).as_ref() != Some(now));
    let news = news.map(|news| format!("; {news}")).unwrap_or_default();
    format!("store the status ({}){news}", changed.join(", "))
}

impl Observation {
    /// Does what a plan says, as if nothing were refused.
    fn carry_out(&mut self, facts: &Facts, plan: Plan, step: usize) {
        let builder = Builder::new(&facts.job, &facts.settings);
        let job = facts.world().name().to_owned();
        for action in &plan.actions {
            match action {
                Action::Create(child) => {
                    let created = builder.build(*child).map(|object| born(object, child.kind, step));
                    self.of_kind(child.kind).extend(created);
                }
                Action::Delete { kind, name, uid } => self.remove(*kind, name, uid),
                Action::ForceDelete { name, uid, .. } => self.remove(ChildKind::Pod, name, uid),
                Action::Recreate { child, uid, .. } => self.remove(child.kind, &child.name(&job), uid),
                Action::Update { child, uid, contents } => {
                    self.patch(child.kind, uid, &patch(contents, child.kind, uid));
                }
                Action::RestartInPlace { child, uid, restart } => {
                    if restart.annotate {
                        self.patch(child.kind, uid, &ask_again(restart, uid));
                    }
                    if let Some(step) = resize(restart, uid) {
                        self.patch(child.kind, uid, &step);
                    }
                }
                // No step follows.
                Action::DeleteJob => {}
            }
        }
        if let Some(write) = plan.status {
            self.job["status"] = json!(write.status);
        }
    }

    fn remove(&mut self, kind: ChildKind, name: &str, uid: &str) {
        let is_it = |object: &Value| object["metadata"]["name"] == name && object["metadata"]["uid"] == uid;
        self.of_kind(kind).retain(|object| !is_it(object));
    }

    fn patch(&mut self, kind: ChildKind, uid: &str, patch: &Value) {
        let objects = self.of_kind(kind).iter_mut();
        for object in objects.filter(|object| object["metadata"]["uid"] == uid) {
            for operation in patch
                .as_array()
                .into_iter()
                .flatten()
                .filter(|operation| operation["op"] != "test")
            {
                set(
                    object,
                    operation["path"].as_str().unwrap_or_default(),
                    &operation["value"],
                );
            }
        }
    }
}

/// An object as it is once it has been created; a pod has not been scheduled.
fn born(mut object: Value, kind: ChildKind, step: usize) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    object["metadata"]["uid"] = format!("{name}-of-step-{step}").into();
    if kind == ChildKind::Pod {
        object["status"] = json!({ "phase": "Pending" });
    }
    object
}

/// Writes a value where a JSON pointer points to.
fn set(object: &mut Value, pointer: &str, value: &Value) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        if place.is_null() {
            *place = json!({});
        }
        let next = match place {
            Value::Object(fields) => Some(fields.entry(name).or_insert(Value::Null)),
            Value::Array(items) => name.parse().ok().and_then(|index: usize| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return };
        place = next;
    }
    *place = value.clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kubectl::tests::{job, pod, world_of};

    /// The lines of the steps of a job of one Master.
    fn lines(job: Value, add: impl FnOnce(&mut Observation)) -> Vec<String> {
        let text = steps(&world_of(job, add)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_new_job_gets_its_status_before_its_pods_and_then_waits_for_them() {
        let said = lines(job(&json!({ "activeDeadlineSeconds": 3600 }), &json!({})), |_| ());
        let begins = |at: usize, start: &str| assert!(said[at].starts_with(start), "{start:?}: {said:#?}");
        begins(0, "If nothing else happens");
        begins(1, "Step 1:");
        assert!(
            said.iter().any(|line| line == "  create service train-master-0"),
            "{said:#?}"
        );
        let stored = "; Created: PyTorchJob train is created.";
        let stored = said
            .iter()
            .position(|line| line.starts_with("  store the status (") && line.ends_with(stored));
        let created = said.iter().position(|line| line == "  create pod train-master-0");
        assert!(stored.is_some() && stored < created, "{said:#?}");
        let end = "Then nothing is to be done until a pod or the job changes, or until 2026-01-01T01:10:00Z, in 60m.";
        assert_eq!(said.last().unwrap(), end);
    }

    #[test]
    fn a_failure_is_counted_before_its_pod_goes_and_another_comes_in_its_place() {
        let running = json!({ "conditions": [{ "type": "Running", "status": "True", "message": "It runs." }],
            "startTime": "2026-01-01T00:00:00Z", "observedGeneration": 1 });
        let container = json!({ "name": "pytorch", "restartCount": 0,
            "state": { "terminated": { "exitCode": 137, "finishedAt": "2026-01-01T00:09:00Z" } } });
        let failed = pod(&json!({ "phase": "Failed", "containerStatuses": [container] }));
        let said = lines(job(&json!({}), &running), |world| world.pods.push(failed));
        let at = |part: &str| said.iter().position(|line| line.contains(part));
        let (counted, deleted) = (at("; Restarting: "), at("delete pod train-master-0"));
        let created = at("create pod train-master-0");
        assert!(counted.is_some() && counted < deleted && deleted < created, "{said:#?}");
        let counted = &said[counted.unwrap()];
        assert!(
            counted.contains("firstFailure") && counted.contains("restarts"),
            "{counted}"
        );
    }

    #[test]
    fn a_job_whose_time_to_live_is_over_ends_with_its_deletion_and_one_that_another_runs_has_no_step() {
        let done = json!({ "conditions": [{ "type": "Succeeded", "status": "True" }],
            "completionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1 });
        let said = lines(job(&json!({ "ttlSecondsAfterFinished": 60 }), &done), |_| ());
        assert_eq!(said.last().unwrap(), "  delete the job", "{said:#?}");
        let elsewhere = json!({ "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue" } });
        assert_eq!(lines(job(&elsewhere, &json!({})), |_| ()), [""; 0]);
    }

    #[test]
    fn a_patch_is_written_where_it_points_to_and_nowhere_else() {
        let mut object = json!({ "metadata": { "labels": null }, "spec": { "containers": [{ "name": "pytorch" }] } });
        for (pointer, value) in [
            ("/metadata/labels/a~1b", "new"),
            ("/spec/containers/0/resources/requests/cpu", "1"),
            ("/spec/containers/1/name", "none"),
            ("/spec/containers/0/name/x", "none"),
        ] {
            set(&mut object, pointer, &json!(value));
        }
        let expected = json!({ "metadata": { "labels": { "a/b": "new" } }, "spec": { "containers": [
            { "name": "pytorch", "resources": { "requests": { "cpu": "1" } } }] } });
        assert_eq!(object, expected);
    }
}
