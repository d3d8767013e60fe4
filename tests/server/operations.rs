//! What those who run the operator rely on: hand-over, quotas, names that are taken, deletion.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{
    AuditFilter, Cluster, Operator, PodPhase, bind_pod, not_applicable, remove_pod, wait_for, wait_gone,
};
use serde_json::{Value, json};

use crate::job::{Job, job, job_with_policy, with};
use crate::rig::{End, Rig, TIMEOUT, failed, operator, replica_names, shipped_identity};

const LEASE: &str = "1ca428e5.training-operator.kubeflow.org";

/// A replica that competes for the lease of the shipped Deployment.
async fn replica(rig: &Rig, name: &str) -> Operator {
    let name = format!("--pod-name={name}");
    let arguments = ["--leader-elect", "--leader-election-namespace=kubeflow", &name];
    operator(&rig.kubeconfig, &rig.namespace, &arguments).await
}

async fn wait_leader(rig: &Rig, name: &str) {
    let leases = Api::<Lease>::namespaced(rig.client.clone(), "kubeflow");
    wait_for(&leases, LEASE, TIMEOUT, |lease| {
        let spec = lease.spec.as_ref();
        spec.and_then(|spec| spec.holder_identity.as_deref())
            .is_some_and(|holder| holder.starts_with(name))
    })
    .await
    .unwrap();
}

/// Requests that a replica has sent to change something other than its lease.
async fn writes_of(replica: &Operator) -> Vec<String> {
    let metrics = replica.metrics().await.unwrap();
    let is_write = |line: &&str| {
        line.starts_with("rest_client_requests_total") && !line.contains("method=\"GET\"") && !line.contains("leases")
    };
    metrics.lines().filter(is_write).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_standby_writes_nothing_until_the_leader_is_stopped_or_the_lease_of_a_killed_one_has_run_out() {
    let rig = Rig::start().await;
    rig.end_operator(End::Stop).await;
    let leader = replica(&rig, "first").await;
    wait_leader(&rig, "first").await;
    let standby = replica(&rig, "second").await;

    rig.succeeded(&job("before", 1)).await;
    assert!(!writes_of(&leader).await.is_empty());
    assert_eq!(writes_of(&standby).await, [""; 0]);

    let stopped = Instant::now();
    let after = job("after", 1);
    let (ended, _) = tokio::join!(leader.stop(), rig.create(&after));
    assert!(ended.unwrap().success());
    rig.wait("after", |job| job.is("Created")).await;
    let took = stopped.elapsed();
    wait_leader(&rig, "second").await;
    // The lease lasts 15 s; it was handed over, not waited for.
    assert!(took < Duration::from_secs(5), "{took:?}");
    println!("hand-over after SIGTERM, until the next job was served: {took:?}");

    let third = replica(&rig, "third").await;
    standby.kill().await;
    let killed = Instant::now();
    rig.create(&job("orphan", 1)).await;
    rig.wait("orphan", |job| job.is("Created")).await;
    let took = killed.elapsed();
    wait_leader(&rig, "third").await;
    assert_ne!(writes_of(&third).await, [""; 0]);
    // Nobody may act while the killed one might: it renewed its lease of 15 s at most two seconds before.
    assert!(took > Duration::from_secs(10), "{took:?}");
    println!("take-over after SIGKILL, until the next job was served: {took:?}");
}

#[tokio::test]
async fn two_replicas_without_an_election_tell_twice_and_do_nothing_wrong() {
    let rig = Rig::start().await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    let second = operator(&rig.kubeconfig, &rig.namespace, &[]).await;
    rig.running(&job_with_policy("twice", 2, "ExitCode")).await;
    let old = rig.set_phase("twice-worker-0", &failed(137)).await;
    rig.wait_replaced(&old).await;
    rig.set_phase("twice-worker-0", &PodPhase::Running).await;
    rig.wait("twice", |job| job.is("Running") && !job.is("Restarting"))
        .await;

    rig.suspended_and_resumed("twice", 3).await;
    rig.set_phase("twice-master-0", &PodPhase::Succeeded).await;
    let job = rig.wait("twice", |job| job.is("Succeeded")).await;
    assert_eq!(job.status["restarts"], 1);
    for replica in [&rig.operator, &second] {
        assert_ne!(writes_of(replica).await, [""; 0]);
    }
    let creations = AuditFilter {
        verb: Some("create"),
        resource: Some("pods"),
        ..rig.writes()
    };
    let creations = audit.entries(&creations).unwrap();
    let created = creations.iter().filter(|request| request.code == 201);
    assert_eq!(created.count(), 3 + 1 + 3);
}

/// Creates an object that has the name of a replica and nothing to do with the job.
async fn foreign_pod(rig: &Rig, name: &str) -> Pod {
    let pod = json!({
        "metadata": { "name": name },
        "spec": { "schedulerName": "the-test", "containers": [{ "name": "main", "image": "image" }] },
    });
    let pod = serde_json::from_value(pod).unwrap();
    rig.pods().create(&PostParams::default(), &pod).await.unwrap()
}

#[tokio::test]
async fn a_pod_of_somebody_else_that_has_a_name_of_the_job_is_left_alone_and_told_and_the_job_waits() {
    let rig = Rig::start().await;
    let foreign = foreign_pod(&rig, "taken-worker-0").await;
    rig.create(&job("taken", 1)).await;
    let note = rig.wait_event("taken", "Warning", "FailedCreatePod").await;
    assert!(
        note.contains("taken-worker-0") && note.contains("is controlled by nobody"),
        "{note}"
    );
    let job = rig.settle("taken").await;
    assert_eq!(job.outline(), ["Created"]);
    let now = rig.pods().get("taken-worker-0").await.unwrap();
    assert_eq!(now.metadata, foreign.metadata);

    remove_pod(&rig.client, &rig.namespace, "taken-worker-0").await.unwrap();
    rig.wait_pod_names("taken", &replica_names("taken", &["master-0", "worker-0"]))
        .await;
}

#[tokio::test]
async fn a_service_of_somebody_else_that_has_a_name_of_the_job_is_left_alone_and_told_and_the_job_waits() {
    let rig = Rig::start().await;
    let foreign: Service = serde_json::from_value(json!({
        "metadata": { "name": "taken-master-0" },
        "spec": { "ports": [{ "port": 80 }] },
    }))
    .unwrap();
    let foreign = rig.services().create(&PostParams::default(), &foreign).await.unwrap();
    rig.create(&job("taken", 1)).await;
    let note = rig.wait_event("taken", "Warning", "FailedCreateService").await;
    assert!(
        note.contains("taken-master-0") && note.contains("is controlled by nobody"),
        "{note}"
    );
    rig.settle("taken").await;
    let now = rig.services().get("taken-master-0").await.unwrap();
    assert_eq!(
        (now.uid(), now.resource_version()),
        (foreign.uid(), foreign.resource_version())
    );

    rig.services()
        .delete("taken-master-0", &DeleteParams::default())
        .await
        .unwrap();
    rig.wait_service_names("taken", &replica_names("taken", &["master-0", "worker-0"]))
        .await;
}

/// A job whose pods stay when they are deleted, until the test removes them.
async fn running_on_a_node(rig: &Rig, name: &str) -> (Job, Vec<String>) {
    let (created, pods) = rig.create_with_pods(&job(name, 1)).await;
    let pods: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    for pod in &pods {
        bind_pod(&rig.client, &rig.namespace, pod, "node").await.unwrap();
    }
    rig.set_phases(pods.clone(), &PodPhase::Running).await;
    rig.wait(name, |job| job.is("Running")).await;
    (created, pods)
}

async fn wait_terminating(rig: &Rig, job: &str) {
    rig.wait_pods(job, |pods| {
        !pods.is_empty() && pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_some())
    })
    .await;
}

#[tokio::test]
async fn a_job_created_again_waits_for_the_pods_of_its_predecessor_to_go_and_inherits_nothing() {
    let rig = Rig::start().await;
    let (old, pods) = running_on_a_node(&rig, "again").await;
    rig.jobs().delete("again", &DeleteParams::background()).await.unwrap();
    rig.wait_gone("again").await;
    let new = rig.create(&job("again", 1)).await;
    assert_ne!(new.uid(), old.uid());
    wait_terminating(&rig, "again").await;
    let waiting = rig.settle("again").await;
    assert_eq!(waiting.outline(), ["Created"]);
    assert_eq!(waiting.count("Master", "active"), 1, "the one that is to come");
    assert_eq!(waiting.status["ready"], "0/2", "those are the predecessor's");

    for pod in &pods {
        remove_pod(&rig.client, &rig.namespace, pod).await.unwrap();
    }
    let uid = new.uid().unwrap();
    let of_new = |pod: &Pod| pod.owner_references().iter().all(|owner| owner.uid == uid);
    let pods = rig
        .wait_pods("again", |pods| pods.len() == 2 && pods.iter().all(of_new))
        .await;
    rig.set_phases(pods.iter().map(ResourceExt::name_any), &PodPhase::Running)
        .await;
    rig.set_phase("again-master-0", &PodPhase::Succeeded).await;
    rig.wait("again", |job| job.is("Succeeded")).await;
}

async fn nothing_is_recreated_after(deletion: DeleteParams) {
    let rig = Rig::start().await;
    let (_, pods) = running_on_a_node(&rig, "deleted").await;
    // The last event about the living job; events are published beside the work they tell of.
    rig.wait_event("deleted", "Normal", "SuccessfulCreatePod").await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    rig.jobs().delete("deleted", &deletion).await.unwrap();
    wait_terminating(&rig, "deleted").await;
    for pod in &pods {
        remove_pod(&rig.client, &rig.namespace, pod).await.unwrap();
        wait_gone(&rig.pods(), pod, TIMEOUT).await.unwrap();
    }
    rig.wait_gone("deleted").await;
    rig.wait_service_names("deleted", &[]).await;
    // A later job, which the operator serves: it has passed by the deleted one then.
    rig.succeeded(&job("marker", 0)).await;
    let about_it = AuditFilter {
        name_prefix: Some("deleted"),
        ..rig.writes()
    };
    assert_eq!(audit.entries(&about_it).unwrap(), []);
    assert_eq!(rig.pod_names("deleted").await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_recreated_after_a_job_is_deleted() {
    nothing_is_recreated_after(DeleteParams::background()).await;
}

#[tokio::test]
async fn nothing_is_recreated_while_a_job_is_deleted_in_the_foreground() {
    nothing_is_recreated_after(DeleteParams::foreground()).await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told_by_name_and_the_job_goes_on_when_it_is_raised() {
    let rig = Rig::start().await;
    rig.quota("pods", 1).await;
    rig.create(&job("limited", 2)).await;
    let note = rig.wait_event("limited", "Warning", "FailedCreatePod").await;
    assert!(note.contains("exceeded quota: pods"), "{note}");
    assert!(
        !note.contains("Status {"),
        "words for people, not the dump of a structure: {note}"
    );
    let job = rig.settle("limited").await;
    assert_eq!(job.outline(), ["Created"], "it has a status (W12)");
    // The first pods are asked for at once, so any of them may be the one.
    assert_eq!(rig.pod_names("limited").await.len(), 1);

    rig.quota("pods", 3).await;
    rig.wait_pod_names(
        "limited",
        &replica_names("limited", &["master-0", "worker-0", "worker-1"]),
    )
    .await;
}

#[tokio::test]
async fn a_status_does_not_wait_for_the_pause_after_a_failed_creation() {
    let rig = Rig::start().await;
    rig.quota("services", 1).await;
    rig.create_with_pods(&job("limited", 1)).await;
    // By the time this deadline comes, the pause between two attempts is 6.4 s, shortened by a fifth at most.
    rig.create(&with(
        job("clock", 0),
        &json!({ "spec": { "activeDeadlineSeconds": 7 } }),
    ))
    .await;
    rig.wait_finished("clock").await;

    let running = clock::now().as_second();
    rig.set_phase("limited-master-0", &PodPhase::Running).await;
    let job = rig.wait("limited", |job| job.is("Running")).await;
    let written = job.condition("Running").unwrap()["lastTransitionTime"].clone();
    let written: k8s_openapi::jiff::Timestamp = serde_json::from_value(written).unwrap();
    assert!(
        written.as_second() - running <= 1,
        "{} s later",
        written.as_second() - running
    );
}

#[tokio::test]
async fn each_line_of_the_log_about_a_job_has_its_namespace_and_name() {
    let cluster = Cluster::shared().await;
    let (namespace, kubeconfig) = (
        cluster.namespace("logs").await.unwrap(),
        shipped_identity(cluster).await,
    );
    let rig = Rig::start_with(cluster, namespace, kubeconfig, &["--zap-log-level=debug"]).await;
    rig.quota("pods", 0).await;
    rig.create(&job("limited-1", 0)).await;
    rig.wait_event("limited-1", "Warning", "FailedCreatePod").await;
    rig.settle("limited-1").await;
    rig.jobs().delete("limited-1", &DeleteParams::default()).await.unwrap();
    rig.wait_gone("limited-1").await;
    rig.create(&job("limited-2", 0)).await;
    rig.settle("limited-2").await;
    rig.end_operator(End::Stop).await;

    let log = rig.operator.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = |line: &Value| line["target"].as_str().unwrap().starts_with("pytorchjob_operator");
    let lines: Vec<Value> = lines.filter(ours).collect();
    let is_about = |line: &Value, job: &str| line["namespace"] == *rig.namespace && line["name"] == job;
    for message in ["reconciled", "reconcile failed; trying again later", "job is gone"] {
        let said = |line: &Value| line["message"] == message && is_about(line, "limited-1");
        assert!(lines.iter().any(said), "{message}: {lines:#?}");
    }
    for job in ["limited-1", "limited-2"] {
        let about = lines.iter().filter(|line| line.to_string().contains(job));
        let mut unnamed = about.filter(|line| !is_about(line, job) && line["kind"].is_null());
        assert_eq!(unnamed.next(), None);
    }
}
