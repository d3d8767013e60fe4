//! `runPolicy.restartWindow` on the API server.

use pytorchjob_test_cluster::PodPhase;
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{End, Rig, failed, names};

/// A rank fails while no operator is there, and one comes.
async fn fail_and_go_on(rig: &mut Rig) {
    rig.end_operator(End::Kill).await;
    rig.set_phase("window-worker-0", &failed(1)).await;
    rig.go_on().await;
}

async fn run(rig: &Rig, restarts: i32) {
    let counted = |job: &crate::job::Job| job.status["restarts"] == restarts && job.status["replacedPods"].is_null();
    rig.wait("window", counted).await;
    let pods = rig.wait_pods("window", |pods| pods.len() == 2).await;
    rig.set_phases(names(&pods), &PodPhase::Running).await;
    rig.wait("window", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
}

#[tokio::test]
async fn the_restart_beyond_the_window_ends_the_job_over_crashes_of_the_operator() {
    let mut rig = Rig::start().await;
    let window = json!({ "restarts": 2, "seconds": 3_600 });
    let policy = json!({ "spec": { "runPolicy": { "restartScope": "Job", "restartWindow": window } } });
    rig.running(&with(job("window", 1), &policy)).await;
    for restarts in 1..=2 {
        fail_and_go_on(&mut rig).await;
        run(&rig, restarts).await;
    }
    let times = rig.get("window").await.status["restartTimes"].clone();
    assert_eq!(times.as_array().map(Vec::len), Some(2), "{times}");
    fail_and_go_on(&mut rig).await;
    let job = rig.wait_finished("window").await;
    assert_eq!(
        job.conditions().last().unwrap()[3],
        "Job window has failed because it would restart more often than restartWindow allows (2 in 3600 s): 3 times"
    );
    assert_eq!(job.status["restarts"], 2);
}
