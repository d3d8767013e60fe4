//! `status.accounting`: what the time of a job was spent on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the time of a job was spent on, from when the operator first saw it. Written when the job begins to wait, to
/// run, to stall or to be suspended, when it starts again, and when it ends; what has passed since then is not in it,
/// so that time alone causes no write. Ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Accounting {
    /// `running` out of `waiting`, `running` and `stalled` seconds, as in `97%`; absent before the job has run. What a
    /// failed attempt had done since its last checkpoint counts as run: nobody but the training knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<String>,

    /// GPUs that the pods of the job ask for, as of the last write: the resources of their containers whose names end
    /// with `/gpu`, such as `nvidia.com/gpu`, by limit or else by request.
    #[serde(skip_serializing_if = "is_zero")]
    pub gpus: i64,

    /// Seconds times the GPUs that the job asked for then.
    #[serde(skip_serializing_if = "Spent::is_nothing")]
    pub gpu_seconds: Spent,

    /// Seconds.
    #[serde(skip_serializing_if = "Spent::is_nothing")]
    pub seconds: Spent,

    /// When the number of GPUs changed, if that was the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// What time was spent on, by the state of the job. Zeros are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Spent {
    /// Suspended, as while a queue manager has not admitted the job.
    #[serde(skip_serializing_if = "is_zero")]
    pub queued: i64,

    /// Its pods were wanted and it did not run: they were created, scheduled, started or replaced.
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: i64,

    /// It ran, as the condition Running says.
    #[serde(skip_serializing_if = "is_zero")]
    pub running: i64,

    /// It ran and made no progress, as the condition Stalled says; with `runPolicy.progressPolicy` alone.
    #[serde(skip_serializing_if = "is_zero")]
    pub stalled: i64,

    /// The part of `running` in attempts that failed: the most that may have been done in vain. What was saved in a
    /// checkpoint was not.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: i64,

    /// The part of `running` in attempts that have ended, by a failure or by a suspension.
    #[serde(skip_serializing_if = "is_zero")]
    pub ended: i64,
}

impl Spent {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}
