//! `runPolicy.progressPolicy`: what becomes of replicas that run and make no progress. Ours.
//!
//! A stall is told by the condition Stalled, which is True from when a replica is found to stand still until all run
//! and write again, or the job is suspended or has ended. It is never the last condition, which clients take for the
//! state of the job. What is restarted or fails because of it takes the path of a failure.

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus, StallAction};
use crate::planner::plan::{Event, Plan};
use crate::planner::status::conditions::{is_stalled, is_true, set_stalled};
use crate::planner::status::stalls::{self, Stall};
use crate::planner::world::World;

/// The replicas whose stall restarts something or fails the job, and which of the two.
#[must_use]
pub(crate) fn failures<'a>(world: &World<'a>) -> Option<(StallAction, Vec<Stall<'a>>)> {
    let action = stalls::policy(world)?
        .action()
        .filter(|action| *action != StallAction::Warn)?;
    let stalls = stalls::stalls(world);
    (!stalls.is_empty()).then_some((action, stalls))
}

/// The message of the Failed condition.
#[must_use]
pub(crate) fn fatal(world: &World<'_>, stalls: &[Stall<'_>]) -> Option<String> {
    let message = stalls::message(world, stalls)?;
    Some(format!(
        "PyTorchJob {} is failed because progressPolicy says Fail. {message}",
        world.name()
    ))
}

/// Tells that replicas stand still, unless that is told already.
pub(crate) fn begin(world: &World<'_>, status: &mut JobStatus, plan: &mut Plan) {
    let message = stalls::message(world, &stalls::stalls(world)).filter(|_| !is_stalled(status));
    let Some(message) = message else { return };
    set_stalled(status, true, reason::STALLED, message.clone(), world.now);
    plan.events.push(Event {
        warning: true,
        reason: reason::STALLED,
        message,
    });
}

/// Tells that the job makes progress again, if it was told that it does not.
pub(crate) fn end(world: &World<'_>, status: &mut JobStatus, plan: &mut Plan) {
    let over = || is_true(status, ConditionType::Running) && stalls::all_write(world);
    if !is_stalled(status) || !over() {
        return;
    }
    let message = format!("PyTorchJob {} makes progress again.", world.name());
    set_stalled(status, false, reason::PROGRESSING, message.clone(), world.now);
    plan.events.push(Event {
        warning: false,
        reason: reason::PROGRESSING,
        message,
    });
}
