//! `runPolicy.gracefulStopSeconds`: how long pods have to end by themselves. Ours.
//!
//! All pods are asked at once, none is created before the last of them is gone, and one that exits with 0 then has not
//! succeeded; that is so without the policy too. It sets the grace period of the pods, and torchrun's for its
//! processes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus, PyTorchJob, Replica};
use crate::planner::child::Pod;
use crate::planner::plan::Event;
use crate::planner::status::conditions::{self, find, is_true};
use crate::planner::wanted::wants_pods;
use crate::planner::world::World;

/// Longer than this after their grace period pods were not asked at the time that is stored: somebody has changed
/// `cleanPodPolicy` since, for example. What takes long on a lost node has an event of its own.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// Pods that one event names.
const NAMED: usize = 5;

/// Tells how long the pods took, once all have ended that were asked to by a suspension, by the clean-up of a finished
/// job, or by a restart of the whole job in new pods.
#[must_use]
pub(crate) fn told(world: &World<'_>, status: &JobStatus) -> Option<Event> {
    let (grace, _) = world.job.spec.run_policy.stop_periods()?;
    let Time(asked) = asked(world, &world.status(), status)?;
    let took = within(asked, world.now, grace)?;
    Some(event(all_ended("All pods", took, grace)))
}

/// A pod that was asked to end, and is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its name.
    pub name: String,
    /// When it was asked.
    pub asked: Timestamp,
    /// When it was seen to be gone.
    pub gone: Timestamp,
    /// Whether we asked. Whoever else did may have given it another time.
    pub ours: bool,
}

/// Whether pods have yet to go that an elastic job with the policy has no more: how long they took is told when the
/// last is gone.
#[must_use]
pub fn scales_down(job: &PyTorchJob, pods: &[Pod]) -> bool {
    job.spec.run_policy.stop_periods().is_some() && pods.iter().any(|pod| is_surplus(job, &pod.name))
}

/// Tells how long pods took that nothing stored tells of, because others of the job go on: those of a scale-down, and
/// those that somebody else took away. Not a decision: they are known to the replica that saw them go.
#[must_use]
pub fn stops(job: &PyTorchJob, stopped: &[Stopped]) -> Vec<Event> {
    if !wants_pods(job) || job.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let Some((grace, _)) = job.spec.run_policy.stop_periods() else {
        return Vec::new();
    };
    let (ours, taken): (Vec<_>, Vec<_>) = stopped.iter().partition(|pod| pod.ours);
    let surplus: Vec<_> = ours.into_iter().filter(|pod| is_surplus(job, &pod.name)).collect();
    let of_scale_down = took(&surplus, grace);
    let of_scale_down = of_scale_down.map(|took| event(all_ended("All pods of the scale-down", took, grace)));
    let of_others = took(&taken, grace).map(|took| event(named(&taken, took)));
    of_scale_down.into_iter().chain(of_others).collect()
}

/// Seconds from the first request to the last end.
fn took(pods: &[&Stopped], grace: i32) -> Option<i64> {
    let asked = pods.iter().map(|pod| pod.asked).min()?;
    let gone = pods.iter().map(|pod| pod.gone).max()?;
    within(asked, gone, grace)
}

/// The same of two times, unless it took so long that it was something else.
fn within(asked: Timestamp, gone: Timestamp, grace: i32) -> Option<i64> {
    let took = gone.duration_since(asked);
    let longest = SignedDuration::from_secs(grace.into()).saturating_add(LATE);
    (took <= longest).then(|| took.as_secs())
}

/// Says it of pods that somebody else took away, by name.
fn named(pods: &[&Stopped], took: i64) -> String {
    let names: Vec<_> = pods.iter().take(NAMED).map(|pod| pod.name.as_str()).collect();
    let names = names.join(", ");
    match pods.len() {
        1 => format!("Pod {names} has ended {took} s after it was asked to."),
        ..=NAMED => format!("Pods {names} have ended {took} s after they were asked to."),
        all => format!(
            "Pods {names} and {} more have ended {took} s after they were asked to.",
            all - NAMED
        ),
    }
}

fn is_surplus(job: &PyTorchJob, pod: &str) -> bool {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    Replica::parse(name, pod).is_some_and(|replica| replica.index >= job.spec.replicas(replica.type_))
}

/// Says it of pods that all had the time of the job.
fn all_ended(who: &str, took: i64, grace: i32) -> String {
    format!("{who} have ended {took} s after they were asked to; they had {grace} s.")
}

fn event(message: String) -> Event {
    Event {
        warning: false,
        reason: reason::STOPPED_PODS,
        message,
    }
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
