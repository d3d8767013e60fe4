//! `activeDeadlineSeconds`: a timer from `status.startTime`.
//!
//! Kubeflow 1.9 checks the deadline only when some other event wakes it, the legacy operator up to thirty seconds late.
//! Here every plan of an unfinished job carries the time that remains, so the deadline is a timer, re-armed by each
//! edit and restart.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::planner::world::World;

/// What remains until `seconds` after `since`: zero when that time has come. Values beyond the calendar never come.
#[must_use]
pub(crate) fn remaining(since: &Time, seconds: i64, now: Timestamp) -> Option<Duration> {
    Some(from(now, end(since, seconds)?))
}

/// How long ago `seconds` after `since` were over; zero when they are not.
#[must_use]
pub(crate) fn overdue(since: &Time, seconds: i64, now: Timestamp) -> Option<Duration> {
    Some(from(end(since, seconds)?, now))
}

fn end(since: &Time, seconds: i64) -> Option<Timestamp> {
    since.0.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// How much later the second is; zero when it is not.
fn from(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// The message of the Failed condition: Kubeflow's, with the number.
#[must_use]
pub(crate) fn message(world: &World<'_>) -> String {
    let seconds = world.job.spec.active_deadline_seconds().unwrap_or_default();
    format!(
        "Job {} has failed because it was active longer than specified deadline ({seconds} s)",
        world.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, millis: i32) -> Timestamp {
        Timestamp::new(second, millis * 1_000_000).unwrap()
    }

    #[test]
    fn the_deadline_comes_exactly_when_the_seconds_have_passed() {
        let start = Time(at(100, 0));
        for (seconds, now, expected) in [
            (10, at(100, 0), Duration::from_secs(10)),
            (10, at(109, 999), Duration::from_millis(1)),
            (10, at(110, 0), Duration::ZERO),
            (10, at(500, 0), Duration::ZERO),
            (0, at(100, 0), Duration::ZERO),
            (10, at(90, 0), Duration::from_secs(20)),
        ] {
            assert_eq!(remaining(&start, seconds, now), Some(expected), "{seconds} s at {now}");
        }
    }

    #[test]
    fn a_deadline_is_overdue_from_its_second_on() {
        let start = Time(at(100, 0));
        for (now, expected) in [
            (at(109, 0), Duration::ZERO),
            (at(110, 0), Duration::ZERO),
            (at(110, 5), Duration::from_millis(5)),
            (at(200, 0), Duration::from_secs(90)),
        ] {
            assert_eq!(overdue(&start, 10, now), Some(expected), "{now}");
        }
    }

    #[test]
    fn a_deadline_beyond_the_calendar_never_comes() {
        assert_eq!(remaining(&Time(at(100, 0)), i64::MAX, at(200, 0)), None);
    }
}
