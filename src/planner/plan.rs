//! What a decision consists of.

use std::time::Duration;

use crate::api::{ChildKind, ChildRef, JobStatus, JobStep, Replica};
use crate::planner::child::{AutoscalerSpec, Child, Pod, PodGroupSpec};
use crate::planner::in_place::Restart;

/// What to do about one job, now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Changes to make, deletions first.
    pub actions: Vec<Action>,
    /// The status to store, if it differs from the stored one.
    pub status: Option<StatusWrite>,
    /// Events to publish once the status is stored.
    pub events: Vec<Event>,
    /// What to count once the status is stored.
    pub counts: Vec<Count>,
    /// When to look again although nothing changed: the nearest deadline that the stored state implies.
    pub requeue: Option<Duration>,
    /// What that is for.
    pub timer: Option<Timer>,
}

/// What a plan looks again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// `activeDeadlineSeconds` fails the job.
    ActiveDeadline,
    /// `ttlSecondsAfterFinished` deletes it.
    TtlAfterFinished,
    /// `startupDeadlineSeconds` decides about a job whose pods do not all run.
    StartupDeadline,
    /// `progressPolicy` calls a replica stalled that stands still.
    Progress,
    /// `restartStrategy: InPlace` creates a pod again that has not restarted.
    RestartInPlace,
    /// `nodeExclusion` lets a node back in.
    NodeExclusion,
    /// A pod is given up that its node does not end.
    Unreachable,
    /// What keeps a pod is told, or is not so any more.
    Waiting,
}

impl Plan {
    /// Looks again after this time, unless it does so before.
    pub(crate) fn look_again(&mut self, after: Option<Duration>, timer: Timer) {
        let sooner = after.filter(|after| self.requeue.is_none_or(|known| *after < known));
        if sooner.is_some() {
            (self.requeue, self.timer) = (sooner, Some(timer));
        }
    }

    /// Whether it gives pods the label of today because the definition has changed.
    #[must_use]
    pub fn relabels(&self) -> bool {
        let relabels = |action: &Action| {
            matches!(
                action,
                Action::Update {
                    contents: Contents::TemplateHash(_),
                    ..
                }
            )
        };
        self.actions.iter().any(relabels)
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.actions.is_empty() && self.status.is_none()
    }
}

/// A change in the cluster. Objects are carried by name and built only when the change is made, so that planning a job
/// of a thousand workers does not build a thousand pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create an object of the job.
    Create(ChildRef),
    /// Delete an object of the job, unless its successor has the name by now.
    Delete {
        /// What it is.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// Its UID, the precondition of the request.
        uid: String,
    },
    /// Delete a pod without waiting for its node, unless its successor has the name by now.
    ForceDelete {
        /// Its name.
        name: String,
        /// Its UID, the precondition of the request.
        uid: String,
        /// What to tell once it is done.
        told: String,
    },
    /// Write what the job asks for into an object of it, which differs.
    Update {
        /// Which object.
        child: ChildRef,
        /// Its UID, the precondition of the request.
        uid: String,
        /// What to write.
        contents: Contents,
    },
    /// Start the training container of a pod again in it, or, if the API server refuses that, delete the pod.
    RestartInPlace {
        /// Which pod.
        child: ChildRef,
        /// Its UID, the precondition of the requests.
        uid: String,
        /// How it is asked to.
        restart: Restart,
    },
    /// Delete a pod whose training container cannot start again in it.
    Recreate {
        /// Which pod.
        child: ChildRef,
        /// Its UID, the precondition of the request.
        uid: String,
        /// Why it cannot.
        why: String,
    },
    /// Delete the job itself, unless it has changed since it was read.
    DeleteJob,
}

impl Action {
    /// Creates the object of a replica.
    #[must_use]
    pub const fn create(kind: ChildKind, replica: Replica) -> Self {
        Self::Create(ChildRef::of_replica(kind, replica))
    }

    /// Whether it creates an object of this kind.
    #[must_use]
    pub fn creates(&self, kind: ChildKind) -> bool {
        matches!(self, Self::Create(child) if child.kind == kind)
    }

    /// Deletes this pod.
    #[must_use]
    pub fn delete_pod(pod: &Pod) -> Self {
        Self::Delete {
            kind: ChildKind::Pod,
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        }
    }

    /// Deletes this object.
    #[must_use]
    pub fn delete(child: &Child) -> Self {
        Self::Delete {
            kind: child.kind,
            name: child.name.clone(),
            uid: child.uid.clone(),
        }
    }
}

/// What an update writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Into a PodGroup.
    PodGroup(PodGroupSpec),
    /// Into an autoscaler.
    Autoscaler(AutoscalerSpec),
    /// Into the label of a pod that says what it was built from.
    TemplateHash(String),
}

/// A status to store.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusWrite {
    /// The whole new status.
    pub status: JobStatus,
    /// How soon it must be stored.
    pub urgency: Urgency,
}

/// How soon a status must be stored. Pods of a job change in bursts; a write for each would cost more than the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Only counts changed: a second later.
    Counts,
    /// A condition changed, or counts that others wait for: once the burst is over, a fraction of a second later.
    Condition,
    /// What follows depends on it being stored: outcomes, restarts, suspension, the first status.
    Now,
}

/// An event for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Warning, or else Normal.
    pub warning: bool,
    /// Reason, from [`crate::api::names::reason`].
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

/// A transition worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A step in the life of the job.
    Job(JobStep),
    /// Pods that failed.
    PodsFailed(usize),
    /// The job runs for the first time since its creation or resumption, which was so long ago.
    Ran(Duration),
    /// The job was stopped by its deadline, which had passed so long before.
    DeadlineExceeded(Duration),
    /// The job has spent so much time.
    Spent {
        /// On what.
        on: Use,
        /// Seconds.
        seconds: u64,
        /// Seconds times the GPUs it asked for.
        gpu_seconds: u64,
    },
    /// An attempt that had run for so long has failed.
    Lost {
        /// Seconds.
        seconds: u64,
        /// Seconds times the GPUs it asked for.
        gpu_seconds: u64,
    },
}

/// What a job spends its time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is suspended.
    Queued,
    /// Its pods are wanted, and it does not run.
    Waiting,
    /// It runs.
    Running,
    /// It runs and makes no progress.
    Stalled,
}

impl Use {
    /// As metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stalled => "stalled",
        }
    }
}
