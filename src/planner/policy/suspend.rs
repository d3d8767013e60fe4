//! `runPolicy.suspend`: the job has no pods and services while it is true.

use crate::api::{ChildKind, ConditionType, JobStatus};
use crate::planner::build::template_hash;
use crate::planner::policy::startup_deadline_seconds;
use crate::planner::status::conditions::is_true;
use crate::planner::world::World;

/// Why the job is suspended.
#[must_use]
pub(crate) fn message(world: &World<'_>) -> String {
    if world.job.spec.suspended() {
        format!("PyTorchJob {} is suspended.", world.name())
    } else if !template_hash::any_outdated(world) {
        format!("PyTorchJob {} is suspended until its pods are gone.", world.name())
    } else {
        format!(
            "PyTorchJob {} is suspended until its pods are gone: they were built from templates that have changed.",
            world.name()
        )
    }
}

/// Whether the job has to have no pods although `runPolicy.suspend` does not say so.
#[must_use]
pub(crate) fn goes_on(world: &World<'_>, stored: &JobStatus) -> bool {
    startup_deadline_seconds::holds(world, stored) || unfinished(world, stored)
}

/// Whether the suspension is to be told: it is new, or it was the job's own and is the user's now.
#[must_use]
pub(crate) fn is_news(world: &World<'_>, stored: &JobStatus, status: &JobStatus) -> bool {
    let own = startup_deadline_seconds::gave_up(stored) && !startup_deadline_seconds::holds(world, stored);
    own || !is_true(status, ConditionType::Suspended)
}

/// Whether a suspension is yet to be carried out although the job is suspended no longer: it was resumed before all
/// that it owned had been asked to go, or nobody was there to see it and pods are left that were built from what stood
/// in the spec before.
#[must_use]
fn unfinished(world: &World<'_>, status: &JobStatus) -> bool {
    let left = || {
        let mut pods = world.pods.iter().map(|pod| pod.terminating);
        let mut services = world.others(ChildKind::Service).map(|service| service.terminating);
        pods.any(|going| !going) || services.any(|going| !going)
    };
    (is_true(status, ConditionType::Suspended) && left()) || template_hash::any_outdated(world)
}
