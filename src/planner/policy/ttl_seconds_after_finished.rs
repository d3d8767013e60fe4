//! `ttlSecondsAfterFinished`: a timer from `status.completionTime`, at whose end the job is deleted.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{ConditionType, JobStatus};
use crate::planner::policy::active_deadline_seconds::remaining;
use crate::planner::status::conditions::find;

/// What remains until a finished job is deleted: zero when it is time, nothing without a TTL.
///
/// Kubeflow 1.9 stores no completion time for some failures and then never deletes the job. For such a status the time
/// of the outcome itself counts. A negative TTL never comes: it is why the job was refused, and whoever wrote it is
/// still to read that.
#[must_use]
pub(crate) fn expires_in(status: &JobStatus, ttl: Option<i32>, now: Timestamp) -> Option<Duration> {
    let ttl = ttl.filter(|seconds| *seconds >= 0)?;
    remaining(completion(status)?, i64::from(ttl), now)
}

fn completion(status: &JobStatus) -> Option<&Time> {
    status.completion_time.as_ref().or_else(|| {
        [ConditionType::Failed, ConditionType::Succeeded]
            .into_iter()
            .find_map(|outcome| find(status, outcome))
            .and_then(|outcome| outcome.last_transition_time.as_ref())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fixture::{at, time};
    use crate::planner::status::conditions::{clear, set};

    fn finished(outcome: ConditionType, completion: Option<i64>) -> JobStatus {
        let mut status = JobStatus::default();
        set(&mut status, outcome, "Outcome", String::new(), at(50));
        status.completion_time = completion.map(time);
        status
    }

    #[test]
    fn the_ttl_counts_from_the_completion_time() {
        for (ttl, now, expected, why) in [
            (Some(10), 100, Some(Duration::from_secs(10)), "all of it is left"),
            (Some(10), 109, Some(Duration::from_secs(1)), "never early"),
            (Some(10), 110, Some(Duration::ZERO), "due"),
            (Some(10), 999, Some(Duration::ZERO), "overdue"),
            (Some(0), 100, Some(Duration::ZERO), "zero is at once"),
            (
                Some(10),
                90,
                Some(Duration::from_secs(20)),
                "S8: finished in the future",
            ),
            (
                Some(i32::MAX),
                100,
                Some(Duration::from_secs(2_147_483_647)),
                "the longest",
            ),
            (None, 999, None, "unset is never"),
            (Some(-1), 999, None, "negative is never"),
        ] {
            for outcome in [ConditionType::Succeeded, ConditionType::Failed] {
                let status = finished(outcome, Some(100));
                assert_eq!(expires_in(&status, ttl, at(now)), expected, "{why}, {outcome:?}");
            }
        }
    }

    #[test]
    fn w3_without_a_completion_time_the_ttl_counts_from_the_outcome() {
        for outcome in [ConditionType::Succeeded, ConditionType::Failed] {
            let left = expires_in(&finished(outcome, None), Some(10), at(53));
            assert_eq!(left, Some(Duration::from_secs(7)), "{outcome:?}");
        }
    }

    #[test]
    fn an_outcome_without_any_time_never_expires() {
        let mut status = finished(ConditionType::Failed, None);
        status.conditions[0].last_transition_time = None;
        assert_eq!(expires_in(&status, Some(0), at(999)), None);
        let mut status = JobStatus::default();
        clear(&mut status, ConditionType::Suspended, "Resumed", String::new(), at(0));
        assert_eq!(expires_in(&status, Some(0), at(999)), None, "no outcome at all");
    }
}
