//! `runPolicy.restartStrategy: InPlace`: all replicas start again in the pods that are there.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::names::reason;
use crate::api::{ConditionType, FailureClass, JobStatus, PyTorchJob, ReplicaType};
use crate::planner::{Action, Doing, InPlace, Phase, Plan, ask_again, is_true, resize};
use crate::support::cluster::{Cluster, Outcome, Step, Written};
use crate::support::dice::Dice;
use crate::support::fixture::in_place::{again, ask, fail};
use crate::support::fixture::{JobBuilder, Scene, actions, at, master, master_and_workers, workers};

const ALL: [&str; 3] = ["job-master-0", "job-worker-0", "job-worker-1"];

fn in_place(job: JobBuilder) -> JobBuilder {
    job.policy("restartScope", "Job").policy("restartStrategy", "InPlace")
}

fn training<'a>(scene: &'a mut Scene, name: &str) -> &'a mut InPlace {
    scene.pod(name).in_place.as_mut().expect("it starts again in place")
}

/// A job of three whose worker 1 has failed, and that was counted.
fn restarting() -> Scene {
    let mut scene = in_place(master_and_workers(2)).running();
    fail(scene.pod("job-worker-1"), 1);
    scene.reconcile();
    scene
}

/// The kubelet starts all containers again that it was asked to.
fn all_start(scene: &mut Scene) {
    for name in ALL {
        again(scene.pod(name));
    }
}

#[test]
fn one_failure_is_counted_once_then_all_start_again_in_their_pods_and_the_job_runs_when_all_do() {
    let mut scene = in_place(master_and_workers(2)).running();
    let uids: Vec<_> = scene.pods.iter().map(|pod| pod.uid.clone()).collect();
    fail(scene.pod("job-worker-1"), 1);
    let plan = scene.reconcile();
    assert_eq!(plan.actions, [], "first the count");
    assert_eq!(plan.events[0].reason, reason::RESTARTING);
    assert_eq!(
        plan.events[0].message,
        "PyTorchJob job is restarting because 1 Worker replica(s) failed. job-worker-1 exited with code 1 (Error). \
         All replicas start again in place."
    );
    let attempts = scene.status().attempts;
    assert_eq!(
        (attempts[0].why.as_deref(), attempts[1].number),
        (Some("Restarting"), 2)
    );
    assert_eq!(
        scene.next(),
        ["restart master-0", "restart worker-0", "restart worker-1"]
    );
    assert_eq!(scene.next(), [] as [&str; 0], "once is enough");
    // Those that had not failed end by the restart, and a peer by an error of its own.
    fail(scene.pod("job-worker-0"), 1);
    all_start(&mut scene);
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    let status = scene.status();
    assert_eq!((status.restarts, status.attempt()), (Some(1), 2));
    assert!(status.attempts[1].running_since.is_some());
    assert_eq!(scene.pods.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>(), uids);
}

/// A running job of attempt 1 of whose pods etcd has kept that they were asked to start again in attempt 2.
fn restored() -> Scene {
    let mut scene = restarting();
    scene.next();
    let mut earlier = in_place(master_and_workers(2)).running();
    earlier.pods = scene.pods;
    earlier
}

#[test]
fn after_a_restore_of_etcd_what_was_asked_for_an_attempt_that_is_no_more_is_seen_to() {
    let mut scene = restored();
    assert_eq!(scene.status().attempt(), 1);
    training(&mut scene, "job-worker-0").refused = Some("the kubelet says Infeasible: no room".into());
    again(scene.pod("job-worker-1"));
    scene.pod("job-master-0").phase = Phase::Succeeded;
    training(&mut scene, "job-master-0").doing = Doing::Done;
    let mut plan = actions(&scene.plan());
    plan.sort();
    assert_eq!(
        plan,
        [
            "recreate master-0: it has completed when it was asked to start again",
            "recreate worker-0: the kubelet says Infeasible: no room"
        ]
    );
}

#[test]
fn after_a_restore_of_etcd_the_next_attempt_is_none_that_pods_know() {
    let mut scene = restored();
    all_start(&mut scene);
    scene.settle();
    assert!(scene.says("Running=True") && scene.plan().actions.is_empty());
    fail(scene.pod("job-worker-0"), 1);
    scene.reconcile();
    assert_eq!(scene.status().attempt(), 3);
    assert_eq!(
        scene.next(),
        ["restart master-0", "restart worker-0", "restart worker-1"]
    );
}

#[test]
fn after_a_restore_of_etcd_to_before_the_first_status_a_failure_counts_once_and_begins_an_attempt() {
    let mut scene = in_place(master_and_workers(2)).running();
    scene.job.status = None;
    fail(scene.pod("job-worker-1"), 1);
    scene.reconcile();
    let status = scene.status();
    assert_eq!((status.restarts, status.attempt()), (Some(1), 2));
    assert_eq!(
        scene.next(),
        ["restart master-0", "restart worker-0", "restart worker-1"]
    );
    all_start(&mut scene);
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn it_does_not_run_before_the_last_container_has_started_again() {
    let mut scene = restarting();
    scene.next();
    for name in ["job-master-0", "job-worker-1"] {
        again(scene.pod(name));
        scene.settle();
        assert!(scene.says("Restarting=True") && !scene.says("Running=True"), "{name}");
    }
    again(scene.pod("job-worker-0"));
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
}

#[test]
fn the_next_failure_is_the_next_restart_and_the_limit_counts_restarts() {
    let mut scene = in_place(master_and_workers(2)).policy("backoffLimit", 2).running();
    for (number, amount) in [(1, 9), (2, 10)] {
        fail(scene.pod("job-worker-0"), 1);
        scene.settle();
        assert_eq!(
            training(&mut scene, "job-master-0").amount,
            amount,
            "a step down, and a step up"
        );
        all_start(&mut scene);
        scene.settle();
        assert_eq!(scene.status().restarts, Some(number));
        assert!(scene.says("Running=True"), "{number}: {:?}", scene.conditions());
    }
    fail(scene.pod("job-worker-0"), 1);
    scene.settle();
    assert!(scene.says("Failed=True"), "{:?}", scene.conditions());
}

#[test]
fn a_rank_that_loses_one_of_the_attempt_before_soon_after_all_run_again_counts_no_more() {
    const PEER: &str = "RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:40312";
    type Case = (&'static str, i64, i64, &'static str, bool);
    let cases: [Case; 5] = [
        ("soon", 22, 30, PEER, false),
        ("started when all ran already", 31, 40, PEER, true),
        ("later than a minute", 22, 91, PEER, true),
        ("an error of its own", 22, 30, "ImportError: a", true),
        ("nobody knows why", 22, 30, "", true),
    ];
    for (name, started, finished, message, counts) in cases {
        let mut scene = restarting();
        scene.next();
        all_start(&mut scene);
        scene.now = at(29);
        scene.settle();
        assert!(scene.says("Running=True"), "{:?}", scene.conditions());
        scene.now = at(100);
        scene.exit_saying("job-worker-0", finished, message);
        scene.pod("job-worker-0").failure.as_mut().unwrap().started_at = Some(at(started));
        let asked = scene.plan().actions;
        assert_eq!(asked.is_empty(), counts, "{name}: {asked:?}");
        // An operator that stops between the two writes goes on.
        for action in asked {
            let Action::RestartInPlace { restart, .. } = action else {
                panic!("{action:?}")
            };
            ask(scene.pod("job-worker-0"), &restart, false);
            // Whoever has given another rank more is left alone.
            training(&mut scene, "job-worker-1").amount = 500;
            assert_eq!(scene.next(), ["restart worker-0"]);
            again(scene.pod("job-worker-0"));
            assert_eq!(scene.next(), [] as [&str; 0]);
        }
        scene.settle();
        assert_eq!(scene.status().restarts, Some(1 + i32::from(counts)), "{name}");
    }
}

#[test]
fn a_rank_that_the_kubelet_started_again_after_a_failure_of_the_restart_completes() {
    let mut scene = restarting();
    scene.next();
    all_start(&mut scene);
    scene.settle();
    // Its failure was that of the restart, and it ends with 0 at last. Its pod still runs.
    let rank = training(&mut scene, "job-worker-1");
    (rank.ends, rank.doing) = (rank.ends + 1, Doing::Done);
    assert_eq!(scene.next(), [] as [&str; 0]);
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    for name in ["job-master-0", "job-worker-0", "job-worker-1"] {
        scene.phase(name, Phase::Succeeded);
    }
    scene.settle();
    assert!(scene.says("Succeeded=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn a_container_that_the_kubelet_has_started_again_before_it_was_asked_is_no_other_failure() {
    let mut scene = restarting();
    again(scene.pod("job-worker-1"));
    scene.next();
    // It is asked while it runs, so it ends once more.
    all_start(&mut scene);
    scene.settle();
    assert_eq!(training(&mut scene, "job-worker-1").ends, 2);
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn what_fails_before_all_run_again_is_noted_in_the_pod_and_counts_no_more() {
    let mut scene = restarting();
    scene.next();
    // It meets a rank of the attempt before, fails of it, and is started again.
    for name in ["job-master-0", "job-worker-1"] {
        again(scene.pod(name));
    }
    fail(scene.pod("job-worker-1"), 1);
    again(scene.pod("job-worker-1"));
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["restart worker-1"]);
    let Action::RestartInPlace { restart, .. } = &plan.actions[0] else {
        unreachable!()
    };
    assert_eq!(restart.container, None, "only the annotation is written");
    again(scene.pod("job-worker-0"));
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
    // From now on it counts.
    fail(scene.pod("job-worker-1"), 1);
    scene.reconcile();
    assert_eq!(scene.status().restarts, Some(2));
}

/// A job of three that starts again, whose worker 1 was started early and has failed of the Master.
fn met_the_attempt_before() -> Scene {
    let mut scene = restarting();
    scene.next();
    again(scene.pod("job-worker-1"));
    lose_a_peer(&mut scene);
    scene
}

/// Whether worker 1 was asked once more.
fn once_more(scene: &mut Scene) -> bool {
    let asked = training(scene, "job-worker-1").mark.asked;
    asked.expect("it was asked").again
}

/// Worker 1 has failed two seconds ago because another rank ended.
fn lose_a_peer(scene: &mut Scene) {
    let now = scene.now;
    scene.wait(2);
    let pod = scene.pod("job-worker-1");
    fail(pod, 1);
    pod.finished_at = Some(now);
    pod.failure.as_mut().expect("it is not accounted for").class = FailureClass::PeerFailure;
}

#[test]
fn a_rank_that_has_failed_of_one_of_the_attempt_before_is_asked_once_more_when_all_others_have_ended() {
    let mut scene = met_the_attempt_before();
    again(scene.pod("job-master-0"));
    assert_eq!(scene.next(), [] as [&str; 0], "worker 0 uses its grace period");
    // The kubelet had just started it by itself, and it has yet to end.
    training(&mut scene, "job-worker-0").ends += 1;
    assert_eq!(scene.next(), [] as [&str; 0]);
    training(&mut scene, "job-worker-0").ends -= 1;
    again(scene.pod("job-worker-0"));
    scene.wait(-1);
    let plan = scene.reconcile();
    let soon = (vec![], Some(Duration::from_secs(1)));
    assert_eq!(
        (plan.actions, plan.requeue),
        soon,
        "the kubelet may be about to start it"
    );
    scene.wait(1);
    assert_eq!(scene.next(), ["restart worker-1"]);
    assert!(once_more(&mut scene));
    let amounts = [10, 9].contains(&training(&mut scene, "job-worker-1").amount);
    assert!(!amounts, "it has run with these, and the kubelet would let it wait");
    again(scene.pod("job-worker-1"));
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
    // The next restart is another matter.
    fail(scene.pod("job-worker-1"), 1);
    scene.reconcile();
    scene.next();
    assert!(!once_more(&mut scene));
}

#[test]
fn what_fails_once_more_or_of_itself_is_left_to_the_kubelet_and_its_back_off() {
    let others_start = |scene: &mut Scene| {
        again(scene.pod("job-master-0"));
        again(scene.pod("job-worker-0"));
    };
    let mut scene = met_the_attempt_before();
    others_start(&mut scene);
    assert_eq!(scene.next(), ["restart worker-1"]);
    again(scene.pod("job-worker-1"));
    lose_a_peer(&mut scene);
    assert_eq!(scene.next(), [] as [&str; 0]);
    // The kubelet starts it, which is noted.
    again(scene.pod("job-worker-1"));
    assert_eq!(scene.next(), ["restart worker-1"]);
    assert!(once_more(&mut scene));
    lose_a_peer(&mut scene);
    assert_eq!(scene.next(), [] as [&str; 0]);

    let mut scene = met_the_attempt_before();
    scene.pod("job-worker-1").failure.as_mut().unwrap().class = FailureClass::ImportError;
    others_start(&mut scene);
    assert_eq!(scene.next(), [] as [&str; 0]);
}

#[test]
fn a_pod_that_cannot_start_again_in_place_is_created_again_and_it_is_said_why() {
    type Change = fn(&mut Scene);
    let cases: [(Change, &str); 4] = [
        (
            |scene| scene.phase("job-worker-0", Phase::Succeeded),
            "it has completed",
        ),
        (|scene| scene.evict("job-worker-0"), "it has failed as a whole"),
        (
            |scene| training(scene, "job-worker-0").doing = Doing::Done,
            "its container pytorch has completed",
        ),
        (
            |scene| scene.pod("job-worker-0").in_place = None,
            "its restartPolicy is Never",
        ),
    ];
    for (change, why) in cases {
        let mut scene = restarting();
        change(&mut scene);
        let recreated = format!("recreate worker-0: {why}");
        assert_eq!(
            actions(&scene.plan()),
            ["restart master-0", &recreated, "restart worker-1"]
        );
        scene.reconcile();
        scene.bury();
        assert_eq!(scene.next(), ["create pod worker-0"], "{why}");
        scene.phase("job-worker-0", Phase::Running);
        for name in ["job-master-0", "job-worker-1"] {
            again(scene.pod(name));
        }
        scene.settle();
        assert!(scene.says("Running=True"), "{why}: {:?}", scene.conditions());
        assert_eq!(scene.status().restarts, Some(1), "{why}");
    }
}

#[test]
fn a_pod_on_a_node_that_is_excluded_starts_again_on_another() {
    let policy = json!({ "afterFailures": 1, "windowSeconds": 3600, "max": 1 });
    let mut scene = in_place(master_and_workers(2).policy("nodeExclusion", policy)).running();
    for (pod, node) in ALL.into_iter().zip(["good", "good", "bad"]) {
        scene.pod(pod).node = Some(node.into());
    }
    fail(scene.pod("job-worker-1"), 137);
    scene.pod("job-worker-1").failure.as_mut().unwrap().node = Some("bad".into());
    scene.reconcile();
    assert_eq!(
        scene.next(),
        [
            "restart master-0",
            "restart worker-0",
            "recreate worker-1: its node bad is excluded"
        ]
    );
}

#[test]
fn an_evicted_pod_and_one_that_does_not_start_by_its_deadline_are_replaced_while_the_others_start_again_in_place() {
    let mut scene = in_place(master_and_workers(2)).running();
    scene.evict("job-worker-0");
    let late = in_place(master_and_workers(2))
        .policy("startupDeadlineSeconds", 60)
        .policy("startupDeadlineAction", "Restart");
    let mut late = late.scene();
    late.settle();
    for name in ["job-master-0", "job-worker-1"] {
        late.phase(name, Phase::Running);
    }
    late.settle();
    late.wait(60);
    for mut scene in [scene, late] {
        assert_eq!(actions(&scene.reconcile()), [] as [&str; 0]);
        assert!(scene.says("Restarting=True"), "{:?}", scene.conditions());
        assert_eq!(
            scene.next(),
            ["delete pod worker-0", "restart master-0", "restart worker-1"]
        );
        for name in ["job-master-0", "job-worker-1"] {
            again(scene.pod(name));
        }
        assert_eq!(scene.next(), ["create pod worker-0"]);
        scene.phase("job-worker-0", Phase::Running);
        scene.settle();
        assert!(scene.says("Running=True"), "{:?}", scene.conditions());
        assert_eq!((scene.status().restarts, scene.status().attempt()), (Some(1), 2));
    }
}

#[test]
fn a_step_that_the_node_has_no_room_for_goes_down_and_one_that_it_never_makes_ends_the_pod() {
    let mut scene = restarting();
    scene.next();
    all_start(&mut scene);
    let pending = training(&mut scene, "job-worker-0");
    (pending.applied, pending.deferred, pending.amount) = (false, true, 9);
    pending.refused = Some("the kubelet says Deferred: no room".into());
    assert_eq!(actions(&scene.reconcile()), ["restart worker-0"]);
    assert_eq!(training(&mut scene, "job-worker-0").amount, 7);

    let infeasible = training(&mut scene, "job-worker-0");
    infeasible.refused = Some("the kubelet says Infeasible: static".into());
    infeasible.applied = false;
    assert_eq!(
        actions(&scene.plan()),
        ["recreate worker-0: the kubelet says Infeasible: static"]
    );
}

#[test]
fn a_step_that_the_node_has_no_room_for_and_nothing_is_below_ends_the_pod() {
    let mut scene = restarting();
    scene.next();
    let smallest = training(&mut scene, "job-worker-0");
    (smallest.amount, smallest.deferred) = (2, true);
    smallest.mark.asked.as_mut().unwrap().amount = 2;
    smallest.refused = Some("the kubelet says Deferred: no room".into());
    assert_eq!(
        actions(&scene.plan()),
        ["recreate worker-0: the kubelet says Deferred: no room"]
    );
}

#[test]
fn a_container_that_the_kubelet_started_just_before_its_step_has_yet_to_start_again() {
    let mut scene = restarting();
    scene.next();
    for name in ["job-master-0", "job-worker-0"] {
        again(scene.pod(name));
    }
    // It was about to be started when it was asked, and ends once more by the step.
    training(&mut scene, "job-worker-1").doing = Doing::Runs;
    scene.settle();
    assert!(!scene.says("Running=True"), "{:?}", scene.conditions());
    again(scene.pod("job-worker-1"));
    scene.settle();
    assert_eq!(training(&mut scene, "job-worker-1").ends, 2);
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn what_has_ended_by_itself_between_the_annotation_and_the_step_is_expected_to_end_once_more() {
    let mut scene = restarting();
    for action in scene.plan().actions {
        let Action::RestartInPlace { child, restart, .. } = action else {
            panic!("{action:?}")
        };
        ask(scene.pod(&child.name("job")), &restart, false);
    }
    // The operator has stopped. Worker 0 fails of worker 1, and the kubelet starts it with what it had.
    fail(scene.pod("job-worker-0"), 1);
    again(scene.pod("job-worker-0"));
    let asks = |action: &Action| match action {
        Action::RestartInPlace { restart, .. } => (restart.annotate, restart.mark.asked.map(|asked| asked.restarts)),
        _ => panic!("{action:?}"),
    };
    let plan = scene.plan();
    let asked: Vec<_> = plan.actions.iter().map(asks).collect();
    assert_eq!(asked, [(false, Some(1)), (true, Some(2)), (false, Some(1))]);
    scene.next();
    all_start(&mut scene);
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn what_somebody_else_has_given_a_container_that_runs_is_left_alone() {
    for again_before in [false, true] {
        let mut scene = met_the_attempt_before();
        all_start(&mut scene);
        scene.settle();
        assert!(scene.says("Running=True"), "{:?}", scene.conditions());
        let training = training(&mut scene, "job-worker-1");
        training.mark.asked.as_mut().expect("it was asked").again = again_before;
        training.amount = 500;
        assert_eq!(scene.next(), [] as [&str; 0]);
    }
}

#[test]
fn a_pod_that_fails_as_a_whole_before_all_run_again_is_created_again_and_counts_no_more() {
    let mut scene = restarting();
    scene.next();
    scene.evict("job-worker-0");
    assert_eq!(scene.next(), ["recreate worker-0: it has failed meanwhile"]);
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn a_worker_that_completes_before_the_others_run_again_has_completed() {
    let mut scene = in_place(workers(3)).running();
    fail(scene.pod("job-worker-1"), 1);
    scene.settle();
    again(scene.pod("job-worker-0"));
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(scene.status().completed_indexes.as_deref(), Some("0"));
    assert_eq!(scene.pod("job-worker-0").phase, Phase::Succeeded, "it stays");
    for name in ["job-worker-1", "job-worker-2"] {
        again(scene.pod(name));
    }
    scene.settle();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn a_pod_that_does_not_start_in_time_is_created_again() {
    let mut scene = restarting();
    scene.next();
    for name in ["job-master-0", "job-worker-1"] {
        again(scene.pod(name));
    }
    scene.settle();
    let requeue = scene.plan().requeue.expect("it is looked at again");
    assert_eq!(requeue.as_secs(), 150, "its grace period and two minutes");
    scene.wait(149);
    assert_eq!(actions(&scene.plan()), [] as [&str; 0]);
    scene.wait(1);
    assert_eq!(
        actions(&scene.plan()),
        ["recreate worker-0: it has not started in time"]
    );
}

#[test]
fn what_has_not_started_in_time_and_fails_is_a_failure_again() {
    let mut scene = restarting();
    scene.next();
    all_start(&mut scene);
    scene.wait(150);
    fail(scene.pod("job-worker-0"), 1);
    scene.reconcile();
    assert_eq!(scene.status().restarts, Some(2));
}

#[test]
fn an_exit_with_0_because_a_container_was_asked_to_start_again_is_no_success() {
    let mut scene = restarting();
    scene.next();
    scene.phase("job-master-0", Phase::Succeeded);
    let plan = scene.plan();
    assert!(actions(&plan)[0].starts_with("recreate master-0"), "{plan:?}");
    scene.reconcile();
    assert!(!scene.says("Succeeded"), "{:?}", scene.conditions());
}

#[test]
fn workers_that_had_finished_run_again() {
    let mut scene = in_place(workers(3)).running();
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(scene.status().completed_indexes.as_deref(), Some("0"));
    fail(scene.pod("job-worker-1"), 1);
    scene.settle();
    assert_eq!(scene.status().completed_indexes, None);
    assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-1", "job-worker-2"]);
    assert_eq!(scene.pod("job-worker-0").phase, Phase::Pending, "it is a new one");
}

#[test]
fn an_operator_that_stops_anywhere_in_between_goes_on_where_it_was() {
    let mut scene = in_place(master_and_workers(2)).running();
    fail(scene.pod("job-worker-1"), 1);
    scene.store();
    let plan = scene.plan();
    assert_eq!(
        actions(&plan),
        ["restart master-0", "restart worker-0", "restart worker-1"]
    );
    assert_eq!(plan.counts, []);
    scene.apply(&plan.actions[0]);
    // Of the second the annotations are written, and the step is not made.
    let Action::RestartInPlace { restart, .. } = &plan.actions[1] else {
        unreachable!()
    };
    let mut half = restart.clone();
    half.container = None;
    ask(scene.pod("job-worker-0"), &half, false);
    let plan = scene.plan();
    assert_eq!(actions(&plan), ["restart worker-0", "restart worker-1"]);
    let Action::RestartInPlace { restart: rest, .. } = &plan.actions[0] else {
        unreachable!()
    };
    assert!(!rest.annotate && rest.container == restart.container);
    assert_eq!(rest.mark, restart.mark, "what was asked for stays");
}

#[test]
fn a_suspended_and_a_finished_job_ask_nothing() {
    let mut scene = restarting();
    scene.suspend(true);
    for _ in 0..4 {
        assert!(
            !actions(&scene.reconcile())
                .iter()
                .any(|line| line.starts_with("restart"))
        );
    }
    let mut scene = in_place(master_and_workers(2))
        .flat("activeDeadlineSeconds", 10)
        .running();
    fail(scene.pod("job-worker-1"), 1);
    scene.reconcile();
    scene.wait(10);
    for _ in 0..4 {
        assert!(
            !actions(&scene.reconcile())
                .iter()
                .any(|line| line.starts_with("restart"))
        );
    }
    assert!(scene.says("Failed=True"), "{:?}", scene.conditions());
}

#[test]
fn never_and_permanent_exit_codes_still_fail_the_job() {
    for (policy, code, fails) in [
        ("OnFailure", 1, false),
        ("Always", 1, false),
        ("ExitCode", 1, true),
        ("ExitCode", 137, false),
    ] {
        let job = in_place(master_and_workers(1)).restart(ReplicaType::Worker, policy);
        let mut scene = job.running();
        fail(scene.pod("job-worker-0"), code);
        scene.reconcile();
        let expected = if fails { "Failed=True" } else { "Restarting=True" };
        assert!(scene.says(expected), "{policy} {code}: {:?}", scene.conditions());
    }
}

#[test]
fn an_ignored_failure_is_left_to_the_kubelet() {
    let rules = json!({ "rules": [{ "exitCodes": { "operator": "In", "values": [7] }, "action": "Ignore" }] });
    let mut scene = in_place(master_and_workers(1)).policy("failurePolicy", rules).running();
    fail(scene.pod("job-worker-0"), 7);
    let plan = scene.reconcile();
    assert_eq!((plan.actions, scene.status().restarts), (vec![], None));
}

#[test]
fn recreate_is_what_is_done_without_it_and_the_strategy_without_its_scope_changes_nothing() {
    let plans = |job: JobBuilder| -> (Value, Vec<Plan>) {
        let pod = job.clone().scene().build_pod(ReplicaType::Worker, 0);
        let mut scene = job.running();
        scene.exit("job-worker-1", 1);
        (pod, (0..4).map(|_| scene.reconcile()).collect())
    };
    let whole = || master_and_workers(2).policy("restartScope", "Job");
    assert_eq!(plans(whole().policy("restartStrategy", "Recreate")), plans(whole()));
    let alone = master_and_workers(2).policy("restartStrategy", "InPlace");
    assert_eq!(plans(alone), plans(master_and_workers(2)));
}

fn pod(job: JobBuilder) -> Value {
    in_place(job).scene().build_pod(ReplicaType::Master, 0)
}

#[test]
fn a_pod_says_that_it_restarts_when_its_cpu_changes_and_requests_some() {
    let pod = pod(master());
    let container = &pod["spec"]["containers"][0];
    assert_eq!(pod["spec"]["restartPolicy"], "OnFailure");
    assert_eq!(container["resources"], json!({ "requests": { "cpu": "10m" } }));
    assert_eq!(
        container["resizePolicy"],
        json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }])
    );
    assert_eq!(
        pod["metadata"]["annotations"]["training.kubeflow.org/restart-in-place"],
        "cpu"
    );
    let attempt = container["env"].as_array().unwrap().last().unwrap();
    assert_eq!(
        *attempt,
        json!({ "name": "TRAINING_ATTEMPT", "valueFrom": { "fieldRef": {
            "fieldPath": "metadata.annotations['training.kubeflow.org/attempt']" } } })
    );
}

#[test]
fn what_the_user_requests_stays_and_a_guaranteed_pod_is_asked_by_its_memory() {
    let both = |requests: Value, limits: Value| json!({ "requests": requests, "limits": limits });
    for (resources, expected) in [
        (both(json!({ "cpu": "4" }), json!({ "nvidia.com/gpu": 1 })), "cpu"),
        (json!({ "limits": { "cpu": 2 } }), "cpu"),
        (
            both(
                json!({ "cpu": "1", "memory": "1Gi" }),
                json!({ "cpu": "2", "memory": "1Gi" }),
            ),
            "cpu",
        ),
        (json!({ "limits": { "cpu": 4, "memory": "8Gi" } }), "memory"),
        (
            both(
                json!({ "cpu": "4000m", "memory": "8Gi" }),
                json!({ "cpu": 4, "memory": "8192Mi" }),
            ),
            "memory",
        ),
    ] {
        let mine = json!([{ "resourceName": expected, "restartPolicy": "NotRequired" },
                          { "resourceName": "other", "restartPolicy": "NotRequired" }]);
        let job = master().container(ReplicaType::Master, "/resources", resources.clone());
        let pod = pod(job.container(ReplicaType::Master, "/resizePolicy", mine));
        assert_eq!(pod["spec"]["containers"][0]["resources"], resources);
        assert_eq!(
            pod["metadata"]["annotations"]["training.kubeflow.org/restart-in-place"],
            expected
        );
        assert_eq!(
            pod["spec"]["containers"][0]["resizePolicy"],
            json!([{ "resourceName": "other", "restartPolicy": "NotRequired" },
                   { "resourceName": expected, "restartPolicy": "RestartContainer" }])
        );
    }
}

#[test]
fn pods_of_a_replica_that_is_not_to_restart_are_as_without_it() {
    let never = |job: JobBuilder| {
        let job = job.policy("restartScope", "Job").restart(ReplicaType::Master, "Never");
        job.scene().build_pod(ReplicaType::Master, 0)
    };
    assert_eq!(never(master().policy("restartStrategy", "InPlace")), never(master()));
}

#[test]
fn a_pod_is_asked_in_two_patches_that_name_its_uid() {
    let mut scene = restarting();
    training(&mut scene, "job-master-0").limit = true;
    let plan = scene.plan();
    let Action::RestartInPlace { uid, restart, .. } = &plan.actions[0] else {
        unreachable!()
    };
    assert_eq!(
        ask_again(restart, uid),
        json!([
            { "op": "test", "path": "/metadata/uid", "value": uid },
            { "op": "add", "path": "/metadata/annotations/training.kubeflow.org~1attempt", "value": "2" },
            { "op": "add", "path": "/metadata/annotations/training.kubeflow.org~1restart-in-place",
              "value": "cpu=9m,restarts=1" },
        ])
    );
    assert_eq!(
        resize(restart, uid),
        Some(json!([
            { "op": "test", "path": "/metadata/uid", "value": uid },
            { "op": "test", "path": "/spec/containers/0/name", "value": "pytorch" },
            { "op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "9m" },
            { "op": "replace", "path": "/spec/containers/0/resources/limits/cpu", "value": "9m" },
        ]))
    );
}

fn status(job: Option<&PyTorchJob>) -> JobStatus {
    job.and_then(|job| job.status.clone()).unwrap_or_default()
}

/// What happens next to a cluster.
fn step(dice: &mut Dice) -> Step {
    let pick = dice.below(4);
    match dice.below(16) {
        0..=4 => {
            let outcome = [
                Outcome::Done,
                Outcome::Done,
                Outcome::Refused,
                Outcome::Crash,
                Outcome::Lost,
            ];
            let outcomes = (0..4).map(|_| outcome[dice.below(5)]).collect();
            Step::Operate(pick, outcomes)
        }
        5 | 6 => Step::Run(pick),
        // Of itself, or of another.
        7 => Step::Fail(pick, [137, 143][dice.below(2)]),
        8 => match dice.below(4) {
            0 => Step::Succeed(pick),
            1 => Step::Evict(pick),
            2 => Step::DeletePod(pick),
            _ => Step::Suspend(dice.below(4) == 0),
        },
        9 => Step::Bury(pick),
        10..=12 => Step::Again(pick),
        13 => Step::SeeJob,
        14 => Step::Wait(10_000),
        _ => Step::SeePods(2 + pick),
    }
}

/// The cluster does its part, and the operator its own, until nothing happens any more.
fn rest(cluster: &mut Cluster) {
    let mut idle = 0;
    while idle < 3 {
        for slot in 0..4 {
            for step in [Step::Run(slot), Step::Again(slot), Step::Bury(slot)] {
                cluster.step(&step);
            }
        }
        cluster.see();
        let plan = cluster.seen.plan(cluster.now);
        idle = if plan.is_idle() { idle + 1 } else { 0 };
        idle = if plan.is_idle() { idle + 1 } else { 0 };
        cluster.carry_out(&plan, 0, &[]);
        cluster.step(&Step::Wait(1_000));
    }
}

#[test]
fn whatever_happens_in_between_each_failure_counts_once_and_all_come_to_run_in_the_newest_attempt() {
    let (mut restarted, mut in_their_pods) = (0, 0);
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let mut cluster = Cluster::new(in_place(workers(3)).build());
        let (mut failures, mut newest) = (0, 0);
        for number in 0..120 {
            let at = || format!("seed {seed}, step {number}");
            let step = step(&mut dice);
            let Step::Operate(first, outcomes) = &step else {
                failures += i32::from(matches!(step, Step::Fail(..) | Step::Evict(_)));
                cluster.step(&step);
                continue;
            };
            if cluster.in_doubt {
                cluster.step(&Step::SeeJob);
            }
            let before = status(cluster.seen.job.as_ref());
            let plan = cluster.seen.plan(cluster.now);
            let asks = plan
                .actions
                .iter()
                .filter(|action| matches!(action, Action::RestartInPlace { .. }));
            let suspended = is_true(&before, ConditionType::Suspended);
            let over = cluster.seen.finished() || (suspended && before.attempt() > 0);
            assert!(asks.count() == 0 || !over, "{}: {plan:?}", at());
            for written in cluster.carry_out(&plan, *first, outcomes) {
                in_their_pods += i32::from(matches!(written, Written::Restarted));
            }
            let now = status(cluster.stored.job.as_ref());
            let restarts = now.restarts.unwrap_or(0);
            assert!(now.attempt() >= newest, "{}: {} after {newest}", at(), now.attempt());
            assert!(
                restarts <= failures,
                "{}: {restarts} restarts of {failures} failures",
                at()
            );
            restarted += restarts - before.restarts.unwrap_or(0).min(restarts);
            newest = now.attempt();
        }
        cluster.step(&Step::Suspend(false));
        rest(&mut cluster);
        let status = status(cluster.stored.job.as_ref());
        if !cluster.stored.finished() {
            let runs = |pod: &crate::planner::Pod| {
                pod.attempt == Some(status.attempt()) && (pod.running() || pod.phase == Phase::Succeeded)
            };
            assert!(
                cluster.stored.pods.values().all(runs),
                "seed {seed}: {:#?}",
                cluster.stored
            );
            assert!(
                is_true(&status, ConditionType::Running),
                "seed {seed}: {:#?}",
                cluster.stored
            );
            assert_eq!(cluster.stored.plan(cluster.now).actions, [], "seed {seed}");
        }
    }
    assert!(restarted > 200 && in_their_pods > 1_000, "{restarted}, {in_their_pods}");
}
