//! Runs of the container that trains, each of which has a log of its own.

use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::FirstFailure;
use crate::cli::kubectl::pod::{Pod, training};

/// UID of the pod, and how often its container had been started again before.
pub(super) type Key = (String, i32);

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Name of its pod.
    pub pod: String,
    uid: String,
    /// How often the container had been started again before.
    number: i32,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// Whether the kubelet keeps its log as the one before the container's own.
    pub previous: bool,
}

impl Run {
    /// The runs of a pod that there are logs of, in their order: the newest, and the one before it if that failed
    /// first. The kubelet keeps no more.
    pub(super) fn of(pod: &Pod, failure: Option<&FirstFailure>) -> Vec<Self> {
        let container = pod.status.as_ref().and_then(training);
        let Some(container) = container else { return Vec::new() };
        let (newest, before) = (newest(container), before(container));
        let named = |run: Self| Self {
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            ..run
        };
        let before = before.map(named);
        match newest.map(named) {
            Some(newest) => {
                let before = before.filter(|run| failure.is_some_and(|failure| run.failed_as(failure)));
                before.into_iter().chain([newest]).collect()
            }
            // It is about to be started again, or not at all.
            None => before.into_iter().collect(),
        }
    }

    /// What tells it from other runs.
    pub(super) fn key(&self) -> Key {
        (self.uid.clone(), self.number)
    }

    /// Whether it had not ended when its pod was looked at.
    pub(super) fn goes_on(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether this is the run that failed so.
    pub(super) fn failed_as(&self, failure: &FirstFailure) -> bool {
        let Some(Time(failed)) = &failure.finished_at else {
            return false;
        };
        let at_that_time = match self.ended {
            Some(ended) => ended == *failed,
            None => self.started.is_some_and(|started| started < *failed),
        };
        self.pod == failure.pod && at_that_time
    }
}

/// The run that the container is in or has just ended.
fn newest(container: &ContainerStatus) -> Option<Run> {
    let state = container.state.as_ref()?;
    let number = container.restart_count;
    if let Some(running) = &state.running {
        return Some(run(number, running.started_at.as_ref(), None));
    }
    let end = state.terminated.as_ref()?;
    Some(run(number, end.started_at.as_ref(), end.finished_at.as_ref()))
}

/// The run before that. A container that waits to be started again has not counted the restart yet.
fn before(container: &ContainerStatus) -> Option<Run> {
    let end = container.last_state.as_ref()?.terminated.as_ref()?;
    let waits = container.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let number = container.restart_count - i32::from(!waits);
    Some(Run {
        previous: true,
        ..run(number, end.started_at.as_ref(), end.finished_at.as_ref())
    })
}

fn run(number: i32, started: Option<&Time>, ended: Option<&Time>) -> Run {
    Run {
        pod: String::new(),
        uid: String::new(),
        number,
        started: started.map(|Time(time)| *time),
        ended: ended.map(|Time(time)| *time),
        previous: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: u32) -> String {
        format!("2026-01-01T00:00:{second:02}Z")
    }

    fn running(since: u32) -> Value {
        json!({ "running": { "startedAt": at(since) } })
    }

    fn ended(from: u32, until: u32) -> Value {
        json!({ "terminated": { "exitCode": 1, "startedAt": at(from), "finishedAt": at(until) } })
    }

    fn pod(uid: &str, restarts: i32, state: &Value, last: &Value) -> Pod {
        let container = json!({ "name": "pytorch", "image": "i", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state, "lastState": last });
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "train-worker-1", "uid": uid }, "spec": {},
            "status": { "containerStatuses": [container] },
        }))
        .unwrap()
    }

    fn failure(finished: u32) -> FirstFailure {
        FirstFailure {
            pod: "train-worker-1".to_owned(),
            finished_at: Some(Time(at(finished).parse().unwrap())),
            ..FirstFailure::default()
        }
    }

    #[test]
    fn a_run_follows_another_when_its_container_or_its_pod_is_a_new_one() {
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let creating = json!({ "waiting": { "reason": "ContainerCreating" } });
        let none = Value::Null;
        let mut seen = Vec::new();
        for (pod, new) in [
            (pod("a", 0, &creating, &none), None),
            (pod("a", 0, &running(1), &none), Some(("a", 0, false))),
            (pod("a", 0, &ended(1, 5), &none), None),
            (pod("a", 0, &waits, &ended(1, 5)), None),
            (pod("a", 1, &running(6), &ended(1, 5)), Some(("a", 1, false))),
            (pod("a", 3, &waits, &ended(8, 9)), Some(("a", 3, true))),
            (pod("b", 0, &running(20), &none), Some(("b", 0, false))),
        ] {
            let runs = Run::of(&pod, None);
            let new_runs: Vec<_> = runs.into_iter().filter(|run| !seen.contains(&run.key())).collect();
            let expected = new.map(|(uid, number, previous)| (uid.to_owned(), number, previous));
            let found: Vec<_> = new_runs
                .iter()
                .map(|run| (run.uid.clone(), run.number, run.previous))
                .collect();
            assert_eq!(found, Vec::from_iter(expected), "{pod:?}");
            seen.extend(new_runs.iter().map(Run::key));
        }
    }

    #[test]
    fn the_run_that_failed_first_is_told_by_its_end_and_read_although_another_has_followed() {
        let of = |pod: &Pod, finished| {
            let failure = failure(finished);
            let runs = Run::of(pod, Some(&failure));
            let marked = runs.iter().map(|run| (run.number, run.failed_as(&failure)));
            marked.collect::<Vec<_>>()
        };
        let none = Value::Null;
        assert_eq!(of(&pod("a", 0, &ended(1, 5), &none), 5), [(0, true)]);
        assert_eq!(of(&pod("a", 1, &running(6), &ended(1, 5)), 5), [(0, true), (1, false)]);
        assert_eq!(of(&pod("a", 2, &running(9), &ended(6, 8)), 5), [(2, false)]);
        assert_eq!(of(&pod("b", 0, &ended(7, 9), &none), 5), [(0, false)]);
        // It was read while it ran.
        assert_eq!(of(&pod("a", 0, &running(1), &none), 5), [(0, true)]);
        let other = FirstFailure {
            pod: "train-worker-0".to_owned(),
            ..failure(5)
        };
        let run = Run::of(&pod("a", 0, &ended(1, 5), &none), Some(&other));
        assert!(!run[0].failed_as(&other));
    }
}
