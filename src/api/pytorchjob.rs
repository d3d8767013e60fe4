//! The PyTorchJob resource.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::bounds::{MAX_RESTARTS, MAX_SECONDS};
use crate::api::elastic_policy::ElasticPolicy;
use crate::api::replica::{ReplicaSpec, RestartPolicy};
use crate::api::replica_type::ReplicaType;
use crate::api::run_policy::{CleanPodPolicy, RestartScope, RestartStrategy, RunPolicy, ServicePolicy};
use crate::api::status::JobStatus;
use crate::api::word::Word;

/// A distributed PyTorch training job.
///
/// Each policy can be set directly here, as in the legacy pytorch-operator, or under `runPolicy`, as in Kubeflow 1.3 to
/// 1.9. Both with different values is refused by the API server; of a stored object that has both, the flat value wins.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "kubeflow.org",
    version = "v1",
    kind = "PyTorchJob",
    plural = "pytorchjobs",
    singular = "pytorchjob",
    namespaced,
    status = "JobStatus",
    derive = "PartialEq",
    doc = "A distributed PyTorch training job.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.conditions[-1:].type"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", priority = 1),
    printcolumn(name = "Restarts", type_ = "integer", json_path = ".status.restarts", priority = 1),
    printcolumn(
        name = "Goodput",
        type_ = "string",
        json_path = ".status.accounting.goodput",
        priority = 1
    ),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = ".status.conditions[-1:].message",
        priority = 1
    ),
    scale(
        spec_replicas_path = ".spec.pytorchReplicaSpecs.Worker.replicas",
        status_replicas_path = ".status.replicaStatuses.Worker.active",
        label_selector_path = ".status.replicaStatuses.Worker.selector"
    )
)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::duplicated_attributes,
    reason = "the attributes of one printer column are no duplicates of another's"
)]
pub struct PyTorchJobSpec {
    /// Same as runPolicy.activeDeadlineSeconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SECONDS))]
    pub active_deadline_seconds: Option<i64>,

    /// Same as runPolicy.backoffLimit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_RESTARTS))]
    pub backoff_limit: Option<i32>,

    /// Same as runPolicy.cleanPodPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<CleanPodPolicy>")]
    pub clean_pod_policy: Option<Word<CleanPodPolicy>>,

    /// Same as runPolicy.ttlSecondsAfterFinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SECONDS))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// Policies about the job as a whole.
    #[serde(default)]
    pub run_policy: RunPolicy,

    /// Makes the job elastic. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_policy: Option<ElasticPolicy>,

    /// Processes per pod, as torchrun takes them: a number from 1 to 9999, auto, cpu, gpu, or another kind of device,
    /// such as xpu. Default: auto. May be edited only while the job is suspended.
    #[serde(
        default,
        deserialize_with = "number_or_word",
        skip_serializing_if = "Option::is_none"
    )]
    pub nproc_per_node: Option<String>,

    /// The replicas by type: Master, Worker or both. The types are immutable.
    pub pytorch_replica_specs: BTreeMap<String, ReplicaSpec>,
}

impl PyTorchJobSpec {
    /// The deadline in seconds; flat wins. A negative one, which only other definitions store, is none.
    #[must_use]
    pub fn active_deadline_seconds(&self) -> Option<i64> {
        let written = self.active_deadline_seconds.or(self.run_policy.active_deadline_seconds);
        written.filter(|seconds| *seconds >= 0)
    }

    /// The limit of restarts; flat wins. A negative one, which only other definitions store, is none.
    #[must_use]
    pub fn backoff_limit(&self) -> Option<i32> {
        let written = self.backoff_limit.or(self.run_policy.backoff_limit);
        written.filter(|limit| *limit >= 0)
    }

    /// What to delete at the end; flat wins. Nothing is defaulted: unset has a meaning of its own.
    #[must_use]
    pub fn clean_pod_policy(&self) -> Option<CleanPodPolicy> {
        let written = self
            .clean_pod_policy
            .as_ref()
            .or(self.run_policy.clean_pod_policy.as_ref());
        written.and_then(Word::known)
    }

    /// Seconds a finished job is kept; flat wins.
    #[must_use]
    pub fn ttl_seconds_after_finished(&self) -> Option<i32> {
        self.ttl_seconds_after_finished
            .or(self.run_policy.ttl_seconds_after_finished)
    }

    /// Whether the job is to have no pods for now.
    #[must_use]
    pub fn suspended(&self) -> bool {
        self.run_policy.suspend == Some(true)
    }

    /// The spec of one replica type. Kubeflow's operator takes its key in any case, so stored jobs have `master`. Such
    /// a key counts where the exact one is absent.
    #[must_use]
    pub fn replica(&self, role: ReplicaType) -> Option<&ReplicaSpec> {
        let specs = &self.pytorch_replica_specs;
        let in_any_case = || specs.iter().find(|(key, _)| key.eq_ignore_ascii_case(role.key()));
        specs
            .get(role.key())
            .or_else(|| in_any_case().map(|(_, replica)| replica))
    }

    /// Pods wanted of one type: 0 without that type, 1 when unset.
    #[must_use]
    pub fn replicas(&self, role: ReplicaType) -> u32 {
        self.replica(role)
            .map_or(0, |spec| spec.replicas.map_or(1, |n| u32::try_from(n).unwrap_or(0)))
    }

    /// What happens when a pod of this type fails. Unset is OnFailure, Kubeflow's default, although the field's
    /// documentation there says Never. An unknown word, which Kubeflow's definition takes, counts as unset.
    #[must_use]
    pub fn restart_policy(&self, role: ReplicaType) -> RestartPolicy {
        self.replica(role)
            .and_then(|spec| spec.restart_policy.as_ref()?.known())
            .unwrap_or(RestartPolicy::OnFailure)
    }

    /// What is started again when one replica fails.
    #[must_use]
    pub fn restart_scope(&self) -> RestartScope {
        let scope = self.run_policy.restart_scope.as_ref();
        scope.and_then(Word::known).unwrap_or_default()
    }

    /// Which replicas have a service.
    #[must_use]
    pub fn service_policy(&self) -> ServicePolicy {
        let policy = self.run_policy.service_policy.as_ref();
        policy.and_then(Word::known).unwrap_or_default()
    }

    /// Whether all replicas start again in the pods that are there, as far as these can.
    #[must_use]
    pub fn restarts_in_place(&self) -> bool {
        let strategy = self.run_policy.restart_strategy.as_ref().and_then(Word::known);
        self.restart_scope() == RestartScope::Job && strategy == Some(RestartStrategy::InPlace)
    }

    /// `restartPolicy` of the pods of a role, unless they restart in place. Where the whole job starts again, or what
    /// becomes of a failure depends on what it was, no container may start again by itself.
    #[must_use]
    pub fn restart_policy_of_pod(&self, role: ReplicaType) -> &'static str {
        if self.restart_scope() == RestartScope::Job || self.run_policy.failure_policy.is_some() {
            return RestartPolicy::Never.of_pod();
        }
        self.restart_policy(role).of_pod()
    }

    /// Pods of one type that the training cannot do without: all, or of the workers of an elastic job minReplicas.
    #[must_use]
    pub fn fewest_replicas(&self, role: ReplicaType) -> u32 {
        let wanted = self.replicas(role);
        let elastic = self.elastic_policy.as_ref().filter(|policy| policy.is_bounded());
        let fewest = |policy: &ElasticPolicy| u32::try_from(policy.bounds(wanted).0).unwrap_or(wanted).min(wanted);
        match role {
            ReplicaType::Master => wanted,
            ReplicaType::Worker => elastic.map_or(wanted, fewest),
        }
    }

    /// Pods wanted of all types.
    #[must_use]
    pub fn total_replicas(&self) -> u32 {
        ReplicaType::ALL.into_iter().map(|role| self.replicas(role)).sum()
    }
}

/// A number is a common slip. Empty is the unset value of charts, and means the default.
fn number_or_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number or a word")]
    enum Written {
        Number(i64),
        Word(String),
    }
    Ok(match Option::<Written>::deserialize(deserializer)? {
        None => None,
        Some(Written::Number(number)) => Some(number.to_string()),
        Some(Written::Word(word)) => (!word.is_empty()).then_some(word),
    })
}
