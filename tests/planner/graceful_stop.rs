//! `runPolicy.gracefulStopSeconds`: how long pods have to end, and how long they took.

use crate::planner::Plan;
use crate::support::fixture::{JobBuilder, Scene, master_and_workers};

fn job() -> JobBuilder {
    master_and_workers(1).policy("gracefulStopSeconds", 60)
}

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
fn without_the_policy_nothing_is_told() {
    let mut scene = master_and_workers(1).running();
    scene.suspend(true);
    assert_eq!(told(&mut scene), [] as [&str; 0]);
    scene.bury();
    assert_eq!(told(&mut scene), [] as [&str; 0]);
}
