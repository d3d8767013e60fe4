//! Kubernetes' own gang scheduling, with its real scheduler: the feature gate `GenericWorkload` is on.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use pytorchjob_test_cluster::{Options, PodPhase, not_applicable, wait_for};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::job::{Job, suspend, with};
use crate::rig::{Rig, file_cluster};
use crate::scheduling_policy::group::{Kubernetes, Place};
use crate::scheduling_policy::{gang, message, min_available, spec};

/// The scheduler looks again at what did not fit when something changes, and after some time.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Nodes of a test.
const NODES: u32 = 2;
/// CPUs of a node.
const CPUS: u32 = 4;

/// A cluster with the scheduler, its gangs and KWOK, which runs the pods of the nodes that tests make.
async fn place() -> Place {
    static PLACE: OnceCell<Place> = OnceCell::const_new();
    PLACE
        .get_or_init(async || {
            let options = Options {
                nodes: 1,
                gang_scheduling: true,
                ..Options::default()
            };
            Place::on(file_cluster(options).await).await
        })
        .await
        .clone()
}

async fn rig(scheduler: &str) -> Option<Rig> {
    let place = place().await;
    if !place.cluster.is_ours() {
        not_applicable("needs the feature gate GenericWorkload");
        return None;
    }
    Some(place.rig(scheduler).await)
}

/// A rig, and nodes for its pods alone. An existing cluster is not asked for gangs.
async fn rig_with_nodes() -> Option<Rig> {
    let rig = rig("kubernetes").await?;
    let nodes: Api<Node> = Api::all(rig.client.clone());
    for number in 0..NODES {
        let resources = json!({ "cpu": CPUS.to_string(), "memory": "16Gi", "pods": "100" });
        let name = format!("{}-{number}", rig.namespace.name());
        let node = json!({
            "metadata": { "name": name, "labels": { "test": rig.namespace.name() },
                "annotations": { "kwok.x-k8s.io/node": "fake" } },
            "status": { "capacity": resources, "allocatable": resources,
                "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let node = serde_json::from_value(node).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }
    Some(rig)
}

/// A job of a Master and workers with two CPUs each; its pods end by themselves if `finish`.
fn trains(rig: &Rig, name: &str, workers: u32, finish: bool) -> Value {
    let mut job = gang(name, workers);
    for replica in job["spec"]["pytorchReplicaSpecs"].as_object_mut().unwrap().values_mut() {
        let template = &mut replica["template"];
        template["spec"]["nodeSelector"] = json!({ "test": rig.namespace.name() });
        template["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "2" } });
        if finish {
            template["metadata"] = json!({ "labels": { "pytorchjob-test/finish": "Succeeded" },
                "annotations": { "pytorchjob-test/after": "300ms" } });
        }
    }
    job
}

async fn wait(rig: &Rig, name: &str, predicate: impl Fn(&Job) -> bool) -> Job {
    wait_for(&rig.jobs(), name, TIMEOUT, predicate).await.unwrap()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

#[tokio::test]
async fn two_gangs_that_do_not_fit_together_run_one_after_the_other_and_none_starts_partly() {
    let Some(rig) = rig_with_nodes().await else { return };
    let jobs = ["a", "b"].map(|name| trains(&rig, name, 2, false));
    join_all(jobs.iter().map(|job| rig.create(job))).await;
    let running = |job: &Job| job.is("Running") && job.status["ready"] == "3/3";
    let (first, second) = tokio::select! {
        _ = wait(&rig, "a", running) => ("a", "b"),
        _ = wait(&rig, "b", running) => ("b", "a"),
    };
    // The scheduler says it of single pods before it says it of the group.
    let expected = format!("PyTorchJob {second} is created. Waiting: PodGroup {second}: Unschedulable: ");
    wait(&rig, second, |job| message(job).starts_with(&expected)).await;
    let pods = rig.wait_pods(second, |pods| pods.len() == 3).await;
    for pod in &pods {
        assert_eq!(node_of(pod), None, "{pod:?}");
        assert_eq!(spec(pod)["schedulingGroup"], json!({ "podGroupName": second }));
    }
    rig.jobs().delete(first, &DeleteParams::default()).await.unwrap();
    let started = wait(&rig, second, running).await;
    assert_eq!(message(&started), format!("PyTorchJob {second} is running."));
}

#[tokio::test]
async fn gangs_that_compete_all_finish() {
    let Some(rig) = rig_with_nodes().await else { return };
    let audit = rig.cluster.audit().unwrap();
    let names: Vec<String> = (0..6).map(|number| format!("train-{number}")).collect();
    let jobs: Vec<Value> = names.iter().map(|name| trains(&rig, name, 2, true)).collect();
    join_all(jobs.iter().map(|job| rig.create(job))).await;
    join_all(names.iter().map(|name| wait(&rig, name, |job| job.is("Succeeded")))).await;
    join_all(names.iter().map(|name| rig.wait_group_gone::<Kubernetes>(name))).await;
    if let Some(audit) = audit {
        let requests = rig.requests(&audit);
        println!("kubernetes, six jobs: {requests:?}");
        let of_groups = |verb: &str| requests.get(&format!("{verb} podgroups")).copied();
        assert_eq!(["create", "delete", "patch"].map(of_groups), [Some(6), Some(6), None]);
    }
}

#[tokio::test]
async fn s1_a_gang_that_is_too_large_is_scheduled_once_min_available_is_lowered() {
    let Some(rig) = rig_with_nodes().await else { return };
    rig.create(&with(trains(&rig, "train", 1, true), &min_available(10)))
        .await;
    wait(&rig, "train", |job| !message(job).is_empty()).await;
    let group = rig.wait_group::<Kubernetes>("train", |_| true).await;
    assert_eq!(group.spec["schedulingPolicy"], json!({ "gang": { "minCount": 10 } }));
    assert_eq!(group.spec["disruptionMode"], json!({ "all": {} }));
    let pods = rig.wait_pods("train", |pods| pods.len() == 2).await;
    assert!(pods.iter().all(|pod| node_of(pod).is_none()));
    rig.patch("train", &min_available(2)).await;
    wait(&rig, "train", |job| job.is("Succeeded")).await;
}

#[tokio::test]
async fn a_pod_of_a_gang_is_replaced_and_a_suspended_gang_comes_back() {
    let Some(rig) = rig_with_nodes().await else { return };
    let job = rig.create(&trains(&rig, "train", 2, false)).await;
    let running = |job: &Job| job.is("Running") && job.status["ready"] == "3/3";
    wait(&rig, job.name(), running).await;
    let old = rig.pods().get("train-worker-0").await.unwrap();
    rig.pods()
        .delete("train-worker-0", &DeleteParams::default())
        .await
        .unwrap();
    let new = rig.wait_replaced(&old).await;
    wait_for(&rig.pods(), "train-worker-0", TIMEOUT, |pod| node_of(pod).is_some())
        .await
        .unwrap();
    assert_eq!(spec(&new)["schedulingGroup"], json!({ "podGroupName": "train" }));

    rig.patch("train", &suspend(true)).await;
    rig.wait_pod_names("train", &[]).await;
    rig.wait_group_gone::<Kubernetes>("train").await;
    rig.patch("train", &suspend(false)).await;
    wait(&rig, "train", running).await;
}

#[tokio::test]
async fn a_worker_is_replaced_after_another_has_completed_whether_that_ones_pod_is_there_or_drained() {
    let Some(rig) = rig_with_nodes().await else { return };
    for (name, drained) in [("kept", false), ("drained", true)] {
        let mut job = trains(&rig, name, 2, false);
        job["spec"]["pytorchReplicaSpecs"]
            .as_object_mut()
            .unwrap()
            .remove("Master");
        rig.create(&job).await;
        wait(&rig, name, |job| job.status["ready"] == "2/2").await;
        let [completed, other] = [0, 1].map(|index| format!("{name}-worker-{index}"));
        rig.set_phase(&completed, &PodPhase::Succeeded).await;
        wait(&rig, name, |job| job.status["completedIndexes"] == "0").await;
        let delete = async |pod: &str| rig.pods().delete(pod, &DeleteParams::default()).await.unwrap();
        if drained {
            delete(&completed).await;
            rig.wait_pod_names(name, std::slice::from_ref(&other)).await;
        }
        let group = rig.wait_group::<Kubernetes>(name, |_| true).await;
        assert_eq!(group.spec["schedulingPolicy"]["gang"]["minCount"], 2);
        let old = rig.pods().get(&other).await.unwrap();
        delete(&other).await;
        rig.wait_replaced(&old).await;
        wait_for(&rig.pods(), &other, TIMEOUT, |pod| node_of(pod).is_some())
            .await
            .unwrap();
        rig.jobs().delete(name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn auto_finds_the_gangs_of_kubernetes() {
    let Some(rig) = rig("auto").await else { return };
    rig.create(&gang("train", 0)).await;
    let told = rig.wait_event("train", "Normal", "SuccessfulCreatePodGroup").await;
    assert_eq!(told, "Created PodGroup: train (scheduling.k8s.io/v1beta1)");
}
