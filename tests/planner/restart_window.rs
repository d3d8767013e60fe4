//! `runPolicy.restartWindow`: at most so many restarts in so long.

use serde_json::json;

use crate::api::RestartWindow;
use crate::support::fixture::{JobBuilder, Scene, master_and_workers, time};

fn window(restarts: i32, seconds: i32) -> JobBuilder {
    master_and_workers(1)
        .policy("restartScope", "Job")
        .policy("restartWindow", json!({ "restarts": restarts, "seconds": seconds }))
}

/// One rank fails, and if the job goes on, all run again.
fn fail(scene: &mut Scene) {
    scene.exit("job-worker-0", 1);
    scene.settle();
    scene.bury();
    scene.settle();
    if !scene.says("Failed=True") {
        scene.run();
    }
}

/// Lets a rank fail at each of these seconds. Which of them ended the job, from 1; 0 if none did.
fn ended_by(job: JobBuilder, seconds: &[i64]) -> usize {
    let mut scene = job.running();
    let mut now = 0;
    for (number, second) in (1..).zip(seconds) {
        scene.wait(second - now);
        now = *second;
        fail(&mut scene);
        if scene.says("Failed=True") {
            return number;
        }
    }
    0
}

#[test]
fn the_restart_beyond_the_window_ends_the_job_and_the_window_refills() {
    for (restarts, length, failures, expected) in [
        (0, 60, &[5][..], 1),
        (1, 60, &[5, 6], 2),
        (2, 60, &[5, 6, 7], 3),
        (2, 60, &[5, 6], 0),
        (2, 60, &[0, 30, 60, 90, 120, 150, 180], 0),
        (2, 60, &[0, 30, 59], 3),
        (2, 60, &[0, 30, 60, 61], 4),
        (1, 1, &[0, 1, 2, 3, 4], 0),
    ] {
        let job = window(restarts, length);
        assert_eq!(
            ended_by(job, failures),
            expected,
            "{restarts} in {length} s: {failures:?}"
        );
    }
}

#[test]
fn the_limit_over_the_whole_life_holds_beside_it() {
    assert_eq!(ended_by(window(1, 10).policy("backoffLimit", 2), &[0, 20, 40, 60]), 3);
    assert_eq!(ended_by(window(1, 10).policy("backoffLimit", 2), &[0, 5]), 2);
}

#[test]
fn the_job_says_why_it_failed_and_keeps_the_count() {
    let mut scene = window(1, 3_600).running();
    fail(&mut scene);
    assert_eq!(scene.status().restart_times, [time(0)]);
    scene.wait(7);
    fail(&mut scene);
    assert_eq!(
        scene.message("Failed"),
        "Job job has failed because it would restart more often than restartWindow allows (1 in 3600 s): 2 times"
    );
    assert_eq!(scene.status().restarts, Some(1));
}

#[test]
fn several_ranks_that_fail_together_are_one_restart_also_for_an_operator_that_stops_in_between() {
    let mut scene = window(1, 60).running();
    scene.exit("job-worker-0", 1);
    scene.exit("job-master-0", 1);
    scene.store();
    scene.wait(5);
    scene.store();
    assert_eq!(scene.status().restart_times, [time(0)]);
    scene.settle();
    assert_eq!(
        (scene.status().restarts, scene.status().restart_times),
        (Some(1), vec![time(0)])
    );
}

#[test]
fn an_edit_of_the_window_holds_at_once() {
    let mut scene = window(3, 60).running();
    for _ in 0..3 {
        fail(&mut scene);
    }
    let set = |scene: &mut Scene, window: Option<RestartWindow>| {
        scene.edit(|job| job.spec.run_policy.restart_window = window);
        scene.settle();
    };
    let seconds = 60;
    set(&mut scene, Some(RestartWindow { restarts: 4, seconds }));
    fail(&mut scene);
    assert!(scene.says("Running=True"));
    let before = scene.clone();
    set(&mut scene, Some(RestartWindow { restarts: 3, seconds }));
    assert!(scene.says("Failed=True"), "4 restarts are too many now");
    let mut scene = before;
    set(&mut scene, None);
    fail(&mut scene);
    assert!(scene.says("Running=True"), "there is no window any more");
    assert_eq!(scene.status().restart_times, [], "and no need for the times");
}

#[test]
fn times_are_bounded_and_kept_for_a_window_alone() {
    let mut scene = window(100, 1_000_000).running();
    scene.job.status.get_or_insert_default().restart_times = vec![time(0); 500];
    scene.job.spec.run_policy.restart_window = Some(RestartWindow {
        restarts: 1_000,
        seconds: 1_000_000,
    });
    fail(&mut scene);
    assert_eq!(scene.status().restart_times.len(), 101);
    for job in [
        master_and_workers(1).policy("restartScope", "Job"),
        master_and_workers(1).policy("restartWindow", json!({ "restarts": 0, "seconds": 60 })),
    ] {
        let mut scene = job.running();
        fail(&mut scene);
        assert_eq!(
            (scene.status().restarts, scene.status().restart_times),
            (Some(1), vec![])
        );
    }
}
