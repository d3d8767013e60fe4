//! `runPolicy.unreachableSeconds`: how long a pod is waited for that its node should have ended. Ours.
//!
//! The kubelet ends the pods that are deleted, and says so; then their objects go. Of a node that is gone nobody says
//! so, and the object keeps the name, which its successor needs. That the containers have ended cannot be known, so it
//! is not guessed: somebody has to say that the job may go on without knowing. That is this field, or Kueue's
//! annotation on a pod that the control plane has given up (its condition is `DisruptionTarget`, or its phase final).
//! Whoever taints the node with `node.kubernetes.io/out-of-service` says it for all pods of a node, and Kubernetes
//! deletes them; then there is nothing left to do here.
//!
//! Not before the grace period is over: a node that is drained, or has a taint, may be alive, and its pods save a
//! checkpoint. Of the pods of a finished job nobody waits for the names.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::planner::child::{Deletion, Pod};
use crate::planner::plan::Action;
use crate::planner::world::World;

/// How long a pod with the annotation is waited for: Kueue's own default.
const BY_ANNOTATION: SignedDuration = SignedDuration::from_secs(60);

/// When a pod is given up, and what says so.
#[must_use]
pub(crate) fn given_up(world: &World<'_>, pod: &Pod) -> Option<(Timestamp, &'static str)> {
    let deletion = pod.deletion.as_deref().filter(|deletion| !deletion.held)?;
    let _lost = deletion.node.as_ref()?;
    let seconds = world.job.spec.run_policy.unreachable_seconds;
    let (after, what) = if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
        (SignedDuration::from_secs(seconds.into()), "unreachableSeconds")
    } else if deletion.may_be_forced && (pod.disrupted || pod.finished()) {
        (BY_ANNOTATION, "kueue.x-k8s.io/safe-to-forcefully-delete")
    } else {
        return None;
    };
    Some((deletion.due.checked_add(after).ok()?, what))
}

/// Deletes by force what is given up.
#[must_use]
pub(crate) fn deletions(world: &World<'_>) -> Vec<Action> {
    let due = |pod: &&Pod| given_up(world, pod).is_some_and(|(at, _)| at <= world.now);
    world
        .pods
        .iter()
        .filter(due)
        .filter_map(|pod| delete(world, pod))
        .collect()
}

fn delete(world: &World<'_>, pod: &Pod) -> Option<Action> {
    let Deletion { due, node, .. } = pod.deletion.as_deref()?;
    let (_, what) = given_up(world, pod)?;
    let (name, node) = (&pod.name, node.as_deref().unwrap_or_default());
    Some(Action::ForceDelete {
        name: name.clone(),
        uid: pod.uid.clone(),
        told: format!(
            "Deleted pod {name} by force ({what}): node {node} should have ended it by {due}. If the node still runs, \
             so may its containers."
        ),
    })
}

/// When the next pod is given up.
#[must_use]
pub(crate) fn next(world: &World<'_>) -> Option<Duration> {
    let times = world.pods.iter().filter_map(|pod| given_up(world, pod));
    let left = times.filter_map(|(at, _)| Duration::try_from(at.duration_since(world.now)).ok());
    left.filter(|left| !left.is_zero()).min()
}
