//! `runPolicy.suspend` and `runPolicy.managedBy`.

use crate::api::names::reason;
use crate::api::{JobStep, ReplicaType};
use crate::planner::{Count, Phase, Plan, Urgency};
use crate::support::fixture::{RESUMED, actions, master, master_and_workers, time};

#[test]
fn suspending_deletes_everything_keeps_the_start_and_says_so_once() {
    let mut scene = master_and_workers(1).running();
    scene.wait(30);
    scene.suspend(true);
    let plan = scene.reconcile();
    assert_eq!(plan.actions, [], "it is stored before anything is deleted");
    assert_eq!(
        plan.events.iter().map(|event| event.reason).collect::<Vec<_>>(),
        [reason::SUSPENDED]
    );
    assert_eq!(plan.events[0].message, "PyTorchJob job is suspended.");
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Now));
    assert_eq!(scene.status().start_time, Some(time(0)));
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["delete pod master-0", "delete pod worker-0"]);
    assert_eq!(plan.events, [], "W35: once");
}

#[test]
fn while_suspended_active_is_what_is_not_gone_yet() {
    let mut scene = master_and_workers(2).running();
    scene.phase("job-worker-1", Phase::Pending);
    scene.suspend(true);
    scene.reconcile();
    assert_eq!(
        scene.status().replica_statuses["Worker"].active,
        Some(2),
        "a pending pod holds its quota"
    );
    scene.settle();
    assert_eq!(
        scene.status().replica_statuses["Worker"].active,
        Some(1),
        "one has gone, one terminates"
    );
    assert_eq!(scene.status().replica_statuses["Master"].active, Some(1));
    scene.bury();
    scene.settle();
    assert!(
        scene
            .status()
            .replica_statuses
            .values()
            .all(|counts| counts.active.is_none())
    );
}

#[test]
fn suspension_takes_failed_and_succeeded_pods_too_and_a_pod_that_fails_then_is_no_failure() {
    let mut scene = master_and_workers(3).running();
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.exit("job-worker-1", 1);
    scene.suspend(true);
    let stored = scene.store();
    let plan = scene.reconcile();
    assert_eq!(plan.actions.len(), 4);
    assert_eq!((stored.counts, plan.counts), (vec![], vec![]));
    scene.bury();
    scene.settle();
    assert_eq!((scene.status().restarts, scene.status().first_failure), (None, None));
}

#[test]
fn a_restarting_job_is_not_restarting_while_it_is_suspended() {
    let mut scene = master_and_workers(1).running();
    scene.exit("job-worker-0", 1);
    scene.reconcile();
    scene.suspend(true);
    scene.reconcile();
    assert_eq!(
        scene.conditions(),
        [
            "Created=True(PyTorchJobCreated)",
            "Restarting=False(PyTorchJobSuspended)",
            "Suspended=True(PyTorchJobSuspended)"
        ]
    );
    scene.settle();
    scene.bury();
    scene.settle();
    assert_eq!(
        scene.status().replaced_pods,
        [""; 0],
        "nothing is remembered of pods that are gone"
    );
    assert_eq!(scene.status().restarts, Some(1), "the count stays");
}

#[test]
fn a_resumed_job_stays_suspended_until_the_last_old_pod_is_gone_and_then_starts_again() {
    let mut scene = master_and_workers(1).running();
    scene.suspend(true);
    scene.settle();
    scene.suspend(false);
    assert_eq!(scene.reconcile().actions, [], "old pods terminate");
    scene.remove("job-master-0");
    assert_eq!(scene.reconcile().actions, []);
    assert_eq!(scene.status().observed_generation, scene.job.metadata.generation);
    scene.wait(10);
    scene.remove("job-worker-0");
    assert_eq!(
        actions(&scene.reconcile()),
        ["delete service master-0", "delete service worker-0"]
    );
    let plan = scene.reconcile();
    assert_eq!(
        plan.events.iter().map(|event| event.reason).collect::<Vec<_>>(),
        [reason::RESUMED]
    );
    assert_eq!(
        scene.status().start_time,
        Some(time(10)),
        "the clock of the deadline starts again"
    );
    assert_eq!(scene.reconcile().actions.len(), 4);
}

#[test]
fn a_resumption_is_stored_before_anything_is_created() {
    let mut scene = master_and_workers(1).policy("suspend", true).scene();
    scene.settle();
    scene.suspend(false);
    let resumed = scene.reconcile();
    assert_eq!((actions(&resumed).len(), resumed.status.is_some()), (0, true));
    assert_eq!(scene.reconcile().actions.len(), 4);
}

#[test]
fn a_job_resumed_before_all_its_pods_were_asked_to_go_lets_them_go_first() {
    let mut scene = master_and_workers(1).running();
    scene.suspend(true);
    scene.store();
    let plan = scene.store();
    scene.apply(&plan.actions[0]);
    scene.suspend(false);
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["delete pod worker-0"]);
    assert_eq!(plan.events, [], "it was said before");
    scene.bury();
    assert_eq!(scene.reconcile().actions.len(), 2, "the services go after the pods");
    assert_eq!(scene.reconcile().events[0].reason, reason::RESUMED);
    assert_eq!(scene.reconcile().actions.len(), 4);
}

#[test]
fn a_suspension_that_nobody_saw_is_made_up_for_when_the_pods_are_older_than_the_templates() {
    let mut scene = master_and_workers(1).running();
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.wait(30);
    scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
    let plan = scene.store();
    assert_eq!(
        (plan.events[0].reason, plan.events[0].message.as_str()),
        (
            reason::SUSPENDED,
            "PyTorchJob job is suspended until its pods are gone: they were built from templates that have changed."
        )
    );
    assert_eq!(
        actions(&scene.reconcile()),
        ["delete pod master-0", "delete pod worker-0"]
    );
    scene.reconcile();
    scene.bury();
    scene.settle();
    scene.run();
    assert_eq!(scene.conditions(), RESUMED);
    assert_eq!(scene.status().start_time, Some(time(30)));
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn what_ended_before_a_suspension_that_nobody_saw_decides_although_the_templates_have_changed() {
    for (phase, policy, expected) in [
        (Phase::Succeeded, "Never", "Succeeded=True"),
        (Phase::Failed, "Never", "Failed=True"),
        (Phase::Failed, "OnFailure", "Suspended=True"),
    ] {
        let mut scene = master().restart(ReplicaType::Master, policy).running();
        scene.phase("job-master-0", phase);
        scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
        scene.store();
        let last = scene.conditions().pop().unwrap();
        assert!(last.starts_with(expected), "{phase:?} under {policy}: {last}");
    }
}

#[test]
fn pods_of_kubeflows_operator_are_not_held_to_be_older_than_the_templates() {
    let mut scene = master_and_workers(1).running();
    scene.pods.iter_mut().for_each(|pod| pod.template_hash = None);
    scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
    assert_eq!(scene.plan().actions, []);
}

#[test]
fn suspending_and_resuming_twenty_times_ends_where_it_began() {
    let mut scene = master_and_workers(1).running();
    for round in 0..20 {
        scene.suspend(round % 2 == 0);
        scene.settle();
        if round % 3 == 0 {
            scene.bury();
        }
    }
    scene.bury();
    scene.settle();
    scene.run();
    assert_eq!(scene.conditions(), RESUMED);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_suspended_job_is_not_finished_by_what_its_pods_do() {
    for phase in [Phase::Succeeded, Phase::Failed] {
        let mut scene = master_and_workers(1).policy("activeDeadlineSeconds", 5).running();
        scene.suspend(true);
        scene.store();
        scene.everything(phase);
        scene.wait(100);
        scene.settle();
        assert_eq!(scene.status().completion_time, None, "{phase:?}");
        assert!(scene.pods.is_empty());
    }
}

#[test]
fn a_job_that_another_controller_manages_is_never_touched() {
    for (manager, ours) in [
        ("kubeflow.org/training-operator", true),
        ("kueue.x-k8s.io/multikueue", false),
        ("", false),
        ("example.com/other", false),
    ] {
        let mut scene = master_and_workers(1).policy("managedBy", manager).scene();
        assert_eq!(scene.plan() != Plan::default(), ours, "{manager:?}");
        scene.add_pod("job-worker-7");
        scene.suspend(true);
        assert_eq!(scene.plan() != Plan::default(), ours, "{manager:?}, suspended");
    }
}

#[test]
fn what_ended_before_the_suspension_decides() {
    for (phase, policy, expected) in [
        (Phase::Succeeded, "Never", "Succeeded=True"),
        (Phase::Failed, "Never", "Failed=True"),
        (Phase::Failed, "OnFailure", "Suspended=True"),
        (Phase::Running, "Never", "Suspended=True"),
    ] {
        let mut scene = master().restart(ReplicaType::Master, policy).running();
        scene.phase("job-master-0", phase);
        scene.suspend(true);
        scene.settle();
        let last = scene.conditions().pop().unwrap();
        assert!(last.starts_with(expected), "{phase:?} under {policy}: {last}");
    }
}

#[test]
fn a_failure_that_ended_the_job_before_its_suspension_was_seen_is_counted_and_remembered() {
    let mut scene = master_and_workers(1)
        .restart(ReplicaType::Worker, "Never")
        .policy("restartScope", "Job")
        .running();
    scene.exit("job-worker-0", 1);
    scene.suspend(true);
    let plan = scene.reconcile();
    assert_eq!(plan.counts, [Count::PodsFailed(1), Count::Job(JobStep::Failed)]);
    let (attempt, status) = (scene.status().attempts.pop().unwrap(), scene.status());
    for failure in [status.first_failure, attempt.first_failure] {
        assert_eq!(failure.map(|failure| failure.pod).as_deref(), Some("job-worker-0"));
    }
}

#[test]
fn a_suspension_that_is_over_before_it_is_stored_has_done_nothing() {
    let mut scene = master_and_workers(1).running();
    scene.suspend(true);
    assert_eq!(scene.plan().actions, []);
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.conditions().len(), 2);
    assert_eq!(scene.pods.iter().filter(|pod| pod.terminating).count(), 0);
}
