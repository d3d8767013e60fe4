//! What a job owns, reduced to what decisions need.

use crate::api::ChildKind;

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
pub struct Pod {
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

impl Pod {
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

    /// Running and not terminating.
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

/// What decisions need to know of any other object: that it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// What it is.
    pub kind: ChildKind,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether deletion has begun.
    pub terminating: bool,
}
