//! `runPolicy.restartWindow`: how many restarts there may be in how long. Ours.
//!
//! The times of the restarts are stored together with their number, before a pod is deleted because of it, so neither a
//! crash of the operator nor its clock before one makes a difference.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{JobStatus, RestartScope, RestartWindow};
use crate::planner::status::conditions::stored_time;
use crate::planner::world::World;

/// Most times that are stored: more than a window can allow.
const MOST: usize = 101;

/// Stores the time of this restart, and forgets what the window does not look at any more. Times are kept for jobs that
/// have a window alone.
pub(crate) fn count(world: &World<'_>, status: &mut JobStatus) {
    let Some(window) = window(world) else {
        status.restart_times.clear();
        return;
    };
    status.restart_times.retain(|time| is_within(window, time, world.now));
    status.restart_times.push(stored_time(world.now));
    let surplus = status.restart_times.len().saturating_sub(MOST);
    status.restart_times.drain(..surplus);
}

/// The message of the Failed condition, if there were more restarts than the window allows.
#[must_use]
pub(crate) fn exceeded(world: &World<'_>, status: &JobStatus) -> Option<String> {
    let window = window(world)?;
    let recent = status.restart_times.iter();
    let restarts = recent.filter(|time| is_within(window, time, world.now)).count();
    let allowed = usize::try_from(window.restarts).unwrap_or(0);
    (restarts > allowed).then(|| {
        format!(
            "Job {} has failed because it would restart more often than restartWindow allows ({} in {} s): {restarts} times",
            world.name(),
            window.restarts,
            window.seconds
        )
    })
}

fn window(world: &World<'_>) -> Option<RestartWindow> {
    let window = world.job.spec.run_policy.restart_window?;
    (world.job.spec.restart_scope() == RestartScope::Job).then_some(window)
}

/// Whether a restart was less than the length of the window ago.
fn is_within(window: RestartWindow, Time(restart): &Time, now: Timestamp) -> bool {
    let over = restart.checked_add(SignedDuration::from_secs(window.seconds.into()));
    over.is_ok_and(|over| over > now)
}
