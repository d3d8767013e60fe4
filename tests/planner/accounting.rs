//! `status.accounting`: what the time of a job was spent on.

use serde_json::{Value, json};

use crate::api::{Accounting, ReplicaType, Spent};
use crate::planner::{Count, Phase, Plan, Progress, Use, goodput};
use crate::support::fixture::{JobBuilder, Scene, elastic_workers, master_and_workers};

fn gpus(job: JobBuilder, role: ReplicaType, gpus: u32) -> JobBuilder {
    job.container(
        role,
        "/resources",
        json!({ "limits": { "nvidia.com/gpu": gpus, "cpu": 8 } }),
    )
}

/// A Master and two workers with eight GPUs each.
fn job() -> JobBuilder {
    gpus(
        gpus(master_and_workers(2), ReplicaType::Master, 8),
        ReplicaType::Worker,
        8,
    )
}

fn accounting(scene: &Scene) -> Accounting {
    scene
        .status()
        .accounting
        .map(|accounting| *accounting)
        .unwrap_or_default()
}

fn seconds(scene: &Scene) -> Spent {
    accounting(scene).seconds
}

/// What is counted until there is nothing left to do.
fn counted(scene: &mut Scene) -> Vec<Count> {
    let mut counts = Vec::new();
    for _ in 0..20 {
        let plan = scene.reconcile();
        let spent = plan
            .counts
            .iter()
            .filter(|count| matches!(count, Count::Spent { .. } | Count::Lost { .. }));
        counts.extend(spent.copied());
        if plan == Plan::default() {
            break;
        }
    }
    counts
}

const fn spent(on: Use, seconds: u64) -> Count {
    Count::Spent {
        on,
        seconds,
        gpu_seconds: 24 * seconds,
    }
}

/// Suspended for 100 s, starting for 40 s, running for 1,000 s.
fn ran() -> Scene {
    let mut scene = job().policy("suspend", true).scene();
    scene.settle();
    scene.wait(100);
    scene.suspend(false);
    assert_eq!(counted(&mut scene), [spent(Use::Queued, 100)]);
    scene.wait(40);
    scene.everything(Phase::Running);
    assert_eq!(counted(&mut scene), [spent(Use::Waiting, 40)]);
    scene.wait(1_000);
    scene
}

#[test]
fn each_period_is_added_once_when_it_ends_and_counted_then() {
    let mut scene = ran();
    assert_eq!(scene.plan(), Plan::default(), "time alone is no reason to write");
    assert_eq!(accounting(&scene).goodput, None, "it has run, and that is not in yet");
    scene.phase("job-master-0", Phase::Succeeded);
    assert_eq!(counted(&mut scene), [spent(Use::Running, 1_000)]);
    let expected = json!({
        "goodput": "96%",
        "gpus": 24,
        "gpuSeconds": { "queued": 2400, "waiting": 960, "running": 24000 },
        "seconds": { "queued": 100, "waiting": 40, "running": 1000 },
    });
    assert_eq!(json!(accounting(&scene)), expected);
    scene.wait(10_000);
    scene.settle();
    assert_eq!(json!(accounting(&scene)), expected, "a finished job spends nothing");
}

#[test]
fn a_job_that_starts_again_before_it_has_run_has_waited_all_the_time() {
    for scope in ["Replica", "Job"] {
        let mut scene = job().policy("restartScope", scope).scene();
        scene.settle();
        for wait in [900, 30] {
            scene.wait(wait);
            scene.exit("job-worker-0", 137);
            scene.settle();
            scene.bury();
            scene.settle();
            assert_eq!(seconds(&scene).lost, 0, "{scope}");
        }
        scene.wait(60);
        scene.run();
        let accounting = accounting(&scene);
        assert_eq!(
            (
                accounting.seconds.waiting,
                accounting.gpu_seconds.waiting,
                accounting.since
            ),
            (990, 24 * 990, None),
            "{scope}"
        );
        scene.wait(10);
        scene.phase("job-master-0", Phase::Succeeded);
        scene.settle();
        assert_eq!((seconds(&scene).running, seconds(&scene).waiting), (10, 990), "{scope}");
    }
}

#[test]
fn what_a_failed_attempt_had_run_is_lost_and_what_ran_until_a_suspension_is_not() {
    for scope in ["Replica", "Job"] {
        let mut scene = gpus(job().policy("restartScope", scope), ReplicaType::Worker, 8).running();
        scene.wait(300);
        scene.suspend(true);
        scene.settle();
        scene.bury();
        scene.suspend(false);
        scene.settle();
        scene.run();
        scene.wait(500);
        scene.exit("job-worker-0", 137);
        let counts = counted(&mut scene);
        let lost = Count::Lost {
            seconds: 500,
            gpu_seconds: 12_000,
        };
        assert!(
            counts.contains(&lost) && counts.contains(&spent(Use::Running, 500)),
            "{scope}: {counts:?}"
        );
        scene.bury();
        scene.settle();
        scene.wait(50);
        scene.run();
        scene.wait(200);
        scene.phase("job-master-0", Phase::Succeeded);
        scene.settle();
        let spent = seconds(&scene);
        // With the scope Replica the Master runs all the time, and so does the job.
        let waited = if scope == "Job" { 50 } else { 0 };
        assert_eq!(
            (spent.running, spent.waiting, spent.lost),
            (1_050 - waited, waited, 500),
            "{scope}"
        );
        assert_eq!(accounting(&scene).gpu_seconds.lost, 12_000, "{scope}");
    }
}

#[test]
fn an_outcome_of_failure_loses_its_attempt() {
    let mut scene = job().restart(ReplicaType::Worker, "Never").running();
    scene.wait(70);
    scene.exit("job-worker-0", 1);
    scene.settle();
    assert_eq!((seconds(&scene).running, seconds(&scene).lost), (70, 70));
}

#[test]
fn the_example_of_the_page_adds_up() {
    let whole = master_and_workers(3).policy("restartScope", "Job");
    let mut scene = gpus(gpus(whole, ReplicaType::Master, 8), ReplicaType::Worker, 8).scene();
    scene.settle();
    scene.wait(40);
    scene.run();
    scene.wait(4_337);
    scene.exit("job-worker-1", 1);
    for _ in 0..6 {
        scene.reconcile();
        scene.bury();
    }
    scene.wait(73);
    scene.run();
    scene.wait(36_000);
    scene.suspend(true);
    scene.settle();
    let page = include_str!("../../docs/failures.md");
    let (_, example) = page.split_once("{.status.accounting}'\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(
        json!(accounting(&scene)),
        serde_json::from_str::<Value>(example).unwrap()
    );
}

#[test]
fn a_stall_is_no_running() {
    let policy = json!({ "file": "/ckpt", "deadlineSeconds": 60, "startupSeconds": 10, "action": "Warn" });
    let mut scene = job().policy("progressPolicy", policy).running();
    let started = scene.now;
    scene.wait(564);
    let since = scene.now;
    for pod in &mut scene.pods {
        pod.progress = Some(Box::new(Progress {
            started,
            still_since: Some(since),
            shared: false,
        }));
    }
    assert_eq!(counted(&mut scene), []);
    scene.wait(36);
    assert_eq!(counted(&mut scene), [spent(Use::Running, 600)]);
    scene.wait(200);
    scene.pods.iter_mut().for_each(|pod| pod.progress = None);
    assert_eq!(counted(&mut scene), [spent(Use::Stalled, 200)]);
    assert_eq!(accounting(&scene).goodput.as_deref(), Some("75%"));
}

#[test]
fn a_period_in_which_an_elastic_job_was_scaled_counts_with_the_gpus_it_had() {
    let mut scene = gpus(elastic_workers(1, 1, 4), ReplicaType::Worker, 8).running();
    scene.wait(100);
    scene.scale(ReplicaType::Worker, 3);
    scene.settle();
    scene.run();
    assert_eq!(accounting(&scene).gpus, 24);
    scene.wait(10);
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    let accounting = accounting(&scene);
    assert_eq!(
        (accounting.seconds.running, accounting.gpu_seconds.running),
        (110, 8 * 100 + 24 * 10)
    );
}

#[test]
fn gpus_are_the_resources_whose_names_end_so_by_limit_or_else_by_request_in_all_containers() {
    let of = |resources: Value| {
        let mut scene = master_and_workers(1)
            .container(ReplicaType::Worker, "/resources", resources)
            .running();
        scene.wait(1);
        scene.suspend(true);
        scene.settle();
        accounting(&scene).gpus
    };
    assert_eq!(
        of(json!({ "limits": { "nvidia.com/gpu": "4" }, "requests": { "nvidia.com/gpu": 2 } })),
        4
    );
    assert_eq!(of(json!({ "requests": { "amd.com/gpu": 2, "cpu": "3" } })), 2);
    assert_eq!(
        of(json!({ "limits": { "nvidia.com/mig-1g.5gb": 2, "nvidia.com/gpumem": 3 } })),
        0
    );
    assert_eq!(of(json!({ "limits": { "nvidia.com/gpu": "many" } })), 0);
    assert_eq!(of(json!({})), 0);
}

#[test]
fn who_was_there_in_between_makes_no_difference_and_the_goodput_of_now_has_the_period_that_goes_on() {
    let mut scene = ran();
    assert_eq!(goodput(&scene.status(), scene.now).as_deref(), Some("96%"));
    scene.wait(3_000);
    assert_eq!(goodput(&scene.status(), scene.now).as_deref(), Some("99%"));
    // A clock that is behind takes nothing away.
    scene.wait(-9_000);
    assert_eq!(goodput(&scene.status(), scene.now), None);
    scene.suspend(true);
    scene.settle();
    assert_eq!((seconds(&scene).running, seconds(&scene).waiting), (0, 40));
}

#[test]
fn a_job_that_was_taken_over_counts_from_its_last_turn_on() {
    let mut scene = ran();
    let mut status = scene.status();
    status.accounting = None;
    scene.job.status = Some(status);
    assert_eq!(
        scene.plan(),
        Plan::default(),
        "nothing is written because it is missing"
    );
    scene.phase("job-master-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(json!(seconds(&scene)), json!({ "running": 1000 }));
}
