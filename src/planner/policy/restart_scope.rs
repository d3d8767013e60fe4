//! `runPolicy.restartScope`: one failed replica, or all of them, start again. Ours; Kubeflow knows the first alone.
//!
//! A rendezvous that is fixed when the training starts, as that of NCCL and gloo, takes in no new member: when one rank
//! is replaced, the others end by errors of their own, one after another. With the scope Job they end together.
//!
//! The failed pods that the status has counted mark the restart. They are the last to be deleted, when all others are
//! on their way out, so an operator that stops in between finds the mark. Until they are gone, failures are those of
//! the restart and count no more, and nothing is created. Then new pods wait until the old ones are gone.

use crate::planner::child::Pod;
use crate::planner::plan::Action;
use crate::planner::world::World;

/// One more pod that marks the restart, if these are all on their way out: a disrupted pod, which a rule may call a
/// failure, goes by itself and leaves no mark.
#[must_use]
pub(crate) fn further_mark<'a>(world: &World<'a>, marks: &[&Pod]) -> Option<&'a Pod> {
    let in_place = world.job.spec.restarts_in_place();
    if in_place || !world.restarts_as_a_whole() || marks.is_empty() || marks.iter().any(|pod| !pod.terminating) {
        return None;
    }
    world.desired_pods().map(|(_, pod)| pod).find(|pod| !pod.terminating)
}

/// The deletions of a restart of the whole job: the pods that mark it when no other is left to be asked to go.
#[must_use]
pub(crate) fn deletions(world: &World<'_>) -> Vec<Action> {
    let counted = world.counted();
    let (marks, others): (Vec<_>, Vec<_>) = world
        .pods
        .iter()
        .filter(|pod| world.replica_of(&pod.name).is_some() && !pod.terminating)
        .partition(|pod| counted.contains(pod));
    let next = if others.is_empty() { marks } else { others };
    next.into_iter().map(Action::delete_pod).collect()
}

/// The deletions of pods that came too late for the attempt that they are of: they would not find the others.
#[must_use]
pub(crate) fn of_ended_attempts(world: &World<'_>) -> Vec<Action> {
    let late = |pod: &Pod| !pod.terminating && world.is_of_ended_attempt(pod);
    let mut late: Vec<_> = world.desired_pods().filter(|(_, pod)| late(pod)).collect();
    late.sort_by_key(|(replica, _)| *replica);
    late.into_iter().map(|(_, pod)| Action::delete_pod(pod)).collect()
}
