//! The parts of an object's spec and status that are read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::api::names::{self, reason};
use crate::api::{ChildKind, shortened};
use crate::defects::{Defect, back};
use crate::planner::{Amount, AutoscalerSpec, PodGroup, PodGroupSpec};

/// Most that is kept of a message about pods that do not run.
pub(super) const TROUBLE_BYTES: usize = 512;

/// Spec of a pod, a PodGroup or an autoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpecView {
    pub node_name: Option<String>,
    pub containers: Option<Vec<ContainerView>>,
    pub termination_grace_period_seconds: Option<i64>,
    pub restart_policy: Option<String>,
    pub scheduling_group: Option<IgnoredAny>,
    min_member: Option<i32>,
    min_resources: Option<BTreeMap<String, Value>>,
    scheduling_policy: Option<SchedulingPolicyView>,
    scale_target_ref: Value,
    min_replicas: Option<i64>,
    max_replicas: Option<i64>,
    metrics: Value,
}

/// A container, as it is to run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerView {
    pub name: String,
    pub resources: Option<ResourcesView>,
}

/// What a container requests, and its limits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResourcesView {
    pub requests: Option<AmountsView>,
    pub limits: Option<AmountsView>,
}

/// Amounts of the resources by which a container is asked to start again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AmountsView {
    pub cpu: Option<String>,
    pub memory: Option<String>,
}

/// Status of a pod or a PodGroup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StatusView {
    pub phase: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub observed_generation: Option<i64>,
    pub conditions: Option<Vec<ConditionView>>,
    pub init_container_statuses: Option<Vec<ContainerStatusView>>,
    pub container_statuses: Option<Vec<ContainerStatusView>>,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConditionView {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: Option<String>,
    pub message: Option<String>,
    #[serde(rename = "lastTransitionTime")]
    pub last_transition_time: Option<Time>,
    #[serde(rename = "observedGeneration")]
    pub observed_generation: Option<i64>,
}

/// Status of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatusView {
    pub name: String,
    pub ready: bool,
    pub restart_count: i32,
    pub resources: Option<ResourcesView>,
    pub state: Option<ContainerStateView>,
    pub last_state: Option<ContainerStateView>,
}

/// State of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStateView {
    pub waiting: Option<WaitingView>,
    pub running: Option<RunningView>,
    pub terminated: Option<TerminatedView>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WaitingView {
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RunningView {
    pub started_at: Option<Time>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TerminatedView {
    pub exit_code: i32,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SchedulingPolicyView {
    gang: Option<GangView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GangView {
    min_count: Option<i32>,
}

impl SpecView {
    /// What this operator has written into a PodGroup.
    fn pod_group(self, kind: ChildKind) -> PodGroupSpec {
        if kind == ChildKind::KubernetesPodGroup {
            return PodGroupSpec {
                min_member: self.scheduling_policy.and_then(|policy| policy.gang?.min_count),
                min_resources: None,
            };
        }
        let amounts = self.min_resources.into_iter().flatten();
        PodGroupSpec {
            min_member: self.min_member,
            min_resources: Some(
                amounts
                    .filter_map(|(resource, amount)| Some((resource, Amount::of(&amount)?)))
                    .collect(),
            ),
        }
    }
}

impl ContainerStatusView {
    fn ended(&self) -> Option<Timestamp> {
        let Time(end) = self.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?;
        Some(*end)
    }
}

impl StatusView {
    /// The condition of this type that has this status.
    pub(super) fn condition(&self, type_: &str, status: &str) -> Option<&ConditionView> {
        let mut conditions = self.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == type_ && condition.status == status)
    }

    /// The statuses of the containers, init containers first.
    pub(super) fn containers(&self) -> impl Iterator<Item = &ContainerStatusView> {
        let init = self.init_container_statuses.iter().flatten();
        init.chain(self.container_statuses.iter().flatten())
    }

    /// The end of the container that trains: one beside it may end later, by the deletion of the pod. Init containers
    /// do not count, among which is a sidecar of Kubernetes' own kind, which always ends after the others. A job of
    /// Kubeflow may have pods without a container of that name; of these, all containers have to end.
    pub(super) fn training_ended(&self) -> Option<Timestamp> {
        let containers = self.container_statuses.iter().flatten();
        let ends = containers.filter_map(|status| Some((status.name == names::CONTAINER, status.ended()?)));
        ends.max().map(|(_, end)| end)
    }

    /// When the last container ended, if all have. Init containers do not count.
    pub(super) fn all_ended(&self) -> Option<Timestamp> {
        let containers = self.container_statuses.iter().flatten();
        let ends: Option<Vec<_>> = containers.map(ContainerStatusView::ended).collect();
        ends?.into_iter().max()
    }

    /// Restarts of containers, without those of the one that waits for the Master, which says no more than that the
    /// Master is late. Those of one that starts again in place are restarts of the job, and counted there.
    pub(super) fn restarts(&self, in_place: bool) -> i32 {
        let is_left_out = |name: &str| name == names::INIT_CONTAINER || (in_place && name == names::CONTAINER);
        let counted = self.containers().filter(|status| !is_left_out(&status.name));
        counted.map(|status| status.restart_count).fold(0, i32::saturating_add)
    }

    /// Whether Volcano has yet to admit a PodGroup.
    fn is_pending(&self) -> bool {
        matches!(self.phase.as_deref(), None | Some("" | "Pending"))
    }

    /// What the scheduler says of a PodGroup that it cannot place. Volcano leaves its condition behind once it has.
    fn unschedulable(&self, kind: ChildKind) -> Option<String> {
        let condition = match kind {
            ChildKind::VolcanoPodGroup if self.is_pending() || self.phase.as_deref() == Some("Inqueue") => {
                self.condition(reason::UNSCHEDULABLE, "True")
            }
            ChildKind::KubernetesPodGroup => self.condition("PodGroupInitiallyScheduled", "False"),
            _ => None,
        };
        let message = condition?.message.clone().unwrap_or_default();
        Some(shortened(message, TROUBLE_BYTES))
    }
}

/// What decisions need to know of a PodGroup.
pub(super) fn pod_group(kind: ChildKind, spec: SpecView, status: &StatusView) -> PodGroup {
    PodGroup {
        spec: spec.pod_group(kind),
        pending: kind == ChildKind::VolcanoPodGroup && status.is_pending() && !back(Defect::Unadmitted),
        unschedulable: status.unschedulable(kind),
    }
}

/// What decisions need to know of an autoscaler.
pub(super) fn autoscaler(spec: SpecView) -> AutoscalerSpec {
    AutoscalerSpec {
        target: spec.scale_target_ref,
        min: spec.min_replicas,
        max: spec.max_replicas,
        metrics: spec.metrics,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(kind: ChildKind, spec: Value, status: Value) -> PodGroup {
        let spec = serde_json::from_value(spec).unwrap();
        pod_group(kind, spec, &serde_json::from_value(status).unwrap())
    }

    #[test]
    fn what_was_written_into_a_pod_group_is_read_back() {
        for kind in [ChildKind::VolcanoPodGroup, ChildKind::SchedulerPluginsPodGroup] {
            let spec = json!({ "minMember": 3, "minResources": { "cpu": 2, "memory": "1Gi" }, "queue": "q" });
            let PodGroupSpec {
                min_member,
                min_resources,
            } = seen(kind, spec, json!({})).spec;
            let texts: Vec<String> = min_resources.unwrap().values().map(ToString::to_string).collect();
            assert_eq!((min_member, texts), (Some(3), vec!["2".to_owned(), "1Gi".to_owned()]));
        }
        let spec = json!({ "schedulingPolicy": { "gang": { "minCount": 3 } }, "disruptionMode": { "all": {} } });
        let seen = seen(ChildKind::KubernetesPodGroup, spec, json!({})).spec;
        assert_eq!((seen.min_member, seen.min_resources), (Some(3), None));
    }

    #[test]
    fn volcano_has_admitted_a_group_that_has_a_phase_other_than_pending() {
        for (phase, pending) in [
            (json!({}), true),
            (json!({ "phase": "" }), true),
            (json!({ "phase": "Pending" }), true),
            (json!({ "phase": "Inqueue" }), false),
            (json!({ "phase": "Running" }), false),
            (json!({ "phase": "Unknown" }), false),
        ] {
            let seen = |kind| seen(kind, json!({}), phase.clone()).pending;
            assert_eq!(seen(ChildKind::VolcanoPodGroup), pending, "{phase}");
            assert!(!seen(ChildKind::SchedulerPluginsPodGroup));
        }
    }

    #[test]
    fn a_scheduler_says_why_a_gang_does_not_fit_while_it_does_not() {
        let volcano = |phase: &str| {
            json!({ "phase": phase, "conditions": [
                { "type": "Scheduled", "status": "True", "message": "fits" },
                { "type": "Unschedulable", "status": "True", "message": "does not fit" }] })
        };
        let kubernetes = |status: &str| {
            json!({ "conditions": [
                { "type": "PodGroupInitiallyScheduled", "status": status, "message": "does not fit" }] })
        };
        for (kind, status, expected) in [
            (ChildKind::VolcanoPodGroup, volcano("Pending"), true),
            (ChildKind::VolcanoPodGroup, volcano("Inqueue"), true),
            (ChildKind::VolcanoPodGroup, volcano("Running"), false),
            (ChildKind::KubernetesPodGroup, kubernetes("False"), true),
            (ChildKind::KubernetesPodGroup, kubernetes("True"), false),
            (ChildKind::SchedulerPluginsPodGroup, volcano("Pending"), false),
        ] {
            let said = seen(kind, json!({}), status.clone()).unschedulable;
            assert_eq!(said.as_deref(), expected.then_some("does not fit"), "{kind:?} {status}");
        }
    }
}
