//! `status.attempts`: what became of each attempt of a job that starts again as a whole. Ours.
//!
//! An attempt is stored before its pods are created, so pods and status agree about its number, and the number only
//! rises.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{Attempt, JobStatus};
use crate::planner::child::Pod;
use crate::planner::status::conditions::stored_time;
use crate::planner::status::first_failure;
use crate::planner::status::transition::Transition;
use crate::planner::world::World;

/// Most attempts that are kept.
const KEPT: usize = 10;
/// Most nodes that are named of one.
const NODES: usize = 64;

/// Begins one, unless one is under way or pods of the last one are still to end. Called when pods are about to be
/// created.
pub(crate) fn begin(world: &World<'_>, status: &mut JobStatus) {
    let ending = !status.replaced_pods.is_empty() && !world.job.spec.restarts_in_place();
    if !world.restarts_as_a_whole() || ending || under_way(status).is_some() {
        return;
    }
    // After a restore of etcd, or when somebody has removed them, there may be pods of attempts that are not stored.
    let newest = |such: fn(&Pod) -> bool| {
        let pods = world.desired_pods().filter(|(_, pod)| such(pod));
        pods.filter_map(|(_, pod)| pod.attempt).max().unwrap_or(0)
    };
    let (known, alive) = (newest(|_| true), newest(|pod| !pod.terminating));
    let number = if alive > status.attempt() && !world.job.spec.restarts_in_place() {
        alive
    } else {
        status.attempt().max(known).saturating_add(1)
    };
    status.attempts.push(Attempt {
        number,
        started: Some(stored_time(world.now)),
        ..Attempt::default()
    });
    let surplus = status.attempts.len().saturating_sub(KEPT);
    status.attempts.drain(..surplus);
}

/// What this turning point means for the attempt that is under way.
pub(crate) fn turn(world: &World<'_>, status: &mut JobStatus, transition: Transition) {
    let now = || Some(stored_time(world.now));
    match transition {
        Transition::Created | Transition::Resumed => {}
        Transition::Running => {
            let begun = under_way(status).filter(|attempt| attempt.running_since.is_none());
            if let Some(attempt) = begun {
                attempt.running_since = now();
                attempt.nodes = nodes(world);
            }
        }
        Transition::Restarting
        | Transition::Suspended
        | Transition::GaveUp
        | Transition::Succeeded
        | Transition::Failed
        | Transition::Refused => {
            if let Some(attempt) = under_way(status) {
                attempt.ended = now();
                attempt.why = Some(transition.condition().as_str().to_owned());
                // A pod that has gone since has no node any more.
                let nodes = nodes(world);
                if nodes.len() > attempt.nodes.len() {
                    attempt.nodes = nodes;
                }
            }
            if transition == Transition::Restarting && world.job.spec.restarts_in_place() {
                // Its pods are there already, whether or not the attempt is stored that they were created in.
                begin(world, status);
            }
        }
    }
}

/// Remembers the first failure, of the job and of its newest attempt, and the cause of it when that is seen later.
pub(crate) fn remember(world: &World<'_>, status: &mut JobStatus, failed: &[&Pod]) {
    let attempt = status.attempts.last_mut().map(|attempt| &mut attempt.first_failure);
    for known in [Some(&mut status.first_failure), attempt].into_iter().flatten() {
        first_failure::remember(world, known, failed);
        first_failure::correct(world, known);
    }
    remember_cause_of_restart(world, status);
    // The message stands once in the status.
    let failures = status
        .attempts
        .iter_mut()
        .filter_map(|attempt| attempt.first_failure.as_mut());
    failures.for_each(|failure| failure.message = None);
}

/// An attempt whose pods start again in place has ended when the next one begins; the cause may be seen only then.
fn remember_cause_of_restart(world: &World<'_>, status: &mut JobStatus) {
    let [.., before, newest] = status.attempts.as_mut_slice() else {
        return;
    };
    let (Some(Time(began)), Some(Time(requested))) = (&before.running_since, &newest.started) else {
        return;
    };
    first_failure::correct(world, &mut before.first_failure);
    for known in [&mut status.first_failure, &mut before.first_failure] {
        first_failure::correct_earlier(world, known, *began, *requested);
    }
}

fn under_way(status: &mut JobStatus) -> Option<&mut Attempt> {
    status.attempts.last_mut().filter(|attempt| attempt.ended.is_none())
}

fn nodes(world: &World<'_>) -> Vec<String> {
    let nodes: BTreeSet<&String> = world.desired_pods().filter_map(|(_, pod)| pod.node.as_ref()).collect();
    nodes.into_iter().take(NODES).cloned().collect()
}
