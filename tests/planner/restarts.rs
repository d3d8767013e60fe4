//! `restartPolicy`: every policy, every way to fail, and the two steps in which a failed replica is replaced.

use std::time::{Duration, Instant};

use crate::api::names::reason;
use crate::api::{FailureClass, FirstFailure, JobStep, ReplicaType};
use crate::planner::{Count, Failure, Phase, Plan, Urgency};
use crate::support::fixture::{Scene, actions, master, master_and_workers, time, turns, workers};

/// How worker 1 ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Exit(i32),
    Evicted,
    /// Killed by whoever deletes it.
    WhileTerminating,
    /// Deleted while it runs.
    Terminating,
    Vanished,
}

fn ended(policy: &str, end: End) -> Scene {
    let mut scene = master_and_workers(2).restart(ReplicaType::Worker, policy).running();
    let name = "job-worker-1";
    match end {
        End::Exit(code) => scene.exit(name, code),
        End::Evicted => scene.evict(name),
        End::WhileTerminating => {
            scene.terminate(name);
            scene.exit(name, 143);
        }
        End::Terminating => scene.terminate(name),
        End::Vanished => scene.remove(name),
    }
    scene
}

#[test]
fn the_message_names_the_container_that_failed_unless_it_is_the_training() {
    let mut scene = ended("Never", End::Exit(1));
    let failure = scene.pod("job-worker-1").failure.as_mut().unwrap();
    failure.container.as_mut().unwrap().name = "fetch-data".into();
    scene.reconcile();
    let message = scene.message("Failed");
    assert!(
        message.ends_with(" Container fetch-data of job-worker-1 exited with code 1 (Error)."),
        "{message}"
    );
}

#[test]
fn each_policy_decides_what_each_end_of_a_worker_means() {
    let (fails, restarts, goes_on) = ("Failed", "Restarting", "Running");
    for (policy, end, expected) in [
        ("Never", End::Exit(1), fails),
        ("Never", End::Exit(137), fails),
        ("Never", End::Evicted, fails),
        ("Never", End::WhileTerminating, goes_on),
        ("Never", End::Terminating, goes_on),
        ("Never", End::Vanished, goes_on),
        ("ExitCode", End::Exit(0), fails),
        ("ExitCode", End::Exit(1), fails),
        ("ExitCode", End::Exit(127), fails),
        ("ExitCode", End::Exit(128), restarts),
        ("ExitCode", End::Exit(137), restarts),
        ("ExitCode", End::Evicted, restarts),
        ("ExitCode", End::WhileTerminating, goes_on),
        ("ExitCode", End::Vanished, goes_on),
        ("OnFailure", End::Exit(1), restarts),
        ("OnFailure", End::Exit(137), restarts),
        ("OnFailure", End::Evicted, restarts),
        ("OnFailure", End::Terminating, goes_on),
        ("OnFailure", End::Vanished, goes_on),
        ("Always", End::Exit(1), restarts),
        ("Always", End::Evicted, restarts),
        ("Always", End::WhileTerminating, goes_on),
        ("", End::Exit(1), restarts),
    ] {
        let mut scene = ended(policy, end);
        scene.reconcile();
        let last = scene.status().conditions.pop().expect("there are conditions");
        assert_eq!(
            (last.type_.as_str(), last.status.as_str()),
            (expected, "True"),
            "{policy}, {end:?}"
        );
    }
}

#[test]
fn a_vanished_replica_comes_back_under_every_policy_and_is_no_restart() {
    for policy in ["Always", "OnFailure", "Never", "ExitCode"] {
        let mut scene = ended(policy, End::Vanished);
        assert_eq!(actions(&scene.reconcile()), ["create pod worker-1"], "{policy}");
        assert_eq!((scene.status().restarts, scene.status().first_failure), (None, None));
    }
}

#[test]
fn a_failure_is_counted_first_then_the_pod_goes_then_it_comes_back() {
    let mut scene = ended("OnFailure", End::Exit(1));
    let failed = scene.pod("job-worker-1").uid.clone();

    let plan = scene.reconcile();
    assert_eq!(plan.actions, [], "first the count");
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Now));
    assert_eq!(plan.counts, [Count::PodsFailed(1), Count::Job(JobStep::Restarted)]);
    assert_eq!(plan.events.len(), 1);
    assert!(plan.events[0].warning && plan.events[0].reason == reason::RESTARTING);
    assert_eq!(
        plan.events[0].message,
        "PyTorchJob job is restarting because 1 Worker replica(s) failed. job-worker-1 exited with code 1 (Error)."
    );
    assert_eq!(
        scene.conditions(),
        [
            "Created=True(PyTorchJobCreated)",
            "Restarting=True(PyTorchJobRestarting)"
        ]
    );
    assert_eq!(
        (scene.status().restarts, scene.status().replaced_pods),
        (Some(1), vec![failed])
    );

    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["delete pod worker-1"]);
    assert_eq!(
        (plan.status, plan.events, plan.counts),
        (None, vec![], vec![]),
        "told and counted once"
    );

    scene.store();
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["create pod worker-1"]);
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)", "Running=True(PyTorchJobRunning)"]
    );
    assert_eq!(
        (scene.status().restarts, scene.status().replaced_pods),
        (Some(1), vec![])
    );
    assert_eq!(scene.service_names().len(), 3, "services stay");
}

#[test]
fn an_operator_that_stops_between_count_and_deletion_neither_loses_nor_repeats_the_count() {
    let mut scene = ended("OnFailure", End::Exit(1));
    scene.store();
    for _ in 0..3 {
        assert_eq!(
            actions(&scene.store()),
            ["delete pod worker-1"],
            "the deletion is still to be done"
        );
        assert_eq!(scene.status().restarts, Some(1));
    }
}

#[test]
fn the_job_is_restarting_until_the_failed_pod_is_gone() {
    let mut scene = ended("OnFailure", End::Exit(1));
    scene.reconcile();
    scene.terminate("job-worker-1");
    let plan = scene.reconcile();
    assert_eq!(plan, Plan::default(), "a finalizer holds it");
    scene.bury();
    scene.reconcile();
    assert_eq!(scene.conditions()[1], "Running=True(PyTorchJobRunning)");
}

#[test]
fn failures_seen_together_are_one_restart_event_and_as_many_restarts() {
    let mut scene = master_and_workers(3).running();
    scene.exit("job-worker-0", 1);
    scene.exit("job-worker-2", 1);
    let plan = scene.reconcile();
    assert_eq!(plan.counts, [Count::PodsFailed(2), Count::Job(JobStep::Restarted)]);
    assert_eq!(
        scene.message("Restarting"),
        "PyTorchJob job is restarting because 2 Worker replica(s) failed. job-worker-0 exited with code 1 (Error)."
    );
    assert_eq!(scene.status().restarts, Some(2));
    assert_eq!(
        actions(&scene.reconcile()),
        ["delete pod worker-0", "delete pod worker-2"]
    );
}

/// The shortest time of three that a plan takes.
fn time_to_plan(scene: &Scene) -> Duration {
    let times = (0..3).map(|_| {
        let begin = Instant::now();
        drop(scene.plan());
        begin.elapsed()
    });
    times.min().unwrap_or_default()
}

#[test]
fn to_replace_all_pods_of_a_large_job_is_planned_in_little_more_time_than_to_leave_them_alone() {
    for scope in ["Replica", "Job"] {
        let mut scene = workers(8_000).policy("restartScope", scope).scene();
        for index in 0..8_000 {
            scene.add_pod(&format!("job-worker-{index}")).phase = Phase::Running;
        }
        scene.store();
        let alone = time_to_plan(&scene);
        for pod in &mut scene.pods {
            pod.phase = Phase::Failed;
        }
        scene.store();
        assert_eq!(scene.status().replaced_pods.len(), 8_000);
        let replaced = time_to_plan(&scene);
        assert!(
            replaced < alone * 6,
            "{scope}: {replaced:?}, and {alone:?} to leave them alone"
        );
    }
}

#[test]
fn a_second_failure_while_restarting_is_counted_too() {
    let mut scene = master_and_workers(3).running();
    scene.exit("job-worker-0", 1);
    scene.reconcile();
    scene.exit("job-worker-2", 1);
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["delete pod worker-0"], "only what is counted");
    assert_eq!(plan.counts, [Count::PodsFailed(1), Count::Job(JobStep::Restarted)]);
    assert_eq!(scene.status().restarts, Some(2));
}

#[test]
fn w15_with_both_roles_failed_the_master_is_named_in_every_run() {
    let mut scene = master_and_workers(2).running();
    scene.exit("job-worker-0", 1);
    scene.exit("job-master-0", 1);
    scene.reconcile();
    assert_eq!(
        scene.message("Restarting"),
        "PyTorchJob job is restarting because 1 Master replica(s) failed. job-master-0 exited with code 1 (Error)."
    );
    assert_eq!(
        scene.status().first_failure.map(|failure| failure.pod).as_deref(),
        Some("job-master-0")
    );
}

#[test]
fn of_failures_seen_together_the_lowest_index_is_the_first_and_goes_first() {
    let mut scene = workers(12).running();
    scene.exit("job-worker-10", 1);
    scene.exit("job-worker-2", 1);
    scene.reconcile();
    assert_eq!(
        scene.status().first_failure.map(|failure| failure.pod).as_deref(),
        Some("job-worker-2")
    );
    assert_eq!(
        actions(&scene.reconcile()),
        ["delete pod worker-2", "delete pod worker-10"]
    );
}

#[test]
fn container_restarts_that_go_with_a_replaced_pod_stay_counted() {
    let mut scene = master_and_workers(1).running();
    scene.pod("job-worker-0").restarts = 3;
    scene.evict("job-worker-0");
    scene.settle();
    assert_eq!(scene.status().restarts, Some(4));
}

#[test]
fn the_first_failure_is_remembered_with_what_the_kubelet_said_and_never_replaced() {
    let mut scene = master_and_workers(2).running();
    scene.exit("job-worker-1", 137);
    if let Some(failure) = &mut scene.pod("job-worker-1").failure {
        **failure = Failure {
            reason: Some("OOMKilled".into()),
            message: Some("out of memory".into()),
            class: FailureClass::OOMKilled,
            excerpt: Some("out of memory".into()),
            node: Some("n1".into()),
            ..(**failure).clone()
        };
    }
    scene.settle();
    let first = FirstFailure {
        pod: "job-worker-1".into(),
        replica_type: Some("Worker".into()),
        index: Some(1),
        rank: Some(2),
        node: Some("n1".into()),
        container: Some("pytorch".into()),
        exit_code: Some(137),
        reason: Some("OOMKilled".into()),
        message: Some("out of memory".into()),
        class: Some("OOMKilled".into()),
        excerpt: Some("out of memory".into()),
        finished_at: None,
    };
    assert_eq!(scene.status().first_failure, Some(first.clone()));
    scene.exit("job-worker-0", 1);
    scene.settle();
    assert_eq!(scene.status().first_failure, Some(first));
}

#[test]
fn never_fails_the_job_with_kubeflows_message_and_its_time() {
    let mut scene = ended("Never", End::Exit(1));
    scene.wait(9);
    let plan = scene.reconcile();
    assert_eq!(
        scene.message("Failed"),
        "PyTorchJob job is failed because 1 Worker replica(s) failed. job-worker-1 exited with code 1 (Error)."
    );
    assert_eq!(scene.status().completion_time, Some(time(9)));
    assert_eq!(scene.status().replica_statuses["Worker"].failed, Some(1));
    assert_eq!(turns(&plan), [Count::PodsFailed(1), Count::Job(JobStep::Failed)]);
    assert_eq!(scene.status().restarts, None, "nothing is restarted");
}

#[test]
fn w3_a_permanent_exit_code_fails_the_job_with_a_completion_time_and_without_a_restart() {
    let mut scene = ended("ExitCode", End::Exit(1));
    scene.wait(9);
    let plan = scene.reconcile();
    assert_eq!(
        scene.message("Failed"),
        "job \"job\" is failing because \"Worker\" replica(s) failed. job-worker-1 exited with code 1 (Error)."
    );
    assert_eq!(scene.status().completion_time, Some(time(9)));
    assert_eq!(turns(&plan), [Count::PodsFailed(1), Count::Job(JobStep::Failed)]);
    assert!(!plan.events.iter().any(|event| event.reason == reason::RESTARTING));
}

#[test]
fn policies_of_the_roles_are_independent() {
    let job = || {
        master_and_workers(1)
            .restart(ReplicaType::Master, "Never")
            .restart(ReplicaType::Worker, "OnFailure")
    };
    let mut scene = job().running();
    scene.exit("job-worker-0", 1);
    scene.reconcile();
    assert_eq!(scene.conditions()[1], "Restarting=True(PyTorchJobRestarting)");
    let mut scene = job().running();
    scene.exit("job-master-0", 1);
    scene.reconcile();
    assert_eq!(
        scene.message("Failed"),
        "PyTorchJob job is failed because 1 Master replica(s) failed. job-master-0 exited with code 1 (Error)."
    );
}

#[test]
fn a_failed_surplus_replica_is_no_failure() {
    let mut scene = workers(1).restart(ReplicaType::Worker, "Never").running();
    scene.add_pod("job-worker-5");
    scene.exit("job-worker-5", 1);
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["delete pod worker-5"]);
    assert_eq!((plan.events, plan.counts), (vec![], vec![]));
}

#[test]
fn w4_a_pod_stuck_terminating_causes_no_write_while_it_lasts() {
    let mut scene = master_and_workers(2).running();
    scene.terminate("job-worker-0");
    scene.settle();
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)", "Running=True(PyTorchJobRunning)"]
    );
    for _ in 0..5 {
        scene.wait(60);
        assert_eq!(scene.reconcile(), Plan::default());
    }
}

#[test]
fn a_drained_node_does_not_fail_a_job_that_never_restarts() {
    let mut scene = master().restart(ReplicaType::Master, "Never").running();
    scene.terminate("job-master-0");
    scene.phase("job-master-0", Phase::Failed);
    scene.settle();
    scene.bury();
    scene.settle();
    scene.run();
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)", "Running=True(PyTorchJobRunning)"]
    );
    assert_eq!(scene.pods.len(), 1);
}
