//! What a job costs the API server, from the audit log: what it takes to run it, and nothing once it has settled.

use std::collections::BTreeMap;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::{Audit, AuditEntry, AuditFilter, Cluster, PodPhase, not_applicable};
use serde_json::json;

use crate::job::{job, job_with_policy};
use crate::rig::{End, OPERATOR, Rig, failed};

/// Lists and reads of the operator; its watches are not among them.
/// Each read, but for the one list by which an operator that begins to lead looks for autoscalers of Kubeflow's.
fn reads(rig: &Rig, audit: &Audit) -> Vec<AuditEntry> {
    let of_verb = |verb| AuditFilter {
        user: Some(OPERATOR),
        namespace: Some(&rig.namespace),
        verb: Some(verb),
        ..AuditFilter::default()
    };
    ["get", "list"]
        .into_iter()
        .flat_map(|verb| audit.entries(&of_verb(verb)).unwrap())
        .filter(|entry| !entry.uri.contains("/horizontalpodautoscalers?&labelSelector="))
        .collect()
}

/// Verb and resource of each write.
fn writes(rig: &Rig, audit: &Audit, name_prefix: &str) -> Vec<String> {
    let filter = AuditFilter {
        name_prefix: Some(name_prefix),
        ..rig.writes()
    };
    let entries = audit.entries(&filter).unwrap();
    entries
        .into_iter()
        .map(|entry| format!("{} {} {} {}", entry.verb, entry.resource, entry.subresource, entry.name))
        .collect()
}

#[tokio::test]
async fn a_job_of_four_pods_costs_at_most_thirteen_writes_and_no_read_until_it_has_succeeded() {
    let rig = Rig::start().await;
    // What is asked once, when the operator begins to lead, has been asked by then.
    rig.succeeded(&job("first", 0)).await;
    rig.wait_event("first", "Normal", "PyTorchJobSucceeded").await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    let (_, pods) = rig.create_with_pods(&job("cost", 3)).await;
    let pods: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    rig.set_phases(pods.clone(), &PodPhase::Running).await;
    rig.wait("cost", |job| job.is("Running")).await;
    rig.set_phases(pods, &PodPhase::Succeeded).await;
    rig.wait("cost", |job| job.is("Succeeded")).await;
    rig.wait_event("cost", "Normal", "PyTorchJobSucceeded").await;

    let written = writes(&rig, &audit, "");
    println!("writes from creation to success: {}", written.len());
    assert!(written.len() <= 13, "{} writes: {written:#?}", written.len());
    assert!(
        written.len() >= 11,
        "4 pods, 4 services, 2 statuses and an event at least: {written:#?}"
    );
    assert_eq!(reads(&rig, &audit), []);
}

/// What `requests` may be at most; what is not named must not be there.
fn assert_at_most(scenario: &str, requests: &BTreeMap<String, usize>, most: &[(&str, usize)]) {
    println!("{scenario}: {requests:?}");
    for (request, count) in requests {
        let allowed = most
            .iter()
            .find(|(other, _)| other == request)
            .map_or(0, |(_, most)| *most);
        assert!(
            *count <= allowed,
            "{scenario}: {count} times {request}, and at most {allowed} are due"
        );
    }
}

#[tokio::test]
async fn failure_suspension_and_size_cost_what_they_change() {
    let audit = Cluster::shared().await.audit().unwrap();
    let Some(audit) = audit else {
        return not_applicable("counts requests in the audit log");
    };
    // One rig each: requests are counted by namespace.
    let rig = Rig::start().await;
    rig.running(&job_with_policy("fails", 3, "Never")).await;
    rig.set_phase("fails-master-0", &failed(1)).await;
    rig.wait("fails", |job| job.is("Failed")).await;
    rig.wait_pods("fails", |pods| pods.len() == 1).await;
    rig.wait_event("fails", "Warning", "PyTorchJobFailed").await;
    let most = [
        ("create pods", 4),
        ("create services", 4),
        ("delete pods", 3),
        ("delete services", 4),
        ("patch pytorchjobs", 4),
        ("create events", 3),
        ("patch events", 0),
    ];
    assert_at_most("a failure, four pods", &rig.requests(&audit), &most);

    let rig = Rig::start().await;
    rig.running(&job("rests", 3)).await;
    rig.suspended_and_resumed("rests", 4).await;
    let most = [
        // An edit of the user that meets a write of the status is read.
        ("get pytorchjobs", 2),
        ("create pods", 8),
        ("create services", 8),
        ("delete pods", 4),
        ("delete services", 4),
        ("patch pytorchjobs", 8),
        ("create events", 6),
        ("patch events", 2),
    ];
    assert_at_most("suspended and resumed, four pods", &rig.requests(&audit), &most);

    let rig = Rig::start().await;
    rig.succeeded(&job("large", 64)).await;
    rig.wait_event("large", "Normal", "PyTorchJobSucceeded").await;
    let most = [
        ("create pods", 65),
        ("create services", 65),
        ("patch pytorchjobs", 8),
        ("create events", 4),
        ("patch events", 4),
    ];
    assert_at_most("65 pods", &rig.requests(&audit), &most);
}

#[tokio::test]
async fn a_settled_job_causes_no_write_whatever_happens_around_it_or_to_the_operator() {
    let mut rig = Rig::start().await;
    rig.running(&job("settled-running", 1)).await;
    rig.succeeded(&job("settled-finished", 1)).await;
    rig.settle("settled-running").await;
    rig.settle("settled-finished").await;
    // Events are published beside the work they tell of; these are the last ones of their jobs.
    rig.wait_event("settled-running", "Normal", "SuccessfulCreatePod").await;
    rig.wait_event("settled-finished", "Normal", "PyTorchJobSucceeded")
        .await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };

    // Events that call for nothing: of the jobs, of their pods, of others.
    let label = json!({ "metadata": { "labels": { "seen": "yes" } } });
    let pods = rig.pods().list(&kube::api::ListParams::default()).await.unwrap().items;
    join_all(pods.iter().map(async |pod| {
        rig.pods()
            .patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&label))
            .await
            .unwrap();
    }))
    .await;
    for name in ["settled-running", "settled-finished"] {
        rig.patch(name, &label).await;
    }
    rig.succeeded(&job("other", 1)).await;
    assert_eq!(writes(&rig, &audit, "settled-"), [""; 0]);
    assert_eq!(reads(&rig, &audit), []);

    rig.end_operator(End::Kill).await;
    rig.go_on().await;
    rig.succeeded(&job("another", 1)).await;
    assert_eq!(writes(&rig, &audit, "settled-"), [""; 0], "after a restart");
}
