//! `runPolicy.unreachableSeconds` on the API server: pods on a node whose kubelet is gone.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use pytorchjob_test_cluster::{PodPhase, bind_pod, wait_for};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{End, Rig, TIMEOUT, names};

const SECONDS: i64 = 4;

fn with_policy(name: &str, policy: &Value) -> Value {
    let policy = with(json!({ "unreachableSeconds": SECONDS }), policy);
    with(job(name, 1), &json!({ "spec": { "runPolicy": policy } }))
}

/// A running job whose pods are on a node that nobody runs.
async fn on_a_lost_node(rig: &Rig, job: &Value) {
    let (_, pods) = rig.create_with_pods(job).await;
    for pod in names(&pods) {
        bind_pod(&rig.client, &rig.namespace, &pod, "lost-node").await.unwrap();
        rig.set_phase(&pod, &PodPhase::Running).await;
    }
}

/// Asks for the deletion of the pod, as the control plane does, and returns it when it is terminating.
async fn evict(rig: &Rig, pod: &str) -> Pod {
    let params = DeleteParams::default().grace_period(1);
    rig.pods().delete(pod, &params).await.unwrap();
    let terminating = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    wait_for(&rig.pods(), pod, TIMEOUT, terminating).await.unwrap()
}

/// Seconds from the time at which the old pod should have ended to the creation of the new one.
fn waited(old: &Pod, new: &Pod) -> i64 {
    let due = old.metadata.deletion_timestamp.clone().unwrap().0;
    let created = new.metadata.creation_timestamp.clone().unwrap().0;
    created.duration_since(due).as_secs()
}

#[tokio::test]
async fn a_pod_on_a_lost_node_is_replaced_in_time_over_a_crash_of_the_operator_and_told() {
    let mut rig = Rig::start().await;
    on_a_lost_node(&rig, &with_policy("lost", &json!({}))).await;
    let old = evict(&rig, "lost-worker-0").await;
    rig.end_operator(End::Kill).await;
    rig.go_on().await;
    let new = rig.wait_replaced(&old).await;
    let waited = waited(&old, &new);
    assert!((SECONDS..=SECONDS + 1).contains(&waited), "{waited} s");
    let told = rig.wait_event("lost", "Warning", "ForceDeletedPod").await;
    assert!(
        told.starts_with(
            "Deleted pod lost-worker-0 by force (unreachableSeconds): node lost-node should have ended it by"
        ),
        "{told}"
    );
    let job = rig.settle("lost").await;
    assert_eq!((&job.status["restarts"], job.is("Running")), (&Value::Null, true));
}

#[tokio::test]
async fn a_whole_job_starts_again_although_a_node_of_it_is_lost_and_old_and_new_pods_do_not_meet() {
    let rig = Rig::start().await;
    on_a_lost_node(
        &rig,
        &with_policy("whole", &json!({ "restartScope": "Job", "gracefulStopSeconds": 1 })),
    )
    .await;
    let old = rig.pods().get("whole-master-0").await.unwrap();
    rig.set_phase("whole-worker-0", &crate::rig::failed(1)).await;
    let terminating = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let due = wait_for(&rig.pods(), "whole-master-0", TIMEOUT, terminating)
        .await
        .unwrap();
    let new = rig.wait_replaced(&old).await;
    let waited = waited(&due, &new);
    assert!(waited >= SECONDS, "{waited} s");
    let pods = rig.wait_pods("whole", |pods| pods.len() == 2).await;
    assert!(pods.iter().all(|pod| pod.uid() != old.uid()));
    let job = rig.settle("whole").await;
    assert_eq!(job.status["restarts"], 1);
}

#[tokio::test]
async fn with_neither_field_nor_annotation_a_pod_that_the_control_plane_gave_up_is_waited_for() {
    let rig = Rig::start().await;
    on_a_lost_node(&rig, &job("patient", 1)).await;
    let old = evict(&rig, "patient-worker-0").await;
    let condition = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager" }]);
    let patch = Patch::Strategic(json!({ "status": { "conditions": condition } }));
    let pods = rig.pods();
    pods.patch_status("patient-worker-0", &PatchParams::default(), &patch)
        .await
        .unwrap();
    // Another job's timer tells that the time has passed in which a pod with the field would have been replaced.
    on_a_lost_node(&rig, &with_policy("clock", &json!({}))).await;
    let other = evict(&rig, "clock-worker-0").await;
    rig.wait_replaced(&other).await;
    rig.settle("patient").await;
    assert_eq!(pods.get("patient-worker-0").await.unwrap().uid(), old.uid());
    // Now somebody gives it up.
    let field = json!({ "spec": { "runPolicy": { "unreachableSeconds": 1 } } });
    rig.patch("patient", &field).await;
    rig.wait_replaced(&old).await;
}

#[tokio::test]
async fn a_pod_that_kueue_may_force_and_the_control_plane_gave_up_is_replaced_a_minute_later() {
    let rig = Rig::start().await;
    let annotations = json!({ "annotations": { "kueue.x-k8s.io/safe-to-forcefully-delete": "true" } });
    let worker = json!({ "Worker": { "template": { "metadata": annotations } } });
    let job = with(job("forced", 1), &json!({ "spec": { "pytorchReplicaSpecs": worker } }));
    on_a_lost_node(&rig, &job).await;
    let condition = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager" }]);
    let patch = Patch::Strategic(json!({ "status": { "conditions": condition } }));
    let pods = rig.pods();
    pods.patch_status("forced-worker-0", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let old = evict(&rig, "forced-worker-0").await;
    let replaced = |pod: &Pod| pod.uid() != old.uid();
    let new = wait_for(&pods, "forced-worker-0", std::time::Duration::from_mins(2), replaced)
        .await
        .unwrap();
    let waited = waited(&old, &new);
    assert!((60..=61).contains(&waited), "{waited} s");
}
