//! What is remembered of a job between reconciles and is not worth storing: back-off, when its status was last written,
//! and what need not be looked at again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::{JobStatus, PyTorchJob};
use crate::planner::{Count, Event, Urgency};
use crate::platform::clock::jittered;

/// How long a changed condition waits for the rest of its burst.
const CONDITION_DEBOUNCE: Duration = Duration::from_millis(200);
/// How long counts wait for others to change, or for a condition to be written with them.
const COUNTS_DEBOUNCE: Duration = Duration::from_secs(1);
/// First pause after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// Longest pause after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);
/// The same while the API server does not answer: once it is back nothing stands in the way of another attempt.
const LONGEST_OUTAGE_BACKOFF: Duration = Duration::from_secs(10);
/// The longest pause that the API server is given when it asks for one: twice what it asks for by itself. Whatever
/// stands before it may ask for anything.
const LONGEST_ASKED: Duration = Duration::from_mins(1);
/// Pauses are shortened at random by up to this part, so that jobs that failed together do not come back together.
const JITTER: f64 = 0.2;

/// The pacing of all jobs, by UID. Losing it costs nothing but a few early requests.
#[derive(Debug, Default)]
pub(super) struct Pacing(Mutex<HashMap<String, Job>>);

#[derive(Clone, Debug, Default)]
struct Job {
    failures: u32,
    /// No try counts before this time, or triggers by others would drive the pause to its maximum at once.
    retry_at: Option<Instant>,
    /// Since when the stored status is not the right one.
    unwritten_since: Option<Instant>,
    /// Since when that is true of a condition.
    condition_since: Option<Instant>,
    /// Why what was to be created last is not there.
    refusal: Option<Refusal>,
    /// What the pods of the job have been compared with.
    compared: Option<Templates>,
    /// A status that is being stored, or may have been.
    unanswered: Option<UnansweredStatus>,
    /// What has been said of an object that cannot be decoded.
    undecodable: Option<String>,
}

/// Why something that was to be created is not there, in words for the owner of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The API server has said so.
    Answered(String),
    /// It has not answered yet.
    Awaited(String),
}

/// A write of the status without an answer, with what is told and counted when it has been stored.
#[derive(Clone, Debug)]
pub(super) struct UnansweredStatus {
    pub status: JobStatus,
    pub events: Vec<Event>,
    pub counts: Vec<Count>,
}

/// The templates of a job, as this process has seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Templates {
    /// A hash of their text as it is kept, which costs less than their parsing.
    pub text: u64,
    /// The generation of the spec.
    pub generation: Option<i64>,
}

impl Templates {
    /// Those in the spec.
    #[must_use]
    pub(super) fn of(job: &PyTorchJob) -> Self {
        let mut hasher = DefaultHasher::new();
        for replica in job.spec.pytorch_replica_specs.values() {
            replica.template.hash(&mut hasher);
        }
        Self {
            text: hasher.finish(),
            generation: job.metadata.generation,
        }
    }
}

impl Pacing {
    /// A reconcile begins. What is remembered after this is forgotten by [`Pacing::forget`], also when the job goes in
    /// between.
    pub(super) fn begin(&self, job: &str) {
        self.jobs().entry(job.to_owned()).or_default();
    }

    /// How long the status has to wait: nothing when it is to be written now.
    pub(super) fn status_wait(&self, job: &str, urgency: Urgency, now: Instant) -> Option<Duration> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(job)?;
        let since = *job.unwritten_since.get_or_insert(now);
        let due = match urgency {
            Urgency::Now => now,
            Urgency::Condition => *job.condition_since.get_or_insert(now) + CONDITION_DEBOUNCE,
            Urgency::Counts => since + COUNTS_DEBOUNCE,
        };
        Some(due.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// The stored status is the right one.
    pub(super) fn status_settled(&self, job: &str) {
        if let Some(job) = self.jobs().get_mut(job) {
            (job.unwritten_since, job.condition_since) = (None, None);
        }
    }

    /// What was missing has been created, or why it was not.
    pub(super) fn attempted(&self, job: &str, refusal: Option<Refusal>) {
        if let Some(job) = self.jobs().get_mut(job) {
            job.refusal = refusal;
        }
    }

    /// Why what was to be created last is not there.
    pub(super) fn refusal(&self, job: &str) -> Option<String> {
        match self.jobs().get(job)?.refusal.clone()? {
            Refusal::Answered(why) | Refusal::Awaited(why) => Some(why),
        }
    }

    /// What the pods have been compared with.
    pub(super) fn compared(&self, job: &str) -> Option<Templates> {
        self.jobs().get(job)?.compared
    }

    /// The pods have been compared with these templates, and what follows from it is done.
    pub(super) fn record_comparison(&self, job: &str, templates: Templates) {
        if let Some(job) = self.jobs().get_mut(job) {
            job.compared = Some(templates);
        }
    }

    /// The status is about to be stored. It may have been unless an answer is [recorded](Self::answered).
    pub(super) fn writes_status(&self, job: &str, write: UnansweredStatus) {
        if let Some(job) = self.jobs().get_mut(job) {
            job.unanswered = Some(write);
        }
    }

    /// The API server has said what became of the status.
    pub(super) fn answered(&self, job: &str) {
        if let Some(job) = self.jobs().get_mut(job) {
            job.unanswered = None;
        }
    }

    /// The last write of the status, if it was not answered and is what turns out to be stored; once. Of a job whose
    /// status is `certain` another one means that it was not stored.
    pub(super) fn turned_out(&self, job: &str, kept: Option<&JobStatus>, certain: bool) -> Option<UnansweredStatus> {
        let mut jobs = self.jobs();
        let unanswered = &mut jobs.get_mut(job)?.unanswered;
        let stored = kept == Some(&unanswered.as_ref()?.status);
        let write = if stored || certain { unanswered.take() } else { None };
        write.filter(|_| stored)
    }

    /// Whether this is the first that is heard of the object not being decodable for that cause.
    pub(super) fn is_news(&self, job: &str, cause: &str) -> bool {
        let mut jobs = self.jobs();
        let Some(job) = jobs
            .get_mut(job)
            .filter(|job| job.undecodable.as_deref() != Some(cause))
        else {
            return false;
        };
        job.undecodable = Some(cause.to_owned());
        true
    }

    /// A reconcile failed: how long to pause. `outage` says that the API server did not refuse anything, it did not
    /// answer.
    pub(super) fn failed(&self, job: &str, outage: bool, now: Instant) -> Duration {
        let longest = if outage {
            LONGEST_OUTAGE_BACKOFF
        } else {
            LONGEST_BACKOFF
        };
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(job) else {
            return FIRST_BACKOFF;
        };
        if job.retry_at.is_none_or(|retry| now >= retry) {
            let pause = FIRST_BACKOFF
                .saturating_mul(2_u32.saturating_pow(job.failures))
                .min(longest);
            // An outage of hours does not make the first refusal after it wait for longer than an outage does.
            if pause < longest {
                job.failures = job.failures.saturating_add(1);
            }
            job.retry_at = Some(now + jittered(pause, JITTER));
        }
        job.retry_at
            .map_or(FIRST_BACKOFF, |retry| retry.saturating_duration_since(now))
    }

    /// A reconcile has [failed](Self::failed), and the API server has asked for this pause: how long to pause, which is
    /// no less.
    pub(super) fn asked(&self, job: &str, pause: Duration, now: Instant) -> Duration {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(job) else {
            return FIRST_BACKOFF;
        };
        let least = pause.min(LONGEST_ASKED);
        let asked = now + least + jittered(least.mul_f64(JITTER), 1.0);
        let retry = job.retry_at.map_or(asked, |retry| retry.max(asked));
        job.retry_at = Some(retry);
        retry.saturating_duration_since(now)
    }

    /// Whether the last reconcile failed, and not because an answer is awaited.
    pub(super) fn failing(&self, job: &str) -> bool {
        let awaited = |job: &Job| matches!(job.refusal, Some(Refusal::Awaited(_)));
        self.jobs()
            .get(job)
            .is_some_and(|job| job.failures > 0 && !awaited(job))
    }

    /// A reconcile succeeded.
    pub(super) fn succeeded(&self, job: &str) {
        if let Some(job) = self.jobs().get_mut(job) {
            job.failures = 0;
            job.retry_at = None;
        }
    }

    /// The job is gone.
    pub(super) fn forget(&self, job: &str) {
        self.jobs().remove(job);
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_written_at_once_a_condition_after_its_burst_and_counts_after_a_second() {
        let (pacing, start) = (Pacing::default(), Instant::now());
        pacing.begin("j");
        assert_eq!(pacing.status_wait("j", Urgency::Now, start), None);
        pacing.status_settled("j");

        assert_eq!(
            pacing.status_wait("j", Urgency::Condition, start),
            Some(CONDITION_DEBOUNCE)
        );
        assert_eq!(
            pacing.status_wait("j", Urgency::Condition, start + CONDITION_DEBOUNCE / 2),
            Some(CONDITION_DEBOUNCE / 2),
            "the burst is measured from its begin"
        );
        assert_eq!(
            pacing.status_wait("j", Urgency::Condition, start + CONDITION_DEBOUNCE),
            None
        );
        pacing.status_settled("j");

        assert_eq!(pacing.status_wait("j", Urgency::Counts, start), Some(COUNTS_DEBOUNCE));
        let later = start + COUNTS_DEBOUNCE / 2;
        assert_eq!(
            pacing.status_wait("j", Urgency::Condition, later),
            Some(CONDITION_DEBOUNCE),
            "the burst begins with the condition, not with the counts before it"
        );
        assert_eq!(
            pacing.status_wait("j", Urgency::Now, later),
            None,
            "what is urgent does not wait for what is not"
        );
        assert_eq!(pacing.status_wait("j", Urgency::Counts, start + COUNTS_DEBOUNCE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_triggers_by_others_do_not_lengthen_them() {
        let (pacing, start) = (Pacing::default(), Instant::now());
        pacing.begin("j");
        let first = pacing.failed("j", false, start);
        assert!(
            first <= FIRST_BACKOFF && first >= FIRST_BACKOFF.mul_f64(1.0 - JITTER),
            "{first:?}"
        );
        assert_eq!(pacing.failed("j", false, start), first, "the pause is not over yet");
        let second = pacing.failed("j", false, start + first);
        assert!(
            second <= FIRST_BACKOFF * 2 && second >= (FIRST_BACKOFF * 2).mul_f64(1.0 - JITTER),
            "{second:?}"
        );
        let mut now = start + first + second;
        for _ in 0..30 {
            now += pacing.failed("j", false, now);
        }
        assert!(pacing.failed("j", false, now) <= LONGEST_BACKOFF);
        pacing.succeeded("j");
        assert!(pacing.failed("j", false, now) <= FIRST_BACKOFF);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_outlive_an_outage_by_more_than_ten_seconds() {
        let (pacing, mut now) = (Pacing::default(), Instant::now());
        pacing.begin("j");
        for _ in 0..30 {
            let pause = pacing.failed("j", true, now);
            assert!(pause <= LONGEST_OUTAGE_BACKOFF, "{pause:?}");
            now += pause;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_no_shorter_than_the_api_server_asks_for_and_no_longer_than_a_minute_because_of_it() {
        let (pacing, now) = (Pacing::default(), Instant::now());
        for (asked, least, most) in [(0, 0.16, 0.2), (1, 1.0, 1.2), (32, 32.0, 38.4), (u64::MAX, 60.0, 72.0)] {
            pacing.begin("j");
            pacing.failed("j", true, now);
            let pause = pacing.asked("j", Duration::from_secs(asked), now);
            assert!((least..=most).contains(&pause.as_secs_f64()), "{asked}: {pause:?}");
            assert_eq!(pacing.failed("j", true, now), pause, "the pause is not over yet");
            pacing.forget("j");
        }
    }

    #[tokio::test]
    async fn a_refusal_after_a_long_outage_does_not_wait_for_what_the_outage_has_added_up() {
        let (pacing, mut now) = (Pacing::default(), Instant::now());
        pacing.begin("j");
        for _ in 0..30 {
            now += pacing.failed("j", true, now);
        }
        let pause = pacing.failed("j", false, now);
        assert!(pause <= 2 * LONGEST_OUTAGE_BACKOFF, "{pause:?}");
    }

    #[tokio::test]
    async fn a_job_that_waits_for_an_answer_is_not_failing() {
        let pacing = Pacing::default();
        pacing.begin("j");
        for (refusal, failing) in [
            (Some(Refusal::Awaited("no answer".into())), false),
            (Some(Refusal::Answered("quota".into())), true),
            (None, true),
        ] {
            pacing.failed("j", false, Instant::now());
            pacing.attempted("j", refusal);
            assert_eq!(pacing.failing("j"), failing);
        }
    }

    #[tokio::test]
    async fn a_reconcile_that_outlives_its_job_leaves_nothing_behind() {
        let (pacing, now) = (Pacing::default(), Instant::now());
        pacing.begin("j");
        pacing.forget("j");
        pacing.status_wait("j", Urgency::Counts, now);
        pacing.failed("j", false, now);
        pacing.attempted("j", Some(Refusal::Answered("no".into())));
        assert!(pacing.jobs().is_empty());
    }

    #[tokio::test]
    async fn what_comes_with_a_status_is_kept_until_it_is_known_whether_it_is_stored() {
        let status = |generation| JobStatus {
            observed_generation: Some(generation),
            ..JobStatus::default()
        };
        let pacing = Pacing::default();
        pacing.begin("j");
        let turned_out = |kept: Option<JobStatus>, certain| pacing.turned_out("j", kept.as_ref(), certain).is_some();
        assert!(!turned_out(Some(status(1)), true));
        for (kept, certain, told, later) in [
            (Some(status(1)), true, true, false),
            (Some(status(1)), false, true, false),
            (Some(status(2)), true, false, false),
            (None, true, false, false),
            (Some(status(2)), false, false, true),
            (None, false, false, true),
        ] {
            let (events, counts) = (Vec::new(), Vec::new());
            let write = UnansweredStatus {
                status: status(1),
                events,
                counts,
            };
            pacing.writes_status("j", write.clone());
            pacing.answered("j");
            assert!(!turned_out(kept.clone(), certain), "it was answered");
            pacing.writes_status("j", write);
            assert_eq!(turned_out(kept.clone(), certain), told, "{kept:?}, certain: {certain}");
            assert_eq!(turned_out(Some(status(1)), true), later, "{kept:?}, certain: {certain}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_decoded_is_news_once_for_each_cause() {
        let pacing = Pacing::default();
        pacing.begin("j");
        let news = ["a", "a", "b", "b", "a"].map(|cause| pacing.is_news("j", cause));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
