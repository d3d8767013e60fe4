//! `status.conditions`: the mechanics of Kubeflow 1.9's list, which the STATE column and clients rely on.
//!
//! One entry a type. A changed entry moves to the end; an entry with the same status and reason is left as it is,
//! message and times included. Running and Restarting replace each other. An outcome turns a True Running into False in
//! place, and unlike in Kubeflow a True Restarting too: a finished job does not restart.
//!
//! The last entry is True. Kubeflow puts a new False there: its STATE column says Suspended of a job that was resumed.
//!
//! Stalled, an addition of ours, says what is wrong with a job that runs. It is never the last entry, and an outcome
//! ends it like Running.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{ConditionType, JobCondition, JobStatus, names};

/// `status` of a condition that holds.
pub(crate) const TRUE: &str = "True";
const FALSE: &str = "False";

/// What a finished job is no longer.
const ENDED_BY_OUTCOME: [&str; 3] = [
    ConditionType::Running.as_str(),
    ConditionType::Restarting.as_str(),
    names::STALLED,
];

/// The time as it is stored: the API server keeps whole seconds, and a status that keeps more never equals what comes
/// back.
#[must_use]
pub(crate) fn stored_time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Whether the condition is True.
#[must_use]
pub fn is_true(status: &JobStatus, condition: ConditionType) -> bool {
    find(status, condition).is_some_and(|entry| entry.status == TRUE)
}

/// The newest condition that is True, as the STATE column shows it; nothing of a job that nobody has looked at.
#[must_use]
pub fn state(status: &JobStatus) -> Option<ConditionType> {
    let newest = status.conditions.iter().rfind(|entry| is_state(entry))?;
    ConditionType::ALL
        .into_iter()
        .find(|condition| newest.type_ == condition.as_str())
}

/// Whether the job has finished.
#[must_use]
pub fn finished(status: &JobStatus) -> bool {
    is_true(status, ConditionType::Succeeded) || is_true(status, ConditionType::Failed)
}

/// The entry of a type.
#[must_use]
pub(crate) fn find(status: &JobStatus, condition: ConditionType) -> Option<&JobCondition> {
    entry(status, condition.as_str())
}

fn entry<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().find(|entry| entry.type_ == type_)
}

/// Whether the condition Stalled is True.
#[must_use]
pub(crate) fn is_stalled(status: &JobStatus) -> bool {
    entry(status, names::STALLED).is_some_and(|entry| entry.status == TRUE)
}

/// Writes the condition Stalled.
pub(crate) fn set_stalled(status: &mut JobStatus, stalled: bool, reason: &str, message: String, now: Timestamp) {
    let value = if stalled { TRUE } else { FALSE };
    write(status, names::STALLED, value, reason, message, now);
}

/// Makes the condition True.
pub(crate) fn set(status: &mut JobStatus, condition: ConditionType, reason: &str, message: String, now: Timestamp) {
    write(status, condition.as_str(), TRUE, reason, message, now);
}

/// Makes the condition False, and puts it into the list if it is not there.
pub(crate) fn clear(status: &mut JobStatus, condition: ConditionType, reason: &str, message: String, now: Timestamp) {
    write(status, condition.as_str(), FALSE, reason, message, now);
}

fn write(status: &mut JobStatus, type_: &str, value: &str, reason: &str, message: String, now: Timestamp) {
    if finished(status) {
        return;
    }
    let old = entry(status, type_);
    if old.is_some_and(|old| old.status == value && old.reason.as_deref() == Some(reason)) {
        return;
    }
    let time = stored_time(now);
    let transition = old
        .filter(|old| old.status == value)
        .and_then(|old| old.last_transition_time.clone());
    status
        .conditions
        .retain(|entry| entry.type_ != type_ && !replaces(type_, value, &entry.type_));
    let outcomes = [ConditionType::Succeeded, ConditionType::Failed];
    if value == TRUE && outcomes.iter().any(|outcome| outcome.as_str() == type_) {
        let ends = |entry: &&mut JobCondition| ENDED_BY_OUTCOME.contains(&entry.type_.as_str());
        for entry in status.conditions.iter_mut().filter(ends) {
            entry.status = FALSE.into();
        }
    }
    status.conditions.push(JobCondition {
        type_: type_.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(time.clone()),
        last_transition_time: Some(transition.unwrap_or(time)),
    });
    put_in_order(&mut status.conditions);
}

/// Created stands in front, and the newest condition of Kubeflow's that is True stands last: the STATE column shows the
/// last one.
fn put_in_order(conditions: &mut [JobCondition]) {
    let created = |entry: &JobCondition| entry.type_ == ConditionType::Created.as_str();
    conditions.sort_by_key(|entry| !created(entry));
    if let Some(newest) = conditions.iter().rposition(is_state) {
        conditions[newest..].rotate_left(1);
    }
}

/// Whether this entry can be the state of the job.
fn is_state(entry: &JobCondition) -> bool {
    entry.status == TRUE && entry.type_ != names::STALLED
}

/// Whether writing an entry of type `type_` removes one of type `other`.
fn replaces(type_: &str, value: &str, other: &str) -> bool {
    let [running, restarting] = [ConditionType::Running, ConditionType::Restarting].map(ConditionType::as_str);
    value == TRUE && ((type_, other) == (running, restarting) || (type_, other) == (restarting, running))
}

#[cfg(test)]
mod tests {
    use ConditionType::{Created, Failed, Restarting, Running, Succeeded, Suspended};

    use super::*;
    use crate::planner::fixture::{at, conditions, time};

    /// The list after making each condition True in turn, ten seconds apart.
    fn after(types: &[ConditionType]) -> JobStatus {
        let mut status = JobStatus::default();
        for (condition, seconds) in types.iter().zip((0..).step_by(10)) {
            set(
                &mut status,
                *condition,
                condition.as_str(),
                format!("at {seconds}"),
                at(seconds),
            );
        }
        status
    }

    fn entry(status: &JobStatus, condition: ConditionType) -> JobCondition {
        find(status, condition).cloned().expect("the entry is there")
    }

    #[test]
    fn created_stands_in_front_and_the_newest_true_entry_last() {
        let types = |status: &JobStatus| {
            let entries = status.conditions.iter();
            entries
                .map(|entry| format!("{}={}", entry.type_, entry.status))
                .collect::<Vec<_>>()
        };
        let mut status = after(&[Created, Running]);
        clear(&mut status, Running, "R", "m".into(), at(20));
        set(&mut status, Suspended, "S", "m".into(), at(20));
        assert_eq!(types(&status), ["Created=True", "Running=False", "Suspended=True"]);
        clear(&mut status, Suspended, "R", "m".into(), at(30));
        assert_eq!(types(&status), ["Running=False", "Suspended=False", "Created=True"]);
        set(&mut status, Running, "R", "m".into(), at(40));
        assert_eq!(types(&status), ["Created=True", "Suspended=False", "Running=True"]);
        assert_eq!(
            types(&after(&[Running, Created])),
            ["Created=True", "Running=True"],
            "Created came late"
        );
    }

    #[test]
    fn the_state_is_the_newest_condition_that_is_true() {
        assert_eq!(state(&JobStatus::default()), None);
        for condition in ConditionType::ALL {
            assert_eq!(state(&after(&[Created, condition])), Some(condition));
        }
        let mut status = after(&[Created, Suspended]);
        clear(&mut status, Suspended, "Resumed", "m".into(), at(20));
        assert_eq!(state(&status), Some(Created));
    }

    #[test]
    fn a_changed_entry_moves_to_the_end_and_running_and_restarting_replace_each_other() {
        for (written, expected) in [
            (&[Created][..], &["Created=True(Created)"][..]),
            (&[Created, Running], &["Created=True(Created)", "Running=True(Running)"]),
            (
                &[Created, Running, Restarting],
                &["Created=True(Created)", "Restarting=True(Restarting)"],
            ),
            (
                &[Created, Restarting, Running],
                &["Created=True(Created)", "Running=True(Running)"],
            ),
            (
                &[Created, Running, Failed],
                &["Created=True(Created)", "Running=False(Running)", "Failed=True(Failed)"],
            ),
            (
                &[Created, Running, Succeeded],
                &[
                    "Created=True(Created)",
                    "Running=False(Running)",
                    "Succeeded=True(Succeeded)",
                ],
            ),
            (
                &[Created, Suspended, Running],
                &[
                    "Created=True(Created)",
                    "Suspended=True(Suspended)",
                    "Running=True(Running)",
                ],
            ),
        ] {
            assert_eq!(conditions(&after(written)), expected, "{written:?}");
        }
    }

    #[test]
    fn the_same_status_and_reason_leaves_the_entry_as_it_is_message_and_times_included() {
        let mut status = after(&[Created, Running]);
        let before = status.clone();
        set(
            &mut status,
            Created,
            Created.as_str(),
            "another message".into(),
            at(500),
        );
        assert_eq!(status, before);
    }

    #[test]
    fn another_reason_replaces_message_and_update_time_and_keeps_the_transition_time() {
        let mut status = after(&[Created, Running]);
        set(&mut status, Created, "SeenAgain", "another message".into(), at(500));
        let created = entry(&status, Created);
        assert_eq!(created.message.as_deref(), Some("another message"));
        assert_eq!(created.last_update_time, Some(time(500)));
        assert_eq!(created.last_transition_time, Some(time(0)), "it was True and is True");
        assert_eq!(
            conditions(&status),
            ["Created=True(SeenAgain)", "Running=True(Running)"]
        );
    }

    #[test]
    fn a_changed_status_sets_the_transition_time() {
        let mut status = after(&[Suspended]);
        clear(&mut status, Suspended, "Resumed", "goes on".into(), at(500));
        let suspended = entry(&status, Suspended);
        assert_eq!(
            (suspended.status.as_str(), suspended.last_transition_time),
            ("False", Some(time(500)))
        );
    }

    #[test]
    fn a_false_running_or_restarting_replaces_nothing() {
        for (first, second) in [(Running, Restarting), (Restarting, Running)] {
            let mut status = after(&[first]);
            clear(&mut status, second, "Suspended", String::new(), at(500));
            assert_eq!(
                status.conditions.len(),
                2,
                "{first:?} stays when {second:?} becomes False"
            );
        }
    }

    #[test]
    fn an_outcome_ends_running_in_place_and_keeps_its_reason_message_and_times() {
        for outcome in [Succeeded, Failed] {
            let status = after(&[Created, Running, outcome]);
            let expected = JobCondition {
                status: "False".into(),
                ..entry(&after(&[Created, Running]), Running)
            };
            assert_eq!(status.conditions[1], expected, "{outcome:?}");
        }
    }

    #[test]
    fn w16_an_outcome_ends_restarting_too() {
        for outcome in [Succeeded, Failed] {
            assert!(
                !is_true(&after(&[Created, Restarting, outcome]), Restarting),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn after_an_outcome_nothing_is_written() {
        for outcome in [Succeeded, Failed] {
            for later in [Created, Running, Restarting, Succeeded, Suspended, Failed] {
                let mut status = after(&[Created, Running, outcome]);
                let before = status.clone();
                set(&mut status, later, "Later", String::new(), at(500));
                clear(&mut status, later, "Later", String::new(), at(500));
                assert_eq!(status, before, "{later:?} after {outcome:?}");
            }
        }
    }

    #[test]
    fn succeeded_and_failed_finish_a_job_and_nothing_else_does() {
        for (condition, expected) in [
            (Created, false),
            (Running, false),
            (Restarting, false),
            (Suspended, false),
            (Succeeded, true),
            (Failed, true),
        ] {
            assert_eq!(finished(&after(&[condition])), expected, "{condition:?}");
            let mut status = after(&[]);
            clear(&mut status, condition, "No", String::new(), at(0));
            assert!(!finished(&status), "{condition:?} that is False");
        }
    }

    #[test]
    fn times_are_stored_in_whole_seconds_rounded_down() {
        let now = Timestamp::new(at(7).as_second(), 999_999_999).unwrap();
        assert_eq!(stored_time(now), time(7));
    }
}
