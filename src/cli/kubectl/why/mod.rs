//! `why`: what a job is doing, what it waits for, and what happens next.

mod gang;
mod next;
mod queue;
mod quota;
mod remedy;

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{ChildKind, FirstFailure, JobStatus, Replica};
use crate::cli::kubectl::age::age;
use crate::cli::kubectl::observation::Facts;
pub(super) use crate::cli::kubectl::why::next::described;
use crate::cli::kubectl::why::next::{next, of_state};
use crate::cli::kubectl::why::remedy::remedy;
use crate::planner::{Phase, Pod, finished, managed_elsewhere, restarts_in_place};

/// Warnings that are shown: the newest.
const EVENTS: usize = 5;
/// Pods that are shown one by one.
const PODS: usize = 32;

/// The explanation, for a terminal.
pub(super) fn explain(facts: &Facts) -> String {
    let status = facts.job.status.clone().unwrap_or_default();
    let mut text = headline(facts, &status);
    // Writing to a text does not fail.
    let _ = write!(text, "{}{}", limits(facts, &status), next(facts, &status));
    if !facts.is_being_deleted() {
        text += &section("Queue", &queue::lines(facts));
        text += &section("Gang", &gang::lines(facts));
        text += &section("Quota", &quota::lines(facts));
    }
    text += &pods(facts);
    text += &warnings(facts);
    for unread in &facts.unread {
        let _ = writeln!(text, "Not read: {unread}");
    }
    text
}

/// Lines under a title; nothing without lines.
fn section(title: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("{title}:\n{}", lines.concat())
}

/// A line of a section, and what to do about it.
fn with_remedy(line: &str, remedy: &str) -> String {
    format!("{line}\n    To do: {remedy}")
}

fn headline(facts: &Facts, status: &JobStatus) -> String {
    let world = facts.world();
    let (namespace, name) = (world.namespace(), world.name());
    let deletion = deletion(facts);
    let Some((condition, entry)) = of_state(status) else {
        let why = match &facts.job.spec.run_policy.managed_by {
            _ if deletion.is_some() => deletion.unwrap_or_default(),
            Some(manager) if managed_elsewhere(&facts.job) => format!("It is managed by {manager}."),
            _ => "No operator has looked at it: is one running, and does its --namespace include this one?".to_owned(),
        };
        return format!("{namespace}/{name} has no status yet. {why}\n");
    };
    let message = entry.message.as_deref().unwrap_or_default();
    let since = entry.last_transition_time.as_ref();
    let since = since.map(|since| format!(" for {}", age(facts.now.duration_since(since.0))));
    let ready = status.ready.as_deref().map(|ready| format!(", {ready} pods ready"));
    let mut text = format!(
        "{namespace}/{name} is {}{}{}.\n  {message}\n",
        condition.as_str(),
        since.unwrap_or_default(),
        ready.unwrap_or_default()
    );
    if let Some(deletion) = deletion {
        // No operator acts on it any more, also not because it was edited or resumed.
        return text + &format!("  {deletion}\n");
    }
    if facts.job.spec.suspended() && !finished(status) {
        let _ = writeln!(
            text,
            "  It is suspended by spec.runPolicy.suspend: whoever set it, a queue such as Kueue or a user, resumes it."
        );
    }
    let generation = facts.job.metadata.generation;
    if status.observed_generation.is_some() && status.observed_generation != generation {
        text += "  The newest edit has not been acted on yet.\n";
    }
    text
}

/// When the deletion of the job was asked for, if it was, and what holds it.
fn deletion(facts: &Facts) -> Option<String> {
    let metadata = &facts.job.metadata;
    let Time(asked) = metadata.deletion_timestamp.as_ref()?;
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let held = match finalizers {
        [] => String::new(),
        finalizers => format!(" Its finalizers hold it: {}.", finalizers.join(", ")),
    };
    let ago = age(facts.now.duration_since(*asked));
    Some(format!("It is being deleted, which was asked for {ago} ago.{held}"))
}

/// What the job may still use up.
fn limits(facts: &Facts, status: &JobStatus) -> String {
    let spec = &facts.job.spec;
    let mut text = String::new();
    let counted = status.restarts.unwrap_or(0);
    let in_place = restarts_in_place(&facts.pods, status);
    let restarts = match in_place {
        _ if facts.is_unread(ChildKind::Pod.plural()) => {
            format!("{counted} and those in its pods, which are not known,")
        }
        0 => counted.to_string(),
        _ => format!("{in_place} in the pods that are there and {counted} counted before"),
    };
    match spec.backoff_limit() {
        Some(limit) => {
            let _ = writeln!(text, "  Restarts: {restarts} of {limit} (backoffLimit).");
        }
        None if in_place > 0 || counted > 0 => {
            let _ = writeln!(text, "  Restarts: {restarts}, without a limit.");
        }
        None => {}
    }
    if let Some(window) = &spec.run_policy.restart_window {
        let (times, most, seconds) = (status.restart_times.len(), window.restarts, window.seconds);
        let _ = writeln!(
            text,
            "  Restarts stored for restartWindow: {times}; it allows {most} in {seconds} s."
        );
    }
    for node in &status.excluded_nodes {
        let _ = writeln!(text, "  New pods stay away from {} (nodeExclusion).", node.name);
    }
    if let Some(failure) = &status.first_failure {
        let _ = writeln!(text, "  First failure:{}", told(failure));
    }
    text
}

/// Each thing that is known of a failure, and the last line of what the container wrote.
fn told(failure: &FirstFailure) -> String {
    let fields = serde_json::to_value(failure).unwrap_or_default();
    let said = ["pod", "rank", "class", "reason", "exitCode", "node", "message"].map(|field| match &fields[field] {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => format!(" {field}: {}.", text.trim_end_matches('.')),
        value => format!(" {field}: {value}."),
    });
    let excerpt = failure.excerpt.iter().flat_map(|excerpt| excerpt.lines());
    let last = excerpt.map(str::trim).rfind(|line| !line.is_empty());
    let last = last.map(|line| format!("\n    {line}")).unwrap_or_default();
    said.concat() + &last
}

/// Every pod that is asked for, and what keeps it, as far as pods could be read.
fn pods(facts: &Facts) -> String {
    if facts.is_unread(ChildKind::Pod.plural()) {
        return String::new();
    }
    let world = facts.world();
    let mut text = String::new();
    let shown: Vec<Replica> = world.desired().take(PODS).collect();
    for replica in &shown {
        let name = replica.name(world.name());
        let said = world
            .pod(&name)
            .map_or_else(|| "none".to_owned(), |pod| of_pod(facts, pod));
        let _ = writeln!(text, "  {name}: {said}");
    }
    let more = world.desired().count() - shown.len();
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    if text.is_empty() {
        text
    } else {
        format!("Pods:\n{text}")
    }
}

fn of_pod(facts: &Facts, pod: &Pod) -> String {
    let mut said = match pod.phase {
        Phase::Pending => "pending",
        Phase::Running if pod.unready => "running, not ready",
        Phase::Running => "running",
        Phase::Succeeded => "succeeded",
        Phase::Failed => "failed",
        Phase::Unknown => "its node cannot be asked",
    }
    .to_owned();
    if pod.restarts > 0 {
        let times = if pod.restarts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", pod.restarts)
        };
        let _ = write!(said, ", restarted in place {times}");
    }
    if let Some(deletion) = &pod.deletion {
        let left = deletion.due.duration_since(facts.now);
        let due = if left.is_positive() {
            format!("for at most {}", age(left))
        } else {
            "and late".to_owned()
        };
        let _ = write!(said, ", terminating {due}");
    } else if pod.disrupted {
        said += ", disrupted";
    }
    if let Some(trouble) = &pod.trouble {
        let _ = write!(said, ". {}: {}", trouble.reason, trouble.message.trim_end_matches('.'));
    }
    if let Some(remedy) = remedy(facts, pod) {
        said = with_remedy(&(said + "."), &remedy);
    }
    if let Some(failure) = &pod.failure {
        let code = failure
            .exit_code
            .map(|code| format!(" with exit code {code}"))
            .unwrap_or_default();
        let why = [&failure.reason, &failure.message];
        let why: Vec<&str> = why.into_iter().flatten().map(String::as_str).collect();
        let _ = write!(said, "{code} ({})", why.join(": "));
    }
    said
}

fn warnings(facts: &Facts) -> String {
    let warnings: Vec<String> = facts
        .events
        .iter()
        .filter(|[type_, ..]| type_ == "Warning")
        .map(|[_, reason, note]| format!("  {reason}: {note}\n"))
        .collect();
    if warnings.is_empty() {
        return String::new();
    }
    let newest = &warnings[warnings.len().saturating_sub(EVENTS)..];
    format!("Last warnings:\n{}", newest.concat())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::kubectl::tests::{facts_of, job, pod, world_of};
    use crate::cli::kubectl::{decision, replay};
    use crate::planner::{Gang, GangScheduler, Settings, World, plan};

    fn condition(type_: &str, message: &str) -> Value {
        json!([{ "type": type_, "status": "True", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" }])
    }

    fn explained(job: Value, pods: &[Value]) -> String {
        explain(&facts_of(job, |world| {
            world.pods = pods.to_vec();
            world.events = vec![json!({ "type": "Warning", "reason": "FailedScheduling", "note": "0/3 nodes" })];
            world.unread = vec!["resourcequotas: forbidden".to_owned()];
        }))
    }

    #[test]
    fn a_job_is_explained_by_what_it_is_what_keeps_it_and_what_to_do() {
        let start = json!("2026-01-01T00:00:00Z");
        let running = json!({ "conditions": condition("Running", "It runs."), "startTime": start, "ready": "1/1", "observedGeneration": 1 });
        let unschedulable = json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }] });
        let failed = json!({ "conditions": condition("Failed", "It failed."), "completionTime": start, "observedGeneration": 1 });
        for (job, pods, parts) in [
            (
                job(&json!({}), &json!({})),
                vec![],
                vec![
                    "team/train has no status yet. No operator has looked at it",
                    "Not read: resourcequotas: forbidden",
                ],
            ),
            (
                job(&json!({ "activeDeadlineSeconds": 3600, "backoffLimit": 3 }), &running),
                vec![pod(&json!({ "phase": "Running" }))],
                vec![
                    "team/train is Running for 10m, 1/1 pods ready.\n  It runs.",
                    "Restarts: 0 of 3 (backoffLimit).",
                    "It fails by activeDeadlineSeconds, in 50m, at 2026-01-01T01:00:00Z.",
                    "train-master-0: running",
                ],
            ),
            (
                job(&json!({}), &running),
                vec![pod(&unschedulable)],
                vec![
                    "train-master-0: pending. Unschedulable: 0/3 nodes.\n    To do: free resources",
                    "Last warnings:\n  FailedScheduling: 0/3 nodes",
                ],
            ),
            (
                job(&json!({}), &running),
                vec![],
                vec!["Next: create ", "train-master-0: none"],
            ),
            (
                job(&json!({ "ttlSecondsAfterFinished": 3600 }), &failed),
                vec![],
                vec![
                    "team/train is Failed",
                    "It is deleted by ttlSecondsAfterFinished, in 50m",
                ],
            ),
            (
                job(
                    &json!({ "runPolicy": { "suspend": true } }),
                    &json!({ "conditions": condition("Suspended", "s") }),
                ),
                vec![],
                vec!["is suspended by spec.runPolicy.suspend"],
            ),
            (
                job(
                    &json!({ "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue" } }),
                    &json!({}),
                ),
                vec![],
                vec!["It is managed by kueue.x-k8s.io/multikueue."],
            ),
        ] {
            let text = explained(job, &pods);
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in:\n{text}");
            }
        }
    }

    #[test]
    fn what_could_not_be_read_is_not_said_to_be_missing_and_nothing_is_predicted_without_it() {
        let start = json!("2026-01-01T00:00:00Z");
        let running = json!({ "conditions": condition("Running", "It runs."), "startTime": start,
            "observedGeneration": 1, "restarts": 1 });
        let gang = json!({ "schedulingPolicy": { "minAvailable": 1 } });
        let elastic = json!({ "minReplicas": 1, "maxReplicas": 2 });
        let limit = "It fails by activeDeadlineSeconds, in 50m";
        let pods = "Pods:\n  train-master-0: ";
        for (unread, spec, said, not_said) in [
            (
                "services",
                json!({}),
                vec!["not known without its Services.", pods, limit],
                vec!["Next:"],
            ),
            (
                "pods",
                json!({}),
                vec![
                    "not known without its Pods.",
                    "Restarts: 1 and those in its pods, which are not known",
                    limit,
                ],
                vec!["Next:", "none", "Pods:"],
            ),
            (
                "podgroups",
                json!({ "runPolicy": gang }),
                vec!["without its PodGroups.", pods],
                vec!["Next:", "no PodGroup"],
            ),
            (
                "horizontalpodautoscalers",
                json!({}),
                vec!["Next: create service"],
                vec!["not known"],
            ),
            (
                "horizontalpodautoscalers",
                json!({ "elasticPolicy": elastic }),
                vec!["not known without its HorizontalPodAutoscalers."],
                vec!["Next:"],
            ),
        ] {
            let mut job = job(&json!({ "activeDeadlineSeconds": 3600 }), &running);
            json_patch::merge(&mut job["spec"], &spec);
            let observation = world_of(job, |world| {
                world
                    .pods
                    .extend((unread != "pods").then(|| pod(&json!({ "phase": "Running" }))));
                world.unread.push(format!("{unread}: forbidden"));
            });
            let facts = observation.facts().unwrap();
            let text = explain(&facts);
            for part in said {
                assert!(text.contains(part), "{part:?} is not in:\n{text}");
            }
            let is_known = not_said.contains(&"not known");
            for part in not_said {
                assert!(!text.contains(part), "{part:?} is in:\n{text}");
            }
            assert_eq!(replay::steps(&observation).unwrap().is_empty(), !is_known, "{unread}");
            assert_eq!(decision::decision(&facts).is_ok(), is_known, "{unread}");
        }
    }

    #[test]
    fn what_the_operator_waits_for_is_not_predicted_to_be_there() {
        let refusal = "cannot create pod team/train-master-0: pods \"train-master-0\" is forbidden: exceeded quota: q";
        let lacks = |scheduler| {
            Some(Gang {
                scheduler,
                served: false,
            })
        };
        for (refusal, gang, told, creates) in [
            (Some(refusal), None, " Waiting: cannot create pod", true),
            (
                None,
                lacks(GangScheduler::Volcano),
                " Waiting: the cluster has no PodGroups",
                false,
            ),
            (
                None,
                lacks(GangScheduler::SchedulerPlugins("s".to_owned())),
                " Waiting: the cluster has no PodGroups",
                false,
            ),
            (
                Some(refusal),
                lacks(GangScheduler::Kubernetes),
                " Warning: no gang is in force: this cluster has no PodGroups",
                true,
            ),
        ] {
            let mut job = job(&json!({}), &json!({}));
            let new = facts_of(job.clone(), |_| ());
            let settings = Settings {
                gang,
                ..Settings::default()
            };
            let stored = plan(&World {
                refusal,
                settings: &settings,
                ..new.world()
            });
            job["status"] = json!(stored.status.unwrap().status);
            let text = explain(&facts_of(job, |_| ()));
            assert!(text.contains(told) && !text.contains("Then it is"), "{text}");
            assert_eq!(text.contains("create service train-master-0"), creates, "{text}");
        }
    }

    #[test]
    fn a_job_that_is_being_deleted_says_so_and_what_holds_it() {
        let running = json!({ "conditions": condition("Running", "It runs."), "observedGeneration": 1 });
        let suspended = json!({ "runPolicy": { "suspend": true, "schedulingPolicy": { "minAvailable": 1 } } });
        for (spec, status, finalizers, said) in [
            (
                json!({ "runPolicy": {} }),
                running.clone(),
                json!(["foregroundDeletion", "example.com/hold"]),
                "team/train is Running for 10m.\n  It runs.\n  It is being deleted, which was asked for 5m ago. \
                 Its finalizers hold it: foregroundDeletion, example.com/hold.\nPods:\n  train-master-0: none\n",
            ),
            (
                suspended,
                running,
                json!(null),
                "team/train is Running for 10m.\n  It runs.\n  It is being deleted, which was asked for 5m ago.\n\
                 Pods:\n  train-master-0: none\n",
            ),
            (
                json!({}),
                json!({}),
                json!(["example.com/hold"]),
                "team/train has no status yet. It is being deleted, which was asked for 5m ago. Its finalizers hold \
                 it: example.com/hold.\nPods:\n  train-master-0: none\n",
            ),
        ] {
            let mut job = job(&spec, &status);
            job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:05:00Z");
            job["metadata"]["finalizers"] = finalizers;
            // The API server counts a deletion as an edit.
            job["metadata"]["generation"] = json!(2);
            let quota = json!({ "metadata": { "name": "q" }, "spec": {},
                "status": { "used": { "pods": "1" }, "hard": { "pods": "1" } } });
            let text = explain(&facts_of(job, |world| world.quotas.push(quota)));
            assert_eq!(text, said);
        }
    }

    #[test]
    fn what_comes_next_names_the_policy_that_says_so_and_what_was_used_up() {
        let start = json!("2026-01-01T00:00:00Z");
        let with = |more: &Value| {
            let mut status = json!({ "conditions": condition("Running", "It runs."), "startTime": start,
                "observedGeneration": 1 });
            json_patch::merge(&mut status, more);
            status
        };
        let died = json!({ "phase": "Failed", "containerStatuses": [{ "name": "pytorch", "image": "i", "imageID": "",
            "ready": false, "restartCount": 0, "state": { "terminated": { "exitCode": 137, "reason": "Error" } } }] });
        let failure = json!({ "firstFailure": { "pod": "train-master-0", "rank": 0, "class": "ImportError",
            "excerpt": "Traceback\nImportError: x\n" } });
        let spent = json!({ "restartTimes": [start], "excludedNodes": [{ "name": "node-a", "until": start,
            "because": "it failed" }] });
        let window = json!({ "restarts": 3, "seconds": 3600 });
        for (policy, status, phase, part) in [
            (
                json!({ "startupDeadlineSeconds": 900, "startupDeadlineAction": "Suspend" }),
                with(&json!({ "startingSince": start })),
                json!({ "phase": "Pending" }),
                "It is suspended by startupDeadlineSeconds unless all its pods run, in 5m",
            ),
            (
                json!({ "backoffLimit": 0 }),
                with(&json!({})),
                died,
                "Then it is Failed: Job train has failed because it has reached the specified backoff limit (0)",
            ),
            (
                json!({}),
                with(&failure),
                json!({ "phase": "Running" }),
                "First failure: pod: train-master-0. rank: 0. class: ImportError.\n    ImportError: x\n",
            ),
            (
                json!({ "restartScope": "Job", "restartWindow": window }),
                with(&spent),
                json!({ "phase": "Running" }),
                "Restarts stored for restartWindow: 1; it allows 3 in 3600 s.\n  New pods stay away from node-a",
            ),
        ] {
            let mut job = job(&json!({ "runPolicy": policy }), &status);
            job["spec"]["pytorchReplicaSpecs"]["Master"]["restartPolicy"] = json!("ExitCode");
            let text = explained(job, &[pod(&phase)]);
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
