//! What a decision is made from.

use k8s_openapi::jiff::Timestamp;

use crate::api::{JobStatus, PyTorchJob, ReplicaType};

/// A snapshot of one job and what it owns, and the time.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The job as stored.
    pub job: &'a PyTorchJob,
    /// The pods that this job's UID controls, sorted by name.
    pub pods: &'a [PodFact],
    /// The services that this job's UID controls, sorted by name.
    pub services: &'a [ServiceFact],
    /// The autoscalers that this job's UID controls, sorted by name.
    pub autoscalers: &'a [ServiceFact],
    /// What the operator's flags say about pods.
    pub settings: &'a Settings,
    /// The current time.
    pub now: Timestamp,
}

impl World<'_> {
    /// The stored status; empty before the first write.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    /// Name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        self.job.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace of the job.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.job.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The pod of this name.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<&PodFact> {
        self.pods
            .binary_search_by(|pod| pod.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.pods[at])
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceFact> {
        self.services
            .binary_search_by(|service| service.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.services[at])
    }

    /// Where a pod or service of this name belongs.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<(ReplicaType, u32)> {
        ReplicaType::parse_replica_name(self.name(), name)
    }

    /// Whether the job wants a replica there.
    #[must_use]
    pub fn wants(&self, (role, index): (ReplicaType, u32)) -> bool {
        index < self.job.spec.replicas(role)
    }

    /// Every replica the job wants, Master first, then by index.
    pub fn wanted(&self) -> impl Iterator<Item = (ReplicaType, u32)> {
        let spec = &self.job.spec;
        ReplicaType::ALL
            .into_iter()
            .flat_map(move |role| (0..spec.replicas(role)).map(move |index| (role, index)))
    }
}

/// What the operator's flags say about pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of the init container of workers; empty leaves the container out.
    pub init_container_image: String,
    /// How often that container looks the Master up before it gives up, two seconds apart.
    pub init_container_max_tries: u32,
}

impl Default for Settings {
    /// Kubeflow 1.9's defaults.
    fn default() -> Self {
        Self {
            init_container_image: "alpine:3.10".into(),
            init_container_max_tries: 100,
        }
    }
}

/// Phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Accepted and not yet running; also what a pod without phase is.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended with exit code 0.
    Succeeded,
    /// All containers ended, at least one of them badly, or the pod was evicted.
    Failed,
    /// The node cannot be asked.
    Unknown,
}

/// What decisions need to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PodFact {
    /// Name.
    pub name: String,
    /// UID: a deleted and recreated pod is another pod.
    pub uid: String,
    /// Phase.
    pub phase: Phase,
    /// Whether deletion has begun.
    pub terminating: bool,
    /// Container restarts in place, init containers included.
    pub restarts: i32,
    /// What it was built from, as [`crate::planner::build::template_hash`] has it; nothing for a pod that is not ours.
    pub template_hash: Option<u64>,
    /// Why the pod failed, if it did.
    pub failure: Option<Box<Failure>>,
}

impl PodFact {
    /// Whether the pod will never run again.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// A failure of the training. A failed pod that is being deleted is not one: whoever deletes it (an eviction, a drain, a
    /// scale-down) caused the end, and the replica is replaced as if it had vanished. Kubeflow counts it as failed, which under
    /// restartPolicy Never fails a job whose node is drained.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.phase == Phase::Failed && !self.terminating
    }

    /// Running and not on its way out.
    #[must_use]
    pub fn running(&self) -> bool {
        self.phase == Phase::Running && !self.terminating
    }
}

/// Why a pod failed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Failure {
    /// Exit code of the container pytorch; absent when it did not terminate, as in an eviction.
    pub exit_code: Option<i32>,
    /// Reason from the container, or from the pod.
    pub reason: Option<String>,
    /// Message from the container, or from the pod.
    pub message: Option<String>,
}

/// What decisions need to know of a service.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServiceFact {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether deletion has begun.
    pub terminating: bool,
}
