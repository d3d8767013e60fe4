//! The row of the job, and what limits it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::names::reason;
use crate::api::{JobStatus, PyTorchJob};
use crate::cli::kubectl::age::{age, time};
use crate::cli::kubectl::stage::Stage;
use crate::cli::kubectl::timeline::model::{Mark, MarkKind, Moment, Row, spans};
use crate::cli::kubectl::timeline::told::Told;
use crate::planner::finished;

/// The stages that a job enters with an event and a condition of this reason. To run is no event.
const STAGES: [(&str, Stage); 6] = [
    (reason::RUNNING, Stage::Running),
    (reason::RESTARTING, Stage::Restarting),
    (reason::SUSPENDED, Stage::Suspended),
    (reason::RESUMED, Stage::Queued),
    (reason::SUCCEEDED, Stage::Succeeded),
    (reason::FAILED, Stage::Failed),
];
/// A condition is stored in seconds, and its event follows.
const SAME_WITHIN: SignedDuration = SignedDuration::from_secs(3);

/// The row of the job. Conditions tell of the last change of each type, events of all that are not forgotten yet, and
/// the Master, or without one the workers, tell since when it ran before that.
pub(super) fn row(job: &PyTorchJob, status: &JobStatus, events: &[&Told], ran: &[Timestamp], end: Timestamp) -> Row {
    let created = job.metadata.creation_timestamp.as_ref().map(|Time(at)| *at);
    let mut moments: Vec<Moment> = created
        .map(|at| Moment::new(at, Stage::Queued, "created"))
        .into_iter()
        .collect();
    moments.extend(ran.iter().map(|at| Moment::new(*at, Stage::Running, "")));
    for told in events {
        moments.extend(stage(&told.reason).map(|stage| Moment::new(told.at, stage, told.note.as_str())));
    }
    let restarts = events.iter().filter(|told| told.reason == reason::RESTARTING);
    let last = restarts.clone().map(|told| told.at).max();
    for entry in &status.conditions {
        let at = entry.last_transition_time.as_ref().map(|Time(at)| *at);
        let stage = entry.reason.as_deref().and_then(stage);
        let (Some(at), Some(stage)) = (at, stage) else { continue };
        // The condition Running takes the place of Restarting, so it is the later one.
        let at = last.filter(|last| stage == Stage::Running && *last > at).unwrap_or(at);
        let same = |moment: &Moment| moment.stage == stage && at.duration_since(moment.at).abs() <= SAME_WITHIN;
        if stage == Stage::Running || !moments.iter().any(same) {
            moments.push(Moment::new(at, stage, entry.message.clone().unwrap_or_default()));
        }
    }
    let restarts = restarts.map(|told| Mark {
        kind: MarkKind::Restart,
        at: told.at,
        note: told.note.clone(),
    });
    Row {
        name: "job".to_owned(),
        rank: None,
        spans: spans(moments, end),
        marks: restarts.collect(),
    }
}

fn stage(reason: &str) -> Option<Stage> {
    STAGES
        .into_iter()
        .find(|(known, _)| *known == reason)
        .map(|(_, stage)| stage)
}

/// When the deadline is over, and the TTL; those that count.
pub(super) fn limits(job: &PyTorchJob, status: &JobStatus) -> Vec<Mark> {
    let after = |time: &Option<Time>, seconds: Option<i64>| {
        let Time(begin) = time.as_ref()?;
        begin.checked_add(SignedDuration::from_secs(seconds?)).ok()
    };
    let deadline = job
        .spec
        .active_deadline_seconds()
        .filter(|_| !job.spec.suspended() || finished(status));
    let ttl = job.spec.ttl_seconds_after_finished().map(i64::from);
    [
        (
            MarkKind::Deadline,
            "activeDeadlineSeconds",
            &status.start_time,
            deadline,
        ),
        (MarkKind::Ttl, "ttlSecondsAfterFinished", &status.completion_time, ttl),
    ]
    .into_iter()
    .filter_map(|(kind, field, begin, seconds)| {
        let at = after(begin, seconds)?;
        let note = format!("{field}: {}", seconds?);
        Some(Mark { kind, at, note })
    })
    .collect()
}

/// What the status says beside its times, and what of it nobody tells any more.
pub(super) fn remarks(status: &JobStatus, events: &[&Told]) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(failure) = &status.first_failure {
        let code = failure
            .exit_code
            .map(|code| format!(" with exit code {code}"))
            .unwrap_or_default();
        let reason = failure
            .reason
            .as_deref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        let node = failure
            .node
            .as_deref()
            .map(|node| format!(" on {node}"))
            .unwrap_or_default();
        remarks.push(format!(
            "The first failure was that of {}{code}{reason}{node}.",
            failure.pod
        ));
    }
    let told = events.iter().filter(|told| told.reason == reason::RESTARTING).count();
    let counted = status.restarts.unwrap_or(0);
    if usize::try_from(counted).is_ok_and(|counted| counted > told) {
        remarks.push(format!(
            "{counted} restarts are counted, and events tell of {told}. The API server forgets events after its \
             --event-ttl, an hour by default."
        ));
    }
    remarks
}

/// What is said of a limit that is too far away to be drawn.
pub(super) fn far(limit: &Mark, now: Timestamp) -> String {
    let left = limit.at.duration_since(now);
    let when = if left.is_negative() {
        format!("{} ago", age(-left))
    } else {
        format!("in {}", age(left))
    };
    format!(
        "{}: {when}, at {} ({}).",
        capital(limit.kind.word()),
        time(limit.at),
        limit.note
    )
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
