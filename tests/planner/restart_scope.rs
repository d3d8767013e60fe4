//! `runPolicy.restartScope: Job`: all replicas end and start again together.

use std::collections::BTreeSet;

use crate::api::names::reason;
use crate::api::{Attempt, JobStatus, PyTorchJob, ReplicaType};
use crate::planner::{Phase, Plan};
use crate::support::cluster::{Cluster, Outcome, Step, Written};
use crate::support::dice::Dice;
use crate::support::fixture::in_place::fail;
use crate::support::fixture::{JobBuilder, Scene, actions, master_and_workers, time, workers};

fn whole(job: JobBuilder) -> JobBuilder {
    job.policy("restartScope", "Job")
}

#[test]
fn one_failure_is_counted_once_then_all_others_go_then_the_failed_pod_and_then_all_come_back() {
    let mut scene = whole(master_and_workers(2)).running();
    scene.exit("job-worker-1", 1);
    let plan = scene.reconcile();
    assert_eq!(plan.actions, [], "first the count");
    assert_eq!(plan.events[0].reason, reason::RESTARTING);
    assert_eq!(
        plan.events[0].message,
        "PyTorchJob job is restarting because 1 Worker replica(s) failed. job-worker-1 exited with code 1 (Error). \
         All replicas start again."
    );
    assert_eq!(scene.next(), ["delete pod master-0", "delete pod worker-0"]);
    // The peers end by errors of their own: that is the same restart.
    scene.exit("job-worker-0", 1);
    scene.exit("job-master-0", 143);
    assert_eq!(scene.next(), ["delete pod worker-1"], "the mark is the last to go");
    assert_eq!(
        scene.next(),
        [] as [&str; 0],
        "nothing is created beside what is terminating"
    );
    scene.remove("job-master-0");
    assert_eq!(scene.next(), [] as [&str; 0]);
    scene.remove("job-worker-0");
    assert_eq!(
        scene.next(),
        ["create pod master-0", "create pod worker-0", "create pod worker-1"]
    );
    assert_eq!(
        (scene.status().restarts, scene.status().replaced_pods),
        (Some(1), vec![])
    );
    scene.run();
    assert!(scene.says("Running=True"));
}

#[test]
fn several_that_fail_together_are_one_restart_and_the_limit_counts_restarts() {
    let mut scene = whole(master_and_workers(3)).policy("backoffLimit", 1).running();
    for worker in ["job-worker-0", "job-worker-1", "job-worker-2"] {
        scene.exit(worker, 1);
    }
    scene.settle();
    assert_eq!(scene.status().restarts, Some(1));
    scene.bury();
    scene.settle();
    scene.run();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    scene.exit("job-worker-2", 1);
    scene.settle();
    assert!(scene.says("Failed=True"), "{:?}", scene.conditions());
}

/// A job of two workers that has started again once.
fn in_the_second_attempt() -> Scene {
    let mut scene = whole(workers(2)).running();
    scene.exit("job-worker-1", 1);
    scene.settle();
    scene.bury();
    scene.settle();
    scene.run();
    scene
}

#[test]
fn a_pod_that_was_created_late_for_an_attempt_that_has_ended_is_created_again_and_counts_no_more() {
    for (event, worker) in [("none", 1), ("it fails", 1), ("it succeeds", 0)] {
        let mut scene = in_the_second_attempt();
        assert_eq!(scene.status().attempt(), 2);
        let pod = format!("job-worker-{worker}");
        scene.pod(&pod).attempt = Some(1);
        match event {
            "it fails" => scene.exit(&pod, 1),
            "it succeeds" => scene.phase(&pod, Phase::Succeeded),
            _ => {}
        }
        assert_eq!(scene.next(), [format!("delete pod worker-{worker}")], "{event}");
        scene.remove(&pod);
        assert_eq!(scene.next(), [format!("create pod worker-{worker}")], "{event}");
        let status = scene.status();
        assert_eq!(
            (status.attempt(), status.restarts, status.completed_indexes),
            (2, Some(1), None),
            "{event}"
        );
    }
}

#[test]
fn what_was_not_asked_before_restarts_in_place_are_edited_away_is_created_again() {
    let mut scene = whole(master_and_workers(1))
        .policy("restartStrategy", "InPlace")
        .running();
    fail(scene.pod("job-worker-0"), 1);
    scene.reconcile();
    scene.job.spec.run_policy.restart_strategy = None;
    assert_eq!(scene.next(), ["delete pod master-0", "delete pod worker-0"]);
}

#[test]
fn a_pod_is_late_when_its_attempt_was_followed_by_another_or_ended_with_a_restart() {
    for (ended, pod, late) in [
        (None, 1, true),
        (None, 2, false),
        (None, 3, false),
        (Some("Restarting"), 2, true),
        (Some("Restarting"), 3, false),
        (Some("Suspended"), 2, false),
    ] {
        let mut scene = whole(master_and_workers(1)).running();
        scene.pod("job-worker-0").attempt = Some(pod);
        let newest = Attempt {
            number: 2,
            ended: ended.map(|_| time(9)),
            why: ended.map(str::to_owned),
            ..Attempt::default()
        };
        scene.job.status.as_mut().expect("it runs").attempts = vec![newest];
        let world = scene.world();
        let found = world.desired_pods().find(|(_, pod)| pod.name == "job-worker-0");
        assert_eq!(
            found.map(|(_, pod)| world.is_of_ended_attempt(pod)),
            Some(late),
            "{ended:?} {pod}"
        );
    }
}

#[test]
fn pods_that_work_in_an_attempt_that_is_no_more_stored_go_on_when_one_of_them_is_replaced() {
    let mut scene = in_the_second_attempt();
    scene.job.status.as_mut().expect("it runs").attempts.clear();
    scene.remove("job-worker-0");
    assert_eq!(scene.next(), ["create pod worker-0"]);
    assert_eq!(scene.status().attempt(), 2);
    assert_eq!(scene.next(), [] as [&str; 0]);
}

#[test]
fn no_container_restarts_by_itself_and_never_and_permanent_exit_codes_still_fail_the_job() {
    for policy in ["Always", "OnFailure", "ExitCode", "Never"] {
        let job = whole(master_and_workers(1)).restart(ReplicaType::Worker, policy);
        let pod = job.clone().scene().build_pod(ReplicaType::Worker, 0);
        assert_eq!(pod["spec"]["restartPolicy"], "Never", "{policy}");
        for code in [1, 137] {
            let mut scene = job.clone().running();
            scene.exit("job-worker-0", code);
            scene.reconcile();
            let fails = policy == "Never" || (policy == "ExitCode" && code == 1);
            let expected = if fails { "Failed=True" } else { "Restarting=True" };
            assert!(scene.says(expected), "{policy}, {code}: {:?}", scene.conditions());
        }
    }
}

#[test]
fn workers_that_had_finished_run_again() {
    let mut scene = whole(workers(3)).running();
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(scene.status().completed_indexes.as_deref(), Some("0"));
    scene.exit("job-worker-1", 1);
    scene.settle();
    scene.bury();
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-1", "job-worker-2"]);
    assert_eq!(scene.status().completed_indexes, None);
    assert!(scene.pods.iter().all(|pod| pod.phase == Phase::Pending));
}

#[test]
fn an_operator_that_stops_anywhere_in_between_goes_on_where_it_was() {
    let mut scene = whole(master_and_workers(2)).running();
    scene.exit("job-worker-1", 1);
    scene.store();
    // The count is stored, and no pod is deleted.
    let plan = scene.plan();
    assert_eq!(actions(&plan), ["delete pod master-0", "delete pod worker-0"]);
    scene.apply(&plan.actions[0]);
    // One is deleted, and the other is not.
    let plan = scene.plan();
    assert_eq!(actions(&plan), ["delete pod worker-0"]);
    assert_eq!(plan.counts, []);
}

#[test]
fn a_suspension_and_a_deadline_act_in_the_middle_of_a_restart() {
    let restarting = || {
        let mut scene = whole(master_and_workers(1)).flat("activeDeadlineSeconds", 10).running();
        scene.exit("job-worker-0", 1);
        scene.reconcile();
        scene
    };
    let mut scene = restarting();
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.settle();
    assert!(scene.says("Suspended=True") && scene.pods.is_empty());
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.pod_names().len(), 2);
    let mut scene = restarting();
    scene.wait(10);
    scene.reconcile();
    assert!(scene.says("Failed=True"), "{:?}", scene.conditions());
}

#[test]
fn the_scope_replica_is_what_is_done_without_it() {
    let plans = |job: JobBuilder| -> Vec<Plan> {
        let mut scene = job.running();
        scene.exit("job-worker-1", 1);
        (0..4).map(|_| scene.reconcile()).collect()
    };
    let explicit = master_and_workers(2).policy("restartScope", "Replica");
    assert_eq!(plans(explicit), plans(master_and_workers(2)));
}

fn restarts(job: Option<&PyTorchJob>) -> i32 {
    let status: Option<&JobStatus> = job.and_then(|job| job.status.as_ref());
    status.and_then(|status| status.restarts).unwrap_or(0)
}

fn attempt(job: Option<&PyTorchJob>) -> i32 {
    let status: Option<&JobStatus> = job.and_then(|job| job.status.as_ref());
    let newest = status.and_then(|status| status.attempts.last());
    newest.map_or(0, |attempt| attempt.number)
}

/// What happens next to a cluster. Answers are not lost: a pod that was created and that nobody saw is of the attempt in
/// which it is found.
fn step(dice: &mut Dice) -> Step {
    let pick = dice.below(4);
    match dice.below(12) {
        0..=3 => {
            let outcome = [Outcome::Done, Outcome::Done, Outcome::Refused, Outcome::Crash];
            let outcomes = (0..4).map(|_| outcome[dice.below(4)]).collect();
            Step::Operate(pick, outcomes)
        }
        4 | 5 => Step::Run(pick),
        6 => Step::Fail(pick, 137),
        7 => Step::Succeed(pick),
        8 => Step::Bury(pick),
        9 => Step::End(pick),
        10 => Step::SeeJob,
        _ => Step::SeePods(2 + pick),
    }
}

#[test]
fn two_attempts_never_overlap_whatever_happens_in_between() {
    let mut restarted = 0;
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let mut cluster = Cluster::new(whole(workers(3)).build());
        let (mut counted, mut old) = (0, BTreeSet::new());
        let mut newest = 0;
        for number in 0..80 {
            let step = step(&mut dice);
            let Step::Operate(first, outcomes) = &step else {
                cluster.step(&step);
                continue;
            };
            let plan = cluster.seen.plan(cluster.now);
            for written in cluster.carry_out(&plan, *first, outcomes) {
                if let Written::Created(child) = written
                    && child.kind == crate::api::ChildKind::Pod
                {
                    let left = cluster.stored.pods.values().find(|pod| old.contains(&pod.uid));
                    assert!(left.is_none(), "seed {seed}, step {number}: {child:?} beside {left:?}");
                }
            }
            let attempt = attempt(cluster.stored.job.as_ref());
            assert!(
                attempt >= newest,
                "seed {seed}, step {number}: attempt {attempt} after {newest}"
            );
            newest = attempt;
            let now = restarts(cluster.stored.job.as_ref());
            assert!(
                attempt <= now + 1,
                "seed {seed}, step {number}: attempt {attempt} after {now} restarts"
            );
            if now > counted {
                restarted += 1;
                counted = now;
                old.extend(cluster.stored.pods.values().map(|pod| pod.uid.clone()));
            }
        }
    }
    assert!(restarted > 1_000, "{restarted}");
}
