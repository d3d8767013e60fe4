//! What happens to a pod from outside: it is replaced, and that counts as no failure of the training.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{DeleteParams, EvictParams, PostParams};
use kube::{Api, ResourceExt as _};
use pytorchjob_test_cluster::{wait_for, wait_gone};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::real_node::{TIMEOUT, job, node, site, with_container, with_template, with_worker};
use crate::rig::Site;

/// Runs until it is asked to end, and says then that it has saved its state, with exit code 0.
const SAVES: &str = "trap 'sleep 1; touch /run/saved; exit 0' TERM; while :; do sleep 0.2; done";

/// How an event begins that tells why a pod went, the reason being that of its condition `DisruptionTarget`.
fn disrupted(site: &Site, pod: &str, reason: &str) -> String {
    format!(
        "Pod {pod} on node {} is disrupted: {reason}: ",
        node(site.cluster).name()
    )
}

/// An event about a pod that nobody gave a reason for.
fn deleted(site: &Site, pod: &str) -> String {
    format!(
        "Pod {pod} on node {} was deleted by someone else.",
        node(site.cluster).name()
    )
}

/// Nothing was counted against the job, and it goes on.
async fn goes_on(site: &Site, name: &str) {
    let job = site
        .wait(name, |job| job.is("Running") && job.status["ready"] == "1/1")
        .await;
    assert!(
        job.status["restarts"].is_null() && job.status["firstFailure"].is_null(),
        "{}",
        job.status
    );
    assert!(!job.finished());
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_worker_that_is_deleted_by_hand_is_replaced_and_the_master_goes_on() {
    let site = site().await;
    site.create(&with_worker(
        job("by-hand", "OnFailure", "sleep 600"),
        "OnFailure",
        SAVES,
    ))
    .await;
    let master = site.pod_running("by-hand-master-0").await;
    let worker = site.pod_running("by-hand-worker-0").await;
    site.pods()
        .delete("by-hand-worker-0", &DeleteParams::default())
        .await
        .unwrap();
    site.pod_replaced(&worker).await;
    let job = site.wait("by-hand", |job| job.status["ready"] == "2/2").await;
    assert!(job.status["restarts"].is_null(), "{}", job.status);
    assert_eq!(site.pods().get("by-hand-master-0").await.unwrap().uid(), master.uid());
    let told = deleted(&site, "by-hand-worker-0");
    site.described("by-hand", &["PodDisrupted", &told]).await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_drained_master_saves_its_state_within_its_grace_and_has_not_succeeded_by_exiting_with_0() {
    let site = site().await;
    let directory = format!("/run/drained/{}", site.namespace.name());
    let volume =
        json!({ "volumes": [{ "name": "state", "hostPath": { "path": directory, "type": "DirectoryOrCreate" } }] });
    let mounts = json!({ "volumeMounts": [{ "name": "state", "mountPath": "/run" }] });
    let drained = with_container(with_template(job("drained", "Never", SAVES), &volume), &mounts);
    site.create(&drained).await;
    let before = site.pod_running("drained-master-0").await;
    site.pods()
        .evict("drained-master-0", &EvictParams::default())
        .await
        .unwrap();
    let after = site.pod_replaced(&before).await;
    assert!(after.metadata.creation_timestamp > before.metadata.creation_timestamp);
    let saved = format!("{directory}/saved");
    node(site.cluster)
        .run("test", &["-e", &saved])
        .await
        .expect("the state was saved before the pod was replaced");
    goes_on(&site, "drained").await;
    let told = disrupted(&site, "drained-master-0", "EvictionByEvictionAPI");
    site.described("drained", &["PodDisrupted", &told]).await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_pod_that_makes_room_for_a_more_important_one_comes_back_when_there_is_room() {
    let site = site().await;
    // Both less important than the operator.
    for (name, value) in [("unimportant", -10), ("important", -1)] {
        let class = json!({ "metadata": { "name": name }, "value": value });
        let class: PriorityClass = serde_json::from_value(class).unwrap();
        let classes = Api::<PriorityClass>::all(site.cluster.admin());
        classes.create(&PostParams::default(), &class).await.unwrap();
    }
    let large = json!({ "resources": { "requests": { "cpu": "1" } } });
    let of_class = |name: &str| {
        let class = json!({ "priorityClassName": name });
        with_container(with_template(job(name, "Never", "sleep 600"), &class), &large)
    };
    site.create(&of_class("unimportant")).await;
    let before = site.pod_running("unimportant-master-0").await;
    site.create(&of_class("important")).await;
    site.pod_running("important-master-0").await;
    // The scheduler's own words stand on the job that waits.
    let waiting = site
        .wait("unimportant", |job| job.status.to_string().contains("Insufficient cpu"))
        .await;
    assert!(!waiting.finished(), "{}", waiting.status);
    let told = disrupted(&site, "unimportant-master-0", "PreemptionByScheduler");
    site.described("unimportant", &["Insufficient cpu", "PodDisrupted", &told])
        .await;
    site.jobs().delete("important", &DeleteParams::default()).await.unwrap();
    site.pod_replaced(&before).await;
    goes_on(&site, "unimportant").await;
}

/// A job whose pod goes as soon as its node is unreachable.
fn impatient(name: &str) -> Value {
    let toleration = json!({
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1,
    });
    with_template(job(name, "Never", "sleep 600"), &json!({ "tolerations": [toleration] }))
}

/// Waits until the node is known to be silent.
async fn unreachable(site: &Site) {
    let silent = |node: &Node| {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        taints
            .into_iter()
            .any(|taint| taint.key == "node.kubernetes.io/unreachable" && taint.effect == "NoExecute")
    };
    let nodes = Api::<Node>::all(site.client.clone());
    wait_for(&nodes, node(site.cluster).name(), TIMEOUT, silent)
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_node_that_is_silent_for_a_minute_costs_a_patient_job_nothing_and_is_named_by_an_impatient_one() {
    let site = site().await;
    site.create(&job("patient", "Never", "sleep 600")).await;
    site.create(&impatient("impatient")).await;
    let patient = site.pod_running("patient-master-0").await;
    let impatient = site.pod_running("impatient-master-0").await;
    let node = node(site.cluster);
    let silent = Instant::now();
    node.kill_kubelet().await;
    unreachable(&site).await;
    // Its deletion is asked for, and nobody is there to end it.
    let stuck = site
        .wait("impatient", |job| job.status.to_string().contains(node.name()))
        .await;
    assert!(!stuck.finished(), "{}", stuck.status);
    let told = disrupted(&site, "impatient-master-0", "DeletionByTaintManager");
    site.described("impatient", &["PodDisrupted", &told]).await;
    tokio::time::sleep_until(silent + Duration::from_mins(1)).await;
    node.start_kubelet().await.unwrap();
    node.ready(site.client.clone()).await.unwrap();
    site.pod_replaced(&impatient).await;
    goes_on(&site, "impatient").await;
    goes_on(&site, "patient").await;
    assert_eq!(site.pods().get("patient-master-0").await.unwrap().uid(), patient.uid());
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn pods_of_a_node_that_is_deleted_or_out_of_service_are_replaced_when_there_is_one_again() {
    let site = site().await;
    let nodes = Api::<Node>::all(site.client.clone());
    let node = node(site.cluster);
    for case in ["out-of-service", "deleted"] {
        site.create(&job(case, "Never", "sleep 600")).await;
        let pod = format!("{case}-master-0");
        let before = site.pod_running(&pod).await;
        goes_on(&site, case).await;
        node.kill_kubelet().await;
        if case == "deleted" {
            nodes.delete(node.name(), &DeleteParams::default()).await.unwrap();
        } else {
            unreachable(&site).await;
            taint(&site, "").await;
        }
        let gone = |pod: &Pod| pod.uid() != before.uid();
        // Whether another one waits by then or not, this one is gone.
        if wait_gone(&site.pods(), &pod, Duration::from_mins(2)).await.is_err() {
            wait_for(&site.pods(), &pod, TIMEOUT, gone).await.unwrap();
        }
        node.start_kubelet().await.unwrap();
        if case == "out-of-service" {
            taint(&site, "-").await;
        }
        node.ready(site.client.clone()).await.unwrap();
        site.pod_replaced(&before).await;
        goes_on(&site, case).await;
        // Deleting a node takes its pods with it; only a taint is a reason by itself.
        let told = if case == "deleted" {
            format!("Pod {pod} on node {} ", node.name())
        } else {
            disrupted(&site, &pod, "DeletionByTaintManager")
        };
        site.described(case, &["PodDisrupted", &told]).await;
    }
}

/// Says that the node has been shut down, or with `-` at its end no longer.
async fn taint(site: &Site, end: &str) {
    let taint = format!("node.kubernetes.io/out-of-service=nodeshutdown:NoExecute{end}");
    let name = node(site.cluster).name();
    site.cluster.kubectl(&["taint", "node", name, &taint]).await.unwrap();
}
