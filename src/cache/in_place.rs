//! Of a pod whose training container can start again in it: what that container does, and what it was asked for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{names, shortened};
use crate::cache::parts::{
    AmountsView, ConditionView, ContainerStatusView, SpecView, StatusView, TROUBLE_BYTES, TerminatedView,
};
use crate::planner::{Doing, InPlace, Mark, Resource};

/// Seconds that Kubernetes gives a pod to end.
const DEFAULT_GRACE: i64 = 30;

/// What decisions need to know of it, but for how it failed; nothing of a pod that is not meant to start again in
/// place.
#[must_use]
pub(super) fn of(metadata: &ObjectMeta, spec: &SpecView, status: &StatusView) -> Option<InPlace> {
    let annotation = metadata.annotations.as_ref()?.get(names::ANNOTATION_IN_PLACE)?;
    let mark: Mark = annotation.parse().ok()?;
    let mut containers = spec.containers.iter().flatten();
    let container = containers.position(|container| container.name == names::CONTAINER)?;
    let resources = spec.containers.as_ref()?[container].resources.as_ref()?;
    let amount = count(mark.resource, resources.requests.as_ref())?;
    let training = training(status);
    let doing = training.map_or(Doing::Waits, doing);
    let pending = pending(metadata, status);
    Some(InPlace {
        mark,
        container,
        amount,
        limit: count(mark.resource, resources.limits.as_ref()) == Some(amount),
        grace: spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE),
        ends: training.map_or(0, |training| ends(training, doing)),
        earlier: None,
        doing,
        applied: training.is_some_and(|training| applied(metadata, status, training, &mark, amount)),
        deferred: pending.is_some_and(|pending| pending.reason.as_deref() == Some("Deferred")),
        refused: pending.map(refused),
    })
}

/// How the training container ended last, if it did.
pub(super) fn ended(status: &StatusView) -> Option<(&ContainerStatusView, &TerminatedView)> {
    let training = training(status)?;
    Some((training, last_end(training)?))
}

fn training(status: &StatusView) -> Option<&ContainerStatusView> {
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|status| status.name == names::CONTAINER)
}

fn last_end(training: &ContainerStatusView) -> Option<&TerminatedView> {
    let mut newest_first = [&training.state, &training.last_state].into_iter().flatten();
    newest_first.find_map(|state| state.terminated.as_ref())
}

fn doing(training: &ContainerStatusView) -> Doing {
    let Some(state) = &training.state else {
        return Doing::Waits;
    };
    match &state.terminated {
        Some(end) if end.exit_code == 0 => Doing::Done,
        None if state.running.is_some() => Doing::Runs,
        Some(_) | None => Doing::Waits,
    }
}

/// How often it was started again, and once more if it has ended since.
fn ends(training: &ContainerStatusView, doing: Doing) -> i32 {
    let again = doing == Doing::Waits && last_end(training).is_some();
    training.restart_count.saturating_add(again.into())
}

/// Whether it runs with the amount in the spec. A runtime may report another amount than it was given, as its cgroups
/// count in coarser units; since Kubernetes 1.34 the kubelet says which spec its status is of.
fn applied(
    metadata: &ObjectMeta,
    status: &StatusView,
    training: &ContainerStatusView,
    mark: &Mark,
    amount: i64,
) -> bool {
    let reported = training
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    let pending = status.condition("PodResizePending", "True").is_some();
    let resizing = status.condition("PodResizeInProgress", "True").is_some();
    let seen = status
        .observed_generation
        .is_some_and(|seen| metadata.generation <= Some(seen));
    !pending && (count(mark.resource, reported) == Some(amount) || (seen && !resizing))
}

fn count(resource: Resource, amounts: Option<&AmountsView>) -> Option<i64> {
    let amounts = amounts?;
    let quantity = match resource {
        Resource::Cpu => amounts.cpu.as_deref(),
        Resource::Memory => amounts.memory.as_deref(),
    };
    resource.count(quantity?)
}

/// What the kubelet says of a change that it does not make, if that is the change which is asked for now.
fn pending<'a>(metadata: &ObjectMeta, status: &'a StatusView) -> Option<&'a ConditionView> {
    let pending = status.condition("PodResizePending", "True")?;
    let seen = pending.observed_generation;
    (seen.is_none() || seen >= metadata.generation).then_some(pending)
}

/// Why the kubelet does not restart it: the node has no room for the step up, or changes no such resource.
fn refused(pending: &ConditionView) -> String {
    let reason = pending.reason.as_deref().unwrap_or("Pending");
    let message = shortened(pending.message.clone().unwrap_or_default(), TROUBLE_BYTES);
    format!("the kubelet says {reason}: {}", message.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::ObjectView;
    use crate::planner::{Asked, Pod};

    /// A pod with this annotation and these cpus, whose container pytorch has this status.
    fn pod(annotation: &str, cpu: &str, status: &Value, conditions: &Value) -> Pod {
        let mut container = json!({ "name": "pytorch" });
        container
            .as_object_mut()
            .unwrap()
            .extend(status.as_object().unwrap().clone());
        let pod = json!({
            "metadata": { "name": "job-worker-0", "generation": 4, "annotations": {
                names::ANNOTATION_ATTEMPT: "2", names::ANNOTATION_IN_PLACE: annotation } },
            "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 7, "containers": [
                { "name": "sidecar" },
                { "name": "pytorch", "resources": { "requests": { "cpu": cpu } } }] },
            "status": { "phase": "Running", "observedGeneration": 3, "conditions": conditions,
                "containerStatuses": [{ "name": "sidecar", "restartCount": 4 }, container] },
        });
        serde_json::from_value::<ObjectView>(pod).unwrap().observe_pod().fact
    }

    fn ended(code: i32) -> Value {
        json!({ "terminated": { "exitCode": code, "reason": "Error", "message": "ImportError: a",
            "startedAt": "2027-01-15T08:00:00Z", "finishedAt": "2027-01-15T08:00:09Z" } })
    }

    fn runs(cpu: &str) -> Value {
        json!({ "state": { "running": {} }, "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn a_pod_says_what_it_was_asked_for_and_what_its_container_does() {
        let fact = pod("cpu=3999m,restarts=2", "3999m", &runs("3999m"), &json!([]));
        let training = fact.in_place.unwrap();
        let asked = Some(Asked {
            amount: 3_999,
            restarts: 2,
            again: false,
        });
        assert_eq!((training.mark.asked, training.container, training.grace), (asked, 1, 7));
        assert_eq!(
            (training.amount, training.limit, training.applied),
            (3_999, false, true)
        );
        assert_eq!(
            (fact.attempt, fact.restarts),
            (Some(2), 4),
            "the sidecar's restarts count as before"
        );
    }

    #[test]
    fn an_end_counts_when_the_container_waits_to_be_started_again_and_once_only() {
        for (status, doing, ends) in [
            (json!({ "state": { "waiting": {} } }), Doing::Waits, 0),
            (json!({ "state": { "running": {} }, "restartCount": 0 }), Doing::Runs, 0),
            (json!({ "state": ended(1), "restartCount": 0 }), Doing::Waits, 1),
            (
                json!({ "state": { "waiting": {} }, "lastState": ended(1), "restartCount": 0 }),
                Doing::Waits,
                1,
            ),
            (
                json!({ "state": { "running": {} }, "lastState": ended(1), "restartCount": 1 }),
                Doing::Runs,
                1,
            ),
            (
                json!({ "state": ended(0), "lastState": ended(1), "restartCount": 1 }),
                Doing::Done,
                1,
            ),
        ] {
            let training = pod("cpu", "4", &status, &json!([])).in_place.unwrap();
            assert_eq!((training.doing, training.ends), (doing, ends), "{status}");
        }
    }

    #[test]
    fn a_container_that_was_started_again_says_how_it_failed_unless_that_is_accounted_for() {
        let status = json!({ "state": { "running": {} }, "lastState": ended(1), "restartCount": 1 });
        let failed = pod("cpu", "4", &status, &json!([]));
        let failure = failed.failure.clone().unwrap();
        assert!(failed.failed_in_place() && failed.finished_at.is_some() && failed.trouble.is_none());
        assert_eq!((failure.exit_code, failure.node.as_deref()), (Some(1), Some("n")));
        assert_eq!(failure.class, crate::api::FailureClass::ImportError);
        let restarted = pod("cpu=3999m,restarts=1", "3999m", &status, &json!([]));
        assert!(!restarted.failed_in_place() && restarted.failure.is_none());
        assert_eq!(restarted.started_again, None, "it is in no crash loop");
        let earlier = |pod: Pod| pod.in_place.unwrap().earlier;
        let accounted = earlier(restarted).unwrap();
        assert_eq!(
            (accounted.failure, Some(accounted.finished_at)),
            (*failure, failed.finished_at)
        );
        assert_eq!(earlier(failed), None, "it is not accounted for");
        let stopped = json!({ "state": { "running": {} }, "lastState": ended(0), "restartCount": 1 });
        assert_eq!(
            earlier(pod("cpu=3999m,restarts=1", "3999m", &stopped, &json!([]))),
            None
        );
    }

    #[test]
    fn a_container_that_was_started_again_and_has_completed_has_not_failed() {
        let status = json!({ "state": ended(0), "lastState": ended(1), "restartCount": 1 });
        for annotation in ["cpu", "cpu=3999m,restarts=0"] {
            let completed = pod(annotation, "3999m", &status, &json!([]));
            assert!(
                !completed.failed_in_place() && completed.failure.is_none(),
                "{annotation}"
            );
        }
    }

    #[test]
    fn a_step_is_applied_when_the_container_has_it_or_the_kubelet_has_seen_it() {
        let resizing = |type_: &str, reason: &str| json!([{ "type": type_, "status": "True", "reason": reason, "message": "no." }]);
        let applied = |cpu: &str, seen: i64, conditions: &Value| {
            let mut status = runs(cpu);
            status["restartCount"] = json!(1);
            let view = json!({
                "metadata": { "name": "p", "generation": 4, "annotations": { names::ANNOTATION_IN_PLACE: "cpu=3999m,restarts=1" } },
                "spec": { "containers": [{ "name": "pytorch", "resources": { "requests": { "cpu": "3999m" } } }] },
                "status": { "observedGeneration": seen, "conditions": conditions,
                    "containerStatuses": [{ "name": "pytorch", "resources": status["resources"], "state": status["state"] }] },
            });
            let fact = serde_json::from_value::<ObjectView>(view).unwrap().observe_pod().fact;
            fact.in_place.unwrap()
        };
        assert!(applied("3999m", 3, &json!([])).applied);
        assert!(!applied("4", 3, &json!([])).applied);
        assert!(
            applied("4", 4, &json!([])).applied,
            "a runtime that counts in coarser units"
        );
        assert!(!applied("4", 4, &resizing("PodResizeInProgress", "")).applied);
        let deferred = applied("4", 4, &resizing("PodResizePending", "Deferred"));
        assert!(!deferred.applied && deferred.deferred);
        let infeasible = applied("4", 4, &resizing("PodResizePending", "Infeasible"));
        assert_eq!(infeasible.refused.as_deref(), Some("the kubelet says Infeasible: no"));
        assert!(!infeasible.deferred);
        // Of the step before this one it says nothing any more.
        for (seen, expected) in [(3, (false, None)), (4, (true, deferred.refused))] {
            let mut pending = resizing("PodResizePending", "Deferred");
            pending[0]["observedGeneration"] = json!(seen);
            let now = applied("4", 3, &pending);
            assert_eq!((now.deferred, now.refused), expected, "{seen}");
        }
    }

    #[test]
    fn a_pod_that_is_not_meant_to_start_again_in_place_does_not() {
        let without = |annotation: &str, cpu: &str| pod(annotation, cpu, &runs("4"), &json!([])).in_place;
        assert_eq!(without("gpu", "4"), None);
        assert_eq!(without("cpu", "much"), None);
        assert_eq!(without("memory", "4"), None, "it requests none");
    }
}
