//! What is counted of the life of a job.

/// A step in the life of a job that is counted once, when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStep {
    /// The job was accepted: its `Created` condition was written. Kubeflow counts every job again after a restart.
    Created,
    /// The operator deleted the job because its TTL had passed.
    Deleted,
    /// The job succeeded.
    Successful,
    /// The job failed, for whatever reason. Kubeflow counts only the policy Never.
    Failed,
    /// A replica of the job was restarted.
    Restarted,
}
