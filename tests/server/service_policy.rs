//! `runPolicy.servicePolicy` on the API server.

use pytorchjob_test_cluster::PodPhase;
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{Rig, names, replica_names};

#[tokio::test]
async fn only_the_master_has_a_service_through_suspension_restart_and_success() {
    let rig = Rig::start().await;
    let policy = json!({ "spec": { "runPolicy": { "servicePolicy": "Rendezvous" } } });
    rig.running(&with(job("few", 3), &policy)).await;
    let master = replica_names("few", &["master-0"]);
    assert_eq!(rig.service_names("few").await, master);

    rig.patch("few", &json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await;
    rig.wait("few", |job| job.is("Suspended")).await;
    rig.wait_pods("few", <[_]>::is_empty).await;
    rig.wait_service_names("few", &[]).await;

    rig.patch("few", &json!({ "spec": { "runPolicy": { "suspend": false } } }))
        .await;
    let pods = rig.wait_pods("few", |pods| pods.len() == 4).await;
    rig.wait_service_names("few", &master).await;
    rig.set_phases(names(&pods), &PodPhase::Running).await;
    rig.wait("few", |job| job.is("Running") && job.status["ready"] == "4/4")
        .await;
    rig.patch("few", &json!({ "spec": { "runPolicy": { "cleanPodPolicy": "All" } } }))
        .await;
    rig.set_phase("few-master-0", &PodPhase::Succeeded).await;
    assert!(rig.wait_finished("few").await.is("Succeeded"));
    rig.wait_service_names("few", &[]).await;
}
