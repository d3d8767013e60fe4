//! `runPolicy.gracefulStopSeconds`: how long pods have to end, and how long they took.

use crate::api::{CleanPodPolicy, ReplicaType};
use crate::planner::{Phase, Plan, Stopped, scales_down, stops};
use crate::support::fixture::{JobBuilder, Scene, at, elastic_workers, master_and_workers, time};

fn job() -> JobBuilder {
    master_and_workers(1).policy("gracefulStopSeconds", 60)
}

/// What happens to the job.
type Change = fn(&mut Scene);

/// What is said of stopped pods until there is nothing left to do.
fn told(scene: &mut Scene) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..20 {
        let plan = scene.reconcile();
        let events = plan.events.iter().filter(|event| event.reason == "PodsStopped");
        told.extend(events.map(|event| event.message.clone()));
        if plan == Plan::default() {
            break;
        }
    }
    told
}

#[test]
fn a_suspension_tells_once_how_long_the_pods_took() {
    let mut scene = job().running();
    scene.suspend(true);
    assert_eq!(told(&mut scene), [] as [&str; 0], "they are asked");
    scene.wait(20);
    scene.remove("job-worker-0");
    assert_eq!(told(&mut scene), [] as [&str; 0], "one is left");
    scene.wait(5);
    scene.bury();
    assert_eq!(
        told(&mut scene),
        ["All pods have ended 25 s after they were asked to; they had 60 s."]
    );
    scene.wait(5);
    scene.suspend(false);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
}

#[test]
fn a_restart_of_the_whole_job_tells_it_before_the_next_attempt() {
    let mut scene = job().policy("restartScope", "Job").running();
    scene.exit("job-worker-0", 1);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.wait(7);
    scene.bury();
    assert_eq!(
        told(&mut scene),
        ["All pods have ended 7 s after they were asked to; they had 60 s."]
    );
    assert_eq!(scene.pods.len(), 2);
}

#[test]
fn pods_that_have_ended_and_are_not_gone_yet_have_ended() {
    let mut scene = job().running();
    scene.suspend(true);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.wait(12);
    for pod in &mut scene.pods {
        pod.phase = Phase::Succeeded;
    }
    let said = ["All pods have ended 12 s after they were asked to; they had 60 s."];
    assert_eq!(told(&mut scene), said);
    scene.wait(1);
    scene.bury();
    assert_eq!(told(&mut scene), [] as [&str; 0], "it is told once");
}

#[test]
fn a_deadline_and_every_other_outcome_that_stops_pods_tells_it_once() {
    let outcomes: [(JobBuilder, Change); 3] = [
        (job().policy("activeDeadlineSeconds", 100), |scene| scene.wait(100)),
        (job().restart(ReplicaType::Worker, "Never"), |scene| {
            scene.exit("job-worker-0", 1);
        }),
        (job().policy("cleanPodPolicy", "All"), |scene| {
            scene.phase("job-master-0", Phase::Succeeded);
        }),
    ];
    for (job, ends) in outcomes {
        let mut scene = job.running();
        ends(&mut scene);
        assert_eq!(told(&mut scene), [] as [&str; 0], "they are asked");
        scene.wait(40);
        scene.bury();
        assert_eq!(
            told(&mut scene),
            ["All pods have ended 40 s after they were asked to; they had 60 s."]
        );
        scene.wait(5);
        assert_eq!(told(&mut scene), [] as [&str; 0]);
    }
}

#[test]
fn pods_that_were_asked_long_after_the_outcome_tell_nothing_as_nobody_knows_when_that_was() {
    let mut scene = job().policy("cleanPodPolicy", "None").running();
    scene.phase("job-master-0", Phase::Succeeded);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.wait(3_600);
    scene.edit(|job| job.spec.clean_pod_policy = Some(CleanPodPolicy::All.into()));
    assert_eq!(told(&mut scene), [] as [&str; 0], "they are asked");
    scene.wait(20);
    scene.bury();
    assert_eq!(told(&mut scene), [] as [&str; 0]);
}

#[test]
fn a_job_that_is_resumed_before_the_pods_of_its_suspension_are_gone_tells_of_them_once() {
    let mut scene = job().policy("restartScope", "Job").running();
    scene.suspend(true);
    assert_eq!(told(&mut scene), [] as [&str; 0], "they are asked");
    scene.wait(12);
    for pod in &mut scene.pods {
        pod.phase = Phase::Succeeded;
    }
    assert_eq!(told(&mut scene).len(), 1);
    scene.wait(1);
    scene.suspend(false);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.wait(1);
    scene.bury();
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    assert_eq!(scene.pods.len(), 2, "the next attempt has begun");
}

#[test]
fn pods_that_a_finished_job_keeps_running_have_not_been_asked() {
    let mut scene = job().policy("cleanPodPolicy", "None").running();
    scene.phase("job-master-0", Phase::Succeeded);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.wait(40);
    scene.phase("job-worker-0", Phase::Succeeded);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
}

#[test]
fn a_deadline_a_scale_down_and_a_preemption_have_the_grace_period_of_the_field() {
    let elastic = || elastic_workers(3, 1, 3).policy("gracefulStopSeconds", 60);
    let stops: [(&str, JobBuilder, Change, &[&str]); 3] = [
        (
            "deadline",
            elastic().policy("activeDeadlineSeconds", 100),
            |scene| scene.wait(100),
            &["delete pod worker-0", "delete pod worker-1", "delete pod worker-2"],
        ),
        (
            "scale-down",
            elastic(),
            |scene| scene.scale(ReplicaType::Worker, 2),
            &["delete pod worker-2"],
        ),
        // The scheduler deletes the pod, and the new one has the same.
        (
            "preemption",
            elastic(),
            |scene| {
                scene.pod("job-worker-1").disrupted = true;
                scene.remove("job-worker-1");
            },
            &["create pod worker-1"],
        ),
    ];
    for (what, job, stop, expected) in stops {
        let mut scene = job.running();
        for pod in 0..3 {
            let pod = scene.build_pod(ReplicaType::Worker, pod);
            assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 60, "{what}");
        }
        stop(&mut scene);
        assert_eq!(
            scene.next(),
            expected,
            "{what}: a deletion has no grace period of its own"
        );
    }
}

#[test]
fn without_the_policy_nothing_is_told() {
    let mut scene = master_and_workers(1).running();
    scene.suspend(true);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.bury();
    assert_eq!(told(&mut scene), [] as [&str; 0]);
}

#[test]
fn a_scale_down_waits_for_its_last_pod_and_what_others_take_away_is_told_by_name() {
    let stopped = |name: &str, asked: i64, gone: i64, ours: bool| Stopped {
        name: name.to_owned(),
        asked: at(asked),
        gone: at(gone),
        ours,
    };
    let told = |scene: &Scene, stopped: &[Stopped]| -> Vec<String> {
        let events = stops(&scene.job, stopped);
        events.into_iter().map(|event| event.message).collect()
    };
    let mut scene = job().running();
    let gone = [
        stopped("job-worker-2", 1, 4, true),
        stopped("job-worker-1", 2, 10, true),
    ];
    let all = ["All pods of the scale-down have ended 9 s after they were asked to; they had 60 s."];
    assert_eq!(told(&scene, &gone), all);
    assert!(!scales_down(&scene.job, &scene.pods));
    scene.pods[1].name = "job-worker-1".to_owned();
    assert!(scales_down(&scene.job, &scene.pods));

    let replaced = [stopped("job-worker-0", 1, 10, true)];
    assert!(told(&scene, &replaced).is_empty(), "an event of its own tells why");
    let taken: Vec<_> = (0..7)
        .map(|index| stopped(&format!("job-worker-{index}"), 1, 5, false))
        .collect();
    let five = "job-worker-0, job-worker-1, job-worker-2, job-worker-3, job-worker-4";
    for (count, note) in [
        (1, "Pod job-worker-0 has ended 4 s after it was asked to."),
        (
            2,
            "Pods job-worker-0, job-worker-1 have ended 4 s after they were asked to.",
        ),
        (
            7,
            &format!("Pods {five} and 2 more have ended 4 s after they were asked to."),
        ),
    ] {
        assert_eq!(told(&scene, &taken[..count]), [note]);
    }
    let late = [stopped("job-worker-0", 1, 1000, false)];
    assert!(
        told(&scene, &late).is_empty(),
        "another event tells of a node that is lost"
    );
    scene.job.metadata.deletion_timestamp = Some(time(1));
    assert!(told(&scene, &taken).is_empty(), "the garbage collector takes all");
    scene.job.metadata.deletion_timestamp = None;
    scene.suspend(true);
    assert!(told(&scene, &taken).is_empty(), "all pods are told of at once");
    let scene = master_and_workers(1).running();
    assert!(told(&scene, &gone).is_empty(), "the policy is not set");
}
