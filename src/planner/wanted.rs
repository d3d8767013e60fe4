//! Which jobs are to have pods.

use crate::api::{PyTorchJob, names};
use crate::planner::status::conditions::finished;

/// Whether the job is to have pods, and of this operator: it has not finished, and is neither suspended nor another
/// controller's.
#[must_use]
pub fn wants_pods(job: &PyTorchJob) -> bool {
    !(job.status.as_ref().is_some_and(finished) || job.spec.suspended() || managed_elsewhere(job))
}

/// Whether another controller runs the job. Any other value is none of our business either: such a job is never
/// touched.
#[must_use]
pub fn managed_elsewhere(job: &PyTorchJob) -> bool {
    job.spec
        .run_policy
        .managed_by
        .as_deref()
        .is_some_and(|manager| manager != names::MANAGED_BY_SELF)
}
