//! What a job owns, reduced to what decisions need.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::{ChildKind, FailureClass};
use crate::planner::amount::Amount;
use crate::planner::failure::Failure;
use crate::planner::in_place::InPlace;

/// Phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Accepted and not yet running; also what a pod without phase is.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended with exit code 0.
    Succeeded,
    /// All containers ended, at least one of them badly, or the pod was evicted.
    Failed,
    /// The node cannot be asked.
    Unknown,
}

/// What decisions need to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// UID: a deleted and recreated pod is another pod.
    pub uid: String,
    /// Phase.
    pub phase: Phase,
    /// Whether deletion has begun.
    pub terminating: bool,
    /// When its deletion was asked for, as first seen: a request with no grace replaces the time of an earlier one.
    pub deletion_requested: Option<Timestamp>,
    /// Its deletion, once that has begun.
    pub deletion: Option<Box<Deletion>>,
    /// Whether the condition `DisruptionTarget` is True and the pod had not ended by itself before: preempted, evicted
    /// by a taint or through the API, its node shut down or gone.
    pub disrupted: bool,
    /// When its container pytorch ended, or the last one of a pod without such a container.
    pub finished_at: Option<Timestamp>,
    /// Container restarts in place, init containers included; without those of a training container of `in_place`.
    pub restarts: i32,
    /// The attempt that it says it is of, if it does.
    pub attempt: Option<i32>,
    /// What its training container does, if that can start again in it.
    pub in_place: Option<Box<InPlace>>,
    /// The node that it runs on, of a pod that says which attempt it is of, or whose readiness tells of its progress.
    /// Of other pods nobody asks.
    pub node: Option<String>,
    /// What it was built from, as [`crate::planner::build::template_hash`] has it; nothing for a pod that is not ours.
    pub template_hash: Option<u64>,
    /// `metadata.generation` of the job that it was built from; nothing for a pod that is not ours, or of an earlier
    /// version.
    pub generation: Option<i64>,
    /// The kind of PodGroup that it is a member of, if it is one.
    pub group: Option<ChildKind>,
    /// Whether it runs and the kubelet does not call it ready.
    pub unready: bool,
    /// What keeps its containers from running, if the scheduler or the kubelet says so.
    pub trouble: Option<Box<Trouble>>,
    /// When a container that had failed was last started again by the kubelet; its end, if that is yet to come.
    pub started_again: Option<Timestamp>,
    /// Whether the training writes, of a pod that runs and whose readiness tells: of others nobody asks.
    pub progress: Option<Box<Progress>>,
    /// Why the pod failed, if it did.
    pub failure: Option<Box<Failure>>,
}

impl Pod {
    /// Whether the pod will never run again.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// A failure of the training. A failed pod that is being deleted, or that was disrupted, is not one: whoever
    /// stopped it (an eviction, a drain, a scale-down) caused the end, and the replica is replaced as if it had
    /// vanished. Kubeflow counts it as failed, which under restartPolicy Never fails a job whose node is drained. An
    /// eviction for the pod's own fault, such as the use of too much ephemeral storage, has no such condition and stays
    /// a failure.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.phase == Phase::Failed && !self.terminating && !self.disrupted
    }

    /// A success of the training: an end of its own. Since Kubernetes 1.27 a pod that is told to stop and exits with 0
    /// ends Succeeded, as a script does that saves a checkpoint on SIGTERM; its work is not done. In the second in
    /// which the deletion was asked for, the end counts as caused by it: a checkpoint resumed once too often costs less
    /// than training cut short. The same goes for a container that was asked to start again in place.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        let before_deletion = self
            .deletion_requested
            .is_none_or(|requested| self.finished_at.is_some_and(|finished| finished < requested));
        let before_restart = self.in_place.as_ref().is_none_or(|training| !training.is_to_restart());
        self.phase == Phase::Succeeded && !self.disrupted && before_deletion && before_restart
    }

    /// A failure of its training container, which the kubelet starts again.
    #[must_use]
    pub fn failed_in_place(&self) -> bool {
        let fails = self.in_place.as_ref().is_some_and(|training| training.failed());
        fails && !self.finished() && !self.terminating && !self.disrupted
    }

    /// Whether the pod ended because it was disrupted, and nobody deletes it: a kubelet that shuts down does not.
    #[must_use]
    pub fn is_disrupted_remnant(&self) -> bool {
        self.finished() && self.disrupted && !self.terminating
    }

    /// The node from which a disruption takes the pod.
    #[must_use]
    pub fn disrupted_on(&self) -> Option<&str> {
        let deletion = self.deletion.as_deref().filter(|_| self.disrupted)?;
        deletion.node.as_deref()
    }

    /// What its failure was, in one word. A disruption goes before what the containers made of it.
    #[must_use]
    pub fn failure_class(&self) -> FailureClass {
        if self.disrupted {
            return FailureClass::Preempted;
        }
        self.failure.as_ref().map(|failure| failure.class).unwrap_or_default()
    }

    /// Running and not terminating.
    #[must_use]
    pub fn running(&self) -> bool {
        self.phase == Phase::Running && !self.terminating
    }
}

/// The deletion of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When its grace period is over.
    pub due: Timestamp,
    /// The node whose kubelet has to end it, if it has one.
    pub node: Option<String>,
    /// Whether it has no grace left and exists all the same: a finalizer holds it, whatever its node does.
    pub held: bool,
    /// Whether its annotation `kueue.x-k8s.io/safe-to-forcefully-delete` is true.
    pub may_be_forced: bool,
}

/// What the kubelet says of the container that trains, of a pod whose readiness probe looks at what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When the container was started.
    pub started: Timestamp,
    /// Since when the probe has found nothing written within the deadline, or nothing at all; absent while it does.
    pub still_since: Option<Timestamp>,
    /// Whether another container of the pod is unready. The kubelet tells one time for all of them.
    pub shared: bool,
}

impl Progress {
    /// Takes over what was seen of the same pod before, so that the time is not that of another container: what was
    /// not unready then, or is first seen while another container is, is unready since `now` at the earliest.
    pub fn inherit(&mut self, earlier: Option<&Self>, now: Timestamp) {
        let Some(told) = self.still_since else { return };
        let shared = self.shared || earlier.is_some_and(|earlier| earlier.shared);
        let known = earlier.and_then(|earlier| earlier.still_since);
        let since = if shared { known.or(Some(now)) } else { known };
        self.still_since = Some(since.map_or(told, |since| told.max(since)));
    }
}

/// Why the containers of a pod do not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The scheduler's or the kubelet's word, one of [`crate::api::names::reason::POD_TROUBLES`].
    pub reason: &'static str,
    /// What it says about it.
    pub message: String,
    /// Since when, if it is the scheduler's.
    pub since: Option<Timestamp>,
    /// The nodes that the pod was built to stay away from.
    pub excludes: Vec<String>,
}

/// What decisions need to know of any other object: that it exists, and of a PodGroup or an autoscaler what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// What it is.
    pub kind: ChildKind,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether deletion has begun.
    pub terminating: bool,
    /// What is in it, if it is a PodGroup.
    pub pod_group: Option<Box<PodGroup>>,
    /// What is in it, if it is an autoscaler.
    pub autoscaler: Option<Box<AutoscalerSpec>>,
}

/// What decisions need to know of a PodGroup.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PodGroup {
    /// What this operator has written into it, as it is stored now.
    pub spec: PodGroupSpec,
    /// Whether Volcano has yet to admit it: its phase is Pending, or it has none.
    pub pending: bool,
    /// Why the scheduler cannot place its pods, in the scheduler's own words.
    pub unschedulable: Option<String>,
}

/// The part of a PodGroup that an edit of the job can change. A field that a scheduler does not have is absent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PodGroupSpec {
    /// How many pods are placed together or not at all.
    pub min_member: Option<i32>,
    /// What has to be free for them.
    pub min_resources: Option<BTreeMap<String, Amount>>,
}

/// The part of an autoscaler that the job decides about. How fast it scales is the user's to edit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AutoscalerSpec {
    /// What it scales, as its `spec.scaleTargetRef`.
    pub target: Value,
    /// The fewest workers.
    pub min: Option<i64>,
    /// The most workers.
    pub max: Option<i64>,
    /// What it scales by, as its `spec.metrics`.
    pub metrics: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_another_container_is_not_taken_for_that_of_the_training() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let progress = |still_since: Option<i64>, shared: bool| Progress {
            started: at(0),
            still_since: still_since.map(at),
            shared,
        };
        let sidecar = progress(None, true);
        let both = progress(Some(95), true);
        for (earlier, mut seen, expected, why) in [
            (None, progress(Some(10), false), Some(10), "the kubelet's time"),
            (None, progress(Some(10), true), Some(100), "it may be the other's"),
            (
                Some(sidecar),
                progress(Some(10), true),
                Some(100),
                "it became unready just now",
            ),
            (
                Some(sidecar),
                progress(Some(10), false),
                Some(100),
                "so it did, as the other became ready",
            ),
            (
                Some(both),
                progress(Some(10), true),
                Some(95),
                "it has been for a while",
            ),
            (
                Some(both),
                progress(Some(10), false),
                Some(95),
                "and the other is no more",
            ),
            (
                Some(both),
                progress(Some(98), false),
                Some(98),
                "it was ready in between",
            ),
            (
                Some(progress(None, false)),
                progress(Some(10), false),
                Some(10),
                "it is alone",
            ),
            (Some(both), progress(None, true), None, "it writes"),
        ] {
            seen.inherit(earlier.as_ref(), at(100));
            assert_eq!(seen.still_since, expected.map(at), "{why}");
        }
    }
}
