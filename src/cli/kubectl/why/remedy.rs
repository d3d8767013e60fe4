//! What to do about a pod that does not run, or not for long.

use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::jiff::SignedDuration;

use crate::api::names::{self, reason};
use crate::cli::kubectl::observation::Facts;
use crate::planner::Pod;

/// A container that has run for so long is in no crash loop any more: the pauses of the kubelet begin again.
const CALM: SignedDuration = SignedDuration::from_mins(10);

/// By the word of the scheduler or the kubelet.
const REMEDIES: [(&str, &str); 7] = [
    (
        reason::UNSCHEDULABLE,
        "free resources, add a node, or ask for less in resources.requests",
    ),
    (
        "SchedulingGated",
        "a scheduling gate of the pod is to be removed by whoever set it",
    ),
    ("ImagePullBackOff", "check the name of the image and imagePullSecrets"),
    ("InvalidImageName", "correct the name of the image"),
    (
        "ErrImageNeverPull",
        "the node does not have the image, and imagePullPolicy forbids to pull it",
    ),
    (
        "CreateContainerConfigError",
        "create the ConfigMap or Secret that the template names",
    ),
    (
        "RunContainerError",
        "check command, volumes and devices of the template",
    ),
];

/// What to do, if anything is known to help.
pub(super) fn remedy(facts: &Facts, pod: &Pod) -> Option<String> {
    let Some(trouble) = &pod.trouble else {
        let again = pod.started_again?;
        return (facts.now.duration_since(again) < CALM).then(|| look_why(facts, pod));
    };
    if trouble.reason == reason::CRASH_LOOP {
        return Some(look_why(facts, pod));
    }
    let known = REMEDIES.iter().find(|(reason, _)| *reason == trouble.reason);
    known.map(|(_, remedy)| (*remedy).to_owned())
}

/// Where the last words of the container are that fails. Until it runs again they are in its own log.
fn look_why(facts: &Facts, pod: &Pod) -> String {
    let status = facts.statuses.get(&pod.name);
    let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
    let containers = || lists.into_iter().flatten().flatten().flatten();
    let failed = containers().find(|container| waits(container));
    let again = || containers().find(|container| runs_again(container));
    let (container, previous) = match failed {
        Some(container) => (container.name.as_str(), ""),
        None => again().map_or((names::CONTAINER, ""), |container| {
            (container.name.as_str(), " --previous")
        }),
    };
    format!(
        "look why it ended: kubectl logs -n {} {} -c {container}{previous}",
        facts.world().namespace(),
        pod.name
    )
}

/// Whether a container has failed and is to be started again.
fn waits(container: &ContainerStatus) -> bool {
    let Some(state) = &container.state else { return false };
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    let failed = state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
    waiting == Some(reason::CRASH_LOOP) || failed
}

/// Whether a container runs after one that had failed.
fn runs_again(container: &ContainerStatus) -> bool {
    let runs = container.state.as_ref().is_some_and(|state| state.running.is_some());
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    runs && last.is_some_and(|end| end.exit_code != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::kubectl::tests::{facts_of, job, pod};

    #[test]
    fn the_log_to_look_at_is_that_of_the_container_that_failed_and_the_one_before_once_it_runs_again() {
        let failed = |at: &str| json!({ "terminated": { "exitCode": 1, "startedAt": at, "finishedAt": at } });
        let started = |at: &str| json!({ "running": { "startedAt": at } });
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let runs = (started("2026-01-01T00:09:00Z"), failed("2026-01-01T00:08:00Z"));
        let calm = (started("2026-01-01T00:00:00Z"), failed("2025-12-31T23:59:00Z"));
        let before = failed("2026-01-01T00:09:00Z");
        for (list, name, (state, last), expected) in [
            (
                "containerStatuses",
                "pytorch",
                (waits.clone(), before.clone()),
                Some("pytorch"),
            ),
            (
                "containerStatuses",
                "pytorch",
                (before.clone(), before.clone()),
                Some("pytorch"),
            ),
            ("containerStatuses", "pytorch", runs, Some("pytorch --previous")),
            ("containerStatuses", "pytorch", calm, None),
            ("initContainerStatuses", "fetch", (waits, before), Some("fetch")),
        ] {
            let container = json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                "state": state, "lastState": last });
            let other = json!({ "name": "sidecar", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } });
            let mut status = json!({ "phase": "Running", "containerStatuses": [other] });
            match status[list].as_array_mut() {
                Some(containers) => containers.push(container),
                None => status[list] = json!([container]),
            }
            let pods: Vec<Value> = vec![pod(&status)];
            let facts = facts_of(job(&json!({}), &json!({})), |world| world.pods = pods);
            let expected =
                expected.map(|log| format!("look why it ended: kubectl logs -n team train-master-0 -c {log}"));
            assert_eq!(remedy(&facts, &facts.pods[0]), expected, "{status}");
        }
    }
}
