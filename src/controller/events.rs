//! Events about what a pass did and saw; those about the status come from the plan.

use crate::api::names::reason;
use crate::api::{ChildKind, PyTorchJob};
use crate::controller::applied::Applied;
use crate::controller::error::Error;
use crate::planner::{Event, wants_pods};

/// Pods that one event names. A node that is drained may take hundreds.
const NAMED: usize = 5;

/// One event for all pods of a pass; Kubeflow's one for each pod drowns the final ones in its own rate limit.
pub(super) fn of_changes(applied: &Applied, job: &str) -> Vec<Event> {
    let created = applied.created.iter();
    let created = created.filter(|child| child.kind == ChildKind::Pod);
    let created: Vec<_> = created.map(|child| child.name(job)).collect();
    let deleted = applied.deleted.iter();
    let deleted = deleted.filter(|(kind, _)| *kind == ChildKind::Pod);
    let deleted: Vec<_> = deleted.map(|(_, name)| name.clone()).collect();
    let pods = [
        summary(reason::CREATED_POD, "Created pod", &created),
        summary(reason::DELETED_POD, "Deleted pod", &deleted),
        summary(reason::RESTARTED_IN_PLACE, "Restarted in place pod", &applied.restarted),
        recreated(&applied.recreated),
    ];
    let forced = applied.forced.iter();
    let forced = forced.map(|told| event(true, reason::FORCED_POD, told.clone()));
    let events = pods.into_iter().flatten().chain(of_groups(applied, job));
    events
        .chain(forced)
        .chain(applied.error.as_ref().and_then(failure))
        .collect()
}

/// Pods that somebody else takes from a job that has to have them.
pub(super) fn of_departures(job: &PyTorchJob, lost: &[String]) -> Vec<Event> {
    if lost.is_empty() || !wants_pods(job) || job.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let (named, rest) = lost.split_at(lost.len().min(NAMED));
    let rest = (!rest.is_empty()).then(|| format!("And {} more.", rest.len()));
    let parts: Vec<_> = named.iter().chain(&rest).map(String::as_str).collect();
    vec![event(true, reason::DISRUPTED_POD, parts.join(" "))]
}

fn summary(reason: &'static str, what: &str, names: &[String]) -> Option<Event> {
    let plural = if names.len() == 1 { "" } else { "s" };
    (!names.is_empty()).then(|| event(false, reason, format!("{what}{plural}: {}", names.join(", "))))
}

fn recreated(pods: &[(String, String)]) -> Option<Event> {
    let pods: Vec<_> = pods.iter().map(|(name, why)| format!("{name} ({why})")).collect();
    (!pods.is_empty()).then(|| {
        let message = format!("Cannot restart in place, and created again: {}", pods.join(", "));
        event(true, reason::NOT_IN_PLACE, message)
    })
}

fn of_groups<'a>(applied: &'a Applied, job: &'a str) -> impl Iterator<Item = Event> + 'a {
    let group = move |reason, verb: &str, kind: ChildKind| {
        let message = format!("{verb} PodGroup: {job} ({})", kind.api_version());
        kind.is_pod_group().then(|| event(false, reason, message))
    };
    let created = applied.created.iter();
    let created = created.filter_map(move |child| group(reason::CREATED_POD_GROUP, "Created", child.kind));
    let deleted = applied.deleted.iter();
    created.chain(deleted.filter_map(move |(kind, _)| group(reason::DELETED_POD_GROUP, "Deleted", *kind)))
}

fn failure(error: &Error) -> Option<Event> {
    if error.is_benign() {
        return None;
    }
    let reason = match error {
        Error::Create { kind, .. } | Error::NameTaken { kind, .. } | Error::Update { kind, .. } => kind.create_failed(),
        Error::Delete { kind, .. } => kind.delete_failed(),
        Error::DeleteJob { .. } => reason::FAILED_DELETE_JOB,
        _ => return None,
    };
    Some(event(true, reason, format!("Error: {error}")))
}

fn event(warning: bool, reason: &'static str, message: String) -> Event {
    Event {
        warning,
        reason,
        message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_are_taken_from_a_job_are_told_a_few_by_name_unless_it_has_to_have_none() {
        let of = |job, lost: &[String]| {
            let job: PyTorchJob = serde_json::from_value(job).unwrap();
            let events = of_departures(&job, lost);
            events.into_iter().map(|event| event.message).collect::<Vec<_>>()
        };
        let job = json!({ "metadata": { "name": "job" }, "spec": { "pytorchReplicaSpecs": {} } });
        let lost: Vec<String> = (0..7).map(|index| format!("Pod {index} is lost.")).collect();
        assert!(of(job.clone(), &[]).is_empty());
        assert_eq!(of(job.clone(), &lost[..2]), ["Pod 0 is lost. Pod 1 is lost."]);
        let many = of(job.clone(), &lost);
        assert!(many[0].ends_with("Pod 4 is lost. And 2 more."), "{many:?}");

        let (mut suspended, mut foreign) = (job.clone(), job.clone());
        let (mut done, mut deleted) = (job.clone(), job);
        suspended["spec"]["runPolicy"] = json!({ "suspend": true });
        done["status"] = json!({ "conditions": [{ "type": "Succeeded", "status": "True" }] });
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        foreign["spec"]["runPolicy"] = json!({ "managedBy": "kueue.x-k8s.io/multikueue" });
        for job in [suspended, foreign, done, deleted] {
            assert!(of(job.clone(), &lost).is_empty(), "{job}");
        }
    }
}
