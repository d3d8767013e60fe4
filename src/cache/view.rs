//! Pods and services as they come from the API server, reduced to what is read.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;

use super::children::{Observed, Owner};
use super::metadata;
use crate::api::ChildKind;
use crate::api::names;
use crate::planner::build::template_hash;
use crate::planner::{Child, Deletion, Failure, Phase, Pod};

/// The part of an owned object that is read. The parser skips the rest without allocating it.
#[derive(Clone, Debug, Deserialize)]
pub struct ObjectView {
    /// Metadata, as far as it is read.
    #[serde(deserialize_with = "metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// The spec and the status of a pod; of other kinds nothing in them is read.
    #[serde(default)]
    spec: PodSpecView,
    #[serde(default)]
    status: PodStatusView,
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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpecView {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatusView {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    conditions: Option<Vec<ConditionView>>,
    init_container_statuses: Option<Vec<ContainerStatusView>>,
    container_statuses: Option<Vec<ContainerStatusView>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConditionView {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatusView {
    name: String,
    restart_count: i32,
    state: Option<ContainerStateView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStateView {
    terminated: Option<TerminatedView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TerminatedView {
    exit_code: i32,
    reason: Option<String>,
    message: Option<String>,
    finished_at: Option<Time>,
}

impl ObjectView {
    /// What decisions need to know of a pod.
    #[must_use]
    pub fn observe_pod(self) -> Observed<Pod> {
        let statuses = || {
            self.status
                .init_container_statuses
                .iter()
                .flatten()
                .chain(self.status.container_statuses.iter().flatten())
        };
        let phase = self.phase();
        let built_from = self.built_from();
        let fact = Pod {
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            phase,
            terminating: self.metadata.deletion_timestamp.is_some(),
            deletion_requested: self.deletion_requested(),
            deletion: self.deletion(),
            disrupted: self.disrupted(),
            finished_at: self.finished_at(),
            restarts: statuses()
                .map(|status| status.restart_count)
                .fold(0, i32::saturating_add),
            template_hash: built_from.map(|(hash, _)| hash),
            generation: built_from.and_then(|(_, generation)| generation),
            failure: (phase == Phase::Failed).then(|| Box::new(self.failure())),
        };
        observed(self.metadata, fact)
    }

    /// What decisions need to know of any other kind.
    #[must_use]
    pub fn observe(self, kind: ChildKind) -> Observed<Child> {
        let fact = Child {
            kind,
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            terminating: self.metadata.deletion_timestamp.is_some(),
        };
        observed(self.metadata, fact)
    }

    /// The API server adds the grace period to the time of the request. A request with no grace replaces that time: the
    /// kubelet makes one when the containers of a pod that is being deleted have ended. The containers then count as ended by
    /// the deletion, which costs a rerun at worst.
    fn deletion_requested(&self) -> Option<Timestamp> {
        let Time(ends) = self.metadata.deletion_timestamp.as_ref()?;
        match self.metadata.deletion_grace_period_seconds.unwrap_or(0) {
            0 => Some(self.finished_at().map_or(*ends, |finished| finished.min(*ends))),
            grace => ends.checked_sub(SignedDuration::from_secs(grace)).ok(),
        }
    }

    fn deletion(&self) -> Option<Box<Deletion>> {
        let Time(due) = self.metadata.deletion_timestamp.clone()?;
        let node = self.spec.node_name.clone();
        Some(Box::new(Deletion { due, node }))
    }

    fn disrupted(&self) -> bool {
        let mut conditions = self.status.conditions.iter().flatten();
        conditions.any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
    }

    fn finished_at(&self) -> Option<Timestamp> {
        let containers = self.status.container_statuses.iter().flatten();
        let terminated = containers.filter_map(|status| status.state.as_ref()?.terminated.as_ref());
        terminated
            .filter_map(|terminated| Some(terminated.finished_at.as_ref()?.0))
            .max()
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

    /// The container that trains says best why it failed; where it says nothing, the pod does, as in an eviction.
    fn failure(&self) -> Failure {
        let mut containers = self.status.container_statuses.iter().flatten();
        let terminated = containers
            .find(|status| status.name == names::CONTAINER)
            .and_then(|status| status.state.as_ref()?.terminated.as_ref());
        Failure {
            exit_code: terminated.map(|terminated| terminated.exit_code),
            reason: terminated
                .and_then(|terminated| terminated.reason.clone())
                .or_else(|| self.status.reason.clone()),
            message: terminated
                .and_then(|terminated| terminated.message.clone())
                .or_else(|| self.status.message.clone()),
        }
    }
}

fn observed<T>(metadata: ObjectMeta, fact: T) -> Observed<T> {
    let owner = metadata.owner_references.into_iter().flatten().find(|owner| {
        owner.controller == Some(true) && owner.kind == names::KIND && owner.api_version == names::API_VERSION
    });
    Observed {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        version: metadata.resource_version.and_then(|version| version.parse().ok()),
        owner: owner.map(|owner| Owner {
            uid: owner.uid,
            job: owner.name,
        }),
        fact,
    }
}

#[cfg(test)]
mod tests {
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
    fn restarts_are_summed_over_init_and_regular_containers() {
        let fact = pod(&serde_json::json!({ "phase": "Running",
            "initContainerStatuses": [{ "name": "init-pytorch", "restartCount": 2 }],
            "containerStatuses": [{ "name": "pytorch", "restartCount": 3 }, { "name": "side", "restartCount": 1 }] }));
        assert_eq!((fact.phase, fact.restarts), (Phase::Running, 6));
    }

    #[test]
    fn a_failure_is_told_by_the_training_container() {
        let fact = pod(&serde_json::json!({ "phase": "Failed", "reason": "ignored",
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
        assert_eq!(pod.finished_at, time("2026-01-01T00:00:12Z"));
        assert!(pod.terminating && pod.disrupted);
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
