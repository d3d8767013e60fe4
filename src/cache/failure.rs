//! How a pod failed, from its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{FailureClass, names, shortened};
use crate::cache::in_place;
use crate::cache::parts::{ContainerStatusView, StatusView, TerminatedView};
use crate::planner::{EarlierFailure, End, FailedContainer, Failure, InPlace, Phase, classify};

/// Most that is kept of a message. What it says is found in all of it before.
const MESSAGE_BYTES: usize = 1_024;

/// Who ended the pod as a whole, as in an eviction, knows why: the exit codes of its containers are then those of the
/// signal. Otherwise the container that trains says best why it failed, if it did; then the first one that did.
fn of(status: &StatusView, node: Option<&str>) -> Failure {
    let failure = match status.reason {
        Some(_) => Failure {
            reason: status.reason.clone(),
            message: status.message.clone(),
            ..Failure::default()
        },
        None => of_containers(status),
    };
    classified(failure, status, node)
}

/// How the pod failed, or its container that starts again in place, and when that one ended.
#[must_use]
pub(super) fn seen(
    status: &StatusView,
    phase: Phase,
    training: Option<&InPlace>,
    node: Option<&str>,
) -> Option<(Failure, Option<Timestamp>)> {
    if phase == Phase::Failed {
        return Some((of(status, node), None));
    }
    let _failed = training.filter(|training| training.failed())?;
    of_training(status, node)
}

/// How the container that starts again in place failed last, if that is accounted for.
#[must_use]
pub(super) fn earlier(status: &StatusView, training: &InPlace, node: Option<&str>) -> Option<EarlierFailure> {
    if training.failed() {
        return None;
    }
    let (failure, finished_at) = of_training(status, node).filter(|(failure, _)| failure.exit_code != Some(0))?;
    finished_at.map(|finished_at| EarlierFailure { failure, finished_at })
}

fn of_training(status: &StatusView, node: Option<&str>) -> Option<(Failure, Option<Timestamp>)> {
    let (container, end) = in_place::ended(status)?;
    let failure = Failure {
        exit_code: Some(end.exit_code),
        ..of_end(container, end.clone())
    };
    let finished = end.finished_at.as_ref().map(|Time(time)| *time);
    Some((classified(failure, status, node), finished))
}

fn classified(failure: Failure, status: &StatusView, node: Option<&str>) -> Failure {
    let cause = classify(&End {
        exit_code: failure.container.as_ref().map(|container| container.exit_code),
        reason: failure.reason.as_deref(),
        message: failure.message.as_deref(),
    });
    // The container that waits for the Master gives up without a word, on a node that has nothing to do with it.
    let waited = failure
        .container
        .as_ref()
        .is_some_and(|container| container.name == names::INIT_CONTAINER);
    let class = match cause.class {
        FailureClass::Unknown if waited => FailureClass::Rendezvous,
        class => class,
    };
    Failure {
        message: failure.message.map(|message| shortened(message, MESSAGE_BYTES)),
        class,
        excerpt: cause.excerpt,
        conditions: conditions(status),
        node: node.map(ToOwned::to_owned),
        ..failure
    }
}

/// The conditions of the pod, but for the disruption that [`crate::planner::Pod::disrupted`] tells.
fn conditions(status: &StatusView) -> Vec<(String, String)> {
    let conditions = status.conditions.iter().flatten();
    let told = |type_: &str, status: &str| type_ == names::DISRUPTION_TARGET && status == "True";
    conditions
        .filter(|condition| !told(&condition.type_, &condition.status))
        .map(|condition| (condition.type_.clone(), condition.status.clone()))
        .collect()
}

fn of_containers(status: &StatusView) -> Failure {
    let terminated = |status: &ContainerStatusView| status.state.as_ref()?.terminated.clone();
    let ended = |status| Some((status, terminated(status)?));
    let training = status
        .containers()
        .find(|status| status.name == names::CONTAINER)
        .and_then(ended);
    let failed = |(_, end): &(&ContainerStatusView, TerminatedView)| end.exit_code != 0;
    let exit_code = training.as_ref().map(|(_, end)| end.exit_code);
    let culprit = training
        .filter(failed)
        .or_else(|| status.containers().filter_map(ended).find(failed));
    let Some((container, end)) = culprit else {
        return Failure {
            exit_code,
            message: status.message.clone(),
            ..Failure::default()
        };
    };
    let failure = of_end(container, end);
    Failure {
        exit_code,
        message: failure.message.or_else(|| status.message.clone()),
        ..failure
    }
}

fn of_end(container: &ContainerStatusView, end: TerminatedView) -> Failure {
    Failure {
        container: Some(FailedContainer {
            name: container.name.clone(),
            exit_code: end.exit_code,
        }),
        reason: end.reason,
        message: end.message,
        started_at: end.started_at.map(|Time(time)| time),
        ..Failure::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_whole_message_says_is_known_and_little_of_it_is_kept() {
        let log = format!("ImportError: a\n{}", "b".repeat(3_000));
        let status = json!({ "phase": "Failed", "containerStatuses": [{ "name": "pytorch", "state": { "terminated": {
            "exitCode": 1, "reason": "Error", "message": log,
            "startedAt": "2027-01-15T08:00:00Z", "finishedAt": "2027-01-15T08:00:05Z" } } }] });
        let failure = of(&serde_json::from_value(status).unwrap(), Some("n"));
        assert_eq!(
            (failure.class, failure.node.as_deref()),
            (FailureClass::ImportError, Some("n"))
        );
        assert_eq!(failure.excerpt.as_deref(), Some("ImportError: a"));
        assert!(failure.message.unwrap().len() <= MESSAGE_BYTES);
        assert_eq!(failure.started_at, "2027-01-15T08:00:00Z".parse().ok());
    }

    #[test]
    fn the_conditions_of_a_pod_are_kept_for_rules_but_for_its_disruption() {
        let status = json!({ "phase": "Failed", "conditions": [
            { "type": "Initialized", "status": "False" }, { "type": "example.com/bad-disk", "status": "True" },
            { "type": "DisruptionTarget", "status": "True" }] });
        let failure = of(&serde_json::from_value(status).unwrap(), None);
        let kept = [("Initialized", "False"), ("example.com/bad-disk", "True")];
        assert_eq!(
            failure.conditions,
            kept.map(|(type_, status)| (type_.to_owned(), status.to_owned()))
        );
    }

    #[test]
    fn a_worker_that_gives_up_waiting_for_its_master_has_not_found_it_and_its_node_is_not_to_blame() {
        let of_init = |name: &str, code: i32, reason: &str| {
            let end = json!({ "exitCode": code, "reason": reason, "message": "waiting for master" });
            let status = json!({ "phase": "Failed",
                "initContainerStatuses": [{ "name": name, "state": { "terminated": end } }],
                "containerStatuses": [{ "name": "pytorch", "state": { "waiting": {} } }] });
            of(&serde_json::from_value(status).unwrap(), Some("n")).class
        };
        let gave_up = of_init(names::INIT_CONTAINER, 1, "Error");
        assert_eq!(gave_up, FailureClass::Rendezvous);
        assert!(!gave_up.may_be_the_nodes());
        assert_eq!(
            of_init(names::INIT_CONTAINER, 137, "OOMKilled"),
            FailureClass::OOMKilled
        );
        assert_eq!(of_init(names::INIT_CONTAINER, 127, "Error"), FailureClass::StartError);
        assert_eq!(of_init("data", 1, "Error"), FailureClass::Unknown);
    }

    #[test]
    fn an_eviction_is_one_whatever_the_containers_wrote() {
        let status = json!({ "phase": "Failed", "reason": "Evicted", "message": "The disk is full.",
            "containerStatuses": [{ "name": "pytorch", "state": { "terminated": {
                "exitCode": 1, "message": "ImportError: a" } } }] });
        let failure = of(&serde_json::from_value(status).unwrap(), None);
        assert_eq!(failure.class, FailureClass::Evicted);
        assert_eq!(failure.excerpt.as_deref(), Some("The disk is full."));
    }
}
