//! `runPolicy.unreachableSeconds`: how long a pod is waited for that its node should have ended.

use serde_json::json;

use crate::planner::{Phase, Plan};
use crate::support::fixture::{JobBuilder, Scene, actions, master_and_workers};

/// The grace period of the pods.
const GRACE: i64 = 30;

fn job() -> JobBuilder {
    master_and_workers(2).policy("unreachableSeconds", 60)
}

/// Worker 1 is being deleted, on a node that does not answer.
fn lost(job: JobBuilder) -> Scene {
    let mut scene = job.running();
    scene.terminate_on("job-worker-1", "gone");
    scene.settle();
    scene
}

fn forced(scene: &Scene) -> Vec<String> {
    let all = actions(&scene.plan()).into_iter();
    all.filter(|action| action.starts_with("force")).collect()
}

/// Lets the time pass without a second between, and returns when a pod is deleted by force.
fn forced_after(scene: &mut Scene, at_most: i64) -> Option<i64> {
    (0..=at_most).find(|_| {
        let now = !forced(scene).is_empty();
        if !now {
            scene.settle();
            scene.wait(1);
        }
        now
    })
}

#[test]
fn a_pod_is_replaced_that_long_after_it_should_have_ended_and_in_that_second() {
    let mut scene = lost(job());
    let left = scene.plan().requeue.map(|left| left.as_secs());
    assert_eq!(left, Some(60), "first it is told that it is late");
    assert_eq!(forced_after(&mut scene, 200), Some(GRACE + 60));
    assert_eq!(actions(&scene.reconcile()), ["force pod worker-1"]);
    assert_eq!(actions(&scene.reconcile()), ["create pod worker-1"]);
    scene.settle();
    assert_eq!(
        (scene.pods.len(), scene.status().restarts),
        (3, None),
        "no restart is counted"
    );
}

#[test]
fn the_status_says_what_it_waits_for_and_until_when() {
    let mut scene = lost(job());
    scene.wait(GRACE + 30);
    scene.settle();
    let message = scene.message("Running");
    let waits = message.split_once(" Waiting: ").expect("it waits").1;
    assert_eq!(
        waits,
        "pod job-worker-1 on node gone should have ended by 2027-01-15T08:00:30Z and is still terminating. \
         It is deleted by force at 2027-01-15T08:01:30Z (unreachableSeconds)."
    );
}

#[test]
fn without_the_field_and_without_the_annotation_nobody_guesses() {
    for disrupted in [false, true] {
        let mut scene = lost(master_and_workers(2));
        scene.pod("job-worker-1").disrupted = disrupted;
        assert_eq!(forced_after(&mut scene, 1_000), None);
        assert!(
            scene
                .message("Running")
                .contains("kubectl delete pod job-worker-1 --force")
        );
    }
}

#[test]
fn kueues_annotation_counts_for_a_pod_that_the_control_plane_has_given_up() {
    for (disrupted, phase, expected) in [
        (false, Phase::Running, None),
        (true, Phase::Running, Some(GRACE + 60)),
        (false, Phase::Failed, Some(GRACE + 60)),
    ] {
        let mut scene = lost(master_and_workers(2));
        let pod = scene.pod("job-worker-1");
        (pod.disrupted, pod.phase) = (disrupted, phase);
        pod.deletion.as_mut().unwrap().may_be_forced = true;
        assert_eq!(forced_after(&mut scene, 200), expected, "{disrupted} {phase:?}");
    }
}

#[test]
fn the_field_goes_before_the_annotation() {
    let mut scene = lost(master_and_workers(2).policy("unreachableSeconds", 300));
    let pod = scene.pod("job-worker-1");
    pod.disrupted = true;
    pod.deletion.as_mut().unwrap().may_be_forced = true;
    assert_eq!(forced_after(&mut scene, 400), Some(GRACE + 300));
}

#[test]
fn a_finalizer_and_a_pod_without_node_are_not_overrun_by_force() {
    for (held, node) in [(true, Some("gone".to_owned())), (false, None)] {
        let mut scene = lost(job());
        let deletion = scene.pod("job-worker-1").deletion.as_mut().unwrap();
        (deletion.held, deletion.node) = (held, node.clone());
        assert_eq!(forced_after(&mut scene, 1_000), None, "{held} {node:?}");
    }
}

#[test]
fn a_pod_that_runs_or_has_grace_left_is_left_alone_whatever_its_conditions_say() {
    let mut scene = job().running();
    scene.pod("job-worker-1").disrupted = true;
    assert_eq!(forced_after(&mut scene, 1_000), None);
}

#[test]
fn an_edit_of_the_time_holds_at_once() {
    let mut scene = lost(job());
    scene.wait(GRACE + 10);
    scene.settle();
    assert_eq!(forced(&scene), [] as [&str; 0]);
    scene.edit(|job| job.spec.run_policy.unreachable_seconds = Some(10));
    assert_eq!(forced(&scene), ["force pod worker-1"]);
    scene.edit(|job| job.spec.run_policy.unreachable_seconds = None);
    assert_eq!(forced(&scene), [] as [&str; 0]);
}

#[test]
fn a_restart_of_the_whole_job_waits_for_the_old_pods_and_for_a_lost_one_no_longer_than_that() {
    let mut scene = job().policy("restartScope", "Job").running();
    scene.exit("job-worker-0", 1);
    scene.settle();
    scene.terminate_on("job-worker-1", "gone");
    scene.remove("job-master-0");
    scene.settle();
    assert_eq!(scene.pods.len(), 1, "{:?}", scene.pods);
    assert_eq!(forced_after(&mut scene, 200), Some(GRACE + 60));
    scene.settle();
    assert_eq!(
        (scene.pods.len(), scene.status().restarts, scene.status().attempt()),
        (3, Some(1), 2)
    );
}

#[test]
fn the_quota_of_a_suspended_job_is_given_back_too() {
    let mut scene = job().running();
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.add_pod("job-worker-1").phase = Phase::Running;
    scene.terminate_on("job-worker-1", "gone");
    assert_eq!(forced_after(&mut scene, 200), Some(GRACE + 60));
    scene.settle();
    let counts = scene.status().replica_statuses;
    assert!(counts.values().all(|counts| counts.active.is_none()), "{counts:?}");
}

#[test]
fn the_pods_of_a_finished_job_are_left_to_their_nodes() {
    let mut scene = lost(job());
    scene.phase("job-master-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(forced_after(&mut scene, 1_000), None);
}

#[test]
fn without_a_lost_pod_the_field_changes_nothing() {
    let (mut with, mut without) = (job().running(), master_and_workers(2).running());
    for scene in [&mut with, &mut without] {
        scene.wait(10_000);
    }
    assert_eq!((with.plan(), with.status()), (Plan::default(), without.status()));
}

#[test]
fn a_disruption_that_a_rule_counts_is_counted_before_its_pod_is_deleted_by_force() {
    let rule = json!({ "class": "Preempted", "action": "Restart" });
    let job = job().policy("failurePolicy", json!({ "rules": [rule] }));
    let mut scene = job.running();
    // All of it happens while the operator is away.
    scene.terminate_on("job-worker-1", "gone");
    scene.pod("job-worker-1").disrupted = true;
    scene.wait(GRACE + 61);
    assert!(forced(&scene).is_empty(), "{:?}", actions(&scene.plan()));
    scene.store();
    assert_eq!(scene.status().restarts, Some(1));
    assert_eq!(forced(&scene), ["force pod worker-1"]);
}
