//! `runPolicy.startupDeadlineSeconds` and `startupDeadlineAction`: by when all pods run, and what happens otherwise.

use std::time::Duration;

use proptest::prelude::*;

use crate::api::{ReplicaType, StartupDeadlineAction};
use crate::planner::{Phase, Plan, Trouble};
use crate::support::fixture::{JobBuilder, Scene, actions, elastic_workers, master_and_workers};

const SECONDS: i64 = 600;

fn job(action: &str) -> JobBuilder {
    let job = master_and_workers(2).policy("startupDeadlineSeconds", SECONDS);
    job.policy("startupDeadlineAction", action)
}

/// A job whose pods were created, and all run but worker 1, which the scheduler cannot place.
fn waiting(job: JobBuilder) -> Scene {
    let mut scene = job.scene();
    scene.settle();
    scene.everything(Phase::Running);
    let last = scene.pod("job-worker-1");
    last.phase = Phase::Pending;
    last.trouble = Some(Box::new(Trouble {
        reason: "Unschedulable",
        message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.".into(),
        ..Trouble::default()
    }));
    scene.settle();
    scene
}

const WHY: &str = "pod job-worker-1: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";

fn left(scene: &Scene) -> Option<u64> {
    scene.plan().requeue.map(|left| left.as_secs())
}

#[test]
fn the_job_fails_in_that_second_and_says_which_pod_is_missing_and_why() {
    let mut scene = waiting(job("Fail"));
    scene.wait(SECONDS - 1);
    assert_eq!((scene.plan().is_idle(), left(&scene)), (true, Some(1)));
    scene.wait(1);
    scene.store();
    assert_eq!(
        scene.message("Failed"),
        format!("Job job has failed because not all of its pods ran within startupDeadlineSeconds (600 s): {WHY}")
    );
    assert_eq!(scene.status().starting_since, None);
    assert_eq!(
        actions(&scene.plan())[..2],
        ["delete pod master-0", "delete pod worker-0"]
    );
}

#[test]
fn without_an_action_it_fails() {
    let mut scene = waiting(master_and_workers(2).policy("startupDeadlineSeconds", SECONDS));
    scene.wait(SECONDS);
    scene.store();
    assert!(scene.says("Failed=True"), "{:?}", scene.conditions());
}

#[test]
fn a_job_whose_pods_all_ran_in_time_may_wait_as_long_as_it_likes_afterwards() {
    let mut scene = waiting(job("Fail"));
    scene.wait(SECONDS - 1);
    scene.pod("job-worker-1").trouble = None;
    scene.run();
    assert_eq!((scene.status().starting_since, left(&scene)), (None, None));
    scene.wait(10 * SECONDS);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_replaced_pod_has_the_time_from_its_own_creation() {
    let mut scene = job("Fail").restart(ReplicaType::Worker, "OnFailure").running();
    scene.wait(10 * SECONDS);
    scene.exit("job-worker-0", 1);
    scene.settle();
    scene.wait(SECONDS - 1);
    assert!(scene.plan().is_idle(), "{:#?}", scene.plan());
    scene.wait(1);
    scene.store();
    assert!(
        scene
            .message("Failed")
            .contains("pod job-worker-0: its containers have not started.")
    );
}

#[test]
fn the_time_that_a_drained_pod_takes_to_end_does_not_count() {
    let mut scene = job("Fail").policy("gracefulStopSeconds", 10 * SECONDS).running();
    scene.terminate("job-worker-0");
    scene.settle();
    scene.wait(2 * SECONDS);
    scene.settle();
    assert_eq!(
        (scene.says("Failed"), scene.status().starting_since, left(&scene)),
        (false, None, None)
    );
    scene.bury();
    scene.settle();
    assert_eq!(left(&scene), Some(600), "what replaces it has all the time");
    scene.wait(SECONDS);
    scene.store();
    assert!(scene.says("Failed=True"), "{:?}", scene.conditions());
}

#[test]
fn the_time_goes_on_for_a_pod_that_waits_beside_a_drained_one_and_ends_when_that_is_left_alone() {
    let mut scene = waiting(job("Fail"));
    scene.wait(100);
    scene.terminate("job-worker-0");
    scene.settle();
    assert_eq!(left(&scene), Some(500));
    scene.phase("job-worker-1", Phase::Running);
    // An operator that was away meanwhile sees it when the time is over.
    let mut away = scene.clone();
    away.wait(SECONDS);
    for scene in [&mut scene, &mut away] {
        scene.settle();
        assert_eq!((scene.says("Failed"), scene.status().starting_since), (false, None));
    }
}

#[test]
fn time_without_pods_does_not_count() {
    let mut scene = waiting(job("Fail"));
    scene.wait(SECONDS - 1);
    scene.suspend(true);
    scene.settle();
    assert_eq!(scene.status().starting_since, None);
    scene.bury();
    scene.settle();
    scene.wait(SECONDS);
    assert_eq!(scene.plan(), Plan::default());
    scene.suspend(false);
    scene.settle();
    scene.wait(SECONDS - 1);
    assert!(!scene.says("Failed") && scene.plan().is_idle());
    scene.wait(1);
    scene.store();
    assert!(scene.says("Failed=True"));
}

#[test]
fn an_edit_of_the_time_holds_at_once() {
    for (seconds, after) in [(300, 0), (900, 600)] {
        let mut scene = waiting(job("Fail"));
        scene.wait(300);
        scene.edit(|job| job.spec.run_policy.startup_deadline_seconds = Some(seconds));
        scene.store();
        assert_eq!(scene.says("Failed=True"), after == 0, "{seconds}");
        if after > 0 {
            scene.settle();
            assert_eq!(left(&scene), Some(after));
        }
    }
    let mut scene = waiting(job("Fail"));
    scene.wait(300);
    scene.edit(|job| job.spec.run_policy.startup_deadline_seconds = None);
    scene.settle();
    scene.wait(SECONDS);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_job_that_waits_already_when_the_time_is_set_has_it_from_then_on() {
    let mut scene = waiting(master_and_workers(2));
    scene.wait(10 * SECONDS);
    scene.edit(|job| job.spec.run_policy.startup_deadline_seconds = Some(600));
    scene.settle();
    assert_eq!(left(&scene), Some(600));
}

#[test]
fn a_job_that_gives_up_is_suspended_with_the_reason_and_its_spec_is_left_alone() {
    let mut scene = waiting(job("Suspend"));
    scene.wait(SECONDS);
    let plan = scene.store();
    assert!(plan.actions.is_empty(), "it is stored before anything is deleted");
    assert_eq!(
        scene.message("Suspended"),
        format!(
            "PyTorchJob job is suspended until its spec is edited, because not all of its pods ran within \
             startupDeadlineSeconds (600 s): {WHY}"
        )
    );
    let told: Vec<_> = plan.events.iter().map(|event| (event.warning, event.reason)).collect();
    assert_eq!(told, [(true, "StartupDeadlineExceeded")]);
    assert!(!scene.job.spec.suspended());
    scene.settle();
    scene.bury();
    scene.settle();
    assert_eq!((scene.pods.len(), scene.services().len()), (0, 0));
    scene.wait(100 * SECONDS);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn any_edit_of_the_spec_lets_it_try_again_with_all_the_time() {
    let mut scene = waiting(job("Suspend"));
    scene.wait(SECONDS);
    scene.settle();
    scene.bury();
    scene.settle();
    scene.edit(|job| job.spec.ttl_seconds_after_finished = Some(60));
    scene.settle();
    assert_eq!((scene.pods.len(), left(&scene)), (3, Some(600)));
    assert!(scene.says("Suspended=False"), "{:?}", scene.conditions());
}

#[test]
fn an_edit_before_its_pods_are_gone_lets_it_try_again_once_they_are() {
    let mut scene = waiting(job("Suspend"));
    scene.wait(SECONDS);
    scene.store();
    scene.edit(|job| job.spec.run_policy.startup_deadline_seconds = Some(1_000));
    scene.settle();
    assert!(scene.pods.iter().all(|pod| pod.terminating), "{:?}", scene.pods);
    scene.bury();
    scene.settle();
    assert_eq!((scene.pods.len(), left(&scene)), (3, Some(1_000)));
}

#[test]
fn a_user_or_a_queue_that_suspends_it_meanwhile_resumes_it_too() {
    let mut scene = waiting(job("Suspend"));
    scene.wait(SECONDS);
    scene.settle();
    scene.bury();
    scene.suspend(true);
    scene.settle();
    assert_eq!(scene.message("Suspended"), "PyTorchJob job is suspended.");
    scene.edit(|job| job.spec.ttl_seconds_after_finished = Some(60));
    scene.settle();
    assert!(scene.pods.is_empty(), "it is the user's suspension now");
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.pods.len(), 3);
}

#[test]
fn of_the_scope_replica_those_that_do_not_run_are_replaced_and_counted_before() {
    let mut scene = waiting(job("Restart"));
    scene.wait(SECONDS);
    let plan = scene.store();
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(
        scene.message("Restarting"),
        format!(
            "PyTorchJob job is restarting because not all of its pods ran within startupDeadlineSeconds (600 s): {WHY}"
        )
    );
    assert_eq!(scene.status().restarts, Some(1));
    assert_eq!(actions(&scene.reconcile()), ["delete pod worker-1"]);
    scene.settle();
    assert_eq!(
        (scene.pods.len(), scene.status().restarts, left(&scene)),
        (3, Some(1), Some(600))
    );
}

#[test]
fn of_the_scope_job_all_are_replaced_and_it_counts_as_one_restart() {
    let mut scene = waiting(job("Restart").policy("restartScope", "Job"));
    scene.wait(SECONDS);
    scene.settle();
    assert!(scene.pods.iter().all(|pod| pod.terminating), "{:?}", scene.pods);
    scene.wait(SECONDS);
    assert!(scene.plan().is_idle(), "the time of pods that go does not count");
    scene.bury();
    scene.settle();
    let status = scene.status();
    assert_eq!((scene.pods.len(), status.restarts, status.attempt()), (3, Some(1), 2));
    assert_eq!(left(&scene), Some(600));
}

#[test]
fn the_restart_beyond_the_backoff_limit_fails_the_job() {
    let mut scene = waiting(job("Restart").policy("backoffLimit", 0));
    scene.wait(SECONDS);
    scene.store();
    assert!(
        scene.message("Failed").contains("backoff limit (0)"),
        "{:?}",
        scene.conditions()
    );
}

#[test]
fn with_no_pod_to_replace_the_job_waits_and_does_not_look_again_and_again() {
    let mut scene = waiting(job("Restart"));
    scene.remove("job-worker-1");
    scene.refusal = Some("exceeded quota".into());
    scene.store();
    scene.wait(10 * SECONDS);
    scene.store();
    let plan = scene.plan();
    assert!(!scene.says("Restarting"), "{:?}", scene.conditions());
    assert_eq!(
        (actions(&plan), plan.requeue),
        (vec!["create pod worker-1".to_owned()], None)
    );
}

#[test]
fn a_pod_that_the_api_server_refuses_is_missing_too() {
    let mut scene = waiting(job("Fail"));
    scene.remove("job-worker-1");
    scene.refusal = Some("pods \"job-worker-1\" is forbidden: exceeded quota: gpus".into());
    scene.wait(SECONDS);
    scene.store();
    let message = scene.message("Failed");
    assert!(
        message.ends_with("pod job-worker-1: pods \"job-worker-1\" is forbidden: exceeded quota: gpus."),
        "{message}"
    );
}

#[test]
fn an_elastic_job_has_started_with_as_few_workers_as_it_can_do_with() {
    let elastic = |running: usize| {
        let mut scene = elastic_workers(3, 2, 4).policy("startupDeadlineSeconds", 600).scene();
        scene.settle();
        scene
            .pods
            .iter_mut()
            .take(running)
            .for_each(|pod| pod.phase = Phase::Running);
        scene.settle();
        scene.wait(600);
        scene.store();
        scene.says("Failed=True")
    };
    assert_eq!((elastic(1), elastic(2)), (true, false));
}

#[test]
fn a_restarted_operator_goes_on_with_what_is_stored() {
    let scene = waiting(job("Fail"));
    let stored = serde_json::to_string(&scene.job).unwrap();
    let mut again = scene.clone();
    again.job = serde_json::from_str(&stored).unwrap();
    again.wait(SECONDS - 1);
    assert_eq!(again.plan().requeue, Some(Duration::from_secs(1)));
}

#[test]
fn without_the_time_the_action_does_nothing() {
    for action in ["Fail", "Restart", "Suspend"] {
        let with = waiting(master_and_workers(2).policy("startupDeadlineAction", action));
        let without = waiting(master_and_workers(2));
        assert_eq!(with.plan(), without.plan());
        assert_eq!(with.status(), without.status());
    }
    assert_eq!(StartupDeadlineAction::default(), StartupDeadlineAction::Fail);
}

/// What may happen to a job with a deadline.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(i64),
    Run(usize),
    Exit(usize),
    Drain(usize),
    Bury,
    Suspend(bool),
    /// The operator stops after it has stored a status.
    Stop,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..400_i64).prop_map(Step::Wait),
        3 => (0..3_usize).prop_map(Step::Run),
        1 => (0..3_usize).prop_map(Step::Exit),
        1 => (0..3_usize).prop_map(Step::Drain),
        2 => Just(Step::Bury),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => Just(Step::Stop),
    ]
}

impl Step {
    fn take(self, scene: &mut Scene) {
        let name = |place: usize| ["job-master-0", "job-worker-0", "job-worker-1"][place];
        let lives = |scene: &Scene, place| {
            let mut pods = scene.pods.iter();
            pods.any(|pod| pod.name == name(place) && !pod.terminating && !pod.finished())
        };
        match self {
            Self::Wait(seconds) => scene.wait(seconds),
            Self::Run(place) if lives(scene, place) => scene.phase(name(place), Phase::Running),
            Self::Exit(place) if lives(scene, place) => scene.exit(name(place), 137),
            Self::Drain(place) if lives(scene, place) => scene.terminate(name(place)),
            Self::Bury => scene.bury(),
            Self::Suspend(suspend) => scene.suspend(suspend),
            Self::Stop => drop(scene.store()),
            Self::Run(_) | Self::Exit(_) | Self::Drain(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn no_history_has_a_deadline_early_or_late(whole in any::<bool>(), steps in prop::collection::vec(steps(), 0..60)) {
        let scope = if whole { "Job" } else { "Replica" };
        let mut scene = job("Fail").policy("restartScope", scope).scene();
        // Since when pods were there that are to run and do not, as somebody sees it who only looks at pods.
        let mut since = None;
        for step in steps {
            step.take(&mut scene);
            let all_run = scene.pods.iter().filter(|pod| pod.running()).count() == 3;
            let wait = scene.pods.iter().any(|pod| !pod.terminating && !pod.running());
            since = since.filter(|_| !all_run && wait);
            for _ in 0..20 {
                let plan = scene.reconcile();
                if actions(&plan).iter().any(|action| action.starts_with("create pod")) {
                    since = since.or(Some(scene.now));
                }
                if plan.is_idle() {
                    break;
                }
            }
            let passed = since.map(|since| scene.now.duration_since(since).as_secs());
            if scene.message("Failed").contains("startupDeadlineSeconds") {
                prop_assert!(passed.is_some_and(|passed| passed >= SECONDS), "early: {passed:?}");
                break;
            }
            if !scene.job.spec.suspended() && scene.status().starting_since.is_some() {
                let left = scene.plan().requeue;
                prop_assert!(left.is_some_and(|left| left <= Duration::from_mins(10)), "no timer: {left:?}");
            }
        }
    }
}
