//! `spec.runPolicy` and the policies in it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds::{
    MAX_EXCLUDED_NODES, MAX_FAILURES, MAX_REPLICAS, MAX_RESTARTS, MAX_SECONDS, MAX_SECONDS_OF_A_POD,
};
use crate::api::failure_policy::FailurePolicy;
use crate::api::progress_policy::ProgressPolicy;
use crate::api::word::Word;

/// What to delete when the job has finished: All, Running (what has not finished) or None. Unset: keep the pods of a
/// job that succeeded; of one that failed, stop what still runs and keep what has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CleanPodPolicy {
    /// Delete all pods.
    All,
    /// Delete the pods that have not finished and keep the finished ones, whose logs stay readable.
    Running,
    /// Delete nothing. Pods that still run keep running.
    None,
}

/// What is started again when one replica fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RestartScope {
    /// That replica.
    #[default]
    Replica,
    /// All replicas.
    Job,
}

/// Which replicas have a service, and with it a name in DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ServicePolicy {
    /// All.
    #[default]
    All,
    /// Those that the others look up to find each other.
    Rendezvous,
}

/// What becomes of a job whose pods do not all run in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StartupDeadlineAction {
    /// The job fails.
    #[default]
    Fail,
    /// What restartScope says starts again: all pods, or those that do not run. It counts as a restart.
    Restart,
    /// The job is suspended as if runPolicy.suspend were true, which the operator does not write, until its spec is
    /// edited.
    Suspend,
}

/// How all replicas start again, with restartScope Job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RestartStrategy {
    /// In new pods.
    #[default]
    Recreate,
    /// In the pods that are there.
    InPlace,
}

/// Policies about the job as a whole, in the place where Kubeflow 1.3 to 1.9 has them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunPolicy {
    /// Seconds after `status.startTime` at which a job that has not finished fails. Time spent suspended does not
    /// count. Unset: no deadline. May be edited at any time; the new value holds at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SECONDS))]
    pub active_deadline_seconds: Option<i64>,

    /// Number of restarts after which the job fails: pods that the operator replaced, over the whole life of the job,
    /// and restarts of containers in place, in the pods that are there. Unset: no limit. May be edited at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_RESTARTS))]
    pub backoff_limit: Option<i32>,

    /// What to delete when the job has finished. May be edited at any time, also then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<CleanPodPolicy>")]
    pub clean_pod_policy: Option<Word<CleanPodPolicy>>,

    /// What becomes of a failed replica, by what its failure was. With it the kubelet restarts no container in place.
    /// Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,

    /// Seconds that a pod has to end by itself after SIGTERM, to save a checkpoint for example: when the job is
    /// suspended, starts again as a whole, is scaled down or has ended. The grace period of the pods, in place of the
    /// template's, and five less for what torchrun waits for its processes, which it can be told since PyTorch 2.12.
    /// Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SECONDS_OF_A_POD))]
    pub graceful_stop_seconds: Option<i32>,

    /// Who runs the job: absent or kubeflow.org/training-operator for this operator, kueue.x-k8s.io/multikueue to leave
    /// it alone. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,

    /// Nodes where ranks of the job failed that often get no new pod of it: only failures count that the machine may
    /// have caused. The pods get a required node affinity; nodes that are excluded are in status.excludedNodes. When a
    /// pod cannot be scheduled for five minutes, the exclusion that ends first is let go. May be edited at any time;
    /// pods to come follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_exclusion: Option<NodeExclusion>,

    /// What becomes of a replica that runs and has stopped writing to its log or its checkpoints. Uses the readiness
    /// probe of the container pytorch, which must have none of its own. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_policy: Option<ProgressPolicy>,

    /// What is started again when one replica fails and its restartPolicy allows another try: Replica, that pod alone
    /// (Kubeflow's way and the default), or Job, all pods, for training that cannot go on with a new member. Then the
    /// kubelet restarts no container in place, all old pods are gone before a new one is created, and it counts as one
    /// restart however many pods failed by it. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RestartScope>")]
    pub restart_scope: Option<Word<RestartScope>>,

    /// How all replicas start again: Recreate (the default), in new pods, created when the last of the old ones is
    /// gone; or InPlace, where the containers pytorch are started again in the pods that are there, which keep their
    /// node, address, devices and volumes: nothing is scheduled, pulled or mounted. All are asked to end at once, and
    /// each is started when it has ended, which may be before the others have. Init containers and containers beside it
    /// do not run again. A pod that cannot is created again, and an event says why. Needs restartScope Job: with
    /// Replica the kubelet restarts the one container that failed in place without it. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RestartStrategy>")]
    pub restart_strategy: Option<Word<RestartStrategy>>,

    /// How many restarts there may be in how long: the job fails with the next one. A limit that refills, for training
    /// that runs for weeks, beside backoffLimit, which counts over the whole life of the job. Needs restartScope Job.
    /// May be edited at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_window: Option<RestartWindow>,

    /// What a gang scheduler is told. Immutable but for minAvailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicy>,

    /// Which replicas have a service, and with it a name in DNS: All (Kubeflow's way and the default), or Rendezvous,
    /// those alone by which the others find each other: the Master, or without one worker 0, and the host of
    /// elasticPolicy. Half of the objects of a large job are services; whether the image needs the names of all its
    /// replicas, as a hostfile or ssh does, only its author knows. torchrun finds the others by their addresses then.
    /// Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ServicePolicy>")]
    pub service_policy: Option<Word<ServicePolicy>>,

    /// What happens when startupDeadlineSeconds have passed and pods are missing: Fail, Restart (of what restartScope
    /// says) or Suspend (until the spec is edited). Default: Fail. May be edited at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StartupDeadlineAction>")]
    pub startup_deadline_action: Option<Word<StartupDeadlineAction>>,

    /// Seconds after the creation of pods by which all of them have to run, or of an elastic job the Master and
    /// minReplicas workers. Otherwise the job gives its resources back: see startupDeadlineAction. Time spent suspended
    /// does not count. Unset: it waits indefinitely. May be edited at any time; the new value holds at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    pub startup_deadline_seconds: Option<i32>,

    /// True stops the job: its pods and services go, and come back when it is false again. May be edited at any time
    /// until the job has finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// Seconds after `status.completionTime` at which the finished job is deleted. Unset: never. May be edited at any
    /// time, also then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SECONDS))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// Seconds after a pod that is being deleted should have ended, its grace period included, at which it is deleted
    /// by force, so that another can take its place: its node does not answer. If the node runs all the same, so may
    /// the old containers beside the new ones. Unset: it is waited for. May be edited at any time; the new value holds
    /// at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    pub unreachable_seconds: Option<i32>,
}

/// What torchrun needs, after it has waited for its processes, to end before the kubelet ends it.
const STOP_MARGIN: i32 = 5;

impl RunPolicy {
    /// What happens when pods do not run in time.
    #[must_use]
    pub fn startup_deadline_action(&self) -> StartupDeadlineAction {
        let action = self.startup_deadline_action.as_ref().and_then(Word::known);
        action.unwrap_or_default()
    }

    /// The grace period of the pods, and the time that torchrun waits for its processes, in seconds.
    #[must_use]
    pub fn stop_periods(&self) -> Option<(i32, i32)> {
        let grace = self.graceful_stop_seconds.filter(|grace| *grace > 0)?;
        Some((grace, grace.saturating_sub(STOP_MARGIN).max(1)))
    }
}

/// Which nodes new pods stay away from. Ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["afterFailures", "max", "windowSeconds"]))]
pub struct NodeExclusion {
    /// Number of failures on a node, within windowSeconds, from which on it is excluded.
    #[schemars(range(min = 1, max = MAX_FAILURES))]
    pub after_failures: i32,
    /// Most nodes that are excluded at a time: of more, those that failed last.
    #[schemars(range(min = 1, max = MAX_EXCLUDED_NODES))]
    pub max: i32,
    /// Length of the window. A node comes back when its failures are older.
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    pub window_seconds: i32,
}

/// So many restarts within so many seconds. Ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["restarts", "seconds"]))]
pub struct RestartWindow {
    /// Number of restarts.
    #[schemars(range(min = 0, max = MAX_FAILURES))]
    pub restarts: i32,
    /// Length of the window.
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    pub seconds: i32,
}

/// What a gang scheduler is told of the job. Has an effect only where the operator runs with --gang-scheduler-name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulingPolicy {
    /// Pods that are placed together or not at all. Default: all; of an elastic job the Master and minReplicas workers.
    /// May be edited at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_REPLICAS + 1))]
    pub min_available: Option<i32>,

    /// Resources that must be free before the job starts. Default: what these pods request. Not for Kubernetes' own
    /// scheduler. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_resources: Option<BTreeMap<String, Quantity>>,

    /// Priority class of the group. Not for scheduler-plugins. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<String>,

    /// Queue of the group. For Volcano alone. Default: default. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,

    /// Seconds the group may wait for being scheduled. For scheduler-plugins alone. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SECONDS))]
    pub schedule_timeout_seconds: Option<i32>,
}
