//! `status`: what the operator reports.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::accounting::Accounting;

/// The state of a job as last observed. Kubeflow 1.9's status and more.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// One entry per type, the most recently changed last.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub conditions: Vec<JobCondition>,

    /// Counts of pods by replica type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub replica_statuses: BTreeMap<String, ReplicaStatus>,

    /// When the operator first worked on the job, or last resumed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the job succeeded or failed. Written together with the outcome, never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// Kept for readers of Kubeflow's status; not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reconcile_time: Option<Time>,

    /// `metadata.generation` of the spec that the operator last acted on. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Pods that the kubelet calls ready or that have succeeded, out of all: `3/4`. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,

    /// Failed pods the operator has replaced, and the container restarts that went with them. Counted before a pod is
    /// deleted, so that backoffLimit holds across crashes of the operator. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,

    /// When the restarts were counted that `runPolicy.restartWindow` looks at. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub restart_times: Vec<Time>,

    /// UIDs of failed pods that are in `restarts` already and not yet gone. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub replaced_pods: Vec<String>,

    /// Indexes of the workers that have succeeded, of a job without Master, as in `0,2-5`: they do not run again when
    /// their pods are gone, until the job is suspended. The format of a Kubernetes Job. An addition to Kubeflow's
    /// status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_indexes: Option<String>,

    /// The failure that came first, kept after its pod is gone. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<FirstFailure>,

    /// The attempts of a job with restartScope Job, the last ten, the newest last. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub attempts: Vec<Attempt>,

    /// Since when pods that the job needs are missing or do not run yet, of a job with
    /// `runPolicy.startupDeadlineSeconds`. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_since: Option<Time>,

    /// What the time of the job was spent on. Absent until some has passed. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounting: Option<Box<Accounting>>,

    /// Nodes that new pods of the job do not go to, by `runPolicy.nodeExclusion`, the first to come back first. An
    /// addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub excluded_nodes: Vec<ExcludedNode>,

    /// The failures that `runPolicy.nodeExclusion` looks at, the newest last. An addition to Kubeflow's status.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub node_failures: Vec<NodeFailure>,

    /// What another version of the operator has written. A status is replaced as a whole, so it is kept here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: BTreeMap<String, Value>,
}

impl JobStatus {
    /// The number of the newest attempt; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> i32 {
        self.attempts.last().map_or(0, |attempt| attempt.number)
    }
}

/// Type of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The operator has seen the job.
    Created,
    /// The Master, or without one any worker, runs.
    Running,
    /// A failed replica is being replaced.
    Restarting,
    /// The job is complete.
    Succeeded,
    /// The job is suspended.
    Suspended,
    /// The job failed.
    Failed,
}

impl ConditionType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Created,
        Self::Running,
        Self::Restarting,
        Self::Succeeded,
        Self::Suspended,
        Self::Failed,
    ];

    /// As written in `conditions[].type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Running => "Running",
            Self::Restarting => "Restarting",
            Self::Succeeded => "Succeeded",
            Self::Suspended => "Suspended",
            Self::Failed => "Failed",
        }
    }
}

/// One aspect of the job's state.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobCondition {
    /// Created, Running, Restarting, Succeeded, Suspended or Failed, the states of the job; or Stalled, which is none
    /// and never the last entry, with `runPolicy.progressPolicy` alone.
    #[serde(rename = "type")]
    pub type_: String,
    /// True or False.
    pub status: String,
    /// Why, in one word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When this entry was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// Counts of the pods of one replica type. Zero counts are left out, as in Kubeflow.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaStatus {
    /// Pods that have not ended, terminating ones included until they are gone. Counted before they are created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<i32>,
    /// Pods that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<i32>,
    /// Pods that failed and have not been replaced yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<i32>,
    /// Label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// The failure of a replica that came first: of those that ended together, the one that caused the others to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FirstFailure {
    /// Name of the pod.
    pub pod: String,
    /// Master or Worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_type: Option<String>,
    /// Index of the replica within its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i32>,
    /// `RANK` of the pod: the Master has 0, or without one worker 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
    /// The node that it ran on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the container that failed. Without one the pod failed as a whole, as in an eviction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Exit code of that container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Reason given by the kubelet, such as `Error`, `OOMKilled` or `Evicted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Message given by the kubelet or by the container itself, which is the end of its log unless it or the template
    /// says otherwise. Without its middle beyond 1,024 bytes. Always absent in `attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the failure was, in one word, such as `CudaOutOfMemory`; `Unknown` when nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The line of the message that says so, without one its end; at most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// When the container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// One attempt to train: from the creation of all pods to the end of them all.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// Its number, from 1. Pods have it as an annotation and as `TRAINING_ATTEMPT`.
    pub number: i32,
    /// When its pods were about to be created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When the job was first seen to run in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Time>,
    /// When it was decided to end; absent while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// The condition that ended it: Restarting, Suspended, Succeeded or Failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The failure that came first in it, without its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<FirstFailure>,
    /// The nodes that its pods ran on, sorted, 64 at most.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub nodes: Vec<String>,
}

/// A node that new pods of the job do not go to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedNode {
    /// Name of the node.
    pub name: String,
    /// When it comes back.
    pub until: Time,
    /// Which failures exclude it.
    pub because: String,
}

/// A failure that counts against the node that it was on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFailure {
    /// Name of the node.
    pub node: String,
    /// When the container ended.
    pub time: Time,
    /// Name of the pod.
    pub pod: String,
    /// What the failure was.
    pub class: String,
}

/// The Go operators write an empty list or map as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
