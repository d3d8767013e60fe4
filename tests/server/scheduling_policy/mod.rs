//! `runPolicy.schedulingPolicy`: the `PodGroup` of a job, on an API server that has the definitions of the gang
//! schedulers, and with a scheduler that does what the test says.

pub mod group;
mod kubernetes;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use pytorchjob_test_cluster::{AuditFilter, Options, PodPhase, not_applicable, repository};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::job::{Job, job, with};
use crate::rig::{End, OPERATOR, Rig, file_cluster, own_cluster};
use crate::scheduling_policy::group::{Coscheduling, Place, PodGroup, Scheduler, Volcano};

const COSCHEDULER: &str = "scheduler-plugins-scheduler";

/// The definitions of a gang scheduler.
pub fn definition(name: &str) -> PathBuf {
    repository().join("tests/server/scheduling_policy").join(name)
}

/// A cluster with the definitions of Volcano and scheduler-plugins, and of Kueue's Workloads.
pub async fn place() -> Place {
    static PLACE: OnceCell<Place> = OnceCell::const_new();
    PLACE
        .get_or_init(async || {
            let mut options = Options::default();
            options
                .crds
                .extend(["volcano.yaml", "scheduler-plugins.yaml"].map(definition));
            options
                .crds
                .push(repository().join("tests/server/kubectl/workloads.yaml"));
            Place::on(file_cluster(options).await).await
        })
        .await
        .clone()
}

/// A job whose templates name no scheduler.
pub fn gang(name: &str, workers: u32) -> Value {
    let mut job = job(name, workers);
    for replica in job["spec"]["pytorchReplicaSpecs"].as_object_mut().unwrap().values_mut() {
        replica["template"]["spec"]
            .as_object_mut()
            .unwrap()
            .remove("schedulerName");
    }
    job
}

pub fn min_available(pods: u32) -> Value {
    json!({ "spec": { "runPolicy": { "schedulingPolicy": { "minAvailable": pods } } } })
}

/// The message of the job's state.
fn message(job: &Job) -> String {
    let conditions = job.conditions();
    let state = conditions.into_iter().rfind(|[_, status, ..]| *status == "True");
    state.map(|[.., message]| message.to_owned()).unwrap_or_default()
}

fn spec(pod: &Pod) -> Value {
    serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap()
}

/// Lets the pods of a job run, and waits until it runs.
async fn run_pods(rig: &Rig, name: &str, pods: usize) -> Vec<Pod> {
    let pods = rig.wait_pods(name, |found| found.len() == pods).await;
    rig.set_phases(pods.iter().map(ResourceExt::name_any), &PodPhase::Running)
        .await;
    rig.wait(name, |job| job.is("Running")).await;
    pods
}

async fn groups<S: Scheduler>(rig: &Rig) -> usize {
    let api = rig.api::<PodGroup<S>>();
    api.list(&ListParams::default()).await.unwrap().items.len()
}

#[tokio::test]
async fn volcano_admits_a_job_before_its_pods_exist_and_its_group_goes_with_suspension_and_end() {
    let rig = place().await.rig("volcano").await;
    let policy = json!({ "spec": { "runPolicy": { "schedulingPolicy": { "queue": "research", "minAvailable": 1 } } } });
    let created = rig.create(&with(gang("train", 1), &policy)).await;
    let group = rig.wait_group::<Volcano>("train", |_| true).await;
    assert_eq!(group.spec, json!({ "minMember": 1, "queue": "research" }));
    assert_eq!(
        group.metadata.owner_references.as_ref().unwrap()[0].uid,
        created.metadata.uid.unwrap()
    );
    let waiting = rig.wait("train", |job| message(job).contains("Waiting")).await;
    assert_eq!(
        message(&waiting),
        "PyTorchJob train is created. Waiting: PodGroup train: Pending. Volcano has not admitted it."
    );
    rig.schedule::<Volcano>("train", &json!({ "phase": "Pending" })).await;
    // The edit is in the group, so whatever its pending phase was to cause has happened.
    rig.patch("train", &min_available(2)).await;
    rig.wait_group::<Volcano>("train", |group| group.spec["minMember"] == 2)
        .await;
    assert!(rig.pod_names("train").await.is_empty() && rig.service_names("train").await.is_empty());

    rig.schedule::<Volcano>("train", &json!({ "phase": "Inqueue" })).await;
    let pods = run_pods(&rig, "train", 2).await;
    for (pod, role) in pods.iter().zip(["master", "worker"]) {
        assert_eq!(pod.annotations()["scheduling.k8s.io/group-name"], "train");
        assert_eq!(pod.annotations()["volcano.sh/task-spec"], role);
        assert_eq!(spec(pod)["schedulerName"], "volcano");
    }
    assert_eq!(message(&rig.get("train").await), "PyTorchJob train is running.");
    rig.schedule::<Volcano>("train", &json!({ "phase": "Running" })).await;

    rig.patch("train", &json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await;
    rig.wait_group_gone::<Volcano>("train").await;
    rig.wait_pod_names("train", &[]).await;
    rig.patch("train", &json!({ "spec": { "runPolicy": { "suspend": false } } }))
        .await;
    rig.wait_group::<Volcano>("train", |_| true).await;
    rig.schedule::<Volcano>("train", &json!({ "phase": "Inqueue" })).await;
    run_pods(&rig, "train", 2).await;
    rig.set_phase("train-master-0", &PodPhase::Succeeded).await;
    rig.wait("train", |job| job.is("Succeeded")).await;
    rig.wait_group_gone::<Volcano>("train").await;
    let told = rig.wait_event("train", "Normal", "SuccessfulDeletePodGroup").await;
    assert_eq!(told, "Deleted PodGroup: train (scheduling.volcano.sh/v1beta1)");
}

#[tokio::test]
async fn s1_a_gang_that_is_too_large_waits_until_min_available_is_lowered() {
    let rig = place().await.rig(COSCHEDULER).await;
    rig.create(&with(gang("train", 1), &min_available(10))).await;
    let pods = rig.wait_pods("train", |pods| pods.len() == 2).await;
    for pod in &pods {
        assert_eq!(pod.labels()["scheduling.x-k8s.io/pod-group"], "train");
        assert_eq!(spec(pod)["schedulerName"], COSCHEDULER);
    }
    let group = rig.wait_group::<Coscheduling>("train", |_| true).await;
    assert_eq!(group.spec, json!({ "minMember": 10 }));
    rig.patch("train", &min_available(2)).await;
    let updated = rig
        .wait_group::<Coscheduling>("train", |group| group.spec["minMember"] == 2)
        .await;
    assert_eq!(updated.metadata.uid, group.metadata.uid);
    run_pods(&rig, "train", 2).await;
    rig.set_phase("train-master-0", &PodPhase::Succeeded).await;
    rig.wait("train", |job| job.is("Succeeded")).await;
    rig.wait_group_gone::<Coscheduling>("train").await;
}

#[tokio::test]
async fn min_resources_counts_the_pods_of_the_higher_priority_class_first() {
    let rig = place().await.rig(COSCHEDULER).await;
    let (high, low) = (
        format!("high-{}", rig.namespace.name()),
        format!("low-{}", rig.namespace.name()),
    );
    let classes = Api::<PriorityClass>::all(rig.client.clone());
    for (name, value) in [(&high, 10), (&low, 1)] {
        let class = serde_json::from_value(json!({ "metadata": { "name": name }, "value": value })).unwrap();
        classes.create(&PostParams::default(), &class).await.unwrap();
    }
    let mut job = with(gang("ranked", 2), &min_available(2));
    for (role, class, cpu) in [("Master", &low, "1"), ("Worker", &high, "10")] {
        let pod = &mut job["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"];
        pod["priorityClassName"] = json!(class);
        pod["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu } });
    }
    rig.create(&job).await;
    let both_workers = |group: &PodGroup<Coscheduling>| group.spec["minResources"]["cpu"] == "20";
    rig.wait_group::<Coscheduling>("ranked", both_workers).await;
}

#[tokio::test]
async fn the_schedulers_reason_stands_in_the_status_as_long_as_the_gang_does_not_fit() {
    let rig = place().await.rig("volcano").await;
    rig.create(&gang("train", 1)).await;
    rig.wait_group::<Volcano>("train", |_| true).await;
    let unschedulable = |pods: u32| {
        json!({ "phase": "Inqueue", "conditions": [{ "type": "Unschedulable", "status": "True",
            "reason": "NotEnoughResources", "message": format!("{pods}/2 tasks in gang unschedulable") }] })
    };
    rig.schedule::<Volcano>("train", &unschedulable(2)).await;
    let text = "PodGroup train: Unschedulable: 2/2 tasks in gang unschedulable.";
    rig.wait("train", |job| message(job).contains(text)).await;
    assert_eq!(rig.wait_event("train", "Warning", "Unschedulable").await, text);
    rig.wait_pods("train", |pods| pods.len() == 2).await;

    let audit = rig.cluster.audit().unwrap();
    for pods in [1, 2, 1] {
        rig.schedule::<Volcano>("train", &unschedulable(pods)).await;
    }
    // Volcano leaves the condition where it is.
    rig.schedule::<Volcano>("train", &json!({ "phase": "Running" })).await;
    let fits = rig.wait("train", |job| !message(job).contains("Waiting")).await;
    assert_eq!(fits.outline(), ["Created"]);
    if let Some(audit) = audit {
        let statuses = AuditFilter {
            subresource: Some("status"),
            ..rig.writes()
        };
        assert_eq!(audit.count(&statuses).unwrap(), 1, "numbers are no news");
    }
}

#[tokio::test]
async fn w21_a_pending_group_costs_nothing_and_survives_the_operator_and_a_group_that_is_gone_is_made_again() {
    let mut rig = place().await.rig("volcano").await;
    rig.create(&gang("train", 1)).await;
    rig.wait("train", |job| message(job).contains("Waiting")).await;
    let group = rig.wait_group::<Volcano>("train", |_| true).await;
    rig.wait_event("train", "Normal", "SuccessfulCreatePodGroup").await;
    let audit = rig.cluster.audit().unwrap();
    for running in 0..5 {
        rig.schedule::<Volcano>("train", &json!({ "phase": "Pending", "running": running }))
            .await;
    }
    rig.end_operator(End::Kill).await;
    rig.go_on().await;
    // Another job runs through, so the first one has been looked at.
    rig.create(&gang("other", 0)).await;
    rig.wait_group::<Volcano>("other", |_| true).await;
    if let Some(audit) = &audit {
        let of_train = AuditFilter {
            name_prefix: Some("train"),
            ..rig.writes()
        };
        assert_eq!(audit.entries(&of_train).unwrap(), []);
    }
    rig.schedule::<Volcano>("train", &json!({ "phase": "Inqueue" })).await;
    run_pods(&rig, "train", 2).await;

    rig.api::<PodGroup<Volcano>>()
        .delete("train", &DeleteParams::default())
        .await
        .unwrap();
    rig.wait_group::<Volcano>("train", |new| new.metadata.uid != group.metadata.uid)
        .await;
    assert_eq!(rig.pod_names("train").await.len(), 2, "what runs goes on");
}

#[tokio::test]
async fn a_group_that_kubeflows_operator_made_is_taken_over_with_its_queue() {
    let mut rig = place().await.rig("volcano").await;
    // A job that is not ours until its group is there.
    let elsewhere = json!({ "spec": { "runPolicy": { "suspend": true } } });
    let created = rig.create(&with(gang("train", 1), &elsewhere)).await;
    rig.wait("train", |job| job.is("Suspended")).await;
    rig.end_operator(End::Stop).await;
    rig.patch("train", &json!({ "spec": { "runPolicy": { "suspend": false } } }))
        .await;
    let mut group = PodGroup::<Volcano>::new("train", json!({ "minMember": 2, "queue": "theirs" }));
    group.metadata.owner_references = serde_json::from_value(json!([{ "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob", "name": "train", "uid": created.metadata.uid, "controller": true }]))
    .unwrap();
    let theirs = rig.create_group(&group).await;
    rig.schedule::<Volcano>("train", &json!({ "phase": "Inqueue" })).await;
    rig.go_on().await;
    rig.wait_pods("train", |pods| pods.len() == 2).await;
    let ours = rig.wait_group::<Volcano>("train", |_| true).await;
    assert_eq!(
        (ours.metadata.uid, ours.spec["queue"].as_str()),
        (theirs.metadata.uid, Some("theirs"))
    );
    assert_eq!(ours.metadata.labels.unwrap()["training.kubeflow.org/job-name"], "train");
}

#[tokio::test]
async fn without_its_definition_jobs_wait_for_a_gang_scheduler_and_start_when_it_is_installed() {
    let cluster = own_cluster(Options::default()).await;
    if !cluster.is_ours() {
        return not_applicable("installs a gang scheduler that others find");
    }
    let place = Place::on(cluster).await;
    let rig = place.rig("volcano").await;
    rig.create(&gang("train", 0)).await;
    let waiting = rig.wait("train", |job| message(job).contains("Waiting")).await;
    let text = "the cluster has no PodGroups of scheduling.volcano.sh/v1beta1. Install Volcano.";
    assert_eq!(
        message(&waiting),
        format!("PyTorchJob train is created. Waiting: {text}")
    );
    assert_eq!(rig.wait_event("train", "Warning", "PodGroupsNotServed").await, text);
    let lines = |text: &str| rig.operator.log().lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines("PodGroups are not served"), lines("watch failed")), (1, 0));

    let file = definition("volcano.yaml").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-f", &file]).await.unwrap();
    rig.wait_group::<Volcano>("train", |_| true).await;
    rig.schedule::<Volcano>("train", &json!({ "phase": "Inqueue" })).await;
    run_pods(&rig, "train", 1).await;
    assert_eq!(lines("PodGroups are served"), 1);
}

#[tokio::test]
async fn auto_finds_the_gang_scheduler_and_the_event_of_the_group_names_it() {
    let place = place().await;
    if !place.cluster.is_ours() {
        return not_applicable("needs a cluster without gang schedulers");
    }
    let found = place.rig("auto").await;
    found.create(&gang("train", 0)).await;
    let told = found.wait_event("train", "Normal", "SuccessfulCreatePodGroup").await;
    assert_eq!(told, "Created PodGroup: train (scheduling.volcano.sh/v1beta1)");
    assert_eq!(groups::<Coscheduling>(&found).await, 0);

    let none = Place::shared().await.rig("auto").await;
    none.running(&job("train", 0)).await;
    assert!(none.operator.log().contains("found no gang scheduler"));
}

#[tokio::test]
async fn where_the_api_server_has_no_gangs_pods_run_one_by_one_and_the_job_says_so() {
    let rig = Place::shared().await.rig("kubernetes").await;
    rig.running(&job("train", 1)).await;
    let running = rig.wait("train", |job| message(job).contains("Warning")).await;
    assert!(
        message(&running).starts_with("PyTorchJob train is running. Warning: no gang is in force: this cluster has no"),
        "{}",
        message(&running)
    );
    let told = rig.wait_event("train", "Warning", "GangNotInForce").await;
    assert!(told.starts_with("no gang is in force"), "{told}");
}

#[tokio::test]
async fn without_a_gang_scheduler_no_pod_group_is_asked_for() {
    let place = place().await;
    let Some(audit) = place.cluster.audit().unwrap() else {
        return;
    };
    let rig = place.rig("none").await;
    rig.running(&gang("train", 1)).await;
    let requests = AuditFilter {
        user: Some(OPERATOR),
        namespace: Some(&rig.namespace),
        resource: Some("podgroups"),
        ..AuditFilter::default()
    };
    assert_eq!(audit.count(&requests).unwrap(), 0);
}

#[tokio::test]
async fn a_group_is_created_once_deleted_once_and_not_written_in_between() {
    let place = place().await;
    for scheduler in ["none", COSCHEDULER, "volcano"] {
        let rig = place.clone().rig(scheduler).await;
        let Some(audit) = rig.cluster.audit().unwrap() else {
            return;
        };
        rig.create(&gang("train", 3)).await;
        if scheduler == "volcano" {
            rig.wait("train", |job| message(job).contains("Waiting")).await;
            rig.wait_group::<Volcano>("train", |_| true).await;
            rig.schedule::<Volcano>("train", &json!({ "phase": "Inqueue" })).await;
        }
        run_pods(&rig, "train", 4).await;
        rig.set_phases(rig.pod_names("train").await, &PodPhase::Succeeded).await;
        rig.wait("train", |job| {
            job.is("Succeeded") && job.count("Worker", "succeeded") == 3
        })
        .await;
        let made = usize::from(scheduler != "none");
        if made > 0 {
            rig.wait_event("train", "Normal", "SuccessfulDeletePodGroup").await;
        }
        let requests = rig.requests(&audit);
        println!("{scheduler}: {requests:?}");
        let of_groups = |verb: &str| requests.get(&format!("{verb} podgroups")).copied().unwrap_or(0);
        let counts = ["create", "delete", "patch", "get"].map(of_groups);
        assert_eq!(counts, [made, made, 0, 0], "{scheduler}");
    }
}
