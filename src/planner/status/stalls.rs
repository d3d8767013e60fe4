//! Which replicas run and make no progress, of a job with `runPolicy.progressPolicy`.
//!
//! The kubelet looks at what a replica writes, by the readiness probe that [`crate::planner::build`] gives it, and
//! calls the pod unready when nothing was written within the deadline, or nothing at all yet. So the pods tell, without
//! an agent in the image and without their logs.
//!
//! A kubelet that starts again calls the containers that it finds unready until its next look: before 1.35 all of them
//! (gate `ChangeContainerStatusOnKubeletRestart`), since then those of pods that are not ready. So a pod is believed
//! when it is still unready after a whole round of the probe, in which one that writes is found ready again.
//!
//! Ranks that wait for one that is being replaced write nothing either, and a file of an earlier attempt tells nothing
//! of this one. So nothing is a stall until `startupSeconds` after the job runs and the last of its replicas was
//! started, nor while one does not run.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{ConditionType, ProgressPolicy, Replica, StallAction};
use crate::planner::child::{Pod, Progress};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::status::conditions::{find, is_stalled, is_true};
use crate::planner::world::World;

/// Most pods that a message names.
const NAMED: usize = 4;

/// A replica that runs and stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stall<'a> {
    /// Which one.
    pub replica: Replica,
    /// Its pod.
    pub pod: &'a Pod,
    since: Timestamp,
    /// Whether it has not written anything since it was started.
    never_wrote: bool,
}

/// The replicas that stand still, the one that stopped first in front; none while none may be called so.
#[must_use]
pub(crate) fn stalls<'a>(world: &World<'a>) -> Vec<Stall<'a>> {
    let due = due(world).filter(|(_, due)| *due <= world.now);
    let mut stalls: Vec<Stall<'_>> = due.map(|(stall, _)| stall).collect();
    stalls.sort_by_key(|stall| (stall.since, stall.replica));
    stalls
}

/// When a replica that stands still will be called stalled, if it goes on like that and this would be news.
#[must_use]
pub(crate) fn next(world: &World<'_>) -> Option<Duration> {
    let warns = policy(world)?.action() == Some(StallAction::Warn);
    if warns && is_stalled(world.job.status.as_ref()?) {
        return None;
    }
    let left = due(world).filter_map(|(_, due)| Duration::try_from(due.duration_since(world.now)).ok());
    left.filter(|left| !left.is_zero()).min()
}

/// The replicas that stand still, and from when on each may be called stalled; none while none may be called so.
fn due<'a>(world: &World<'a>) -> impl Iterator<Item = (Stall<'a>, Timestamp)> {
    let counted = policy(world).and_then(|policy| Some((counted_from(world, policy)?, policy.round_seconds())));
    counted.into_iter().flat_map(|(begins, round)| {
        still(world).filter_map(move |stall| {
            let believed = stall.since.checked_add(SignedDuration::from_secs(round)).ok()?;
            Some((stall, believed.max(begins)))
        })
    })
}

/// Whether all replicas run, and none stands still.
#[must_use]
pub(crate) fn all_write(world: &World<'_>) -> bool {
    !waits_for_replicas(world) && still(world).next().is_none()
}

/// The message of the condition Stalled.
#[must_use]
pub(crate) fn message(world: &World<'_>, stalls: &[Stall<'_>]) -> Option<String> {
    let first = stalls.first()?;
    let others: Vec<&str> = stalls.iter().skip(1).map(|other| other.pod.name.as_str()).collect();
    let more = match others.len() {
        0 => String::new(),
        count if count < NAMED => format!(" After it: {}.", others.join(", ")),
        count => {
            let named = others[..NAMED - 1].join(", ");
            format!(" After it: {named} and {} more.", count + 1 - NAMED)
        }
    };
    Some(format!("{}{more}", cause(world, first)))
}

/// How this pod stands still, if it does.
#[must_use]
pub(crate) fn cause_of(world: &World<'_>, pod: &Pod) -> Option<String> {
    let stalls = stalls(world);
    let stall = stalls.iter().find(|stall| stall.pod.uid == pod.uid)?;
    Some(cause(world, stall))
}

fn cause(world: &World<'_>, stall: &Stall<'_>) -> String {
    let Some(policy) = policy(world) else {
        return String::new();
    };
    let (name, file, seconds) = (&stall.pod.name, &policy.file, policy.deadline_seconds);
    if stall.never_wrote {
        format!("{name} runs and has not begun to write to {file}.")
    } else {
        format!("{name} runs and has written nothing to {file} for more than {seconds} s.")
    }
}

/// The policy, if it can be carried out.
#[must_use]
pub(crate) fn policy<'a>(world: &World<'a>) -> Option<&'a ProgressPolicy> {
    let policy = world.job.spec.run_policy.progress_policy.as_ref()?;
    (policy.is_usable() && policy.action().is_some()).then_some(policy)
}

/// From when on a replica that stands still is stalled: nothing while the job is not seen to run with all it needs.
fn counted_from(world: &World<'_>, policy: &ProgressPolicy) -> Option<Timestamp> {
    let status = world.job.status.as_ref()?;
    if world.job.spec.suspended() || !is_true(status, ConditionType::Running) || waits_for_replicas(world) {
        return None;
    }
    let seen = find(status, ConditionType::Running)?.last_transition_time.clone()?;
    let started = progress(world).map(|(.., progress)| progress.started);
    let last = started.chain([seen.0]).max()?;
    last.checked_add(SignedDuration::from_secs(policy.startup_seconds()))
        .ok()
}

/// Whether a replica is missing, has failed, or does not run yet. Elastic training goes on with those that are there.
fn waits_for_replicas(world: &World<'_>) -> bool {
    if world.job.spec.elastic_policy.is_some() {
        return false;
    }
    let completed = CompletedIndexes::of(world, &world.status());
    let works = |pod: &Pod| pod.running() || pod.succeeded();
    let (mut there, mut all) = (0, true);
    for (_, pod) in world
        .desired_pods()
        .filter(|(replica, _)| !completed.contains(*replica))
    {
        there += 1;
        all &= works(pod);
    }
    !all || there + completed.count() < world.job.spec.total_replicas() as usize
}

fn still<'a>(world: &World<'a>) -> impl Iterator<Item = Stall<'a>> {
    progress(world).filter_map(|(replica, pod, progress)| {
        let since = progress.still_since?;
        Some(Stall {
            replica,
            pod,
            since,
            never_wrote: since <= progress.started,
        })
    })
}

/// The replicas that run and of which the kubelet tells whether they write.
fn progress<'a>(world: &World<'a>) -> impl Iterator<Item = (Replica, &'a Pod, &'a Progress)> {
    let running = world.desired_pods().filter(|(_, pod)| pod.running());
    running.filter_map(|(replica, pod)| Some((replica, pod, pod.progress.as_deref()?)))
}
