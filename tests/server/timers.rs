//! `activeDeadlineSeconds` and `ttlSecondsAfterFinished`: never early and hardly late, whatever comes between.
//!
//! The times of the status are whole seconds: a job whose deadline of `n` seconds was enforced less than a second late
//! has a `completionTime` of exactly `startTime + n`. One second more is allowed, for an API server that is short of
//! CPU; `make bench` tells the milliseconds. The time of a deletion is read from `deletionTimestamp`, which a finalizer
//! lets us see. Where time has to pass, another job's timer tells that it has.

use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{PodPhase, wait_for};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

use crate::job::{Job, Spelling, in_both_spellings, job, with};
use crate::restart_policy::without_deletion;
use crate::rig::{End, Rig, finalizer, operator};

const DEADLINE: &str = "activeDeadlineSeconds";
const TTL: &str = "ttlSecondsAfterFinished";

/// Checks that a deadline failed the job, and when.
fn assert_deadline(job: &Job, seconds: i64) {
    let name = job.name();
    let flat = job.spec["activeDeadlineSeconds"].as_i64();
    let deadline = flat.or_else(|| job.spec["runPolicy"]["activeDeadlineSeconds"].as_i64());
    let deadline = deadline.expect("the job has a deadline");
    assert_eq!(
        job.conditions().last().unwrap(),
        &[
            "Failed",
            "True",
            "PyTorchJobFailed",
            &format!("Job {name} has failed because it was active longer than specified deadline ({deadline} s)")
        ]
    );
    let took = job.duration();
    assert!(
        on_time(took, seconds),
        "{name} ended {took} s after its start, {seconds} s were asked for"
    );
}

/// Never early, and by whole seconds at most one late.
fn on_time(took: i64, asked: i64) -> bool {
    (asked..=asked + 1).contains(&took)
}

/// A job without workers that bears a policy and, so that its deletion can be timed, a finalizer.
fn timed(name: &str, spelling: Spelling, policy: &str, value: impl Into<Value>) -> Value {
    with(with(job(name, 0), &finalizer()), &spelling.policy(policy, value))
}

/// Checks that a TTL deleted a finished job, and when.
async fn assert_expired(rig: &Rig, finished: &Job, seconds: i64) {
    let took = rig.wait_expired(finished).await;
    let name = finished.name();
    assert!(
        on_time(took, seconds),
        "{name} was deleted {took} s after its end, {seconds} s were asked for"
    );
}

async fn expired(rig: &Rig, name: &str) -> Job {
    rig.wait(name, |job| job.metadata.deletion_timestamp.is_some()).await
}

#[tokio::test]
async fn a_deadline_patched_lower_fails_a_running_job_that_long_after_its_start() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        rig.create(&with(job(name, 1), &spelling.policy(DEADLINE, 3600))).await;
        rig.wait(name, |job| job.is("Created")).await;
        rig.patch(name, &spelling.policy(DEADLINE, 6)).await;
        assert_deadline(&rig.wait_finished(name).await, 6);
        let note = rig.wait_event(name, "Warning", "PyTorchJobFailed").await;
        assert!(note.contains("active longer than specified deadline"), "{note}");
    })
    .await;
}

#[tokio::test]
async fn a_deadline_patched_higher_is_met_at_the_new_time_and_not_at_the_old_one() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        rig.create(&with(job(name, 0), &spelling.policy(DEADLINE, 5))).await;
        rig.wait(name, |job| job.is("Created")).await;
        rig.patch(name, &spelling.policy(DEADLINE, 8)).await;
        assert_deadline(&rig.wait_finished(name).await, 8);
    })
    .await;
}

#[tokio::test]
async fn a_deadline_patched_below_what_has_elapsed_fails_the_job_at_once() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        let started = rig.running(&job(name, 0)).await;
        let clock = format!("{name}-clock");
        rig.create(&with(job(&clock, 0), &spelling.policy(DEADLINE, 3))).await;
        rig.wait_finished(&clock).await;
        assert!(!rig.get(name).await.finished());

        let asked = clock::now().as_second();
        rig.patch(name, &spelling.policy(DEADLINE, 1)).await;
        let failed = rig.wait_finished(name).await;
        assert!(failed.why().contains("deadline"), "{}", failed.why());
        assert_eq!(failed.second("startTime"), started.second("startTime"));
        let late = failed.second("completionTime").unwrap() - asked;
        assert!(on_time(late, 0), "{late} s after the patch");
    })
    .await;
}

#[tokio::test]
async fn a_deadline_patched_to_null_never_comes() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let (name, clock) = (spelling.name(), format!("{}-clock", spelling.name()));
        rig.create(&with(job(name, 0), &spelling.policy(DEADLINE, 5))).await;
        rig.wait(name, |job| job.is("Created")).await;
        let freed = rig.patch(name, &spelling.policy(DEADLINE, Value::Null)).await;
        assert!(!freed.finished());
        rig.create(&with(job(&clock, 0), &spelling.policy(DEADLINE, 6))).await;
        assert_deadline(&rig.wait_finished(&clock).await, 6);
        assert_eq!(rig.settle(name).await.outline(), ["Created"]);
    })
    .await;
}

#[tokio::test]
async fn a_deadline_patched_on_a_finished_job_changes_nothing() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let finished = rig.succeeded(&job(spelling.name(), 0)).await;
        rig.patch(finished.name(), &spelling.policy(DEADLINE, 0)).await;
        let after = rig.settle(finished.name()).await;
        assert_eq!(after.status["conditions"], finished.status["conditions"]);
        assert_eq!(after.status["completionTime"], finished.status["completionTime"]);
    })
    .await;
}

/// Every edit can refuse the write of the outcome with a conflict. Counted in edits, not in seconds: a slow machine
/// makes both slower.
#[tokio::test]
async fn edits_that_never_cease_do_not_put_off_a_deadline() {
    let rig = Rig::start().await;
    rig.create(&with(job("busy", 1), &Spelling::Flat.policy(DEADLINE, 6)))
        .await;
    let started = rig.wait("busy", |job| job.second("startTime").is_some()).await;
    let due = started.second("startTime").unwrap() + 6;
    let (mut edits, mut too_late) = (0, 0);
    let mut often = tokio::time::interval(Duration::from_millis(300));
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let finished = loop {
        often.tick().await;
        let asked = clock::now().as_second();
        edits += 1;
        let job = rig.patch("busy", &label(edits)).await;
        if job.finished() {
            break job;
        }
        too_late += u32::from(asked > due);
        assert!(too_late < 10, "{too_late} edits, and the deadline is not met");
    };
    assert!(finished.why().contains("deadline"), "{}", finished.why());
    assert!(finished.duration() >= 6, "{} s", finished.duration());
    assert!(edits > 10, "{edits} edits");
}

/// Merge patch: a label that concerns nobody.
fn label(edit: u32) -> Value {
    json!({ "metadata": { "labels": { "edit": edit.to_string() } } })
}

#[tokio::test]
async fn a_deadline_whose_outcome_meets_a_conflict_is_not_forgotten() {
    let rig = Rig::start().await;
    rig.create(&with(job("frozen", 0), &Spelling::Flat.policy(DEADLINE, 4)))
        .await;
    rig.wait("frozen", |job| job.is("Created")).await;
    // When the operator goes on, the deadline has passed, and the job is not the one that it knows.
    rig.operator.pause();
    rig.patch("frozen", &label(1)).await;
    let jobs = rig.jobs();
    assert!(
        wait_for(&jobs, "frozen", Duration::from_secs(5), Job::finished)
            .await
            .is_err()
    );
    let resumed = clock::now().as_second();
    rig.operator.resume();
    let failed = rig.wait_finished("frozen").await;
    let late = failed.second("completionTime").unwrap() - resumed;
    assert!(on_time(late, 0), "{late} s after the operator went on");
}

#[tokio::test]
async fn a_deadline_is_met_on_time_while_pods_cannot_be_created() {
    let rig = Rig::start().await;
    rig.quota("pods", 0).await;

    // After the attempt between 5 and 6.2 s from the start, the next one is due after 10 s.
    let blocked = with(job("blocked", 0), &json!({ "spec": { "activeDeadlineSeconds": 8 } }));
    rig.create(&blocked).await;
    assert_deadline(&rig.wait_finished("blocked").await, 8);
}

#[tokio::test]
async fn a_ttl_set_on_a_finished_job_counts_from_its_completion() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        let finished = rig.succeeded(&with(job(name, 0), &finalizer())).await;
        rig.patch(name, &spelling.policy(TTL, 5)).await;
        assert_expired(&rig, &finished, 5).await;
        rig.wait_gone(name).await;
    })
    .await;
}

#[tokio::test]
async fn a_ttl_shortened_on_a_finished_job_holds_from_its_completion() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        let finished = rig.succeeded(&timed(name, spelling, TTL, 3600)).await;
        rig.patch(name, &spelling.policy(TTL, 5)).await;
        assert_expired(&rig, &finished, 5).await;
    })
    .await;
}

#[tokio::test]
async fn a_ttl_of_zero_deletes_a_finished_job_at_once() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        rig.succeeded(&timed(name, spelling, TTL, 3600)).await;
        let asked = clock::now().as_second();
        rig.patch(name, &spelling.policy(TTL, 0)).await;
        let late = rig.wait_deleted(name).await - asked;
        assert!(on_time(late, 0), "{late} s after the patch");
    })
    .await;
}

#[tokio::test]
async fn a_deletion_at_the_end_of_the_ttl_that_is_refused_is_told_and_tried_again() {
    let mut rig = Rig::start().await;
    rig.succeeded(&job("kept", 0)).await;
    rig.end_operator(End::Stop).await;
    let crippled = operator(&without_deletion(&rig).await, &rig.namespace, &[]).await;
    rig.patch("kept", &Spelling::Flat.policy(TTL, 0)).await;
    let note = rig.wait_event("kept", "Warning", "FailedDeletePyTorchJob").await;
    assert!(note.contains("kept") && note.contains("forbidden"), "{note}");
    crippled.kill().await;
    rig.go_on().await;
    rig.wait_gone("kept").await;
}

#[tokio::test]
async fn a_ttl_removed_from_a_finished_job_keeps_it() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let (name, clock) = (spelling.name(), format!("{}-clock", spelling.name()));
        rig.succeeded(&timed(name, spelling, TTL, 5)).await;
        rig.patch(name, &spelling.policy(TTL, Value::Null)).await;
        rig.succeeded(&timed(&clock, spelling, TTL, 6)).await;
        expired(&rig, &clock).await;
        let kept = rig.settle(name).await;
        assert_eq!(kept.metadata.deletion_timestamp, None);
        assert!(kept.is("Succeeded"));
    })
    .await;
}

#[tokio::test]
async fn a_ttl_set_on_a_running_job_starts_to_count_at_its_completion() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let (name, clock) = (spelling.name(), format!("{}-clock", spelling.name()));
        rig.running(&with(job(name, 0), &finalizer())).await;
        rig.patch(name, &spelling.policy(TTL, 3)).await;
        rig.create(&with(job(&clock, 0), &spelling.policy(DEADLINE, 4))).await;
        rig.wait_finished(&clock).await;
        assert_eq!(rig.settle(name).await.metadata.deletion_timestamp, None);

        rig.set_phase(&format!("{name}-master-0"), &PodPhase::Succeeded).await;
        let finished = rig.wait_finished(name).await;
        assert_expired(&rig, &finished, 3).await;
    })
    .await;
}

#[tokio::test]
async fn a_deadline_together_with_a_ttl_fails_the_job_and_then_deletes_it() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        let both = with(timed(name, spelling, DEADLINE, 3), &spelling.policy(TTL, 2));
        rig.create(&both).await;
        let failed = rig.wait_finished(name).await;
        assert_deadline(&failed, 3);
        assert_expired(&rig, &failed, 2).await;
        rig.wait_gone(name).await;
    })
    .await;
    assert_eq!(rig.operator.process().exit_status(), None, "the operator lives");
    rig.operator.probe("/healthz").await.unwrap();
}

async fn timers_survive(end: End) {
    let mut rig = Rig::start().await;
    rig.running(&with(
        job("deadline", 1),
        &json!({ "spec": { "activeDeadlineSeconds": 7 } }),
    ))
    .await;
    let finished = rig.succeeded(&timed("ttl", Spelling::Flat, TTL, 7)).await;
    rig.end_operator(end).await;
    rig.go_on().await;
    let (failed, deleted) = tokio::join!(rig.wait_finished("deadline"), rig.wait_deleted("ttl"));
    assert_deadline(&failed, 7);
    assert_eq!(deleted - finished.second("completionTime").unwrap(), 7);
}

#[tokio::test]
async fn timers_are_on_time_when_the_operator_is_killed_and_started_in_their_middle() {
    timers_survive(End::Kill).await;
}

#[tokio::test]
async fn timers_are_on_time_when_the_operator_is_stopped_and_started_in_their_middle() {
    timers_survive(End::Stop).await;
}

#[tokio::test]
async fn timers_that_ran_out_while_no_operator_was_there_are_enforced_when_one_comes() {
    let mut rig = Rig::start().await;
    let finished = timed("ttl", Spelling::Flat, TTL, 3600);
    let (running, finished) = tokio::join!(
        async {
            rig.create(&timed("deadline", Spelling::Flat, DEADLINE, 3600)).await;
            rig.wait("deadline", |job| job.is("Created")).await
        },
        rig.succeeded(&finished),
    );
    rig.end_operator(End::Kill).await;
    for (name, policy) in [("deadline", DEADLINE), ("ttl", TTL)] {
        rig.patch(name, &Spelling::Flat.policy(policy, 3)).await;
    }
    // Nobody else's timer can tell that the time has passed, so the jobs are watched for longer than that, and stay as
    // they are.
    let while_it_passes = Duration::from_secs(4);
    let jobs = rig.jobs();
    let (failed, deleted) = tokio::join!(
        wait_for(&jobs, "deadline", while_it_passes, Job::finished),
        wait_for(&jobs, "ttl", while_it_passes, |job| job
            .metadata
            .deletion_timestamp
            .is_some()),
    );
    assert!(failed.is_err() && deleted.is_err(), "somebody else serves these jobs");

    let start = clock::now().as_second();
    rig.go_on().await;
    let ready = clock::now().as_second();
    let (failed, deleted) = tokio::join!(rig.wait_finished("deadline"), rig.wait_deleted("ttl"));
    assert_eq!(failed.second("startTime"), running.second("startTime"));
    let enforced = failed.second("completionTime").unwrap();
    assert!(
        (start..=ready + 1).contains(&enforced),
        "{enforced} is not within 1 s of {start} to {ready}"
    );
    assert!(deleted >= finished.second("completionTime").unwrap() + 3);
    assert!(
        (start..=ready + 1).contains(&deleted),
        "{deleted} is not within 1 s of {start} to {ready}"
    );
}
