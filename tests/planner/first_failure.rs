//! `status.firstFailure`: the rank that caused the others to fail, however late it is seen.

use crate::api::FailureClass;
use crate::planner::{Phase, Plan};
use crate::support::fixture::in_place::again;
use crate::support::fixture::{JobBuilder, Scene, at, elastic_workers, master_and_workers, time, workers};

const OOM: &str = "step 7\n[rank2]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.";
const PEER: &str = "RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:40312";
const TIMEOUT: &str = "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=4)";

fn job() -> JobBuilder {
    master_and_workers(2)
}

/// The pod and the class of the first failure.
fn first(scene: &Scene) -> (String, String) {
    let failure = scene.status().first_failure.unwrap_or_default();
    (failure.pod, failure.class.unwrap_or_default())
}

fn is(pod: &str, class: &str) -> (String, String) {
    (pod.to_owned(), class.to_owned())
}

#[test]
fn it_says_which_rank_failed_what_it_was_and_in_which_words() {
    let mut scene = job().running();
    scene.exit_saying("job-worker-1", 7, OOM);
    scene.reconcile();
    let failure = scene.status().first_failure.expect("a failure is remembered");
    assert_eq!(failure.class.as_deref(), Some("CudaOutOfMemory"));
    assert_eq!(
        failure.excerpt.as_deref(),
        Some("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    );
    assert_eq!((failure.rank, failure.finished_at), (Some(2), Some(time(7))));
}

#[test]
fn the_rank_of_a_worker_counts_the_master_if_there_is_one() {
    for (job, pod, rank) in [
        (job(), "job-master-0", 0),
        (job(), "job-worker-0", 1),
        (workers(2), "job-worker-0", 0),
        (workers(2), "job-worker-1", 1),
        (elastic_workers(3, 1, 3), "job-worker-2", 2),
    ] {
        let mut scene = job.running();
        scene.exit(pod, 1);
        scene.reconcile();
        let failure = scene.status().first_failure.unwrap_or_default();
        assert_eq!((failure.pod.as_str(), failure.rank), (pod, Some(rank)));
    }
}

#[test]
fn of_failures_seen_together_it_is_the_one_that_explains_the_others_and_then_the_one_that_ended_first() {
    for (master, worker_0, worker_1, expected) in [
        ((5, PEER), (6, PEER), (7, OOM), is("job-worker-1", "CudaOutOfMemory")),
        ((5, TIMEOUT), (4, PEER), (9, ""), is("job-worker-1", "Unknown")),
        ((5, TIMEOUT), (4, PEER), (9, PEER), is("job-master-0", "NcclTimeout")),
        ((5, PEER), (4, PEER), (4, PEER), is("job-worker-0", "PeerFailure")),
        (
            (5, ""),
            (5, "ValueError: x"),
            (5, OOM),
            is("job-worker-1", "CudaOutOfMemory"),
        ),
        ((4, ""), (5, OOM), (5, OOM), is("job-master-0", "Unknown")),
    ] {
        let mut scene = job().running();
        for (name, (second, message)) in [
            ("job-master-0", master),
            ("job-worker-0", worker_0),
            ("job-worker-1", worker_1),
        ] {
            scene.exit_saying(name, second, message);
        }
        scene.reconcile();
        assert_eq!(first(&scene), expected);
    }
}

/// A job of this kind of which the master was seen to lose its connections at 10 s, worker 1 having failed as
/// `fails` says, which is seen only then.
fn seen_late(job: JobBuilder, fails: impl Fn(&mut Scene)) -> Scene {
    let mut scene = job.running();
    scene.exit_saying("job-master-0", 10, PEER);
    scene.reconcile();
    assert_eq!(first(&scene), is("job-master-0", "PeerFailure"));
    fails(&mut scene);
    scene.settle();
    scene
}

#[test]
fn the_cause_takes_the_place_of_what_followed_from_it_when_it_is_seen_later() {
    let cause = |scene: &mut Scene| scene.exit_saying("job-worker-1", 12, OOM);
    let never = || job().restart(crate::api::ReplicaType::Master, "Never");
    for job in [job(), job().policy("restartScope", "Job"), never()] {
        let scene = seen_late(job.clone(), cause);
        assert_eq!(first(&scene), is("job-worker-1", "CudaOutOfMemory"), "{job:?}");
        assert_eq!(
            scene.plan(),
            Plan {
                requeue: scene.plan().requeue,
                timer: scene.plan().timer,
                ..Plan::default()
            },
            "it is told once"
        );
    }
}

#[test]
fn what_came_too_late_or_ended_by_a_deletion_or_did_not_run_then_is_no_cause() {
    type Change = fn(&mut Scene);
    let cases: [(&str, Change, bool); 7] = [
        ("as it is", |_| {}, true),
        (
            "ended a minute later",
            |scene| scene.pod("job-worker-1").finished_at = Some(at(71)),
            false,
        ),
        ("asked to end before", |scene| terminate(scene, 11), false),
        ("asked to end in that second", |scene| terminate(scene, 12), true),
        ("disrupted", |scene| scene.pod("job-worker-1").disrupted = true, false),
        (
            "started after it",
            |scene| scene.pod("job-worker-1").failure.as_mut().unwrap().started_at = Some(at(11)),
            false,
        ),
        (
            "nobody knows when it ended",
            |scene| scene.pod("job-worker-1").finished_at = None,
            false,
        ),
    ];
    for (name, change, replaces) in cases {
        let whole = job().policy("restartScope", "Job");
        let scene = seen_late(whole, |scene| {
            scene.exit_saying("job-worker-1", 12, OOM);
            change(scene);
        });
        let expected = if replaces { "job-worker-1" } else { "job-master-0" };
        assert_eq!(first(&scene).0, expected, "{name}");
    }
}

fn terminate(scene: &mut Scene, second: i64) {
    let pod = scene.pod("job-worker-1");
    (pod.terminating, pod.deletion_requested) = (true, Some(at(second)));
}

#[test]
fn a_process_that_is_killed_in_the_second_of_its_deletion_was_killed_by_it() {
    let scene = seen_late(job().policy("restartScope", "Job"), |scene| {
        scene.exit("job-worker-1", 137);
        scene.pod("job-worker-1").finished_at = Some(at(12));
        scene.pod("job-worker-1").failure.as_mut().unwrap().started_at = Some(at(0));
        terminate(scene, 12);
    });
    assert_eq!(first(&scene).0, "job-master-0");
}

/// A job whose pods start again in place, of which the master has lost its connections at 10 s and was counted at 12 s.
fn counted_in_place() -> Scene {
    let job = job().policy("restartScope", "Job").policy("restartStrategy", "InPlace");
    let mut scene = job.running();
    scene.exit_saying("job-master-0", 10, PEER);
    scene.now = at(12);
    scene.reconcile();
    assert_eq!(scene.status().attempt(), 2);
    scene
}

/// What the attempt before the newest one failed of.
fn first_of_earlier(scene: &Scene) -> (String, String) {
    let attempts = scene.status().attempts;
    let failure = attempts[attempts.len() - 2].first_failure.clone().unwrap_or_default();
    assert_eq!(failure.message, None, "it stands once in the status");
    (failure.pod, failure.class.unwrap_or_default())
}

#[test]
fn a_cause_in_a_container_that_starts_again_in_place_is_found_when_it_is_seen_later() {
    type Case = (&'static str, bool, i64, &'static str, bool);
    let cases: [Case; 7] = [
        ("not asked yet", false, 11, OOM, true),
        ("asked", true, 11, OOM, true),
        ("asked in that second, and it says why", true, 12, OOM, true),
        ("asked in that second", true, 12, "", false),
        ("ended by the restart", true, 13, OOM, false),
        ("earlier, though it says little", true, 9, "", true),
        ("another that lost its connections, earlier", true, 9, PEER, true),
    ];
    for (name, asked, second, message, replaces) in cases {
        let mut scene = counted_in_place();
        if asked {
            assert_eq!(
                scene.next(),
                ["restart master-0", "restart worker-0", "restart worker-1"]
            );
        }
        scene.exit_saying("job-worker-1", second, message);
        scene.settle();
        let pod = if replaces { "job-worker-1" } else { "job-master-0" };
        assert_eq!(
            (first(&scene).0, first_of_earlier(&scene).0),
            (pod.into(), pod.into()),
            "{name}"
        );
        assert_eq!(scene.status().restarts, Some(1), "{name}");
    }
}

#[test]
fn a_container_that_is_killed_in_the_time_that_it_has_to_end_was_not_killed_by_a_restart_in_place() {
    for (second, replaces) in [(12, true), (41, true), (42, false)] {
        let mut scene = counted_in_place();
        scene.next();
        scene.exit_saying("job-worker-1", second, "");
        let training = scene.pod("job-worker-1").in_place.as_mut().unwrap();
        assert_eq!(training.grace, 30);
        training.earlier.as_mut().unwrap().failure.class = FailureClass::Killed;
        scene.settle();
        let pod = if replaces { "job-worker-1" } else { "job-master-0" };
        assert_eq!(first(&scene).0, pod, "{second}");
    }
}

#[test]
fn how_a_container_ended_by_a_restart_in_place_is_no_cause_of_what_fails_after_it() {
    let mut scene = counted_in_place();
    scene.next();
    // The library that writes its own reason on SIGTERM.
    scene.exit_saying("job-worker-1", 13, OOM);
    for name in ["job-master-0", "job-worker-0", "job-worker-1"] {
        again(scene.pod(name));
    }
    scene.now = at(20);
    scene.settle();
    scene.exit_saying("job-worker-0", 23, PEER);
    scene.pod("job-worker-0").failure.as_mut().unwrap().started_at = Some(at(21));
    scene.now = at(24);
    scene.settle();
    assert_eq!(scene.status().attempt(), 3);
    assert_eq!(first_of_earlier(&scene), is("job-worker-0", "PeerFailure"));
    assert_eq!(
        first(&scene),
        is("job-master-0", "PeerFailure"),
        "the first one of the job stays"
    );
}

#[test]
fn a_cause_stays_whatever_fails_later() {
    let mut scene = job().running();
    scene.exit_saying("job-worker-1", 7, OOM);
    scene.settle();
    for (second, message) in [(8, PEER), (8, TIMEOUT), (8, OOM), (8, "")] {
        scene.exit_saying("job-worker-0", second, message);
        scene.settle();
        scene.run();
        assert_eq!(first(&scene), is("job-worker-1", "CudaOutOfMemory"), "{message}");
    }
}

#[test]
fn a_later_attempt_does_not_change_what_failed_first() {
    let mut scene = seen_late(job().policy("restartScope", "Job"), |_| {});
    scene.bury();
    scene.settle();
    scene.run();
    assert!(scene.pods.iter().all(|pod| pod.phase == Phase::Running));
    scene.exit_saying("job-worker-1", 20, OOM);
    scene.pod("job-worker-1").failure.as_mut().unwrap().started_at = Some(at(15));
    scene.settle();
    assert_eq!(first(&scene).0, "job-master-0");
}

#[test]
fn what_an_earlier_version_remembered_stays() {
    let mut scene = job().running();
    scene.exit_saying("job-master-0", 10, PEER);
    scene.reconcile();
    let mut old = scene.status().first_failure.unwrap();
    (old.class, old.excerpt, old.finished_at) = (None, None, None);
    scene.job.status.as_mut().unwrap().first_failure = Some(old.clone());
    scene.exit_saying("job-worker-1", 10, OOM);
    scene.settle();
    assert_eq!(scene.status().first_failure, Some(old));
}
