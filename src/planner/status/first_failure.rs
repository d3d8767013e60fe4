//! `status.firstFailure`: the failure of the job that caused the others.
//!
//! When one rank of a training ends, the others lose their connections and end too, some before the first one is seen
//! to have failed. So of failures that are seen together the one that explains the others is remembered, and when it
//! is seen later it takes the place of what was remembered.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{FailureClass, FirstFailure, Standing, names};
use crate::planner::build::env::rank;
use crate::planner::child::{Failure, Pod};
use crate::planner::status::conditions::stored_time;
use crate::planner::status::stalls;
use crate::planner::world::World;

/// How much later than what follows from it a cause may end: a process that runs out of memory may take a while to
/// write its core and to leave, and clocks of nodes differ.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What decides which of two failures came first: how well it explains the other, when it ended, and whether it says
/// much. The smaller one came first.
type Order = (Standing, Reverse<Option<Reverse<Timestamp>>>, bool);

fn order(class: FailureClass, ended: Option<Timestamp>) -> Order {
    (class.standing(), Reverse(ended.map(Reverse)), class.is_vague())
}

/// Remembers the first of these failures, of pods in the order of their replicas, unless one is known already.
pub(crate) fn remember(world: &World<'_>, known: &mut Option<FirstFailure>, failed: &[&Pod]) {
    let first = failed.iter().min_by_key(|pod| order_of(pod));
    if let Some(first) = first.filter(|_| known.is_none()) {
        *known = Some(describe(world, first));
    }
}

/// Puts the failure that caused the remembered one in its place, if it is seen only now: it ran at that time, it was
/// not ended by a deletion, and it ended earlier, or explains more and ended soon after.
pub(crate) fn correct(world: &World<'_>, known: &mut Option<FirstFailure>) {
    let Some(first) = known else { return };
    let class = first.class.as_deref().and_then(FailureClass::parse);
    let (Some(class), Some(Time(ended))) = (class, first.finished_at.clone()) else {
        return;
    };
    let candidates = world
        .pods
        .iter()
        .filter(|pod| pod.name != first.pod && caused(pod, class, ended));
    let cause = candidates.min_by_key(|pod| order_of(pod));
    if let Some(pod) = cause {
        *known = Some(describe(world, pod));
    }
}

fn order_of(pod: &Pod) -> Order {
    order(pod.failure_class(), pod.finished_at)
}

/// Whether the failure of this pod came before one of this class that ended at this time.
fn caused(pod: &Pod, class: FailureClass, ended: Timestamp) -> bool {
    let (Some(failure), Some(finished)) = (pod.failure.as_deref(), pod.finished_at) else {
        return false;
    };
    let ran = failure.started_at.is_some_and(|started| started <= ended);
    let soon = finished <= ended.checked_add(WINDOW).unwrap_or(ended);
    ran && soon && ended_by_itself(pod, failure, finished) && order_of(pod) < order(class, Some(ended))
}

/// Whether no deletion and no disruption has ended the pod. In the second of the request only what says why is
/// believed.
fn ended_by_itself(pod: &Pod, failure: &Failure, finished: Timestamp) -> bool {
    let requested = match pod.deletion_requested {
        None => !pod.terminating,
        Some(requested) if failure.class.is_vague() => finished < requested,
        Some(requested) => finished <= requested,
    };
    requested && !pod.disrupted
}

fn describe(world: &World<'_>, pod: &Pod) -> FirstFailure {
    let stall = stalls::cause_of(world, pod);
    let failure = pod.failure.as_deref().cloned().unwrap_or_default();
    let class = stall.as_ref().map(|_| names::STALLED.to_owned());
    let replica = world.replica_of(&pod.name);
    let number = |number: u32| i32::try_from(number).ok();
    FirstFailure {
        pod: pod.name.clone(),
        replica_type: replica.map(|replica| replica.type_.key().to_owned()),
        index: replica.and_then(|replica| number(replica.index)),
        rank: replica.and_then(|replica| number(rank(replica.type_, replica.index))),
        node: failure.node.or_else(|| pod.node.clone().filter(|_| stall.is_some())),
        exit_code: failure.container.as_ref().map(|container| container.exit_code),
        container: failure.container.map(|container| container.name),
        reason: failure.reason,
        message: failure.message,
        class: class.or_else(|| Some(pod.failure_class().to_string())),
        excerpt: failure.excerpt.or(stall),
        finished_at: pod.finished_at.map(stored_time),
    }
}
