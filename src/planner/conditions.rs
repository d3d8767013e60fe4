//! `status.conditions`: the mechanics of Kubeflow 1.9's list, which the STATE column and clients rely on.
//!
//! One entry a type. A changed entry moves to the end; an entry with the same status and reason is left as it is, message and
//! times included. Running and Restarting replace each other. A verdict turns a True Running into False in place.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{ConditionType, JobCondition, JobStatus};

const TRUE: &str = "True";
const FALSE: &str = "False";

/// The time as it is stored: the API server keeps whole seconds, and a status that keeps more never equals what comes back.
#[must_use]
pub fn stored_time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Whether the condition is True.
#[must_use]
pub fn is_true(status: &JobStatus, condition: ConditionType) -> bool {
    find(status, condition).is_some_and(|entry| entry.status == TRUE)
}

/// Whether the job has its verdict.
#[must_use]
pub fn finished(status: &JobStatus) -> bool {
    is_true(status, ConditionType::Succeeded) || is_true(status, ConditionType::Failed)
}

/// The entry of a type.
#[must_use]
pub fn find(status: &JobStatus, condition: ConditionType) -> Option<&JobCondition> {
    status.conditions.iter().find(|entry| entry.type_ == condition.as_str())
}

/// Makes the condition True.
pub fn set(status: &mut JobStatus, condition: ConditionType, reason: &str, message: String, now: Timestamp) {
    write(status, condition, TRUE, reason, message, now);
}

/// Makes the condition False, and puts it into the list if it is not there.
pub fn clear(status: &mut JobStatus, condition: ConditionType, reason: &str, message: String, now: Timestamp) {
    write(status, condition, FALSE, reason, message, now);
}

fn write(status: &mut JobStatus, condition: ConditionType, value: &str, reason: &str, message: String, now: Timestamp) {
    if finished(status) {
        return;
    }
    let old = find(status, condition);
    if old.is_some_and(|old| old.status == value && old.reason.as_deref() == Some(reason)) {
        return;
    }
    let time = stored_time(now);
    let transition = old
        .filter(|old| old.status == value)
        .and_then(|old| old.last_transition_time.clone());
    status
        .conditions
        .retain(|entry| entry.type_ != condition.as_str() && !replaces(condition, value, &entry.type_));
    if value == TRUE && matches!(condition, ConditionType::Succeeded | ConditionType::Failed) {
        for entry in status
            .conditions
            .iter_mut()
            .filter(|entry| entry.type_ == ConditionType::Running.as_str())
        {
            entry.status = FALSE.into();
        }
    }
    status.conditions.push(JobCondition {
        type_: condition.as_str().into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(time.clone()),
        last_transition_time: Some(transition.unwrap_or(time)),
    });
}

/// Whether writing `condition` removes an entry of type `other`.
fn replaces(condition: ConditionType, value: &str, other: &str) -> bool {
    value == TRUE
        && match condition {
            ConditionType::Running => other == ConditionType::Restarting.as_str(),
            ConditionType::Restarting => other == ConditionType::Running.as_str(),
            _ => false,
        }
}
