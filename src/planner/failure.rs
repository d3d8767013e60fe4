//! How a pod or a container failed.

use k8s_openapi::jiff::Timestamp;

use crate::api::FailureClass;

/// Why a pod failed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Failure {
    /// Exit code of the container pytorch, by which restartPolicy ExitCode decides; absent when it did not terminate,
    /// as in an eviction.
    pub exit_code: Option<i32>,
    /// The container that failed: pytorch if it did, or else the first one, init containers first. None failed in an
    /// eviction.
    pub container: Option<FailedContainer>,
    /// Reason from that container, or from the pod.
    pub reason: Option<String>,
    /// Message from that container, or from the pod.
    pub message: Option<String>,
    /// What it was, in one word.
    pub class: FailureClass,
    /// The words of the message that say so.
    pub excerpt: Option<String>,
    /// The conditions of the pod with their status, but for a disruption.
    pub conditions: Vec<(String, String)>,
    /// When that container was started.
    pub started_at: Option<Timestamp>,
    /// The node that it ran on.
    pub node: Option<String>,
}

/// A container that ended with an exit code other than 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedContainer {
    /// Its name.
    pub name: String,
    /// The code.
    pub exit_code: i32,
}

/// How a container failed that has been started again since, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierFailure {
    /// How.
    pub failure: Failure,
    /// When it ended.
    pub finished_at: Timestamp,
}
