//! `spec.runPolicy.failurePolicy`: what becomes of a failure, by what it was.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::failure_class::FailureClass;
use crate::api::word::Word;

/// What becomes of a failed replica, by what its failure was, before `restartPolicy` is asked. The shape of
/// `podFailurePolicy` of a Kubernetes Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["rules"]))]
pub struct FailurePolicy {
    /// The first rule that fits a failure decides. If none does, `restartPolicy` decides.
    #[schemars(length(min = 1, max = 20))]
    pub rules: Vec<FailureRule>,
}

/// One rule: one of `class`, `exitCodes` and `onPodConditions`, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["action"]))]
pub struct FailureRule {
    /// `FailJob`: the job fails at once. `Restart`: as after any failure, counted as a restart, whatever restartPolicy
    /// says. `Ignore`: the replica is replaced, and no restart is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "FailureAction")]
    pub action: Option<Word<FailureAction>>,

    /// Fits a failure of this class, as `status.firstFailure.class` names them; `Preempted` fits a disruption too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<FailureClass>")]
    pub class: Option<Word<FailureClass>>,

    /// Fits by the exit code of the container that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_codes: Option<ExitCodes>,

    /// Fits a failed pod that has one of these conditions. One with `DisruptionTarget` is a disruption, which is no
    /// failure unless a rule says `Restart` or `FailJob`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 20))]
    pub on_pod_conditions: Vec<PodConditionPattern>,
}

/// What becomes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FailureAction {
    /// The job fails.
    FailJob,
    /// It counts as a restart, and what restartScope says starts again.
    Restart,
    /// The replica is replaced, and nothing is counted.
    Ignore,
}

/// Exit codes that a rule fits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["operator", "values"]))]
pub struct ExitCodes {
    /// `In`: the code is one of the values. `NotIn`: it is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SetOperator")]
    pub operator: Option<Word<SetOperator>>,
    /// The exit codes.
    #[schemars(length(min = 1, max = 255), inner(range(min = 1, max = 255)))]
    pub values: Vec<i32>,
}

/// How a value is compared with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SetOperator {
    /// It is in the set.
    In,
    /// It is not.
    NotIn,
}

/// A condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["type"]))]
pub struct PodConditionPattern {
    /// Type of the condition, such as `DisruptionTarget`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status of the condition. Default: True.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ConditionStatus")]
    pub status: Option<Word<ConditionStatus>>,
}

/// Status of a condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
