//! `runPolicy.gracefulStopSeconds`: how long pods have to end by themselves. Ours.
//!
//! All pods are asked at once, none is created before the last of them is gone, and one that exits with 0 then has not
//! succeeded; that is so without the policy too. It sets the grace period of the pods, and torchrun's for its
//! processes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus};
use crate::planner::plan::Event;
use crate::planner::status::conditions::{find, is_true};
use crate::planner::world::World;

/// Tells how long the pods took, once all are gone that were asked to stop by a suspension or by a restart of the whole
/// job.
#[must_use]
pub(crate) fn told(world: &World<'_>, status: &JobStatus) -> Option<Event> {
    let (grace, _) = world.job.spec.run_policy.stop_periods()?;
    let gone = world.pods.iter().all(|pod| world.replica_of(&pod.name).is_none());
    let Time(asked) = asked(&world.status(), status).filter(|_| gone)?;
    let took = world.now.duration_since(asked).as_secs();
    Some(Event {
        warning: false,
        reason: reason::STOPPED_PODS,
        message: format!("All pods have ended {took} s after they were asked to; they had {grace} s."),
    })
}

/// When the pods were asked that the stored status counts, and the new one does no more.
fn asked(stored: &JobStatus, new: &JobStatus) -> Option<Time> {
    if is_true(stored, ConditionType::Suspended) {
        let active = |status: &JobStatus| status.replica_statuses.values().any(|counts| counts.active.is_some());
        let suspended = find(stored, ConditionType::Suspended)?;
        return suspended
            .last_transition_time
            .clone()
            .filter(|_| active(stored) && !active(new));
    }
    let begins = stored.attempt() != new.attempt();
    let last = stored.attempts.last().filter(|_| begins)?;
    last.ended.clone()
}
