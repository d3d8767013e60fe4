//! `spec.runPolicy.progressPolicy`: what becomes of a replica that runs and makes no progress.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds::MAX_SECONDS_OF_A_POD;
use crate::api::word::Word;

/// What becomes of a replica that runs and has stopped writing. Ours.
///
/// The kubelet looks, by a readiness probe of the container pytorch, at when `file` was last written. While any replica
/// is being replaced, and while the job is suspended, nothing is a stall.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["action", "deadlineSeconds", "file"]))]
pub struct ProgressPolicy {
    /// What to do about a stall. `Restart`: as after any failure, counted as a restart, whatever restartPolicy says.
    /// `Fail`: the job fails at once. `Warn`: the condition Stalled and an event, and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "StallAction")]
    pub action: Option<Word<StallAction>>,

    /// Seconds that a replica may run without writing to the file. The kubelet probes ten times in that time, at least
    /// every 30 s, and the probe has to fail three times in a row, and then once more, so a stall is reported at most
    /// 30 s + min(0.4 times deadlineSeconds, 120 s) later. Never earlier.
    #[schemars(range(min = 10, max = MAX_SECONDS_OF_A_POD))]
    pub deadline_seconds: i32,

    /// Path, in the container pytorch, of a file that each replica writes while it trains, or of a folder, of which the
    /// newest file below it counts. Replicas that share a folder hide each other's stalls. The image needs sh, find,
    /// stat, sort, tail and date.
    #[schemars(length(min = 2, max = 4096), regex(pattern = r"^/"))]
    pub file: String,

    /// Seconds after the start of the last replica, also the last that was started again, in which nothing is a stall.
    /// Default: 1800.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SECONDS_OF_A_POD))]
    pub startup_seconds: Option<i32>,
}

/// What to do about a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StallAction {
    /// Restart what restartScope says.
    Restart,
    /// Fail the job.
    Fail,
    /// Tell.
    Warn,
}

/// [`ProgressPolicy::startup_seconds`] when it is absent: what a large model takes to load, and less than an hour.
const STARTUP_SECONDS: i32 = 1_800;
/// How often the kubelet looks within the deadline.
const LOOKS: i32 = 10;
/// Most seconds from one look to the next.
const MAX_PERIOD: i32 = 30;
/// Seconds that one look may take, on a file system over the network.
const TIMEOUT: i32 = 30;

impl ProgressPolicy {
    /// What to do about a stall; nothing of a word that means nothing.
    #[must_use]
    pub fn action(&self) -> Option<StallAction> {
        self.action.as_ref().and_then(Word::known)
    }

    /// Whether the file and the deadline can be looked after.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.file.starts_with('/') && self.deadline_seconds > 0
    }

    /// `startupSeconds`, or its default.
    #[must_use]
    pub fn startup_seconds(&self) -> i64 {
        self.startup_seconds.unwrap_or(STARTUP_SECONDS).max(0).into()
    }

    /// Seconds from one look of the kubelet to the next.
    #[must_use]
    pub fn period_seconds(&self) -> i32 {
        (self.deadline_seconds / LOOKS).clamp(1, MAX_PERIOD)
    }

    /// Seconds that one look of the kubelet may take.
    #[must_use]
    pub const fn timeout_seconds(&self) -> i32 {
        TIMEOUT
    }

    /// Seconds within which the kubelet has looked once more, whatever it did before.
    #[must_use]
    pub fn round_seconds(&self) -> i64 {
        i64::from(self.period_seconds()) + i64::from(self.timeout_seconds())
    }
}
