//! The gang scheduler.

use std::convert::Infallible;
use std::str::FromStr;

use crate::api::{ChildKind, names};

/// The gang scheduler that PodGroups are made for, and whether the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gang {
    /// Which one.
    pub scheduler: GangScheduler,
    /// Whether the API server serves its PodGroups.
    pub served: bool,
}

/// A scheduler that places the pods of a group together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GangScheduler {
    /// Volcano.
    Volcano,
    /// The coscheduling plugin of Kubernetes' scheduler-plugins, in the scheduler of this name.
    SchedulerPlugins(String),
    /// Kubernetes' own scheduler, with the feature gate `GenericWorkload`.
    Kubernetes,
}

impl GangScheduler {
    /// The kind of its PodGroups.
    #[must_use]
    pub const fn kind(&self) -> ChildKind {
        match self {
            Self::Volcano => ChildKind::VolcanoPodGroup,
            Self::SchedulerPlugins(_) => ChildKind::SchedulerPluginsPodGroup,
            Self::Kubernetes => ChildKind::KubernetesPodGroup,
        }
    }

    /// Whether its PodGroups say how much must be free. Kubernetes' own looks at the pods.
    #[must_use]
    pub fn has_min_resources(&self) -> bool {
        *self != Self::Kubernetes
    }

    /// Whether it counts a pod that has succeeded as a member of its group, as long as the pod is there. The others do
    /// not see pods that have ended.
    #[must_use]
    pub fn counts_succeeded_pods(&self) -> bool {
        *self == Self::Volcano
    }

    /// `schedulerName` of its pods; nothing for the scheduler that a pod has anyway.
    #[must_use]
    pub fn scheduler_name(&self) -> Option<&str> {
        match self {
            Self::Volcano => Some(names::VOLCANO),
            Self::SchedulerPlugins(name) => Some(name),
            Self::Kubernetes => None,
        }
    }
}

/// As in Kubeflow, any name but Volcano's and Kubernetes' is that of a scheduler with the coscheduling plugin.
impl FromStr for GangScheduler {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(match name.to_ascii_lowercase().as_str() {
            names::VOLCANO => Self::Volcano,
            "kubernetes" => Self::Kubernetes,
            _ => Self::SchedulerPlugins(name.to_owned()),
        })
    }
}
