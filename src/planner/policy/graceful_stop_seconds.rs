//! `runPolicy.gracefulStopSeconds`: how long pods have to end by themselves. Ours.
//!
//! All pods are asked at once, none is created before the last of them is gone, and one that exits with 0 then has not
//! succeeded; that is so without the policy too. It sets the grace period of the pods, and torchrun's for its
//! processes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus};
use crate::planner::plan::Event;
use crate::planner::status::conditions::{self, find, is_true};
use crate::planner::world::World;

/// Longer than this after their grace period pods were not asked at the time that is stored: somebody has changed
/// `cleanPodPolicy` since, for example. What takes long on a lost node has an event of its own.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// Tells how long the pods took, once all have ended that were asked to by a suspension, by the clean-up of a finished
/// job, or by a restart of the whole job in new pods. When pods were asked that an elastic job has no more is not
/// stored, so nothing is told of them.
#[must_use]
pub(crate) fn told(world: &World<'_>, status: &JobStatus) -> Option<Event> {
    let (grace, _) = world.job.spec.run_policy.stop_periods()?;
    let Time(asked) = asked(world, &world.status(), status)?;
    let took = world.now.duration_since(asked);
    if took > SignedDuration::from_secs(grace.into()).saturating_add(LATE) {
        return None;
    }
    let took = took.as_secs();
    Some(Event {
        warning: false,
        reason: reason::STOPPED_PODS,
        message: format!("All pods have ended {took} s after they were asked to; they had {grace} s."),
    })
}

/// When the pods were asked that the stored status counts, and the new one does no more.
fn asked(world: &World<'_>, stored: &JobStatus, new: &JobStatus) -> Option<Time> {
    let ended = active(stored) && !active(new);
    if conditions::finished(stored) {
        return stored.completion_time.clone().filter(|_| ended);
    }
    if is_true(stored, ConditionType::Suspended) {
        let suspended = find(stored, ConditionType::Suspended).filter(|_| ended)?;
        return suspended.last_transition_time.clone();
    }
    let gone = world.pods.iter().all(|pod| world.replica_of(&pod.name).is_none());
    let begins = gone && stored.attempt() != new.attempt();
    let last = stored.attempts.last().filter(|_| begins)?;
    // A suspension has told of them.
    let suspended =
        find(stored, ConditionType::Suspended).and_then(|condition| condition.last_transition_time.as_ref());
    last.ended
        .clone()
        .filter(|ended| suspended.is_none_or(|suspended| suspended < ended))
}

fn active(status: &JobStatus) -> bool {
    let mut counts = status.replica_statuses.values();
    counts.any(|counts| counts.active.is_some())
}
