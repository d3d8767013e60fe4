//! `ttlSecondsAfterFinished`: a timer from `status.completionTime`, at whose end the job is deleted.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::active_deadline_seconds::remaining;
use super::conditions::find;
use crate::api::{ConditionType, JobStatus};

/// What remains until a finished job is deleted: zero when it is time, nothing without a TTL.
///
/// Kubeflow 1.9 stores no completion time for some failures and then never deletes the job. For such a status the time of the
/// verdict itself counts.
#[must_use]
pub fn expires_in(status: &JobStatus, ttl: Option<i32>, now: Timestamp) -> Option<Duration> {
    remaining(completion(status)?, i64::from(ttl?), now)
}

fn completion(status: &JobStatus) -> Option<&Time> {
    status.completion_time.as_ref().or_else(|| {
        [ConditionType::Failed, ConditionType::Succeeded]
            .into_iter()
            .find_map(|verdict| find(status, verdict))
            .and_then(|verdict| verdict.last_transition_time.as_ref())
    })
}
