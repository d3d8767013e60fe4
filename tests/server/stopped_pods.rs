//! Pods that were stopped, as a kubelet reports them: exit code 0 is no success then, and a disruption is no failure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use pytorchjob_test_cluster::{PodPhase, bind_pod, remove_pod, wait_for};
use serde_json::json;

use crate::job::job_with_policy;
use crate::rig::{Rig, TIMEOUT, failed};

/// A job whose pods are bound, so that deleting them takes the time it takes on a node, and run.
async fn running(rig: &Rig, name: &str, policy: &str) -> Vec<Pod> {
    let (_, pods) = rig.create_with_pods(&job_with_policy(name, 1, policy)).await;
    for pod in &pods {
        bind_pod(&rig.client, &rig.namespace, &pod.name_any(), "node")
            .await
            .unwrap();
        rig.set_phase(&pod.name_any(), &PodPhase::Running).await;
    }
    rig.wait(name, |job| job.is("Running")).await;
    pods
}

#[tokio::test]
async fn a_master_that_is_deleted_and_exits_0_does_not_complete_the_job() {
    let rig = Rig::start().await;
    let pods = running(&rig, "saved", "Never").await;
    rig.pods()
        .delete("saved-master-0", &DeleteParams::default())
        .await
        .unwrap();
    // The script saves a checkpoint on SIGTERM and exits with 0.
    rig.set_phase("saved-master-0", &PodPhase::Succeeded).await;
    let job = rig.settle("saved").await;
    assert!(!job.finished(), "{:?}", job.conditions());
    remove_pod(&rig.client, &rig.namespace, "saved-master-0").await.unwrap();
    rig.wait_replaced(&pods[0]).await;
    let told = rig.wait_event("saved", "Warning", "PodDisrupted").await;
    assert_eq!(told, "Pod saved-master-0 on node node was deleted by someone else.");
    rig.set_phase("saved-master-0", &PodPhase::Running).await;
    rig.set_phase("saved-master-0", &PodPhase::Succeeded).await;
    let job = rig.wait_finished("saved").await;
    assert!(job.is("Succeeded"), "an end of its own completes the job");
}

#[tokio::test]
async fn a_disrupted_pod_is_replaced_under_never_and_counts_as_no_restart() {
    let rig = Rig::start().await;
    let pods = running(&rig, "disrupted", "Never").await;
    // Preemption, eviction by taint and a shutdown of the node say so before the containers end; PodGC sets the phase
    // before it deletes.
    let condition = json!({ "status": { "conditions": [
        { "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" }] } });
    rig.pods()
        .patch_status(
            "disrupted-worker-0",
            &PatchParams::default(),
            &Patch::Strategic(&condition),
        )
        .await
        .unwrap();
    let mut status = json!({ "status": { "phase": "Failed" } });
    status["status"]["containerStatuses"] = json!([{ "name": "pytorch", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": { "terminated": { "exitCode": 143, "reason": "Error" } } }]);
    rig.pods()
        .patch_status(
            "disrupted-worker-0",
            &PatchParams::default(),
            &Patch::Strategic(&status),
        )
        .await
        .unwrap();
    let deleted = |pod: &Pod| pod.uid() != pods[1].uid() || pod.metadata.deletion_timestamp.is_some();
    wait_for(&rig.pods(), "disrupted-worker-0", TIMEOUT, deleted)
        .await
        .unwrap();
    rig.finish_deletion(&pods[1]).await;
    rig.wait_replaced(&pods[1]).await;
    let told = rig.wait_event("disrupted", "Warning", "PodDisrupted").await;
    assert_eq!(
        told,
        "Pod disrupted-worker-0 on node node is disrupted: TerminationByKubelet."
    );
    let job = rig.settle("disrupted").await;
    assert!(!job.finished(), "{:?}", job.conditions());
    assert_eq!(job.status["restarts"], json!(null));
    // Without the condition it is a failure as before.
    rig.set_phase("disrupted-worker-0", &failed(1)).await;
    assert!(rig.wait_finished("disrupted").await.is("Failed"));
}
