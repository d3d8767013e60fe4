//! `runPolicy.suspend`: the job has no pods and services while it is true.

use super::conditions::{clear, find, is_true, set, stored_time};
use super::decision::Note;
use super::world::World;
use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus};

/// Writes the conditions of a suspended job, in Kubeflow's order: `[Created, Running=False, Suspended]`. `startTime` stays.
pub fn suspend(world: &World<'_>, status: &mut JobStatus) -> Option<Note> {
    if is_true(status, ConditionType::Suspended) {
        return None;
    }
    let message = format!("PyTorchJob {} is suspended.", world.name());
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
