//! What a job owns: one row per kind.

use std::fmt;

use crate::api::names::reason;
use crate::api::replica_type::Replica;

/// A kind of object that a job owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// Runs a replica.
    Pod,
    /// Gives a replica its DNS name.
    Service,
    /// Scales the workers of an elastic job that has metrics.
    HorizontalPodAutoscaler,
    /// Makes a gang of the pods, for Volcano.
    VolcanoPodGroup,
    /// The same for the coscheduling plugin of Kubernetes' scheduler-plugins.
    SchedulerPluginsPodGroup,
    /// The same for Kubernetes' own scheduler.
    KubernetesPodGroup,
}

/// The row of a kind.
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    create_failed: &'static str,
    delete_failed: &'static str,
}

impl Row {
    const fn pod_group(group: &'static str, version: &'static str) -> Self {
        Self {
            group,
            version,
            kind: "PodGroup",
            plural: "podgroups",
            create_failed: reason::FAILED_CREATE_POD_GROUP,
            delete_failed: reason::FAILED_DELETE_POD_GROUP,
        }
    }
}

impl ChildKind {
    /// Every kind; pods, which decisions need most, come first.
    pub const ALL: [Self; 6] = [
        Self::Pod,
        Self::Service,
        Self::HorizontalPodAutoscaler,
        Self::VolcanoPodGroup,
        Self::SchedulerPluginsPodGroup,
        Self::KubernetesPodGroup,
    ];

    const fn row(self) -> Row {
        match self {
            Self::Pod => Row {
                group: "",
                version: "v1",
                kind: "Pod",
                plural: "pods",
                create_failed: reason::FAILED_CREATE_POD,
                delete_failed: reason::FAILED_DELETE_POD,
            },
            Self::Service => Row {
                group: "",
                version: "v1",
                kind: "Service",
                plural: "services",
                create_failed: reason::FAILED_CREATE_SERVICE,
                delete_failed: reason::FAILED_DELETE_SERVICE,
            },
            Self::HorizontalPodAutoscaler => Row {
                group: "autoscaling",
                version: "v2",
                kind: "HorizontalPodAutoscaler",
                plural: "horizontalpodautoscalers",
                create_failed: reason::FAILED_CREATE_AUTOSCALER,
                delete_failed: reason::FAILED_DELETE_AUTOSCALER,
            },
            Self::VolcanoPodGroup => Row::pod_group("scheduling.volcano.sh", "v1beta1"),
            Self::SchedulerPluginsPodGroup => Row::pod_group("scheduling.x-k8s.io", "v1alpha1"),
            Self::KubernetesPodGroup => Row::pod_group("scheduling.k8s.io", "v1beta1"),
        }
    }

    /// Whether it makes a gang of the pods. One of these kinds is in use at most.
    #[must_use]
    pub const fn is_pod_group(self) -> bool {
        matches!(
            self,
            Self::VolcanoPodGroup | Self::SchedulerPluginsPodGroup | Self::KubernetesPodGroup
        )
    }

    /// API group; empty for the core group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.row().group
    }

    /// API version within the group.
    #[must_use]
    pub const fn version(self) -> &'static str {
        self.row().version
    }

    /// `kind` of the object.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        self.row().kind
    }

    /// Plural, as in URLs and in metrics.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        self.row().plural
    }

    /// Reason of the event for an object that could not be created.
    #[must_use]
    pub const fn create_failed(self) -> &'static str {
        self.row().create_failed
    }

    /// Reason of the event for an object that could not be deleted.
    #[must_use]
    pub const fn delete_failed(self) -> &'static str {
        self.row().delete_failed
    }

    /// `apiVersion` of the object.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }
}

/// The singular, as in messages: the kind in lower case, as `kubectl` writes it.
impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind().to_ascii_lowercase())
    }
}

/// An object that a job is to own. Names are deterministic, so this says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildRef {
    /// What it is.
    pub kind: ChildKind,
    /// The replica it belongs to; absent for the one object per job, which is named like the job.
    pub replica: Option<Replica>,
}

impl ChildRef {
    /// The object of a replica.
    #[must_use]
    pub const fn of_replica(kind: ChildKind, replica: Replica) -> Self {
        Self {
            kind,
            replica: Some(replica),
        }
    }

    /// The one object per job.
    #[must_use]
    pub const fn of_job(kind: ChildKind) -> Self {
        Self { kind, replica: None }
    }

    /// Its name in the job of this name.
    #[must_use]
    pub fn name(&self, job: &str) -> String {
        self.replica.map_or_else(|| job.to_owned(), |replica| replica.name(job))
    }
}
