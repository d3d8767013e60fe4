//! A job whose pods take longer to create than anybody wants to wait for its status, its deadline, or its suspension.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::job::{job, with};
use crate::rig::{End, Rig};

/// Pods and services of this job take 24 s at [`SLOW`].
const WORKERS: u32 = 120;
const SLOW: [&str; 2] = ["--kube-api-qps=10", "--kube-api-burst=10"];

/// An operator that may make ten changes a second.
async fn slow_rig() -> Rig {
    let mut rig = Rig::start().await;
    rig.end_operator(End::Stop).await;
    rig.arguments = SLOW.map(str::to_owned).to_vec();
    rig.go_on().await;
    rig
}

#[tokio::test]
async fn a_job_that_takes_long_to_create_has_its_status_at_once_and_keeps_its_deadline() {
    let rig = slow_rig().await;
    let deadline = json!({ "spec": { "activeDeadlineSeconds": 5 } });
    rig.create(&with(job("deadline", WORKERS), &deadline)).await;
    let begun = Instant::now();
    rig.wait("deadline", |job| job.second("startTime").is_some()).await;
    let first_status = begun.elapsed();
    let failed = rig.wait_finished("deadline").await;
    println!("first status after {first_status:?}, end after {:?}", begun.elapsed());
    assert!(first_status < Duration::from_secs(3), "{first_status:?}");
    assert!(failed.is("Failed") && failed.duration() <= 12, "{}", failed.duration());
}

#[tokio::test]
async fn of_a_job_that_takes_long_to_create_no_pod_is_created_once_it_is_suspended() {
    let rig = slow_rig().await;
    rig.create(&job("suspended", WORKERS)).await;
    rig.wait_pods("suspended", |pods| pods.len() >= 10).await;
    rig.patch("suspended", &json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await;
    let begun = Instant::now();
    rig.wait("suspended", |job| job.is("Suspended")).await;
    let noticed = begun.elapsed();
    let made = rig.pod_names("suspended").await.len();
    println!("suspended after {noticed:?} with {made} pods");
    // The requests under way, which take 3 s, and no more.
    assert!(noticed < Duration::from_secs(8), "{noticed:?}");
    assert!(made < usize::try_from(WORKERS).unwrap(), "{made}");
    rig.wait_pods("suspended", <[_]>::is_empty).await;
}
