//! `runPolicy.restartStrategy: InPlace`: all replicas start again in the pods that are there. Ours.
//!
//! The restart is counted and the next attempt begins in one write of the status; pods whose annotation has an earlier
//! number are then asked to start again, all at once, Master before Worker. Each is asked in two writes: the number of
//! the attempt with what it is asked for, and the step that asks for it. So whatever is stored says what is left to do.
//!
//! Until all run again, failures are those of the restart and count no more: a rank that starts early may meet one that
//! is about to end, and may fail of that a little later. The kubelet starts what fails again, but waits before it does,
//! so such a rank is asked once more when all others have ended. How often the kubelet did is written into the
//! annotation. What does not start in time, and what cannot, is created again.

use std::cell::LazyCell;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{Attempt, ChildKind, ChildRef, Replica, Standing};
use crate::planner::child::{Phase, Pod};
use crate::planner::in_place::{Asked, Doing, InPlace, Mark, Restart};
use crate::planner::plan::Action;
use crate::planner::policy::node_exclusion;
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::world::World;

/// How long pods may take to start again after their grace period.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// How long a container that has failed is waited for: until then a kubelet has started it, or backs off.
const STARTS: SignedDuration = SignedDuration::from_secs(2);

/// How soon after all run again a rank fails of one of the attempt before that it has met.
const SETTLES: SignedDuration = SignedDuration::from_mins(1);

/// What becomes of a pod.
enum Step {
    Leave,
    Ask(Restart),
    /// It is created again: why.
    Recreate(String),
}

/// Whether a restart in place goes on.
#[must_use]
pub(crate) fn under_way(world: &World<'_>) -> bool {
    let Some(attempt) = restarted(world) else { return false };
    let left = world.desired_pods().any(|(_, pod)| world.is_of_earlier_attempt(pod));
    let completed = CompletedIndexes::of(world, &world.status());
    let pod = |replica: Replica| world.pod(&replica.name(world.name()));
    let runs = |replica| completed.contains(replica) || pod(replica).is_some_and(|pod| runs(world, pod));
    (left || world.now < late_at(world, attempt)) && !world.desired().all(runs)
}

/// Whether the container has failed of the restart itself, and so is no failure of the attempt: it was there when all
/// came to run again, and it failed soon after of what happened to another. A rank that starts early joins those that
/// use their grace period, and loses them.
#[must_use]
pub(crate) fn has_caused(world: &World<'_>, pod: &Pod) -> bool {
    let running_since = newest(world).and_then(|newest| newest.running_since.as_ref());
    let (Some(Time(since)), Some(failure), Some(finished)) = (running_since, &pod.failure, pod.finished_at) else {
        return false;
    };
    let asked = pod.in_place.as_ref().is_some_and(|training| training.was_asked());
    let early = failure.started_at.is_some_and(|started| started <= *since);
    let soon = since.checked_add(SETTLES).is_ok_and(|settled| finished <= settled);
    asked && early && soon && failure.class.standing() != Standing::Cause
}

/// What asks the pods of an earlier attempt to start again, and deletes those that cannot.
#[must_use]
pub(crate) fn actions(world: &World<'_>) -> Vec<Action> {
    let action = |(replica, pod, step): (Replica, &Pod, Step)| {
        let (child, uid) = (ChildRef::of_replica(ChildKind::Pod, replica), pod.uid.clone());
        match step {
            Step::Leave => None,
            Step::Recreate(why) => Some(Action::Recreate { child, uid, why }),
            Step::Ask(restart) => Some(Action::RestartInPlace { child, uid, restart }),
        }
    };
    steps(world).into_iter().filter_map(action).collect()
}

/// When there is more to do: pods that have not started again are late, or one is to be asked once more.
#[must_use]
pub(crate) fn next(world: &World<'_>) -> Option<Duration> {
    let late = restarted(world)
        .filter(|_| under_way(world))
        .map(|attempt| late_at(world, attempt));
    let failed = world.desired_pods().filter_map(|(_, pod)| failed_of_another(pod));
    let once_more = failed.map(|(_, failed_for_sure)| failed_for_sure);
    let times = late.into_iter().chain(once_more);
    let left = times.filter_map(|time| Duration::try_from(time.duration_since(world.now)).ok());
    left.filter(|left| !left.is_zero()).min()
}

/// The newest attempt, if pods of earlier ones go on in it and it has not been seen to run yet. After a restore of etcd
/// pods may have been asked for an attempt that has never been; they are seen to as those of one that is late.
fn restarted<'a>(world: &World<'a>) -> Option<&'a Attempt> {
    let newest = newest(world)?;
    let is = |pod: &Pod, such: fn(&InPlace) -> bool| pod.in_place.as_deref().is_some_and(such);
    let goes_on = |pod: &Pod| match newest.running_since {
        None => world.is_of_earlier_attempt(pod) || is(pod, InPlace::was_asked),
        Some(_) => is(pod, InPlace::is_to_restart),
    };
    (newest.ended.is_none() && world.desired_pods().any(|(_, pod)| goes_on(pod))).then_some(newest)
}

fn newest<'a>(world: &World<'a>) -> Option<&'a Attempt> {
    let attempts = world.job.status.as_ref().map(|status| &status.attempts);
    attempts?.last().filter(|_| world.job.spec.restarts_in_place())
}

fn late_at(world: &World<'_>, attempt: &Attempt) -> Timestamp {
    let grace = world
        .desired_pods()
        .filter_map(|(_, pod)| Some(pod.in_place.as_ref()?.grace));
    let grace = SignedDuration::from_secs(grace.max().unwrap_or(0));
    let started = attempt.started.as_ref().map_or(world.now, |Time(started)| *started);
    started
        .checked_add(PATIENCE.saturating_add(grace))
        .unwrap_or(Timestamp::MAX)
}

/// Whether the pod runs in the newest attempt, and every end of its container so far is accounted for.
fn runs(world: &World<'_>, pod: &Pod) -> bool {
    let in_place = pod.in_place.as_ref();
    let accounted = in_place.is_none_or(|training| training.runs() && training.ends == training.expected());
    pod.running() && accounted && !world.is_of_earlier_attempt(pod)
}

/// What becomes of each pod that is not on its way out, in the order of the replicas.
fn steps<'a>(world: &World<'a>) -> Vec<(Replica, &'a Pod, Step)> {
    let Some(newest) = newest(world) else { return Vec::new() };
    let restart = restarted(world).map(|attempt| (under_way(world), world.now >= late_at(world, attempt)));
    let under_way = restart.is_some_and(|(under_way, _)| under_way);
    let all_ended = LazyCell::new(|| all_have_ended(world));
    let once_more = |pod: &'a Pod| {
        let (training, failed_for_sure) = failed_of_another(pod)?;
        let of_restart = under_way || has_caused(world, pod);
        (of_restart && world.now >= failed_for_sure && *all_ended).then_some(training)
    };
    // What the status has counted is replaced, as it is without this strategy.
    let counted = world.counted();
    let pods = world
        .desired_pods()
        .filter(|(_, pod)| !pod.terminating && !counted.contains(pod));
    let mut steps: Vec<_> = pods
        .map(|(replica, pod)| {
            let step = match (restart, once_more(pod)) {
                _ if world.is_of_earlier_attempt(pod) => begin(world, pod, newest.number),
                (_, Some(training)) => ask(training, newest.number, true),
                (Some((under_way, late)), None) => go_on(pod, newest.number, under_way, late),
                (None, None) => finish_asking(pod, newest.number),
            };
            (replica, pod, step)
        })
        .collect();
    steps.sort_by_key(|(replica, ..)| *replica);
    steps
}

/// Asks a pod of an earlier attempt.
fn begin(world: &World<'_>, pod: &Pod, attempt: i32) -> Step {
    if let Some(node) = node_exclusion::excluded_node(world, pod) {
        return Step::Recreate(format!("its node {node} is excluded"));
    }
    let training = match (pod.phase, &pod.in_place) {
        (Phase::Failed, _) => return Step::Recreate("it has failed as a whole".into()),
        (Phase::Succeeded, _) => return Step::Recreate("it has completed".into()),
        (_, None) => return Step::Recreate("its restartPolicy is Never".into()),
        (_, Some(training)) if training.doing == Doing::Done => {
            return Step::Recreate("its container pytorch has completed".into());
        }
        (_, Some(training)) => training,
    };
    ask(training, attempt, false)
}

/// Asks a container by the next step of its resource. The kubelet remembers for ten minutes with which amount a
/// container has started after an end, and lets it wait if it is to start with that: so once more is by another one.
fn ask(training: &InPlace, attempt: i32, again: bool) -> Step {
    let (resource, amount) = (training.mark.resource, training.amount);
    let below = Some(resource.below(amount)).filter(|below| again && *below > 0);
    let asked = Asked {
        amount: below.unwrap_or_else(|| resource.other(amount)),
        restarts: training.ends_when_asked(),
        again,
    };
    Step::Ask(Restart {
        container: Some(training.container),
        ..annotation(training, attempt, asked)
    })
}

/// Whether no container is left of the attempt before.
fn all_have_ended(world: &World<'_>) -> bool {
    let ended = |training: &InPlace| match training.doing {
        Doing::Runs => training.runs(),
        Doing::Waits | Doing::Done => training.is_asked() && !training.is_to_restart(),
    };
    let has_ended = |pod: &Pod| !pod.terminating && pod.in_place.as_deref().is_none_or(ended);
    world
        .desired_pods()
        .all(|(_, pod)| has_ended(pod) && !world.is_of_earlier_attempt(pod))
}

/// The container, if it waits to be started again after a failure that another rank may have caused, and was not asked
/// once more in this attempt; and when it is clear that it waits.
fn failed_of_another(pod: &Pod) -> Option<(&InPlace, Timestamp)> {
    let training = pod.in_place.as_deref()?;
    let waits = pod.phase == Phase::Running && training.doing == Doing::Waits && training.failed();
    let failure = pod.failure.as_ref().filter(|_| waits && !training.was_asked_again())?;
    let of_another = failure.class.standing() != Standing::Cause;
    let for_sure = pod.finished_at?.checked_add(STARTS).ok()?;
    of_another.then_some((training, for_sure))
}

/// Makes the step of a pod that was to be asked once more, of an operator that stopped before it.
fn finish_asking(pod: &Pod, attempt: i32) -> Step {
    let training = pod.in_place.as_ref().filter(|training| training.waits_for_its_step());
    let asked = training.and_then(|training| Some((training, training.mark.asked?)));
    asked.map_or(Step::Leave, |(training, asked)| step(training, attempt, asked))
}

/// Makes the step that was asked for. The container may have ended by itself since it was annotated.
fn step(training: &InPlace, attempt: i32, asked: Asked) -> Step {
    let restarts = training.ends_when_asked();
    Step::Ask(Restart {
        annotate: asked.restarts != restarts,
        container: Some(training.container),
        ..annotation(training, attempt, Asked { restarts, ..asked })
    })
}

/// Goes on with a pod of the newest attempt.
fn go_on(pod: &Pod, attempt: i32, under_way: bool, late: bool) -> Step {
    match (pod.phase, &pod.in_place) {
        // Whatever fails then, fails by the restart.
        (Phase::Failed, _) if under_way => Step::Recreate("it has failed meanwhile".into()),
        (Phase::Succeeded, _) if !pod.succeeded() => {
            Step::Recreate("it has completed when it was asked to start again".into())
        }
        (Phase::Failed | Phase::Succeeded, _) | (_, None) => Step::Leave,
        (_, Some(training)) => match training.mark.asked {
            Some(asked) if !training.is_asked() => step(training, attempt, asked),
            Some(asked) if training.deferred && training.mark.resource.below(asked.amount) > 0 => {
                let amount = training.mark.resource.below(asked.amount);
                let restart = annotation(training, attempt, Asked { amount, ..asked });
                let container = Some(training.container);
                Step::Ask(Restart { container, ..restart })
            }
            Some(_) if training.refused.is_some() => Step::Recreate(training.refused.clone().unwrap_or_default()),
            _ if training.runs() => account(training, attempt, under_way),
            Some(_) if late && !training.has_ended() => Step::Recreate("it has not started in time".into()),
            _ => Step::Leave,
        },
    }
}

/// Notes what the kubelet has restarted by itself meanwhile.
fn account(training: &InPlace, attempt: i32, under_way: bool) -> Step {
    if !under_way || training.ends == training.expected() {
        return Step::Leave;
    }
    let asked = Asked {
        amount: training.amount,
        restarts: training.ends,
        again: training.was_asked_again(),
    };
    Step::Ask(annotation(training, attempt, asked))
}

fn annotation(training: &InPlace, attempt: i32, asked: Asked) -> Restart {
    Restart {
        attempt,
        mark: Mark {
            asked: Some(asked),
            ..training.mark
        },
        annotate: true,
        container: None,
        limit: training.limit,
    }
}
