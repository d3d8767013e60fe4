//! `runPolicy.startupDeadlineSeconds` and `startupDeadlineAction`: by when all pods run, and what happens otherwise.
//! Ours.
//!
//! The time counts from the creation of pods, which is stored in `status.startingSince`, and is over when all run that
//! the training needs. Pods that a gang scheduler holds back hold no resources, so their time does not count. Nor does
//! that of pods that end, which may be saving a checkpoint: what replaces them has all the time.
//!
//! A job that gives up is suspended by its condition alone. The spec stays as it is: it belongs to the user, to what
//! applies a manifest again and again, and to queue managers, which start a job again that they have not suspended. The
//! condition has a reason of its own, and holds until the next edit of the spec, by which somebody says that something
//! has changed.

use std::time::Duration;

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus, Replica, ReplicaType, StartupDeadlineAction};
use crate::planner::child::{Phase, Pod};
use crate::planner::policy::restart_policy::Failures;
use crate::planner::policy::{active_deadline_seconds, scheduling_policy};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::status::conditions::{TRUE, find, stored_time};
use crate::planner::status::transition::Transition;
use crate::planner::world::World;

/// What to do about a job whose pods did not run in time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Late<'a> {
    /// It fails: the message.
    Fail(String),
    /// It is suspended: the message.
    GiveUp(String),
    /// These pods are replaced, or all: the message.
    Restart(String, Failures<'a>),
}

/// What to do, once the time has passed. Nothing if there is no pod that could be started again, or if those that are
/// missing are yet to end.
#[must_use]
pub(crate) fn late<'a>(world: &World<'a>, status: &JobStatus, completed: &CompletedIndexes) -> Option<Late<'a>> {
    let awaited = |replica: Replica| {
        let pod = world.pod(&replica.name(world.name()));
        !completed.contains(replica) && pod.is_none_or(is_to_run)
    };
    let in_time = remaining(world, status)? != Duration::ZERO || all_run(world, completed);
    if in_time || !world.desired().any(awaited) {
        return None;
    }
    let policy = &world.job.spec.run_policy;
    let seconds = policy.startup_deadline_seconds?;
    let (name, why) = (world.name(), why(world, completed));
    Some(match policy.startup_deadline_action() {
        StartupDeadlineAction::Fail => Late::Fail(format!(
            "Job {name} has failed because not all of its pods ran within startupDeadlineSeconds ({seconds} s): {why}"
        )),
        StartupDeadlineAction::Suspend => Late::GiveUp(format!(
            "PyTorchJob {name} is suspended until its spec is edited, because not all of its pods ran within \
             startupDeadlineSeconds ({seconds} s): {why}"
        )),
        StartupDeadlineAction::Restart => Late::Restart(
            format!(
                "PyTorchJob {name} is restarting because not all of its pods ran within startupDeadlineSeconds \
                 ({seconds} s): {why}"
            ),
            to_replace(world)?,
        ),
    })
}

/// What remains of the time.
#[must_use]
pub(crate) fn remaining(world: &World<'_>, status: &JobStatus) -> Option<Duration> {
    let seconds = world.job.spec.run_policy.startup_deadline_seconds?;
    active_deadline_seconds::remaining(status.starting_since.as_ref()?, seconds.into(), world.now)
}

/// Begins the time when pods are about to be created, which `creates` says, or when the policy is seen for the first
/// time, and ends it when all run, or will once others have ended and are created again.
pub(crate) fn track(world: &World<'_>, status: &mut JobStatus, completed: &CompletedIndexes, creates: bool) {
    let seconds = world.job.spec.run_policy.startup_deadline_seconds;
    // A number that the definition refuses counts as unset.
    let has_policy = seconds.is_some_and(|seconds| seconds > 0);
    let ending = world.restarts_as_a_whole() && !status.replaced_pods.is_empty();
    let awaited = |(replica, pod): (Replica, &Pod)| is_to_run(pod) && !completed.contains(replica);
    let waits = || creates || world.desired_pods().any(awaited);
    if !has_policy || ending || !waits() || all_run(world, completed) {
        status.starting_since = None;
    } else {
        status.starting_since.get_or_insert_with(|| stored_time(world.now));
    }
}

/// The time is over when the job has no pods any more.
pub(crate) fn turn(status: &mut JobStatus, transition: Transition) {
    if transition.ends_attempt() && transition != Transition::Restarting {
        status.starting_since = None;
    }
}

/// Whether the job has given up, and its spec has not been edited since.
#[must_use]
pub(crate) fn holds(world: &World<'_>, stored: &JobStatus) -> bool {
    let generation = world.job.metadata.generation;
    let edited = stored.observed_generation.is_some() && stored.observed_generation != generation;
    !world.job.spec.suspended() && !edited && gave_up(stored)
}

/// Whether the job is suspended because it gave up.
#[must_use]
pub(crate) fn gave_up(status: &JobStatus) -> bool {
    find(status, ConditionType::Suspended)
        .is_some_and(|entry| entry.status == TRUE && entry.reason.as_deref() == Some(reason::STARTUP_DEADLINE))
}

/// Whether all pods run, or have run, that the training needs.
fn all_run(world: &World<'_>, completed: &CompletedIndexes) -> bool {
    let run = |role| {
        let of_role = world.desired_pods().filter(|(replica, _)| replica.type_ == role);
        let counted = of_role.filter(|(replica, pod)| has_run(pod) && !completed.contains(*replica));
        counted.count() + completed.of_type(role)
    };
    let needed = |role| world.job.spec.fewest_replicas(role) as usize;
    ReplicaType::ALL.into_iter().all(|role| run(role) >= needed(role))
}

fn is_missing(world: &World<'_>, completed: &CompletedIndexes, replica: Replica) -> bool {
    let pod = world.pod(&replica.name(world.name()));
    !completed.contains(replica) && !pod.is_some_and(has_run)
}

fn has_run(pod: &Pod) -> bool {
    pod.running() || pod.succeeded()
}

fn is_to_run(pod: &Pod) -> bool {
    !pod.terminating && !has_run(pod)
}

/// The pods to replace: those that do not run, or one of the others when all start again.
fn to_replace<'a>(world: &World<'a>) -> Option<Failures<'a>> {
    let mut pods: Vec<(Replica, &'a Pod)> = world.desired_pods().filter(|(_, pod)| !pod.terminating).collect();
    pods.sort_by_key(|(replica, _)| *replica);
    let waits = |pod: &Pod| matches!(pod.phase, Phase::Pending | Phase::Unknown);
    let waiting: Vec<_> = pods.iter().filter(|(_, pod)| waits(pod)).copied().collect();
    let replaced = if waiting.is_empty() && world.restarts_as_a_whole() {
        pods.into_iter().take(1).collect()
    } else {
        waiting
    };
    let replace: Vec<_> = replaced
        .into_iter()
        .map(|(replica, pod)| (replica.type_, pod))
        .collect();
    (!replace.is_empty()).then(|| Failures {
        replace,
        ..Failures::default()
    })
}

/// Why the first of the pods that are missing does not run, and how many others there are.
fn why(world: &World<'_>, completed: &CompletedIndexes) -> String {
    let missing: Vec<Replica> = world
        .desired()
        .filter(|replica| is_missing(world, completed, *replica))
        .collect();
    let told = missing.iter().find(|replica| trouble(world, **replica).is_some());
    let Some(first) = told.or_else(|| missing.first()) else {
        return String::new();
    };
    let others = match missing.len() - 1 {
        0 => String::new(),
        1 => " Another pod does not run either.".to_owned(),
        others => format!(" {others} other pods do not run either."),
    };
    let why = trouble(world, *first).unwrap_or_else(|| state(world, *first));
    format!(
        "pod {}: {}.{others}",
        first.name(world.name()),
        why.trim_end_matches('.')
    )
}

/// What the scheduler, the kubelet or the API server says of it.
fn trouble(world: &World<'_>, replica: Replica) -> Option<String> {
    let Some(pod) = world.pod(&replica.name(world.name())) else {
        return world.refusal.map(ToOwned::to_owned);
    };
    let own = pod.trouble.as_ref();
    let own = own.map(|trouble| format!("{}: {}", trouble.reason, trouble.message));
    own.or_else(|| scheduling_policy::unschedulable(world).map(ToOwned::to_owned))
}

fn state(world: &World<'_>, replica: Replica) -> String {
    let pod = world.pod(&replica.name(world.name()));
    let state = match pod {
        None => "it has not been created",
        Some(pod) if pod.terminating => "it is still terminating",
        Some(pod) => match pod.phase {
            Phase::Failed => "it failed",
            Phase::Unknown => "its node does not answer",
            _ => "its containers have not started",
        },
    };
    state.to_owned()
}
