//! `status.attempts`: what became of each attempt of a job that starts again as a whole.

use crate::api::{Attempt, JobStatus};
use crate::planner::{GangScheduler, Phase, Plan};
use crate::support::fixture::{JobBuilder, Scene, actions, at, master_and_workers, time};

fn whole() -> JobBuilder {
    master_and_workers(1).policy("restartScope", "Job")
}

/// Number, start, begin of the run, end and reason of each attempt, in seconds of the scene.
fn told(status: &JobStatus) -> Vec<String> {
    let second = |of: &Option<_>| {
        let time = of
            .as_ref()
            .map(|time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0);
        time.map_or_else(
            || "-".to_owned(),
            |time| time.duration_since(at(0)).as_secs().to_string(),
        )
    };
    let line = |attempt: &Attempt| {
        let why = attempt.why.as_deref().unwrap_or("-");
        let times = [&attempt.started, &attempt.running_since, &attempt.ended].map(second);
        format!("{}: {} {}", attempt.number, times.join(" "), why)
    };
    status.attempts.iter().map(line).collect()
}

fn place(scene: &mut Scene, nodes: &[&str]) {
    for (pod, node) in scene.pods.iter_mut().zip(nodes) {
        pod.node = Some((*node).to_owned());
    }
}

/// One rank fails, all end, and after `seconds` all run again.
fn restart(scene: &mut Scene, seconds: i64) {
    scene.exit_saying("job-worker-0", 1, "ImportError: x");
    scene.settle();
    scene.wait(seconds);
    scene.bury();
    scene.settle();
    scene.wait(1);
    scene.run();
}

#[test]
fn each_attempt_has_its_times_its_end_its_first_failure_and_its_nodes() {
    let mut scene = whole().scene();
    scene.settle();
    scene.wait(5);
    place(&mut scene, &["b", "a"]);
    scene.run();
    assert_eq!(told(&scene.status()), ["1: 0 5 - -"]);
    scene.wait(10);
    restart(&mut scene, 3);
    assert_eq!(told(&scene.status()), ["1: 0 5 15 Restarting", "2: 18 19 - -"]);
    let first = &scene.status().attempts[0];
    let failure = first.first_failure.clone().unwrap_or_default();
    assert_eq!(
        (failure.pod.as_str(), failure.class.as_deref()),
        ("job-worker-0", Some("ImportError"))
    );
    assert_eq!(
        (failure.message, &first.nodes),
        (None, &vec!["a".to_owned(), "b".to_owned()])
    );
    scene.wait(1);
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.settle();
    scene.wait(10);
    scene.suspend(false);
    scene.settle();
    scene.run();
    assert_eq!(told(&scene.status())[1..], ["2: 18 19 20 Suspended", "3: 30 30 - -"]);
    scene.phase("job-master-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(told(&scene.status())[2], "3: 30 30 30 Succeeded");
}

#[test]
fn an_attempt_is_stored_before_its_pods_are_created_and_they_say_its_number() {
    let mut scene = whole().scene();
    let mut created = 0;
    for _ in 0..2 {
        for _ in 0..20 {
            let number = scene.status().attempts.last().map_or(0, |attempt| attempt.number);
            let pod = scene.build_pod(crate::api::ReplicaType::Worker, 0);
            let plan = scene.reconcile();
            if actions(&plan).iter().any(|action| action.starts_with("create pod")) {
                created += 1;
                assert_eq!(number, created);
                assert_eq!(
                    pod["metadata"]["annotations"]["training.kubeflow.org/attempt"],
                    number.to_string()
                );
            }
        }
        scene.run();
        scene.exit("job-worker-0", 1);
        scene.settle();
        scene.bury();
    }
    assert_eq!(created, 2);
}

#[test]
fn a_cause_that_is_seen_after_the_attempt_has_ended_is_told_of_it() {
    let mut scene = whole().running();
    scene.exit_saying("job-worker-0", 10, "RuntimeError: Connection reset by peer");
    scene.settle();
    scene.exit_saying("job-master-0", 10, "torch.OutOfMemoryError: CUDA out of memory");
    scene.pod("job-master-0").deletion_requested = Some(at(11));
    scene.settle();
    let class = |failure: Option<crate::api::FirstFailure>| failure.and_then(|failure| failure.class);
    assert_eq!(
        class(scene.status().attempts[0].first_failure.clone()).as_deref(),
        Some("CudaOutOfMemory")
    );
    assert_eq!(class(scene.status().first_failure).as_deref(), Some("CudaOutOfMemory"));
}

#[test]
fn the_last_ten_are_kept_and_numbers_go_on() {
    let mut scene = whole().running();
    for _ in 0..14 {
        restart(&mut scene, 1);
    }
    let numbers: Vec<i32> = scene.status().attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (6..=15).collect::<Vec<_>>());
}

#[test]
fn a_settled_job_writes_nothing_about_its_attempts() {
    let mut scene = whole().running();
    for _ in 0..5 {
        scene.wait(60);
        assert_eq!(scene.plan(), Plan::default());
    }
}

#[test]
fn a_job_whose_replicas_start_again_one_by_one_has_no_attempts() {
    let mut scene = master_and_workers(1).running();
    scene.exit("job-worker-0", 1);
    scene.settle();
    scene.run();
    assert_eq!(scene.status().attempts, []);
    assert_eq!(scene.status().start_time, Some(time(0)));
}

#[test]
fn an_attempt_starts_when_its_pods_may_be_created_and_not_while_the_gang_scheduler_holds_them_back() {
    let mut scene = whole().scene().with_gang(GangScheduler::Volcano);
    scene.settle();
    assert!(scene.status().attempts.is_empty(), "{:?}", told(&scene.status()));
    scene.wait(60);
    scene.pod_group().pod_group.as_mut().unwrap().pending = false;
    scene.settle();
    assert_eq!(told(&scene.status()), ["1: 60 - - -"]);
    scene.wait(5);
    scene.run();
    assert_eq!(told(&scene.status()), ["1: 60 65 - -"]);
}
