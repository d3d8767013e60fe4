//! Pods and services as they come from the API server, reduced to what is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;

use crate::api::{ChildKind, names};
use crate::cache::key::job_of;
use crate::cache::observed::{Observed, Owner};
use crate::cache::parts::{self, ConditionView, SpecView, StatusView, TerminatedView};
use crate::cache::{failure, in_place, metadata, trouble};
use crate::planner::{Child, Deletion, Phase, Pod, Progress, Trouble, template_hash};

/// The part of an owned object that is read. The parser skips the rest without allocating it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ObjectView {
    /// Metadata, as far as it is read.
    #[serde(deserialize_with = "metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// The spec and the status of a pod or a PodGroup; of other kinds nothing in them is read.
    #[serde(default)]
    spec: SpecView,
    #[serde(default)]
    status: StatusView,
}

/// Which kind it is, the request says.
impl Resource for ObjectView {
    type DynamicType = ChildKind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ChildKind) -> Cow<'_, str> {
        kind.kind().into()
    }

    fn group(kind: &ChildKind) -> Cow<'_, str> {
        kind.group().into()
    }

    fn version(kind: &ChildKind) -> Cow<'_, str> {
        kind.version().into()
    }

    fn plural(kind: &ChildKind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl ObjectView {
    /// What decisions need to know of a pod.
    #[must_use]
    pub(crate) fn observe_pod(self) -> Observed<Pod> {
        let phase = self.phase();
        let built_from = self.built_from();
        let node = self.spec.node_name.as_deref();
        let mut in_place = in_place::of(&self.metadata, &self.spec, &self.status);
        let failed = failure::seen(&self.status, phase, in_place.as_ref(), node);
        if let Some(training) = &mut in_place {
            training.earlier = failure::earlier(&self.status, training, node);
        }
        let (failure, finished_at) = failed.unzip();
        let fact = Pod {
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            phase,
            terminating: self.metadata.deletion_timestamp.is_some(),
            deletion_requested: self.deletion_requested(),
            deletion: self.deletion(),
            disrupted: self.disrupted(),
            finished_at: finished_at.flatten().or_else(|| self.status.training_ended()),
            restarts: self.status.restarts(in_place.is_some()),
            attempt: self.attempt(),
            node: self.node(),
            template_hash: built_from.map(|(hash, _)| hash),
            generation: built_from.and_then(|(_, generation)| generation),
            group: self.group(),
            unready: phase == Phase::Running && self.status.condition("Ready", "False").is_some(),
            trouble: self.trouble(phase, in_place.is_some()).map(Box::new),
            started_again: self.started_again(phase).filter(|_| in_place.is_none()),
            progress: self.progress(phase).map(Box::new),
            failure: failure.map(Box::new),
            in_place: in_place.map(Box::new),
        };
        observed(self.metadata, fact)
    }

    /// What decisions need to know of any other kind.
    #[must_use]
    pub(crate) fn observe(self, kind: ChildKind) -> Observed<Child> {
        let (mut pod_group, mut autoscaler) = (None, None);
        if kind.is_pod_group() {
            pod_group = Some(Box::new(parts::pod_group(kind, self.spec, &self.status)));
        } else if kind == ChildKind::HorizontalPodAutoscaler {
            autoscaler = Some(Box::new(parts::autoscaler(self.spec)));
        }
        let fact = Child {
            kind,
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            terminating: self.metadata.deletion_timestamp.is_some(),
            pod_group,
            autoscaler,
        };
        observed(self.metadata, fact)
    }

    /// The API server adds the grace period to the time of the request. A request with no grace replaces that time: the
    /// kubelet makes one when the containers of a pod that is being deleted have ended. The containers then count as
    /// ended by the deletion, which costs a rerun at worst.
    fn deletion_requested(&self) -> Option<Timestamp> {
        let Time(ends) = self.metadata.deletion_timestamp.as_ref()?;
        match self.metadata.deletion_grace_period_seconds.unwrap_or(0) {
            0 => Some(self.status.training_ended().into_iter().fold(*ends, Timestamp::min)),
            grace => ends.checked_sub(SignedDuration::from_secs(grace)).ok(),
        }
    }

    fn deletion(&self) -> Option<Box<Deletion>> {
        let Time(due) = self.metadata.deletion_timestamp.clone()?;
        let node = self.spec.node_name.clone();
        let annotations = self.metadata.annotations.as_ref();
        Some(Box::new(Deletion {
            due,
            node,
            held: self.metadata.deletion_grace_period_seconds == Some(0),
            may_be_forced: annotations
                .is_some_and(|all| all.get(names::SAFE_TO_FORCE).is_some_and(|safe| safe == "true")),
        }))
    }

    fn disrupted(&self) -> bool {
        let disruption = self.disruption();
        disruption.is_some_and(|disruption| !self.ended_before(disruption))
    }

    fn disruption(&self) -> Option<&ConditionView> {
        self.status.condition(names::DISRUPTION_TARGET, "True")
    }

    /// Whether the pod had ended by itself when it was marked: who drains a node marks each pod there, whatever its
    /// phase. In the same second the mark counts as the cause, and so does the deletion of a failed pod. Of a pod whose
    /// containers start again, one that had ended was between two starts.
    fn ended_before(&self, disruption: &ConditionView) -> bool {
        let starts_again = self.spec.restart_policy.as_deref() != Some("Never");
        let ended = match self.phase() {
            Phase::Succeeded => self.status.training_ended(),
            Phase::Failed if !starts_again && self.metadata.deletion_timestamp.is_none() => self.status.all_ended(),
            _ => None,
        };
        let marked = disruption.last_transition_time.as_ref();
        ended.zip(marked).is_some_and(|(ended, Time(marked))| ended < *marked)
    }

    /// Whether somebody takes the pod away, as far as the pod itself shows it.
    pub(super) fn departs(&self) -> bool {
        self.metadata.deletion_timestamp.is_some() || self.disrupted()
    }

    /// A sentence about that: which pod, on which node, and by whom.
    pub(super) fn departure(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let node = self.spec.node_name.as_deref();
        let node = node.map(|node| format!(" on node {node}")).unwrap_or_default();
        let Some(condition) = self.disruption() else {
            return format!("Pod {name}{node} was deleted by someone else.");
        };
        let why = condition.reason.iter().chain(&condition.message).map(String::as_str);
        let why = why.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        format!("Pod {name}{node} is disrupted: {}.", why.trim_end_matches('.'))
    }

    /// What the scheduler says of a pod without a node, and the kubelet of a container that waits for more than its
    /// turn, or that has failed again.
    fn trouble(&self, phase: Phase, in_place: bool) -> Option<Trouble> {
        if !matches!(phase, Phase::Pending | Phase::Running) {
            return None;
        }
        trouble::of(&self.status, in_place, || self.excludes())
    }

    /// The nodes that the pod was built to stay away from.
    fn excludes(&self) -> Vec<String> {
        let annotations = self.metadata.annotations.as_ref();
        let nodes = annotations.and_then(|all| all.get(names::ANNOTATION_EXCLUDED_NODES));
        nodes
            .into_iter()
            .flat_map(|nodes| nodes.split(',').map(Into::into))
            .collect()
    }

    /// When a container that had failed was last started again; its end, while the kubelet has yet to do so.
    fn started_again(&self, phase: Phase) -> Option<Timestamp> {
        if !matches!(phase, Phase::Pending | Phase::Running) {
            return None;
        }
        let failed = |end: &&TerminatedView| end.exit_code != 0;
        let times = self.status.containers().filter_map(|status| {
            let state = status.state.as_ref()?;
            if let Some(end) = state.terminated.as_ref().filter(failed) {
                return end.finished_at.as_ref();
            }
            let _earlier = status.last_state.as_ref()?.terminated.as_ref().filter(failed)?;
            state.running.as_ref()?.started_at.as_ref()
        });
        times.map(|Time(time)| *time).max()
    }

    fn group(&self) -> Option<ChildKind> {
        let has = |map: &Option<BTreeMap<String, String>>, key| map.as_ref().is_some_and(|map| map.contains_key(key));
        if self.spec.scheduling_group.is_some() {
            Some(ChildKind::KubernetesPodGroup)
        } else if has(&self.metadata.labels, names::COSCHEDULING_GROUP) {
            Some(ChildKind::SchedulerPluginsPodGroup)
        } else if has(&self.metadata.annotations, names::VOLCANO_GROUP) {
            Some(ChildKind::VolcanoPodGroup)
        } else {
            None
        }
    }

    /// What the readiness of the container that trains says, of a pod whose readiness is about its progress.
    fn progress(&self, phase: Phase) -> Option<Progress> {
        if phase != Phase::Running || !self.has_annotation(names::ANNOTATION_PROGRESS_DEADLINE) {
            return None;
        }
        let containers = || self.status.container_statuses.iter().flatten();
        let training = containers().find(|status| status.name == names::CONTAINER)?;
        let Time(started) = training.state.as_ref()?.running.as_ref()?.started_at.clone()?;
        // The node controller writes `Ready` on a silent node, and a kubelet that comes back keeps that time.
        let unready = self.status.condition("ContainersReady", "False");
        let unready = unready.filter(|_| !training.ready);
        let since = unready.map(|condition| condition.last_transition_time.clone());
        Some(Progress {
            started,
            still_since: since.map(|since| since.map_or(started, |Time(since)| since.max(started))),
            shared: containers().any(|status| status.name != names::CONTAINER && !status.ready),
        })
    }

    fn has_annotation(&self, name: &str) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.is_some_and(|annotations| annotations.contains_key(name))
    }

    fn node(&self) -> Option<String> {
        let asked = [names::ANNOTATION_ATTEMPT, names::ANNOTATION_PROGRESS_DEADLINE];
        let asked = asked.into_iter().any(|name| self.has_annotation(name));
        self.spec.node_name.clone().filter(|_| asked)
    }

    fn attempt(&self) -> Option<i32> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(names::ANNOTATION_ATTEMPT)?.parse().ok()
    }

    fn built_from(&self) -> Option<(u64, Option<i64>)> {
        let labels = self.metadata.labels.as_ref()?;
        template_hash::parse(labels.get(names::LABEL_POD_TEMPLATE_HASH)?)
    }

    fn phase(&self) -> Phase {
        match self.status.phase.as_deref() {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        }
    }
}

fn observed<T>(metadata: ObjectMeta, fact: T) -> Observed<T> {
    let owner = job_of(&metadata).map(|owner| Owner {
        uid: owner.uid.clone(),
        job: owner.name.clone(),
    });
    Observed {
        namespace: metadata.namespace.unwrap_or_default(),
        version: metadata.resource_version.and_then(|version| version.parse().ok()),
        owner,
        fact,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "job-worker-0", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "ownerReferences": [
                    { "apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "c" },
                    { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job", "uid": "j", "controller": true }] },
            "spec": { "containers": [{ "name": "pytorch" }] },
            "status": status,
        });
        let observed = serde_json::from_value::<ObjectView>(pod).unwrap().observe_pod();
        assert_eq!(
            observed.owner,
            Some(Owner {
                uid: "j".into(),
                job: "job".into()
            })
        );
        assert_eq!(observed.version, Some(7));
        observed.fact
    }

    #[test]
    fn a_deletion_says_whether_it_may_be_forced_and_whether_only_a_finalizer_is_left() {
        let deleted = |grace: i64, safe: &str| {
            let pod = json!({ "metadata": { "name": "job-worker-0", "deletionTimestamp": "2027-01-15T08:00:30Z",
                "deletionGracePeriodSeconds": grace, "annotations": { names::SAFE_TO_FORCE: safe } },
                "spec": { "nodeName": "gone" } });
            let fact = serde_json::from_value::<ObjectView>(pod).unwrap().observe_pod().fact;
            let deletion = *fact.deletion.unwrap();
            assert_eq!(deletion.node.as_deref(), Some("gone"));
            (deletion.held, deletion.may_be_forced)
        };
        assert_eq!(deleted(30, "true"), (false, true));
        assert_eq!(deleted(0, "false"), (true, false));
    }

    #[test]
    fn restarts_are_summed_over_init_and_regular_containers_but_for_the_one_that_waits_for_the_master() {
        let init = |name: &str, restarts: i32| json!({ "name": name, "restartCount": restarts });
        let fact = pod(&json!({ "phase": "Running",
            "initContainerStatuses": [init("data", 2), init(names::INIT_CONTAINER, 7)],
            "containerStatuses": [{ "name": "pytorch", "restartCount": 3 }, { "name": "side", "restartCount": 1 }] }));
        assert_eq!((fact.phase, fact.restarts), (Phase::Running, 6));
    }

    #[test]
    fn a_container_that_failed_before_says_since_when_it_runs_again() {
        let ended = |code: i32| json!({ "terminated": { "exitCode": code, "finishedAt": "2027-01-15T08:00:00Z" } });
        let runs = json!({ "running": { "startedAt": "2027-01-15T08:00:10Z" } });
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let again = |phase: &str, state: &serde_json::Value, last: &serde_json::Value| {
            let container = json!({ "name": "pytorch", "state": state, "lastState": last });
            let fact = pod(&json!({ "phase": phase, "containerStatuses": [container] }));
            fact.started_again.map(|time| time.to_string())
        };
        let (end, start) = (
            Some("2027-01-15T08:00:00Z".to_owned()),
            Some("2027-01-15T08:00:10Z".to_owned()),
        );
        assert_eq!(again("Running", &runs, &ended(1)), start);
        assert_eq!(
            again("Running", &ended(1), &json!({})),
            end,
            "it is about to be started"
        );
        assert_eq!(again("Running", &waits, &ended(1)), None, "it does not run");
        assert_eq!(again("Running", &runs, &json!({})), None, "it never failed");
        assert_eq!(again("Running", &runs, &ended(0)), None);
        assert_eq!(again("Failed", &ended(1), &ended(1)), None, "it is not started again");
    }

    #[test]
    fn a_failure_is_told_by_the_training_container() {
        let fact = pod(&serde_json::json!({ "phase": "Failed",
            "containerStatuses": [
                { "name": "side", "state": { "terminated": { "exitCode": 9 } } },
                { "name": "pytorch", "state": { "terminated": { "exitCode": 137, "reason": "OOMKilled", "message": "no memory" } } }] }));
        let failure = fact.failure.unwrap();
        assert_eq!(
            (failure.exit_code, failure.reason.as_deref(), failure.message.as_deref()),
            (Some(137), Some("OOMKilled"), Some("no memory"))
        );
    }

    #[test]
    fn an_evicted_pod_has_no_exit_code_and_the_pods_own_reason() {
        let fact = pod(&serde_json::json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" }));
        let failure = fact.failure.unwrap();
        assert_eq!(
            (failure.exit_code, failure.reason.as_deref(), failure.message.as_deref()),
            (None, Some("Evicted"), Some("low on memory"))
        );
    }

    #[test]
    fn an_evicted_pod_failed_as_a_whole_whatever_its_containers_made_of_the_signal() {
        for code in [0, 1, 137] {
            let killed =
                json!({ "name": "pytorch", "state": { "terminated": { "exitCode": code, "reason": "Error" } } });
            let evicted = pod(
                &json!({ "phase": "Failed", "reason": "Evicted", "message": "The disk is full.",
                "containerStatuses": [killed] }),
            );
            let failure = evicted.failure.unwrap();
            assert_eq!((failure.exit_code, failure.container), (None, None), "{code}");
            assert_eq!(failure.reason.as_deref(), Some("Evicted"));
            assert_eq!(failure.message.as_deref(), Some("The disk is full."));
        }
    }

    #[test]
    fn the_container_that_failed_is_named() {
        let ended = |name: &str, code: i32| {
            json!({ "name": name,
            "state": { "terminated": { "exitCode": code, "reason": format!("{name}'s") } } })
        };
        let waits = |name: &str| json!({ "name": name, "state": { "waiting": { "reason": "PodInitializing" } } });
        for (init, containers, exit_code, container) in [
            (
                ended("init", 0),
                [ended("side", 1), ended("pytorch", 3)],
                Some(3),
                Some(("pytorch", 3)),
            ),
            (
                ended("init", 0),
                [ended("side", 1), ended("pytorch", 0)],
                Some(0),
                Some(("side", 1)),
            ),
            (
                ended("init", 2),
                [waits("side"), waits("pytorch")],
                None,
                Some(("init", 2)),
            ),
            (ended("init", 0), [ended("side", 0), ended("pytorch", 0)], Some(0), None),
        ] {
            let fact = pod(&json!({ "phase": "Failed", "initContainerStatuses": [init],
                "containerStatuses": containers }));
            let failure = fact.failure.unwrap();
            let found = failure
                .container
                .as_ref()
                .map(|found| (found.name.as_str(), found.exit_code));
            assert_eq!((failure.exit_code, found), (exit_code, container));
            assert_eq!(failure.reason, container.map(|(name, _)| format!("{name}'s")));
        }
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_what_the_scheduler_or_the_kubelet_says() {
        let scheduled = |reason: &str| {
            json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": reason, "message": "no node" }] })
        };
        let waiting = |list: &str, phase: &str, reason: &str| {
            json!({ "phase": phase, list: [
            { "name": "pytorch", "state": { "waiting": { "reason": reason, "message": "as it is" } } }] })
        };
        let terminated = |phase: &str, restarts: i32, code: i32| {
            json!({ "phase": phase, "containerStatuses": [{ "name": "pytorch", "restartCount": restarts,
            "state": { "terminated": { "exitCode": code, "reason": "Error" } } }] })
        };
        for (status, expected) in [
            (scheduled("Unschedulable"), Some(("Unschedulable", "no node"))),
            (
                waiting("containerStatuses", "Pending", "ErrImagePull"),
                Some(("ImagePullBackOff", "as it is")),
            ),
            (
                waiting("initContainerStatuses", "Pending", "CreateContainerConfigError"),
                Some(("CreateContainerConfigError", "as it is")),
            ),
            (
                waiting("containerStatuses", "Running", "CrashLoopBackOff"),
                Some(("CrashLoopBackOff", "as it is")),
            ),
            (
                terminated("Running", 1, 3),
                Some((
                    "CrashLoopBackOff",
                    "container pytorch exited with code 3 (Error) and waits to be started again",
                )),
            ),
            // It is started again at once, it is done, or the pod is.
            (terminated("Running", 0, 3), None),
            (terminated("Running", 1, 0), None),
            (terminated("Failed", 1, 3), None),
            (waiting("containerStatuses", "Pending", "ContainerCreating"), None),
            (waiting("containerStatuses", "Failed", "CrashLoopBackOff"), None),
        ] {
            let trouble = pod(&status).trouble;
            let found = trouble
                .as_ref()
                .map(|trouble| (trouble.reason, trouble.message.as_str()));
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn a_pod_is_unready_while_it_runs_and_the_kubelet_says_so() {
        let with = |phase: &str, ready: &str| {
            pod(&json!({ "phase": phase,
            "conditions": [{ "type": "Ready", "status": ready }] }))
            .unready
        };
        assert!(with("Running", "False"));
        assert!(!with("Running", "True") && !with("Pending", "False"));
    }

    #[test]
    fn whether_the_training_writes_is_read_of_its_container_alone_and_of_pods_that_have_the_probe() {
        let of = |annotated: bool, phase: &str, ready: bool, pod_ready: &str, since: &str| {
            let annotations = if annotated {
                json!({ "training.kubeflow.org/progress-deadline-seconds": "60" })
            } else {
                json!({})
            };
            let running = json!({ "running": { "startedAt": "2027-01-15T08:00:10Z" } });
            let pod = json!({
                "metadata": { "name": "p", "annotations": annotations },
                "status": {
                    "phase": phase,
                    "conditions": [
                        { "type": "Ready", "status": "False", "lastTransitionTime": "2027-01-15T08:20:00Z" },
                        { "type": "ContainersReady", "status": pod_ready, "lastTransitionTime": since },
                    ],
                    "containerStatuses": [
                        { "name": "side", "ready": false, "state": running },
                        { "name": "pytorch", "ready": ready, "state": running },
                    ],
                },
            });
            let view: ObjectView = serde_json::from_value(pod).unwrap();
            let progress = view.observe_pod().fact.progress?;
            Some((
                progress.started.to_string(),
                progress.still_since.map(|since| since.to_string()),
            ))
        };
        let (start, late) = ("2027-01-15T08:00:10Z".to_owned(), "2027-01-15T09:00:00Z".to_owned());
        for (case, expected) in [
            (of(true, "Running", true, "True", &late), Some((start.clone(), None))),
            (
                of(true, "Running", false, "False", &late),
                Some((start.clone(), Some(late.clone()))),
            ),
            (of(true, "Running", true, "False", &late), Some((start.clone(), None))),
            (
                of(true, "Running", false, "False", "2027-01-15T08:00:00Z"),
                Some((start.clone(), Some(start))),
            ),
            (of(true, "Failed", false, "False", &late), None),
            (of(false, "Running", false, "False", &late), None),
        ] {
            assert_eq!(case, expected);
        }
    }

    #[test]
    fn a_pod_without_status_is_pending() {
        assert_eq!(pod(&serde_json::json!({})).phase, Phase::Pending);
    }

    #[test]
    fn the_time_of_a_deletion_request_is_the_time_of_the_deletion_without_its_grace() {
        let pod = serde_json::json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 20 },
            "status": { "phase": "Succeeded",
                "conditions": [{ "type": "Ready", "status": "False" }, { "type": "DisruptionTarget", "status": "True" }],
                "containerStatuses": [
                    { "name": "side", "state": { "terminated": { "exitCode": 0, "finishedAt": "2026-01-01T00:00:12Z" } } },
                    { "name": "pytorch", "state": { "terminated": { "exitCode": 0, "finishedAt": "2026-01-01T00:00:11Z" } } }] },
        });
        let pod = serde_json::from_value::<ObjectView>(pod).unwrap().observe_pod().fact;
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(pod.deletion_requested, time("2026-01-01T00:00:10Z"));
        assert_eq!(pod.finished_at, time("2026-01-01T00:00:11Z"));
        assert!(pod.terminating && pod.disrupted);
    }

    #[test]
    fn training_that_had_ended_before_its_pod_was_deleted_has_succeeded_whatever_ends_later() {
        let ended = |name: &str, second: u32| {
            let end = json!({ "exitCode": 0, "finishedAt": format!("2026-01-01T00:00:{second}Z") });
            json!({ "name": name, "state": { "terminated": end } })
        };
        // The deletion was asked for at 20.
        for (init, containers, phase, succeeded) in [
            (vec![], vec![ended("pytorch", 19)], "Succeeded", true),
            (vec![], vec![ended("pytorch", 20)], "Succeeded", false),
            (vec![], vec![ended("pytorch", 19), ended("side", 25)], "Succeeded", true),
            (
                vec![],
                vec![ended("side", 19), ended("pytorch", 25)],
                "Succeeded",
                false,
            ),
            // A sidecar of Kubernetes' own kind is an init container that ends after all others.
            (vec![ended("side", 25)], vec![ended("pytorch", 19)], "Succeeded", true),
            (vec![ended("side", 19)], vec![ended("pytorch", 25)], "Succeeded", false),
            // All containers make the phase: one that ends badly fails the pod, which is replaced.
            (vec![], vec![ended("pytorch", 19), ended("side", 25)], "Failed", false),
            (
                vec![],
                vec![ended("pytorch", 19), json!({ "name": "side" })],
                "Running",
                false,
            ),
            // Kubeflow runs a template without a container of that name.
            (vec![], vec![ended("main", 19), ended("side", 19)], "Succeeded", true),
            (vec![], vec![ended("main", 19), ended("side", 25)], "Succeeded", false),
        ] {
            let pod = json!({
                "metadata": { "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                    "deletionTimestamp": "2026-01-01T00:00:50Z", "deletionGracePeriodSeconds": 30 },
                "status": { "phase": phase, "initContainerStatuses": init, "containerStatuses": containers },
            });
            let fact = serde_json::from_value::<ObjectView>(pod.clone())
                .unwrap()
                .observe_pod()
                .fact;
            assert_eq!(fact.succeeded(), succeeded, "{pod}");
        }
    }

    #[test]
    fn a_pod_that_had_ended_before_it_was_marked_as_disrupted_was_not_ended_by_that() {
        let ended = |name: &str, second: u32| {
            let end = json!({ "exitCode": 0, "finishedAt": format!("2026-01-01T00:00:{second}Z") });
            json!({ "name": name, "state": { "terminated": end } })
        };
        let runs = || json!({ "name": "side", "state": { "running": {} } });
        // It was marked at 20.
        for (phase, restarts, containers, deleted, disrupted) in [
            ("Succeeded", "OnFailure", vec![ended("pytorch", 19)], false, false),
            ("Succeeded", "OnFailure", vec![ended("pytorch", 19)], true, false),
            ("Succeeded", "Never", vec![ended("pytorch", 20)], false, true),
            (
                "Succeeded",
                "Never",
                vec![ended("pytorch", 19), ended("side", 25)],
                false,
                false,
            ),
            ("Failed", "Never", vec![ended("pytorch", 19)], false, false),
            ("Failed", "Never", vec![ended("pytorch", 20)], false, true),
            // The deletion counts as what ended it.
            ("Failed", "Never", vec![ended("pytorch", 19)], true, true),
            // Its container would have been started again.
            ("Failed", "OnFailure", vec![ended("pytorch", 19)], false, true),
            // Another container ended by it, or was never seen to end.
            (
                "Failed",
                "Never",
                vec![ended("pytorch", 19), ended("side", 25)],
                false,
                true,
            ),
            ("Failed", "Never", vec![ended("pytorch", 19), runs()], false, true),
            ("Failed", "Never", vec![], false, true),
            ("Running", "Never", vec![ended("pytorch", 19), runs()], false, true),
        ] {
            let mark = json!({ "type": "DisruptionTarget", "status": "True",
                "lastTransitionTime": "2026-01-01T00:00:20Z" });
            let deletion = deleted.then_some("2026-01-01T00:00:50Z");
            let pod = json!({
                "metadata": { "name": "p", "deletionTimestamp": deletion, "deletionGracePeriodSeconds": 30 },
                "spec": { "restartPolicy": restarts },
                "status": { "phase": phase, "conditions": [mark], "containerStatuses": containers },
            });
            let fact = serde_json::from_value::<ObjectView>(pod.clone())
                .unwrap()
                .observe_pod()
                .fact;
            assert_eq!(fact.disrupted, disrupted, "{pod}");
            assert_eq!(fact.succeeded(), phase == "Succeeded" && !disrupted, "{pod}");
            assert_eq!(fact.failed(), phase == "Failed" && !disrupted, "{pod}");
        }
    }

    #[test]
    fn an_end_before_a_deletion_with_no_grace_does_not_count_as_success() {
        let pod = serde_json::json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 0 },
            "status": { "phase": "Succeeded", "containerStatuses": [{ "name": "pytorch",
                "state": { "terminated": { "exitCode": 0, "finishedAt": "2026-01-01T00:00:12Z" } } }] },
        });
        let pod = serde_json::from_value::<ObjectView>(pod).unwrap().observe_pod().fact;
        assert!(!pod.succeeded(), "{pod:?}");
    }
}
