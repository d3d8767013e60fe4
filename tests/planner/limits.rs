//! `backoffLimit`, `activeDeadlineSeconds` and `ttlSecondsAfterFinished`, in both spellings, on live jobs.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use crate::api::{JobStatus, JobStep, ReplicaType};
use crate::planner::{Action, Count, Phase, Plan};
use crate::support::fixture::{JobBuilder, Scene, actions, at, master, master_and_workers, time, turns, workers};

/// The job with a policy in the flat spelling, under runPolicy, and in both.
fn spelt(job: &JobBuilder, policy: &str, value: i32) -> [JobBuilder; 3] {
    let both = job.clone().flat(policy, value).policy(policy, value);
    [job.clone().flat(policy, value), job.clone().policy(policy, value), both]
}

fn failed_with(scene: &Scene, part: &str) -> bool {
    scene.message("Failed").contains(part)
}

/// Lets worker 0 fail and be replaced until the job fails; how often it was replaced.
fn replacements_until_failure(mut scene: Scene, fail: impl Fn(&mut Scene)) -> i32 {
    for replacements in 0..20 {
        fail(&mut scene);
        scene.settle();
        if failed_with(&scene, "backoff limit") {
            return replacements;
        }
        scene.run();
    }
    unreachable!("no limit holds")
}

#[test]
fn w2_the_limit_bounds_replaced_pods_across_the_whole_life_of_the_job() {
    for limit in [0, 1, 3] {
        for job in spelt(&master_and_workers(1), "backoffLimit", limit) {
            let replaced = replacements_until_failure(job.running(), |scene| scene.evict("job-worker-0"));
            assert_eq!(replaced, limit);
        }
    }
}

#[test]
fn w2_the_limit_bounds_restarts_by_exit_code() {
    for limit in [0, 2] {
        let job = workers(1)
            .restart(ReplicaType::Worker, "ExitCode")
            .policy("backoffLimit", limit);
        let replaced = replacements_until_failure(job.running(), |scene| scene.exit("job-worker-0", 137));
        assert_eq!(replaced, limit);
    }
}

#[test]
fn w2_restarts_of_a_pending_pods_init_container_count() {
    let mut scene = master_and_workers(1).policy("backoffLimit", 3).running();
    scene.phase("job-worker-0", Phase::Pending);
    scene.pod("job-worker-0").restarts = 3;
    scene.reconcile();
    assert!(failed_with(&scene, "backoff limit"));
}

#[test]
fn a_job_that_suspension_interrupts_keeps_its_count() {
    let mut scene = master_and_workers(1).policy("backoffLimit", 1).running();
    scene.evict("job-worker-0");
    scene.settle();
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.suspend(false);
    scene.settle();
    scene.run();
    assert_eq!(scene.status().restarts, Some(1));
    scene.evict("job-worker-0");
    scene.reconcile();
    assert!(failed_with(&scene, "backoff limit"));
}

#[test]
fn without_a_limit_there_is_none() {
    let mut scene = master_and_workers(1).running();
    scene.pod("job-worker-0").restarts = i32::MAX;
    for _ in 0..5 {
        scene.evict("job-worker-0");
        scene.settle();
    }
    assert_eq!(scene.status().completion_time, None);
    assert_eq!(
        scene.status().restarts,
        Some(i32::MAX),
        "the sum stops at the end of the numbers"
    );
}

#[test]
fn a_limit_lowered_below_what_was_used_fails_the_job_and_raising_it_does_not_revive_it() {
    let mut scene = master_and_workers(1).running();
    for _ in 0..3 {
        scene.evict("job-worker-0");
        scene.settle();
    }
    scene.run();
    scene.edit(|job| job.spec.backoff_limit = Some(3));
    scene.settle();
    assert!(!failed_with(&scene, "backoff limit"), "three restarts of three");
    scene.edit(|job| job.spec.backoff_limit = Some(2));
    scene.settle();
    assert!(failed_with(&scene, "backoff limit"));
    scene.edit(|job| job.spec.backoff_limit = Some(100));
    scene.settle();
    assert!(failed_with(&scene, "backoff limit"));
}

#[test]
fn the_failure_that_exceeds_the_limit_is_remembered_and_counted_as_failed_job() {
    let mut scene = master_and_workers(1).policy("backoffLimit", 0).running();
    scene.exit("job-worker-0", 137);
    let plan = scene.reconcile();
    assert_eq!(
        scene.message("Failed"),
        "Job job has failed because it has reached the specified backoff limit (0): 1 restart"
    );
    assert_eq!(
        plan.counts,
        [Count::PodsFailed(1), Count::Job(JobStep::Failed)],
        "W18: failures by limit count too"
    );
    assert_eq!(
        scene.status().first_failure.and_then(|failure| failure.exit_code),
        Some(137)
    );
    assert_eq!(scene.status().completion_time, Some(time(0)));
}

#[test]
fn w1_the_deadline_is_a_timer_that_is_exact_and_never_early() {
    for job in spelt(&master_and_workers(1), "activeDeadlineSeconds", 10) {
        let mut scene = job.running();
        assert_eq!(scene.plan().requeue, Some(Duration::from_secs(10)));
        scene.now += SignedDuration::from_millis(9_999);
        let early = scene.plan();
        assert_eq!((early.status, early.requeue), (None, Some(Duration::from_millis(1))));
        scene.now += SignedDuration::from_millis(1);
        let plan = scene.reconcile();
        assert_eq!(
            scene.message("Failed"),
            "Job job has failed because it was active longer than specified deadline (10 s)"
        );
        assert_eq!(scene.status().completion_time, Some(time(10)));
        assert_eq!(
            turns(&plan),
            [Count::DeadlineExceeded(Duration::ZERO), Count::Job(JobStep::Failed)],
            "W18: failures by limit count too"
        );
        assert_eq!((plan.actions, plan.requeue), (vec![], None));
    }
}

#[test]
fn a_deadline_that_is_enforced_late_counts_by_how_much() {
    let mut scene = master_and_workers(1).flat("activeDeadlineSeconds", 10).running();
    scene.now += SignedDuration::from_millis(12_500);
    let plan = scene.reconcile();
    assert!(
        plan.counts
            .contains(&Count::DeadlineExceeded(Duration::from_millis(2_500)))
    );
}

#[test]
fn a_start_in_the_middle_of_a_second_makes_the_deadline_no_earlier_than_the_stored_start_says() {
    let mut scene = master().policy("activeDeadlineSeconds", 10).scene();
    scene.now += SignedDuration::from_millis(700);
    let plan = scene.reconcile();
    assert_eq!(scene.status().start_time, Some(time(0)));
    assert_eq!(
        plan.requeue,
        Some(Duration::from_millis(9_300)),
        "the timer counts from what is stored"
    );
}

#[test]
fn every_edit_of_the_deadline_restarts_the_timer() {
    let mut scene = master().policy("activeDeadlineSeconds", 100).running();
    scene.wait(30);
    for (edited, expected) in [(60, 30), (1_000, 970), (31, 1)] {
        scene.edit(|job| job.spec.run_policy.active_deadline_seconds = Some(edited));
        assert_eq!(
            scene.reconcile().requeue,
            Some(Duration::from_secs(expected)),
            "lowered and raised to {edited}"
        );
        assert_eq!(scene.status().completion_time, None);
    }
    scene.edit(|job| job.spec.run_policy.active_deadline_seconds = None);
    assert_eq!(scene.reconcile().requeue, None, "removed");
    scene.edit(|job| job.spec.active_deadline_seconds = Some(29));
    scene.reconcile();
    assert_eq!(
        scene.status().completion_time,
        Some(time(30)),
        "below what has elapsed: at once"
    );
}

#[test]
fn the_flat_spelling_wins_in_an_object_that_has_both() {
    let scene = master()
        .flat("activeDeadlineSeconds", 5)
        .policy("activeDeadlineSeconds", 50)
        .running();
    assert_eq!(scene.plan().requeue, Some(Duration::from_secs(5)));
}

#[test]
fn an_operator_that_starts_in_the_middle_of_a_deadline_finishes_it_on_time() {
    let mut scene = master().policy("activeDeadlineSeconds", 100).running();
    scene.wait(60);
    assert_eq!(scene.plan().requeue, Some(Duration::from_secs(40)));
    scene.wait(4_000);
    scene.reconcile();
    assert!(
        failed_with(&scene, "deadline"),
        "down while it passed: at the first look"
    );
}

#[test]
fn suspended_time_does_not_count_and_resuming_starts_the_deadline_again() {
    let mut scene = master().policy("activeDeadlineSeconds", 10).running();
    scene.wait(8);
    scene.suspend(true);
    scene.settle();
    assert_eq!(scene.plan().requeue, None);
    scene.wait(1_000);
    assert_eq!(scene.reconcile(), Plan::default(), "no deadline while suspended");
    scene.bury();
    scene.settle();
    scene.suspend(false);
    assert_eq!(scene.reconcile().requeue, Some(Duration::from_secs(10)));
    assert_eq!(scene.status().start_time, Some(time(1_008)));
}

#[test]
fn a_deadline_of_zero_fails_the_job_at_once_and_creates_nothing() {
    let mut scene = master().policy("activeDeadlineSeconds", 0).scene();
    scene.settle();
    assert!(failed_with(&scene, "deadline"));
    assert!(scene.pods.is_empty());
}

#[test]
fn success_within_the_last_second_is_success() {
    let mut scene = master().policy("activeDeadlineSeconds", 10).running();
    scene.everything(Phase::Succeeded);
    scene.wait(50);
    scene.reconcile();
    assert_eq!(scene.message("Failed"), "");
    assert_eq!(scene.status().completion_time, Some(time(50)));
}

#[test]
fn w5_after_a_deadline_nothing_runs_on_and_what_has_finished_stays() {
    let mut scene = master_and_workers(2).policy("activeDeadlineSeconds", 10).running();
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    scene.wait(10);
    scene.settle();
    scene.bury();
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-worker-0"]);
    assert_eq!(scene.service_names(), ["job-worker-0"]);
    assert_eq!(scene.status().replica_statuses["Master"].active, None);
}

fn finished(job: JobBuilder, failed: bool) -> Scene {
    let mut scene = job.restart(ReplicaType::Master, "Never").running();
    scene.wait(100);
    scene.everything(if failed { Phase::Failed } else { Phase::Succeeded });
    scene.settle();
    assert_eq!(scene.status().completion_time, Some(time(100)));
    scene
}

#[test]
fn the_ttl_deletes_the_job_exactly_when_it_has_passed_since_completion() {
    for failed in [false, true] {
        for job in spelt(&master(), "ttlSecondsAfterFinished", 20) {
            let mut scene = finished(job, failed);
            assert_eq!(scene.plan().requeue, Some(Duration::from_secs(20)));
            scene.now += SignedDuration::from_millis(19_999);
            let early = scene.plan();
            assert_eq!((early.actions, early.requeue), (vec![], Some(Duration::from_millis(1))));
            scene.now += SignedDuration::from_millis(1);
            assert_eq!(scene.plan().actions, [Action::DeleteJob]);
        }
    }
}

#[test]
fn edits_of_the_ttl_of_a_finished_job_count_from_its_completion() {
    let mut scene = finished(master(), false);
    scene.wait(30);
    assert_eq!(scene.plan(), Plan::default(), "unset: kept");
    for (ttl, expected) in [(Some(40), Some(10)), (Some(1_000), Some(970)), (None, None)] {
        scene.edit(|job| job.spec.ttl_seconds_after_finished = ttl);
        let plan = scene.reconcile();
        assert_eq!(
            (plan.actions, plan.requeue),
            (vec![], expected.map(Duration::from_secs)),
            "{ttl:?}"
        );
    }
    for ttl in [0, 29, 30] {
        scene.edit(|job| job.spec.ttl_seconds_after_finished = Some(ttl));
        assert_eq!(scene.plan().actions, [Action::DeleteJob], "{ttl}");
    }
}

#[test]
fn a_running_job_has_no_ttl() {
    let mut scene = master().policy("ttlSecondsAfterFinished", 0).running();
    scene.wait(1_000);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn w3_kubeflows_failures_without_completion_time_expire_too() {
    let mut scene = finished(master().policy("ttlSecondsAfterFinished", 20), true);
    scene.job.status = Some(JobStatus {
        completion_time: None,
        ..scene.status()
    });
    assert_eq!(
        scene.plan().requeue,
        Some(Duration::from_secs(20)),
        "from the outcome's own time"
    );
    scene.wait(20);
    assert_eq!(scene.plan().actions, [Action::DeleteJob]);
}

#[test]
fn w33_a_finished_job_that_is_suspended_expires_too() {
    let mut scene = finished(master().policy("ttlSecondsAfterFinished", 20), false);
    scene.suspend(true);
    scene.settle();
    scene.wait(20);
    assert_eq!(scene.plan().actions, [Action::DeleteJob]);
}

#[test]
fn deadline_and_ttl_together_fail_the_job_then_delete_it() {
    let mut scene = master_and_workers(1)
        .flat("activeDeadlineSeconds", 10)
        .flat("ttlSecondsAfterFinished", 5)
        .running();
    scene.wait(10);
    scene.reconcile();
    assert_eq!(
        scene.conditions().last().map(String::as_str),
        Some("Failed=True(PyTorchJobFailed)")
    );
    let clean_up = scene.reconcile();
    assert_eq!(actions(&clean_up).len(), 2, "two pods");
    assert_eq!(
        clean_up.requeue,
        Some(Duration::from_secs(5)),
        "the timer holds while clean-up goes on"
    );
    scene.wait(5);
    assert_eq!(scene.plan().actions, [Action::DeleteJob]);
}

#[test]
fn s8_a_completion_in_the_future_defers_the_deletion() {
    let mut scene = finished(master().policy("ttlSecondsAfterFinished", 20), false);
    scene.now = at(0);
    let plan = scene.plan();
    assert_eq!((plan.actions, plan.requeue), (vec![], Some(Duration::from_mins(2))));
}
