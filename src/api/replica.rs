//! `spec.pytorchReplicaSpecs`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::bounds::MAX_REPLICAS;
use crate::api::raw::RawJson;
use crate::api::word::Word;

/// What happens when a pod fails: Always, OnFailure, Never or ExitCode. Default: OnFailure. Overrides the template's
/// own. Immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RestartPolicy {
    /// The kubelet restarts the container whatever its exit code; a pod that fails as a whole is replaced.
    Always,
    /// The kubelet restarts a container that failed; a pod that fails as a whole is replaced.
    OnFailure,
    /// A failed replica fails the job.
    Never,
    /// Exit codes below 128 fail the job, 128 and above replace the pod.
    ExitCode,
}

impl RestartPolicy {
    /// What the pod gets: a pod knows no ExitCode, and must not restart by itself what the exit code is to decide
    /// about.
    #[must_use]
    pub const fn of_pod(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnFailure => "OnFailure",
            Self::Never | Self::ExitCode => "Never",
        }
    }
}

/// One kind of replica.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSpec {
    /// Number of pods. Default: 1. The Master has exactly one. Workers of a job whose elasticPolicy has minReplicas or
    /// maxReplicas may be edited at any time within these bounds, others only while the job is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_REPLICAS))]
    pub replicas: Option<i32>,

    /// What happens when a pod fails.
    #[serde(
        default,
        deserialize_with = "empty_is_unset",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<RestartPolicy>")]
    pub restart_policy: Option<Word<RestartPolicy>>,

    /// The pod. It needs a container named pytorch. May be edited only while the job is suspended.
    #[schemars(with = "k8s_openapi::api::core::v1::PodTemplateSpec")]
    pub template: RawJson,
}

/// Kubeflow's Go types write an unset restart policy as `""`.
fn empty_is_unset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Word<RestartPolicy>>, D::Error> {
    let stored = Option::<Word<RestartPolicy>>::deserialize(deserializer)?;
    Ok(stored.filter(|word| *word != Word::Other(String::new())))
}
