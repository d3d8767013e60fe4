//! `cleanPodPolicy` on live jobs: both spellings, both outcomes, every value, before and after the end.

use crate::api::{CleanPodPolicy, ReplicaType};
use crate::planner::{Phase, Plan};
use crate::support::fixture::{Scene, actions, master, master_and_workers};

/// A job with an outcome and one pod of each kind: a failed or succeeded master, a running, a pending and a succeeded
/// worker.
fn finished(spelling: &str, policy: Option<&str>, failed: bool) -> Scene {
    let job = master_and_workers(3).restart(ReplicaType::Master, "Never");
    let job = match (policy, spelling) {
        (None, _) => job,
        (Some(policy), "flat") => job.flat("cleanPodPolicy", policy),
        (Some(policy), _) => job.policy("cleanPodPolicy", policy),
    };
    let mut scene = job.running();
    scene.phase("job-master-0", if failed { Phase::Failed } else { Phase::Succeeded });
    scene.phase("job-worker-1", Phase::Pending);
    scene.phase("job-worker-2", Phase::Succeeded);
    scene.reconcile();
    scene
}

#[test]
fn what_goes_at_the_end_is_what_the_policy_says() {
    let all: &[&str] = &["master-0", "worker-0", "worker-1", "worker-2"];
    let unfinished: &[&str] = &["worker-0", "worker-1"];
    for spelling in ["flat", "runPolicy"] {
        for (policy, failed, expected) in [
            (None, false, &[][..]),
            (None, true, unfinished),
            (Some("None"), false, &[]),
            (Some("None"), true, &[]),
            (Some("Running"), false, unfinished),
            (Some("Running"), true, unfinished),
            (Some("All"), false, all),
            (Some("All"), true, all),
        ] {
            let mut scene = finished(spelling, policy, failed);
            let plan = scene.reconcile();
            let deletions = |kind| expected.iter().map(move |name| format!("delete {kind} {name}"));
            let case = format!("{policy:?} as {spelling}, failed: {failed}");
            assert_eq!(actions(&plan), deletions("pod").collect::<Vec<_>>(), "{case}");
            assert_eq!(plan.status, None, "nothing new to report while pods go");
            scene.bury();
            assert_eq!(
                actions(&scene.plan()),
                deletions("service").collect::<Vec<_>>(),
                "{case}"
            );
        }
    }
}

#[test]
fn a_pod_outside_of_the_replicas_does_not_go_on_in_a_finished_job_whatever_the_policy() {
    for policy in [None, Some("None"), Some("Running"), Some("All")] {
        let mut scene = finished("runPolicy", policy, false);
        while !scene.reconcile().actions.is_empty() {
            scene.bury();
        }
        let kept = scene.pod_names().len();
        // A scale-down that the end overtook, or a request of an operator that is dead.
        scene.add_pod("job-worker-7").phase = Phase::Running;
        scene.add_service("job-worker-7");
        assert_eq!(actions(&scene.reconcile()), ["delete pod worker-7"], "{policy:?}");
        scene.bury();
        assert_eq!(actions(&scene.reconcile()), ["delete service worker-7"], "{policy:?}");
        assert_eq!(scene.pod_names().len(), kept, "{policy:?}");
    }
}

#[test]
fn pods_that_are_seen_only_after_the_outcome_are_counted() {
    let mut scene = finished("runPolicy", Some("None"), true);
    scene.settle();
    for counts in scene.job.status.as_mut().unwrap().replica_statuses.values_mut() {
        counts.active = None;
    }
    let status = scene
        .store()
        .status
        .expect("more pods are active than is stored")
        .status;
    assert_eq!(status.replica_statuses["Worker"].active, Some(2));
    assert_eq!(scene.plan().status, None, "once");
}

#[test]
fn a_job_that_kubeflows_operator_failed_keeps_what_that_left_running_unless_a_policy_says_otherwise() {
    for (policy, expected) in [
        (None, &[][..]),
        (Some("None"), &[]),
        (Some("Running"), &["delete pod worker-0", "delete pod worker-1"]),
    ] {
        let mut scene = finished("runPolicy", policy, true);
        scene.job.status.as_mut().unwrap().observed_generation = None;
        let plan = scene.reconcile();
        assert_eq!(actions(&plan), expected, "{policy:?}");
        assert_eq!(plan.status, None, "taking a job over is no reason to write to it");
    }
}

#[test]
fn w5_a_job_that_failed_keeps_no_gpu_unless_the_user_said_none() {
    for (policy, expected) in [(None, false), (Some("None"), true)] {
        let mut scene = finished("flat", policy, true);
        scene.settle();
        scene.bury();
        assert_eq!(scene.pods.iter().any(|pod| !pod.finished()), expected, "{policy:?}");
    }
}

#[test]
fn the_policy_can_be_changed_after_the_end_in_either_direction() {
    let mut scene = finished("flat", None, false);
    scene.settle();
    assert_eq!(scene.pods.len(), 4);
    scene.edit(|job| job.spec.clean_pod_policy = Some(CleanPodPolicy::Running.into()));
    assert_eq!(scene.reconcile().actions.len(), 2, "two pods");
    scene.bury();
    scene.edit(|job| job.spec.clean_pod_policy = Some(CleanPodPolicy::None.into()));
    scene.settle();
    assert_eq!(
        scene.pod_names(),
        ["job-master-0", "job-worker-2"],
        "None deletes nothing more"
    );
    scene.edit(|job| job.spec.clean_pod_policy = Some(CleanPodPolicy::All.into()));
    scene.settle();
    assert!(scene.pods.is_empty() && scene.services().is_empty());
    assert_eq!(
        scene.status().replica_statuses["Master"].succeeded,
        Some(1),
        "the counts stay"
    );
}

#[test]
fn a_finished_job_never_gets_a_pod_back() {
    for policy in [None, Some("None"), Some("Running"), Some("All")] {
        for failed in [false, true] {
            let mut scene = finished("runPolicy", policy, failed);
            scene.pods.clear();
            scene.settle();
            assert!(
                scene.pods.is_empty() && scene.services().is_empty(),
                "{policy:?}, failed: {failed}"
            );
        }
    }
}

#[test]
fn w14_no_service_outlives_its_pod() {
    let mut scene = finished("flat", Some("None"), false);
    scene.remove("job-worker-0");
    assert_eq!(actions(&scene.reconcile()), ["delete service worker-0"]);
    assert_eq!(scene.reconcile(), Plan::default());
}

#[test]
fn clean_up_that_was_interrupted_goes_on() {
    let mut scene = finished("flat", Some("All"), true);
    let plan = scene.plan();
    for action in plan.actions.iter().step_by(2) {
        scene.apply(action);
    }
    let pods: Vec<_> = plan.actions.iter().skip(1).step_by(2).collect();
    let left = scene.plan().actions;
    assert!(pods.iter().all(|action| left.contains(action)), "{left:?}");
    scene.settle();
    scene.bury();
    scene.settle();
    assert!(scene.pods.is_empty() && scene.services().is_empty());
}

#[test]
fn a_terminating_pod_at_the_outcome_is_waited_for_and_not_deleted_again() {
    let mut scene = master().policy("activeDeadlineSeconds", 5).running();
    scene.terminate("job-master-0");
    scene.wait(5);
    scene.reconcile();
    assert_eq!(scene.reconcile().actions, []);
    scene.bury();
    scene.settle();
    assert!(scene.services().is_empty());
    assert_eq!(scene.status().replica_statuses["Master"].active, None);
}

#[test]
fn a_replaced_pod_that_is_gone_is_forgotten_with_the_last_count_and_by_no_write_of_its_own() {
    for (gone_first, expected) in [(true, 0), (false, 1)] {
        let mut scene = master_and_workers(2).policy("cleanPodPolicy", "Running").running();
        scene.exit("job-worker-0", 1);
        scene.store();
        scene.phase("job-master-0", Phase::Succeeded);
        scene.reconcile();
        assert_eq!(scene.status().replaced_pods.len(), 1);
        scene.settle();
        if gone_first {
            scene.remove("job-worker-0");
            assert_eq!(scene.plan().status, None, "a write of its own");
        }
        scene.bury();
        scene.settle();
        assert_eq!(scene.status().replaced_pods.len(), expected);
        scene.remove("job-worker-0");
        assert_eq!(scene.plan().status, None, "a write of its own");
    }
}
