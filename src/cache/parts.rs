//! The parts of an object's spec and status that are read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::api::ChildKind;
use crate::api::shortened;
use crate::planner::{Amount, PodGroup, PodGroupSpec};

/// Most that is kept of a message about pods that do not run.
pub(super) const TROUBLE_BYTES: usize = 512;

/// Spec of a pod or a PodGroup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpecView {
    pub node_name: Option<String>,
    pub scheduling_group: Option<IgnoredAny>,
    min_member: Option<i32>,
    min_resources: Option<BTreeMap<String, Value>>,
    scheduling_policy: Option<SchedulingPolicyView>,
}

/// Status of a pod or a PodGroup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StatusView {
    pub phase: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
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
}

/// Status of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatusView {
    pub name: String,
    pub restart_count: i32,
    pub state: Option<ContainerStateView>,
}

/// State of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStateView {
    pub waiting: Option<WaitingView>,
    pub terminated: Option<TerminatedView>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WaitingView {
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TerminatedView {
    pub exit_code: i32,
    pub reason: Option<String>,
    pub message: Option<String>,
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
        let text = |amount: Value| amount.as_str().map_or_else(|| amount.to_string(), Into::into);
        let amounts = self.min_resources.into_iter().flatten();
        PodGroupSpec {
            min_member: self.min_member,
            min_resources: Some(
                amounts
                    .filter_map(|(resource, amount)| Some((resource, Amount::parse(&text(amount))?)))
                    .collect(),
            ),
        }
    }
}

impl StatusView {
    /// The condition of this type that has this status.
    pub(super) fn condition(&self, type_: &str, status: &str) -> Option<&ConditionView> {
        let mut conditions = self.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == type_ && condition.status == status)
    }

    /// Whether Volcano has yet to admit a PodGroup.
    fn is_pending(&self) -> bool {
        matches!(self.phase.as_deref(), None | Some("" | "Pending"))
    }

    /// What the scheduler says of a PodGroup that it cannot place. Volcano leaves its condition behind once it has.
    fn unschedulable(&self, kind: ChildKind) -> Option<String> {
        let condition = match kind {
            ChildKind::VolcanoPodGroup if self.is_pending() || self.phase.as_deref() == Some("Inqueue") => {
                self.condition("Unschedulable", "True")
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
        pending: kind == ChildKind::VolcanoPodGroup && status.is_pending(),
        unschedulable: status.unschedulable(kind),
    }
}
