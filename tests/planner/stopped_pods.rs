//! Pods that were stopped: exit code 0 is no success then, and a disruption is no failure.

use crate::api::ReplicaType;
use crate::planner::{Phase, Pod};
use crate::support::fixture::{Scene, actions, at, master, master_and_workers, workers};

/// A pod that ended `finished` seconds after the start, its deletion asked for `requested` seconds after it.
fn ended(phase: Phase, finished: Option<i64>, requested: Option<i64>, disrupted: bool) -> Pod {
    Pod {
        phase,
        terminating: requested.is_some(),
        deletion_requested: requested.map(at),
        finished_at: finished.map(at),
        disrupted,
        ..Pod::default()
    }
}

fn set(scene: &mut Scene, name: &str, ended: &Pod) {
    let pod = scene.pod(name);
    *pod = Pod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        template_hash: pod.template_hash,
        generation: pod.generation,
        ..ended.clone()
    };
}

/// Lets a pod end by itself with exit code 0, and the operator see it.
fn finish(scene: &mut Scene, name: &str) {
    set(scene, name, &ended(Phase::Succeeded, Some(5), None, false));
    scene.settle();
}

/// Lets a pod be told to stop and exit with 0, and go: it is created again, and nothing is counted.
fn stop(scene: &mut Scene, replica: &str) {
    let name = format!("job-{replica}");
    set(scene, &name, &ended(Phase::Succeeded, Some(7), Some(6), false));
    scene.settle();
    assert!(!scene.says("Succeeded"));
    scene.remove(&name);
    scene.store();
    assert_eq!(actions(&scene.reconcile()), [format!("create pod {replica}")]);
    scene.settle();
    assert_eq!(scene.status().restarts, None);
}

#[test]
fn a_pod_has_succeeded_only_by_an_end_of_its_own() {
    for (finished, requested, disrupted, succeeded, why) in [
        (Some(5), None, false, true, "it ended by itself"),
        (
            None,
            None,
            false,
            true,
            "a pod that nobody deletes needs no time of its end",
        ),
        (
            Some(5),
            Some(6),
            false,
            true,
            "it had finished when its deletion was asked for",
        ),
        (Some(6), Some(6), false, false, "a tie"),
        (
            Some(7),
            Some(6),
            false,
            false,
            "it was told to stop and saved a checkpoint",
        ),
        (None, Some(6), false, false, "nothing says that it had finished"),
        (Some(5), None, true, false, "it was disrupted"),
        (Some(5), Some(6), true, false, "it was disrupted and is being deleted"),
    ] {
        let pod = ended(Phase::Succeeded, finished, requested, disrupted);
        assert_eq!(pod.succeeded(), succeeded, "{why}");
    }
}

#[test]
fn a_master_that_was_stopped_and_exits_0_does_not_complete_the_job_and_runs_again() {
    let mut scene = master_and_workers(1).policy("backoffLimit", 0).running();
    stop(&mut scene, "master-0");
    assert!(!scene.says("Failed"));
}

#[test]
fn a_worker_that_was_stopped_and_exits_0_does_not_complete_a_job_without_master_and_runs_again() {
    let mut scene = workers(2).policy("backoffLimit", 0).running();
    finish(&mut scene, "job-worker-1");
    stop(&mut scene, "worker-0");
    assert_eq!(scene.status().completed_indexes.as_deref(), Some("1"));
    assert!(!scene.says("Succeeded") && !scene.says("Failed"));
}

#[test]
fn a_disrupted_pod_is_replaced_and_not_counted_under_every_policy() {
    for policy in ["Never", "OnFailure", "Always", "ExitCode"] {
        for phase in [Phase::Failed, Phase::Succeeded] {
            let job = master().policy("backoffLimit", 0).restart(ReplicaType::Master, policy);
            let mut scene = job.running();
            set(&mut scene, "job-master-0", &ended(phase, Some(7), None, true));
            assert_eq!(
                actions(&scene.reconcile()),
                ["delete pod master-0"],
                "{policy} {phase:?}"
            );
            scene.settle();
            scene.run();
            assert_eq!(scene.pod_names(), ["job-master-0"], "{policy} {phase:?}");
            assert_eq!((scene.status().restarts, scene.status().first_failure), (None, None));
            assert!(scene.says("Running=True"));
        }
    }
}

#[test]
fn a_pod_that_is_disrupted_after_its_failure_was_counted_is_deleted_once() {
    let mut scene = master().running();
    scene.phase("job-master-0", Phase::Failed);
    scene.store();
    scene.pod("job-master-0").disrupted = true;
    assert_eq!(actions(&scene.plan()), ["delete pod master-0"]);
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn an_eviction_for_the_pods_own_fault_stays_a_failure() {
    let mut scene = master().restart(ReplicaType::Master, "Never").running();
    scene.evict("job-master-0");
    scene.settle();
    assert!(scene.says("Failed=True"));
}

#[test]
fn a_worker_that_had_finished_does_not_run_again_when_its_pod_is_drained() {
    let mut scene = workers(3).running();
    finish(&mut scene, "job-worker-1");
    assert_eq!(scene.status().completed_indexes.as_deref(), Some("1"));
    scene.remove("job-worker-1");
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-2"]);
    assert_eq!(scene.status().replica_statuses["Worker"].succeeded, Some(1));
    for name in ["job-worker-0", "job-worker-2"] {
        set(&mut scene, name, &ended(Phase::Succeeded, Some(9), None, false));
    }
    scene.settle();
    assert!(scene.says("Succeeded=True"));
}

#[test]
fn a_suspension_lets_finished_workers_run_again() {
    let mut scene = workers(2).running();
    finish(&mut scene, "job-worker-1");
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.settle();
    assert_eq!(scene.status().completed_indexes, None);
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-1"]);
}

#[test]
fn a_worker_whose_end_and_deletion_are_seen_together_has_finished_for_good() {
    let mut scene = workers(2).running();
    set(
        &mut scene,
        "job-worker-1",
        &ended(Phase::Succeeded, Some(5), Some(6), false),
    );
    scene.settle();
    scene.remove("job-worker-1");
    scene.settle();
    assert_eq!(scene.status().completed_indexes.as_deref(), Some("1"));
    assert_eq!(scene.pod_names(), ["job-worker-0"]);
}

#[test]
fn an_edit_of_the_template_during_a_suspension_that_was_never_seen_lets_finished_workers_run_again() {
    let mut scene = workers(2).running();
    finish(&mut scene, "job-worker-1");
    scene.remove("job-worker-1");
    scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
    scene.settle();
    scene.bury();
    scene.settle();
    assert_eq!(scene.status().completed_indexes, None);
    assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-1"]);
}

#[test]
fn a_disrupted_pod_counts_as_neither_succeeded_nor_failed() {
    for phase in [Phase::Failed, Phase::Succeeded] {
        let mut scene = workers(1).running();
        set(&mut scene, "job-worker-0", &ended(phase, Some(5), None, true));
        scene.reconcile();
        let counts = scene.status().replica_statuses["Worker"].clone();
        assert_eq!((counts.succeeded, counts.failed), (None, None), "{phase:?}");
    }
}

#[test]
fn pods_beyond_the_replicas_are_not_counted_as_succeeded_or_failed() {
    let mut scene = workers(1).running();
    for (index, phase) in [(1, Phase::Succeeded), (2, Phase::Failed)] {
        let name = format!("job-worker-{index}");
        scene.add_pod(&name);
        scene.phase(&name, phase);
    }
    let status = scene.plan().status.map_or_else(|| scene.status(), |write| write.status);
    let counts = &status.replica_statuses["Worker"];
    assert_eq!((counts.active, counts.succeeded, counts.failed), (Some(1), None, None));
}
