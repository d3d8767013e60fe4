//! `runPolicy.suspend`: the job has no pods and services while it is true.

use crate::api::names::reason;
use crate::api::{ChildKind, ConditionType, JobStatus};
use crate::planner::build::template_hash;
use crate::planner::plan::Note;
use crate::planner::status::conditions::{clear, find, is_true, set, stored_time};
use crate::planner::world::World;

/// Writes the conditions of a suspended job, in Kubeflow's order: `[Created, Running=False, Suspended]`. `startTime` stays.
pub fn suspend(world: &World<'_>, status: &mut JobStatus) -> Option<Note> {
    if is_true(status, ConditionType::Suspended) {
        return None;
    }
    let message = if world.job.spec.suspended() {
        format!("PyTorchJob {} is suspended.", world.name())
    } else {
        format!(
            "PyTorchJob {} is suspended until its pods are gone: they were built from templates that have changed.",
            world.name()
        )
    };
    for condition in [ConditionType::Running, ConditionType::Restarting] {
        if find(status, condition).is_some() {
            clear(status, condition, reason::SUSPENDED, message.clone(), world.now);
        }
    }
    set(
        status,
        ConditionType::Suspended,
        reason::SUSPENDED,
        message.clone(),
        world.now,
    );
    Some(Note {
        warning: false,
        reason: reason::SUSPENDED,
        message,
    })
}

/// Whether a suspension is yet to be carried out although the job is suspended no longer: it was resumed before all that it owned had
/// been asked to go, or nobody was there to see it and pods are left that were built from what stood in the spec before.
#[must_use]
pub fn unfinished(world: &World<'_>, status: &JobStatus) -> bool {
    let left = || {
        let mut pods = world.pods.iter().map(|pod| pod.terminating);
        let mut services = world.others(ChildKind::Service).map(|service| service.terminating);
        pods.any(|going| !going) || services.any(|going| !going)
    };
    (is_true(status, ConditionType::Suspended) && left()) || template_hash::any_outdated(world)
}

/// Ends a suspension, if there is one: `startTime` begins anew, and with it the deadline.
pub fn resume(world: &World<'_>, status: &mut JobStatus) -> Option<Note> {
    if !is_true(status, ConditionType::Suspended) {
        return None;
    }
    let message = format!("PyTorchJob {} is resumed.", world.name());
    clear(
        status,
        ConditionType::Suspended,
        reason::RESUMED,
        message.clone(),
        world.now,
    );
    status.start_time = Some(stored_time(world.now));
    Some(Note {
        warning: false,
        reason: reason::RESUMED,
        message,
    })
}
