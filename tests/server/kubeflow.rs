//! The cases that the integration tests of Kubeflow's training operator 1.9 have for PyTorchJob, with the objects
//! compared in full.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use pytorchjob_test_cluster::{PodPhase, bind_pod, not_applicable, remove_pod, wait_for, wait_for_all, wait_gone};
use serde_json::{Value, json};

use crate::job::{Job, job, suspend, with};
use crate::rig::{End, Rig, TIMEOUT, names, of_job, refusal, replica_names};

fn owner(job: &Job) -> Value {
    json!([{
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "name": job.name(),
        "uid": job.uid().unwrap(),
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

fn owners<K: Resource>(object: &K) -> Value {
    serde_json::to_value(object.owner_references()).unwrap()
}

/// Name and value of every variable of the container `pytorch`, in order.
fn environment(pod: &Pod) -> Vec<(String, String)> {
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let variables = container.env.iter().flatten();
    variables
        .map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default()))
        .collect()
}

fn expected_environment(rank: &str) -> Vec<(String, String)> {
    [
        ("PYTHONUNBUFFERED", "1"),
        ("MASTER_PORT", "8080"),
        ("PET_MASTER_PORT", "8080"),
        ("MASTER_ADDR", "e1-master-0"),
        ("PET_MASTER_ADDR", "e1-master-0"),
        ("WORLD_SIZE", "3"),
        ("RANK", rank),
        ("PET_NODE_RANK", rank),
        ("PET_NPROC_PER_NODE", "auto"),
        ("PET_NNODES", "3"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn whatever_torchrun_takes_for_the_processes_of_a_node_reaches_the_pods() {
    let rig = Rig::start().await;
    for (name, processes, expected) in [
        ("number", json!(8), "8"),
        ("digits", json!("8"), "8"),
        ("gpu", json!("gpu"), "gpu"),
        ("xpu", json!("xpu"), "xpu"),
        ("npu", json!("npu"), "npu"),
        ("unset", json!(""), "auto"),
    ] {
        let job = with(job(name, 0), &json!({ "spec": { "nprocPerNode": processes } }));
        let (_, pods) = rig.create_with_pods(&job).await;
        let told = ("PET_NPROC_PER_NODE".to_owned(), expected.to_owned());
        assert!(
            environment(&pods[0]).contains(&told),
            "{name}: {:?}",
            environment(&pods[0])
        );
    }
}

/// One worker that an autoscaler may make three, and a port of its own.
fn autoscaled(name: &str) -> Value {
    let worker = json!({ "template": { "spec": { "containers": [{
        "name": "pytorch",
        "image": "registry.example/training:v1",
        "ports": [{ "name": "pytorchjob-port", "containerPort": 8080, "protocol": "TCP" }],
    }] } } });
    let cpu = json!({ "type": "Resource",
        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } });
    let patch = json!({ "spec": {
        "pytorchReplicaSpecs": { "Master": null, "Worker": worker },
        "elasticPolicy": {
            "rdzvBackend": "c10d", "minReplicas": 1, "maxReplicas": 3, "maxRestarts": 3, "metrics": [cpu],
        },
    } });
    with(job(name, 1), &patch)
}

async fn autoscaler(rig: &Rig, name: &str) -> HorizontalPodAutoscaler {
    wait_for(&rig.api::<HorizontalPodAutoscaler>(), name, TIMEOUT, |_| true)
        .await
        .unwrap()
}

/// E6.
#[tokio::test]
async fn an_elastic_worker_gets_its_rendezvous_and_its_autoscaler_and_its_success_is_the_jobs() {
    let rig = Rig::start().await;
    let (created, pods) = rig.create_with_pods(&autoscaled("e6")).await;
    let autoscaler = autoscaler(&rig, "e6").await;
    let spec = autoscaler.spec.clone();
    assert_eq!((spec.min_replicas, spec.max_replicas), (Some(1), 3));
    assert_eq!(
        (spec.scale_target_ref.kind.as_str(), spec.scale_target_ref.name.as_str()),
        ("PyTorchJob", "e6")
    );
    let service = wait_for(&rig.services(), "e6-worker-0", TIMEOUT, |_: &Service| true)
        .await
        .unwrap();
    let owner = owner(&created);
    assert_eq!(
        [owners(&autoscaler), owners(&pods[0]), owners(&service)],
        [owner.clone(), owner.clone(), owner]
    );
    let environment = environment(&pods[0]);
    for (name, value) in [
        ("PET_RDZV_BACKEND", "c10d"),
        ("PET_NNODES", "1:3"),
        ("PET_RDZV_ENDPOINT", "e6-worker-0:8080"),
        ("PET_MAX_RESTARTS", "3"),
    ] {
        assert!(
            environment.contains(&(name.to_owned(), value.to_owned())),
            "{name}: {environment:?}"
        );
    }

    rig.set_phase("e6-worker-0", &PodPhase::Running).await;
    rig.set_phase("e6-worker-0", &PodPhase::Succeeded).await;
    let done = rig.wait("e6", |job| job.is("Succeeded")).await;
    assert_eq!(done.count("Worker", "succeeded"), 1);
}

/// E7.
#[tokio::test]
async fn a_suspended_job_has_no_autoscaler_and_a_resumed_one_has_it_again() {
    let rig = Rig::start().await;
    rig.create_with_pods(&autoscaled("e7")).await;
    let first = autoscaler(&rig, "e7").await;
    rig.patch("e7", &suspend(true)).await;
    wait_gone(&rig.api::<HorizontalPodAutoscaler>(), "e7", TIMEOUT)
        .await
        .unwrap();
    rig.patch("e7", &suspend(false)).await;
    assert_ne!(autoscaler(&rig, "e7").await.uid(), first.uid());
}

#[tokio::test]
async fn an_autoscaler_that_somebody_changed_is_set_back_in_what_the_job_decides() {
    let rig = Rig::start().await;
    rig.create_with_pods(&autoscaled("changed")).await;
    let made = autoscaler(&rig, "changed").await;
    let edit = json!({ "spec": {
        "scaleTargetRef": { "name": "another" },
        "minReplicas": 2, "maxReplicas": 30,
        "metrics": [{ "type": "Resource",
            "resource": { "name": "memory", "target": { "type": "AverageValue", "averageValue": "1Gi" } } }],
        "behavior": { "scaleDown": { "stabilizationWindowSeconds": 7 } },
    } });
    let api = rig.api::<HorizontalPodAutoscaler>();
    api.patch("changed", &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    let restored = wait_for(&api, "changed", TIMEOUT, |found: &HorizontalPodAutoscaler| {
        found.spec.max_replicas == 3
    });
    let mut spec = restored.await.unwrap().spec;
    let behavior = spec.behavior.take().and_then(|behavior| behavior.scale_down);
    assert_eq!(
        behavior.and_then(|down| down.stabilization_window_seconds),
        Some(7),
        "the user's to edit"
    );
    assert_eq!(spec, made.spec);
}

/// An autoscaler of the job as Kubeflow's operator makes it.
async fn unlabelled(rig: &Rig, job: &Job) -> HorizontalPodAutoscaler {
    let target = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": job.name() });
    let autoscaler = json!({
        "metadata": { "name": job.name(), "ownerReferences": owner(job) },
        "spec": { "minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": target },
    });
    let autoscaler = serde_json::from_value(autoscaler).unwrap();
    let params = PostParams::default();
    rig.api::<HorizontalPodAutoscaler>()
        .create(&params, &autoscaler)
        .await
        .unwrap()
}

/// Stores what the legacy pytorch-operator would have made of a replica, with its labels.
async fn made_by_the_legacy_operator(rig: &Rig, job: &Job, role: &str) {
    let name = format!("{}-{role}-0", job.name());
    let labels = json!({
        "group-name": "kubeflow.org", "controller-name": "pytorch-operator", "job-name": job.name(),
        "pytorch-job-name": job.name(), "pytorch-replica-type": role, "pytorch-replica-index": "0",
    });
    let metadata = json!({ "name": name, "labels": labels, "ownerReferences": owner(job) });
    let containers = json!([{ "name": "pytorch", "image": "registry.example/training:v1" }]);
    let pod = json!({ "metadata": metadata, "spec": { "schedulerName": "the-test", "containers": containers } });
    let pod = serde_json::from_value(pod).unwrap();
    rig.pods().create(&PostParams::default(), &pod).await.unwrap();
    rig.set_phase(&name, &PodPhase::Running).await;
    if role == "master" {
        let service = json!({ "metadata": metadata, "spec": { "clusterIP": "None", "selector": labels } });
        let service = serde_json::from_value(service).unwrap();
        rig.services().create(&PostParams::default(), &service).await.unwrap();
    }
}

/// When the legacy operator started its jobs.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// Stores a job with one Worker, of which the legacy operator said `conditions` and whose pods run.
async fn left_by_the_legacy_operator(rig: &Rig, name: &str, flat: &Value, conditions: &[&str]) -> Job {
    let job = rig.create(&with(job(name, 1), flat)).await;
    for role in ["master", "worker"] {
        made_by_the_legacy_operator(rig, &job, role).await;
    }
    let condition = |type_: &&str| json!({ "type": type_, "status": "True", "reason": format!("PyTorchJob{type_}") });
    let status = json!({ "status": {
        "conditions": conditions.iter().map(condition).collect::<Vec<_>>(),
        "replicaStatuses": { "Master": { "active": 1 }, "Worker": { "active": 1 } },
        "startTime": LONG_AGO,
    } });
    let params = PatchParams::default();
    let status = Patch::Merge(status);
    rig.jobs().patch_status(name, &params, &status).await.unwrap()
}

#[tokio::test]
async fn a_running_job_of_the_legacy_operator_keeps_its_pods_and_ends_with_them() {
    let mut rig = Rig::start().await;
    rig.end_operator(End::Stop).await;
    let flat = json!({ "spec": { "cleanPodPolicy": "None", "activeDeadlineSeconds": 1_000_000_000 } });
    left_by_the_legacy_operator(&rig, "legacy", &flat, &["Created", "Running"]).await;
    let before = rig.pods().list(&ListParams::default()).await.unwrap().items;

    rig.go_on().await;
    let pods = rig.wait_pods("legacy", |pods| pods.len() == 2).await;
    let uids = |pods: &[Pod]| pods.iter().map(ResourceExt::uid).collect::<Vec<_>>();
    assert_eq!(uids(&pods), uids(&before));
    assert_eq!(pods[0].labels()["pytorch-job-name"], "legacy", "the old labels stay");
    let services = replica_names("legacy", &["master-0", "worker-0"]);
    rig.wait_service_names("legacy", &services).await;
    rig.wait("legacy", |job| job.status["ready"] == "2/2").await;
    rig.set_phases(names(&pods), &PodPhase::Succeeded).await;
    let done = rig.wait("legacy", |job| job.is("Succeeded")).await;
    assert_eq!(done.status["startTime"], LONG_AGO, "its deadline counts from there");
    assert_eq!(
        uids(&rig.pods().list(&ListParams::default()).await.unwrap().items),
        uids(&before)
    );
}

#[tokio::test]
async fn a_job_of_the_legacy_operator_whose_deadline_is_over_when_it_is_taken_over_is_stopped_and_an_ended_one_is_left()
{
    let mut rig = Rig::start().await;
    rig.end_operator(End::Stop).await;
    let flat = json!({ "spec": { "cleanPodPolicy": "Running", "activeDeadlineSeconds": 1 } });
    left_by_the_legacy_operator(&rig, "late", &flat, &["Created", "Running"]).await;
    left_by_the_legacy_operator(&rig, "ended", &flat, &["Created", "Failed"]).await;

    rig.go_on().await;
    rig.wait("late", |job| job.is("Failed")).await;
    wait_gone(&rig.pods(), "late-master-0", TIMEOUT).await.unwrap();
    wait_gone(&rig.pods(), "late-worker-0", TIMEOUT).await.unwrap();
    // A job that comes later is done with: so are those.
    rig.succeeded(&job("later", 0)).await;
    let left = rig
        .pods()
        .list(&ListParams::default().labels("pytorch-job-name=ended"))
        .await;
    let left = left.unwrap().items;
    assert_eq!(names(&left), ["ended-master-0", "ended-worker-0"]);
    assert!(
        left.iter()
            .all(|pod| !pod.labels().contains_key("training.kubeflow.org/job-name"))
    );
}

#[tokio::test]
async fn an_autoscaler_that_kubeflow_left_to_a_job_that_does_not_run_goes_when_the_job_is_taken_over() {
    let mut rig = Rig::start().await;
    let suspended = rig.create(&with(autoscaled("left-suspended"), &suspend(true))).await;
    rig.wait("left-suspended", |job| job.is("Suspended")).await;
    let finished = rig.succeeded(&job("left-finished", 0)).await;
    let stranger = rig.create(&with(job("stranger", 0), &suspend(true))).await;
    rig.end_operator(End::Stop).await;
    for job in [&suspended, &finished] {
        unlabelled(&rig, job).await;
    }
    let autoscalers = rig.api::<HorizontalPodAutoscaler>();
    // The first of the list refuses its label: no label is as long as the name of this job.
    let mut forged = owner(&suspended);
    forged[0]["name"] = json!("x".repeat(70));
    let refusing = json!({
        "metadata": { "name": "a-refusing", "ownerReferences": forged, "finalizers": ["example.com/hold"] },
        "spec": { "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "X", "name": "x" } },
    });
    let refusing = serde_json::from_value(refusing).unwrap();
    autoscalers.create(&PostParams::default(), &refusing).await.unwrap();
    unlabelled(&rig, &stranger).await;
    // No replacement: the controller of autoscalers writes their status meanwhile.
    let ownerless = Patch::Merge(json!({ "metadata": { "ownerReferences": null } }));
    autoscalers
        .patch("stranger", &PatchParams::default(), &ownerless)
        .await
        .unwrap();

    rig.go_on().await;
    for job in [&suspended, &finished] {
        wait_gone(&autoscalers, job.name(), TIMEOUT).await.unwrap();
    }
    let stranger = autoscalers.get("stranger").await.unwrap();
    assert!(stranger.labels().is_empty(), "it belongs to no job: {stranger:?}");
}

#[tokio::test]
async fn an_autoscaler_that_kubeflow_made_bears_no_label_and_is_found_all_the_same() {
    let rig = Rig::start().await;
    let created = rig.create(&with(autoscaled("adopted"), &suspend(true))).await;
    rig.wait("adopted", |job| job.is("Suspended")).await;
    let autoscalers = rig.api::<HorizontalPodAutoscaler>();
    let theirs = unlabelled(&rig, &created).await;

    rig.patch("adopted", &suspend(false)).await;
    let found = wait_for(&autoscalers, "adopted", TIMEOUT, |found: &HorizontalPodAutoscaler| {
        !found.labels().is_empty()
    });
    assert_eq!(found.await.unwrap().uid(), theirs.uid());
    rig.patch("adopted", &suspend(true)).await;
    wait_gone(&autoscalers, "adopted", TIMEOUT).await.unwrap();
}

/// E1.
#[tokio::test]
async fn a_master_and_two_workers_get_pods_and_services_that_find_each_other() {
    let rig = Rig::start().await;
    let port = json!([{ "name": "pytorchjob-port", "containerPort": 8080, "protocol": "TCP" }]);
    let mut job = job("e1", 2);
    for role in ["Master", "Worker"] {
        job["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"]["containers"][0]["ports"] = port.clone();
    }
    let (created, pods) = rig.create_with_pods(&job).await;
    let services = wait_for_all(&rig.services(), &of_job("e1"), TIMEOUT, |services: &[Service]| {
        services.len() == 3
    })
    .await
    .unwrap();
    let replicas = replica_names("e1", &["master-0", "worker-0", "worker-1"]);
    assert_eq!(names(&pods), replicas);
    assert_eq!(names(&services), replicas);

    for (pod, rank) in pods.iter().zip(["0", "1", "2"]) {
        let container = serde_json::to_value(&pod.spec.as_ref().unwrap().containers[0]).unwrap();
        assert_eq!(container["ports"], port);
        assert_eq!(environment(pod), expected_environment(rank));
        assert_eq!(owners(pod), owner(&created));
    }
    for service in &services {
        let spec = serde_json::to_value(&service.spec).unwrap();
        assert_eq!(spec["ports"][0]["port"], 8080);
        assert_eq!(spec["ports"][0]["name"], "pytorchjob-port");
        assert_eq!(spec["clusterIP"], "None");
        assert_eq!(spec["selector"], json!(service.labels()));
        assert_eq!(owners(service), owner(&created));
    }
    let (ours, kubeflows): (Vec<_>, Vec<_>) = pods[0]
        .labels()
        .iter()
        .partition(|(key, _)| key.as_str() == "training.kubeflow.org/pod-template-hash");
    assert_eq!(ours.len(), 1);
    assert_eq!(
        json!(kubeflows.into_iter().collect::<BTreeMap<_, _>>()),
        json!({
            "training.kubeflow.org/operator-name": "pytorchjob-controller",
            "training.kubeflow.org/job-name": "e1",
            "training.kubeflow.org/replica-type": "master",
            "training.kubeflow.org/replica-index": "0",
            "training.kubeflow.org/job-role": "master",
        })
    );

    rig.set_phases(replicas, &PodPhase::Running).await;
    rig.set_phase("e1-master-0", &PodPhase::Succeeded).await;
    let job = rig.wait("e1", |job| job.is("Succeeded")).await;
    assert_eq!(job.count("Master", "succeeded"), 1);
    assert_eq!(job.why(), "PyTorchJob e1 is successfully completed.");
    rig.wait_event("e1", "Normal", "PyTorchJobSucceeded").await;
}

/// E2.
#[tokio::test]
async fn the_queue_of_a_job_is_immutable() {
    let rig = Rig::start().await;
    let queue = |queue: &str| json!({ "spec": { "runPolicy": { "schedulingPolicy": { "queue": queue } } } });
    rig.create(&with(job("e2", 1), &queue("initial-queue"))).await;
    let refused = refusal(rig.try_patch("e2", &queue("test")).await);
    assert_eq!(refused.code, 422);
    assert!(
        refused
            .message
            .contains("spec.runPolicy.schedulingPolicy.queue is immutable"),
        "{}",
        refused.message
    );
    let stored = rig.get("e2").await;
    assert_eq!(stored.spec["runPolicy"]["schedulingPolicy"]["queue"], "initial-queue");
}

/// E3.
#[tokio::test]
async fn a_job_created_suspended_has_no_start_time_no_pods_and_no_services() {
    let rig = Rig::start().await;
    let audit = rig.cluster.audit().unwrap();
    rig.create(&with(job("e3", 1), &suspend(true))).await;
    rig.wait("e3", |job| job.is("Suspended")).await;
    let job = rig.settle("e3").await;
    assert_eq!(
        job.conditions(),
        [
            ["Created", "True", "PyTorchJobCreated", "PyTorchJob e3 is created."],
            [
                "Suspended",
                "True",
                "PyTorchJobSuspended",
                "PyTorchJob e3 is suspended."
            ],
        ]
    );
    assert_eq!(job.status["startTime"], Value::Null);
    assert_eq!(rig.pod_names("e3").await, [""; 0]);
    assert_eq!(rig.service_names("e3").await, [""; 0]);
    if let Some(audit) = audit {
        for resource in ["pods", "services"] {
            let writes = pytorchjob_test_cluster::AuditFilter {
                resource: Some(resource),
                ..rig.writes()
            };
            assert_eq!(audit.entries(&writes).unwrap(), []);
        }
    }
}

/// E4, with pods that take their time to go.
#[tokio::test]
async fn a_job_is_suspended_and_resumed_and_counts_pods_as_active_until_they_are_gone() {
    let rig = Rig::start().await;
    let replicas = replica_names("e4", &["master-0", "worker-0"]);
    rig.create_with_pods(&job("e4", 1)).await;
    for pod in &replicas {
        bind_pod(&rig.client, &rig.namespace, pod, "node").await.unwrap();
    }
    rig.set_phases(replicas.clone(), &PodPhase::Running).await;
    let running = rig
        .wait("e4", |job| {
            job.is("Running") && job.count("Master", "active") + job.count("Worker", "active") == 2
        })
        .await;
    assert_eq!(running.outline(), ["Created", "Running"]);
    assert!(running.second("startTime").is_some());

    rig.patch("e4", &suspend(true)).await;
    rig.wait_pods("e4", |pods| {
        pods.len() == 2 && pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_some())
    })
    .await;
    let suspended = rig.settle("e4").await;
    assert_eq!(
        suspended.conditions(),
        [
            ["Created", "True", "PyTorchJobCreated", "PyTorchJob e4 is created."],
            ["Running", "False", "PyTorchJobSuspended", "PyTorchJob e4 is suspended."],
            [
                "Suspended",
                "True",
                "PyTorchJobSuspended",
                "PyTorchJob e4 is suspended."
            ],
        ]
    );
    assert_eq!(
        (suspended.count("Master", "active"), suspended.count("Worker", "active")),
        (1, 1)
    );
    remove_pod(&rig.client, &rig.namespace, &replicas[1]).await.unwrap();
    let half = rig.wait("e4", |job| job.count("Worker", "active") == 0).await;
    assert_eq!(half.count("Master", "active"), 1, "it is still there");
    assert_eq!(
        rig.service_names("e4").await,
        replicas,
        "pods find each other until the last one is gone"
    );
    remove_pod(&rig.client, &rig.namespace, &replicas[0]).await.unwrap();
    rig.wait("e4", |job| job.count("Master", "active") == 0).await;
    rig.wait_service_names("e4", &[]).await;
    let suspended = rig.settle("e4").await;
    assert_eq!(suspended.second("startTime"), running.second("startTime"));
    assert_eq!(rig.pod_names("e4").await, [""; 0], "they stay gone");
    assert_eq!(rig.service_names("e4").await, [""; 0]);

    rig.patch("e4", &suspend(false)).await;
    rig.wait_pod_names("e4", &replicas).await;
    rig.wait_service_names("e4", &replicas).await;
    rig.set_phases(replicas, &PodPhase::Running).await;
    let resumed = rig.wait("e4", |job| job.is("Running")).await;
    assert_eq!(
        resumed.conditions(),
        [
            ["Created", "True", "PyTorchJobCreated", "PyTorchJob e4 is created."],
            ["Suspended", "False", "PyTorchJobResumed", "PyTorchJob e4 is resumed."],
            ["Running", "True", "PyTorchJobRunning", "PyTorchJob e4 is running."],
        ]
    );
    assert!(resumed.second("startTime") > running.second("startTime"));
}

/// E5.
#[tokio::test]
async fn a_job_managed_by_multikueue_is_left_alone() {
    let rig = Rig::start().await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    let elsewhere = json!({ "spec": { "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue", "suspend": true } } });
    rig.create(&with(job("e5", 1), &elsewhere)).await;
    let untouched = async || {
        // A later job, which the operator serves: it has passed by the other one then.
        let marker = format!("marker-{}", rig.get("e5").await.metadata.generation.unwrap());
        rig.succeeded(&job(&marker, 0)).await;
        let job = rig.get("e5").await;
        assert_eq!(job.status, Value::Null);
        let writes = audit.entries(&rig.writes()).unwrap();
        let about: Vec<_> = writes.iter().filter(|entry| entry.name.starts_with("e5")).collect();
        assert!(about.is_empty(), "{about:?}");
        assert_eq!(rig.pod_names("e5").await, [""; 0]);
        assert_eq!(rig.service_names("e5").await, [""; 0]);
    };
    untouched().await;
    rig.patch("e5", &suspend(false)).await;
    untouched().await;

    let refused = refusal(
        rig.try_patch("e5", &json!({ "spec": { "runPolicy": { "managedBy": null } } }))
            .await,
    );
    assert!(
        refused.message.contains("managedBy is immutable"),
        "{}",
        refused.message
    );
    wait_for(&rig.jobs(), "e5", TIMEOUT, |job| job.status.is_null())
        .await
        .unwrap();
}
