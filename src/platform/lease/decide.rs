//! The rule of the election, without a clock and without a network.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// The durations of the election. [`Timing::default`] holds client-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// For this long after a record was last seen to change, nobody but its holder may write it. Stored in the
    /// record, whole seconds. Default: 15 s.
    pub lease_duration: Duration,
    /// For this long after it sent its last successful renewal a leader may act. Must be shorter than
    /// `lease_duration`: the difference is the room for clocks that run at different rates and for requests on their
    /// way. Default: 10 s.
    pub renew_deadline: Duration,
    /// Pause of a leader between renewals. Default: 2 s.
    pub retry_period: Duration,
    /// Longest pause of a candidate between two looks, and so the time that a released lease lies unused. Ours;
    /// client-go waits `retry_period`. Default: 1 s.
    pub poll_period: Duration,
    /// A request without an answer is given up after this long. Default: 3 s, which leaves room for three attempts
    /// before the renew deadline.
    pub request_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            poll_period: Duration::from_secs(1),
            request_timeout: Duration::from_secs(3),
        }
    }
}

/// What a participant knows of the lease: its last content, and when that content was first seen here.
///
/// The times in the record are for people. They come from another machine's wall clock, so no decision reads them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observation {
    lease: Option<Lease>,
    record: Option<Seen>,
}

/// The last record that was seen. It outlives the deletion of its object.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    spec: LeaseSpec,
    since: Duration,
}

impl Observation {
    /// Takes in what was just read or written; `lease` is `None` when there is no such object. `now` is local time
    /// since boot, taken after the answer arrived: a later time only makes a candidate wait longer.
    pub(crate) fn update(&mut self, lease: Option<Lease>, now: Duration) {
        if let Some(spec) = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default())
            && self.record.as_ref().is_none_or(|seen| seen.spec != spec)
        {
            self.record = Some(Seen { spec, since: now });
        }
        self.lease = lease;
    }

    /// Identity of the last known holder, `None` when the lease is free.
    #[must_use]
    pub(crate) fn holder(&self) -> Option<&str> {
        self.record
            .as_ref()?
            .spec
            .holder_identity
            .as_deref()
            .filter(|holder| !holder.is_empty())
    }
}

/// What a participant does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Write the record with a new holder: oneself.
    Acquire,
    /// Write the record again; it is one's own.
    Renew,
    /// Somebody else holds it. Look again after this long, which is never longer than the poll period and ends no
    /// later than the lease.
    Wait(Duration),
}

/// The rule, the same for leaders and candidates.
///
/// A deleted lease is as good as an unchanged one to those who saw it: deleting it must not give two leaders. A
/// participant that never saw a record has nothing to wait for.
#[must_use]
pub(crate) fn decide(observed: &Observation, me: &str, now: Duration, timing: &Timing) -> Decision {
    let (Some(seen), Some(holder)) = (&observed.record, observed.holder()) else {
        return Decision::Acquire;
    };
    if holder == me {
        return Decision::Renew;
    }
    // The holder acts on the duration it wrote, which may come from other settings than ours.
    let granted = seen
        .spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok())
        .map(Duration::from_secs);
    let expires = seen.since + granted.unwrap_or_default().max(timing.lease_duration);
    match expires.saturating_sub(now) {
        Duration::ZERO => Decision::Acquire,
        left => Decision::Wait(left.min(timing.poll_period)),
    }
}

/// The object to write for [`Decision::Acquire`] and [`Decision::Renew`]: what was observed, resource version
/// included, with this participant as holder. `wall` is for the people who read it.
#[must_use]
pub(super) fn held(observed: &Observation, me: &str, wall: Timestamp, timing: &Timing) -> Lease {
    let mut lease = observed.lease.clone().unwrap_or_default();
    let previous = observed
        .record
        .as_ref()
        .map(|seen| seen.spec.clone())
        .unwrap_or_default();
    let mine = observed.holder() == Some(me);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = i32::try_from(timing.lease_duration.as_secs()).ok();
    spec.renew_time = Some(MicroTime(wall));
    spec.acquire_time = if mine {
        previous.acquire_time
    } else {
        Some(MicroTime(wall))
    };
    spec.lease_transitions = Some(match previous.lease_transitions {
        Some(count) if !mine => count.saturating_add(1),
        count => count.unwrap_or_default(),
    });
    lease
}

/// The object to write when this participant gives up the lease; `None` when there is nothing of its own to give up.
#[must_use]
pub(super) fn released(observed: &Observation, me: &str, wall: Timestamp) -> Option<Lease> {
    let mut lease = observed.lease.clone()?;
    let spec = lease
        .spec
        .as_mut()
        .filter(|spec| spec.holder_identity.as_deref() == Some(me))?;
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(wall));
    Some(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(holder: &str, seconds: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: (!holder.is_empty()).then(|| holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(4),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        };
        Lease {
            spec: Some(spec),
            ..Lease::default()
        }
    }

    fn seen(lease: Option<Lease>, at: u64) -> Observation {
        let mut observed = Observation::default();
        observed.update(lease, Duration::from_secs(at));
        observed
    }

    #[test]
    fn the_rule_as_a_table() {
        let wait = |seconds: f64| Decision::Wait(Duration::from_secs_f64(seconds));
        let rows: [(&str, Observation, f64, Decision); 12] = [
            ("no object, never seen one", seen(None, 0), 0.0, Decision::Acquire),
            ("no spec", seen(Some(Lease::default()), 0), 0.0, Decision::Acquire),
            ("free", seen(Some(lease("", 15)), 100), 100.0, Decision::Acquire),
            ("mine, fresh", seen(Some(lease("me", 15)), 100), 101.0, Decision::Renew),
            (
                "mine, long expired",
                seen(Some(lease("me", 15)), 100),
                900.0,
                Decision::Renew,
            ),
            (
                "another's, just seen",
                seen(Some(lease("other", 15)), 100),
                100.0,
                wait(1.0),
            ),
            (
                "another's, nearly over",
                seen(Some(lease("other", 15)), 100),
                114.75,
                wait(0.25),
            ),
            (
                "another's, over",
                seen(Some(lease("other", 15)), 100),
                115.0,
                Decision::Acquire,
            ),
            (
                "holder has a longer lease than we would",
                seen(Some(lease("other", 60)), 0),
                59.5,
                wait(0.5),
            ),
            (
                "holder has a shorter lease than we would",
                seen(Some(lease("other", 1)), 0),
                14.5,
                wait(0.5),
            ),
            ("negative duration", seen(Some(lease("other", -5)), 0), 14.5, wait(0.5)),
            (
                "local clock behind the observation",
                seen(Some(lease("other", 15)), 100),
                1.0,
                wait(1.0),
            ),
        ];
        for (case, observed, now, expected) in rows {
            assert_eq!(
                decide(&observed, "me", Duration::from_secs_f64(now), &Timing::default()),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn only_a_changed_record_prolongs_the_wait() {
        let mut observed = seen(Some(lease("other", 15)), 0);
        let mut labelled = lease("other", 15);
        labelled.metadata.resource_version = Some("8".to_owned());
        labelled.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
        observed.update(Some(labelled), 14 * SECOND);
        assert_eq!(
            decide(&observed, "me", 15 * SECOND, &Timing::default()),
            Decision::Acquire
        );

        let mut renewed = lease("other", 15);
        renewed.spec.as_mut().unwrap().renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH + SECOND));
        observed.update(Some(renewed), 15 * SECOND);
        assert_eq!(
            decide(&observed, "me", 29 * SECOND, &Timing::default()),
            Decision::Wait(SECOND)
        );
    }

    #[test]
    fn a_deleted_lease_stays_anothers_until_it_would_have_expired() {
        let mut observed = seen(Some(lease("other", 15)), 0);
        observed.update(None, 5 * SECOND);
        assert_eq!(
            decide(&observed, "me", 5 * SECOND, &Timing::default()),
            Decision::Wait(SECOND)
        );
        assert_eq!(
            decide(&observed, "me", 15 * SECOND, &Timing::default()),
            Decision::Acquire
        );
        assert_eq!(observed.lease, None);
    }

    #[test]
    fn acquiring_counts_a_transition_and_renewing_keeps_the_time_of_acquisition() {
        let wall = Timestamp::UNIX_EPOCH + 60 * SECOND;
        let taken = held(&seen(Some(lease("other", 15)), 0), "me", wall, &Timing::default())
            .spec
            .unwrap();
        assert_eq!(taken.holder_identity.as_deref(), Some("me"));
        assert_eq!(taken.lease_duration_seconds, Some(15));
        assert_eq!(taken.lease_transitions, Some(5));
        assert_eq!(taken.acquire_time, Some(MicroTime(wall)));
        assert_eq!(taken.renew_time, Some(MicroTime(wall)));

        let renewed = held(&seen(Some(lease("me", 15)), 0), "me", wall, &Timing::default())
            .spec
            .unwrap();
        assert_eq!(renewed.lease_transitions, Some(4));
        assert_eq!(renewed.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
        assert_eq!(renewed.renew_time, Some(MicroTime(wall)));

        let first = held(&seen(None, 0), "me", wall, &Timing::default()).spec.unwrap();
        assert_eq!(first.lease_transitions, Some(0));
    }

    #[test]
    fn a_write_keeps_what_others_put_into_the_object_and_its_resource_version() {
        let mut stored = lease("other", 15);
        stored.metadata.resource_version = Some("7".to_owned());
        stored.spec.as_mut().unwrap().strategy = Some("OldestEmulationVersion".to_owned());
        let written = held(&seen(Some(stored), 0), "me", Timestamp::UNIX_EPOCH, &Timing::default());
        assert_eq!(written.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(
            written.spec.unwrap().strategy.as_deref(),
            Some("OldestEmulationVersion")
        );
    }

    #[test]
    fn only_ones_own_lease_is_released() {
        let wall = Timestamp::UNIX_EPOCH;
        let given_up = released(&seen(Some(lease("me", 15)), 0), "me", wall).unwrap();
        assert_eq!(given_up.spec.unwrap().holder_identity, None);
        for not_mine in [
            None,
            Some(Lease::default()),
            Some(lease("", 15)),
            Some(lease("other", 15)),
        ] {
            assert_eq!(released(&seen(not_mine, 0), "me", wall), None);
        }
    }
}
