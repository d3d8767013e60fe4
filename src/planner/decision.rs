//! What becomes of a job that has not finished.

use std::time::Duration;

use crate::api::{ConditionType, JobStatus};
use crate::planner::policy::restart_policy::{self, Failures};
use crate::planner::policy::startup_deadline_seconds::{self, Late};
use crate::planner::policy::{active_deadline_seconds, backoff_limit, success};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::status::conditions::is_true;
use crate::planner::world::World;

/// What becomes of the job.
pub(super) enum Decision<'a> {
    /// It cannot run as it is stored: why.
    Refuse(String),
    /// It has to have no pods.
    Suspend,
    /// It is done: the message.
    Succeed(String),
    /// It has failed: the message.
    Fail(String),
    /// It has run for as long as it may.
    Expire,
    /// Its pods did not run in time, and it has none from now on: the message.
    GiveUp(String),
    /// These replicas have failed, or did not run in time, and are replaced once that is stored: the message.
    Restart(String, Failures<'a>),
    /// It goes on: pods are created, and deleted, as the spec says.
    Work,
}

/// What becomes of a job that may run. `status` has its start.
#[must_use]
pub(super) fn decide<'a>(
    world: &World<'a>,
    status: &JobStatus,
    completed: &CompletedIndexes,
    failures: Failures<'a>,
) -> Decision<'a> {
    if let Some(message) = success::succeeded(world, completed) {
        Decision::Succeed(message)
    } else if let Some(message) = failures.fatal.clone() {
        Decision::Fail(message)
    } else if let Some(message) = out_of_restarts(world, status, &failures) {
        Decision::Fail(message)
    } else if deadline(world, status) == Some(Duration::ZERO) {
        Decision::Expire
    } else if let Some(message) = restart_policy::message(world, &failures) {
        Decision::Restart(message, failures)
    } else {
        match startup_deadline_seconds::late(world, status, completed) {
            Some(Late::Fail(message)) => Decision::Fail(message),
            Some(Late::GiveUp(message)) => Decision::GiveUp(message),
            Some(Late::Restart(message, late)) => {
                let out_of_restarts = out_of_restarts(world, status, &late).map(Decision::Fail);
                out_of_restarts.unwrap_or(Decision::Restart(message, late))
            }
            None => Decision::Work,
        }
    }
}

/// What the end of its pods decided about a job before it was suspended, and those that failed. Nobody was there to see
/// it, and the job must not train again.
#[must_use]
pub(super) fn ended_before_suspension<'a>(
    world: &World<'a>,
    stored: &JobStatus,
    completed: &CompletedIndexes,
) -> Option<(Decision<'a>, Failures<'a>)> {
    if is_true(stored, ConditionType::Suspended) {
        return None;
    }
    let failures = restart_policy::failures(world, stored);
    let succeeded = success::succeeded(world, completed).map(Decision::Succeed);
    let failed = || failures.fatal.clone().map(Decision::Fail);
    Some((succeeded.or_else(failed)?, failures))
}

/// What remains until `activeDeadlineSeconds` have passed.
#[must_use]
pub(super) fn deadline(world: &World<'_>, status: &JobStatus) -> Option<Duration> {
    let seconds = world.job.spec.active_deadline_seconds()?;
    active_deadline_seconds::remaining(status.start_time.as_ref()?, seconds, world.now)
}

/// How long ago the job had run, or waited, for so many seconds.
#[must_use]
pub(super) fn overdue(world: &World<'_>, status: &JobStatus, seconds: i64) -> Option<Duration> {
    active_deadline_seconds::overdue(status.start_time.as_ref()?, seconds, world.now)
}

fn out_of_restarts(world: &World<'_>, status: &JobStatus, failures: &Failures<'_>) -> Option<String> {
    let spec = &world.job.spec;
    if spec.backoff_limit().is_none() && spec.run_policy.restart_window.is_none() {
        return None;
    }
    let mut status = status.clone();
    restart_policy::count(world, &mut status, failures);
    backoff_limit::message(world, &status)
}
