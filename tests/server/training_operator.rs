//! Kubeflow's own operator: jobs are taken over from it in every phase, and handed back to it, while their pods run.
//! `make test-take-over` builds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use pytorchjob_operator::api::crd;
use pytorchjob_test_cluster::{Cluster, Operator, PodPhase, not_applicable, training_operator, wait_for};
use serde_json::{Value, json};

use crate::job::{Job, job, job_with_policy, suspend, with};
use crate::rig::{End, Rig, cluster_without_definition, failed, install_identity};
use crate::taken_over::what_each_definition_lets_in_is_taken_over;

/// It waits for certificates of its own making before it works.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Runs it for one namespace, as administrator.
async fn start(cluster: &Cluster, namespace: &str) -> Operator {
    let kubeconfig = cluster.admin_kubeconfig();
    training_operator::start(cluster, kubeconfig, &[&format!("--namespace={namespace}")])
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs the definitions of Kubeflow's operator: make test-take-over"]
async fn what_each_definition_of_kubeflow_lets_in_goes_on_and_stays_writable_under_ours() {
    what_each_definition_lets_in_is_taken_over().await;
}

/// Jobs as Kubeflow's users write them, and what becomes of their pods while Kubeflow's operator runs them.
fn jobs() -> Vec<(Value, Vec<(&'static str, PodPhase)>)> {
    let running = |replicas: &[&'static str]| replicas.iter().map(|&name| (name, PodPhase::Running)).collect();
    let policy = |patch: Value| json!({ "spec": { "runPolicy": patch } });
    let metric = json!({ "type": "Resource", "resource": {
        "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 },
    } });
    let elastic = json!({ "spec": { "elasticPolicy": { "minReplicas": 1, "maxReplicas": 3, "metrics": [metric] } } });
    vec![
        (job("running", 2), running(&["master-0", "worker-0", "worker-1"])),
        (job("partly", 1), running(&["master-0"])),
        (
            with(
                job("limited", 1),
                &policy(json!({ "activeDeadlineSeconds": 3600, "cleanPodPolicy": "All" })),
            ),
            running(&["master-0", "worker-0"]),
        ),
        (
            with(job("elastic", 2), &elastic),
            running(&["master-0", "worker-0", "worker-1"]),
        ),
        (
            job_with_policy("restarted", 1, "ExitCode"),
            vec![("master-0", PodPhase::Running), ("worker-0", failed(137))],
        ),
        (
            job("succeeded", 0),
            vec![("master-0", PodPhase::Running), ("master-0", PodPhase::Succeeded)],
        ),
        (
            job_with_policy("failed", 1, "Never"),
            vec![("worker-0", PodPhase::Running), ("master-0", failed(1))],
        ),
        (with(job("suspended", 1), &suspend(true)), vec![]),
        (
            with(job("over", 1), &policy(json!({ "activeDeadlineSeconds": 1 }))),
            running(&["master-0", "worker-0"]),
        ),
    ]
}

/// Whether Kubeflow's operator has come to the end of what [`jobs`] makes of this one.
fn arrived(job: &Job) -> bool {
    match job.name() {
        "succeeded" => job.is("Succeeded"),
        "failed" | "over" => job.is("Failed"),
        "suspended" => job.is("Suspended"),
        // Its pod tells.
        "restarted" => true,
        _ => job.is("Running"),
    }
}

/// Kubeflow's operator looks at a deadline when something happens to the job, so something does until it has looked.
async fn expire(rig: &Rig, name: &str) {
    for attempt in 0.. {
        let edited = rig
            .patch(
                name,
                &json!({ "metadata": { "annotations": { "attempt": attempt.to_string() } } }),
            )
            .await;
        if edited.is("Failed") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn bring_there(rig: &Rig) {
    for (job, phases) in jobs() {
        let name = rig.create(&job).await.name().to_owned();
        for (replica, phase) in phases {
            let pod = format!("{name}-{replica}");
            wait_for(&rig.pods(), &pod, TIMEOUT, |_| true).await.unwrap();
            rig.set_phase(&pod, &phase).await;
        }
        if name == "over" {
            expire(rig, &name).await;
        }
        wait_for(&rig.jobs(), &name, TIMEOUT, arrived).await.unwrap();
    }
    let again = |pod: &Pod| {
        pod.status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Pending"))
    };
    wait_for(&rig.pods(), "restarted-worker-0", TIMEOUT, again)
        .await
        .unwrap();
}

/// UIDs of all pods and autoscalers, by name.
async fn children(rig: &Rig) -> BTreeMap<String, Option<String>> {
    let all = ListParams::default();
    let pods = rig.pods().list(&all).await.unwrap().items;
    let autoscalers = rig.api::<HorizontalPodAutoscaler>().list(&all).await.unwrap().items;
    let pods = pods.iter().map(|pod| (pod.name_any(), pod.uid()));
    pods.chain(autoscalers.iter().map(|object| (object.name_any(), object.uid())))
        .collect()
}

/// The conditions that are True, by job.
async fn conditions(rig: &Rig) -> BTreeMap<String, BTreeSet<String>> {
    let jobs = rig.jobs().list(&ListParams::default()).await.unwrap().items;
    let is = |job: &Job| {
        job.outline()
            .into_iter()
            .filter(|name| !name.starts_with('-'))
            .collect()
    };
    jobs.iter().map(|job| (job.name().to_owned(), is(job))).collect()
}

/// A job that comes later has run to its end under whoever is there now, and so has been looked at what was there.
async fn later(rig: &Rig, name: &str) {
    rig.create(&job(name, 0)).await;
    let pod = format!("{name}-master-0");
    wait_for(&rig.pods(), &pod, TIMEOUT, |_| true).await.unwrap();
    rig.set_phase(&pod, &PodPhase::Succeeded).await;
    wait_for(&rig.jobs(), name, TIMEOUT, |job: &Job| job.is("Succeeded"))
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs target/training-operator and root: make test-take-over"]
async fn jobs_in_every_phase_go_from_kubeflows_operator_to_ours_and_back_and_no_pod_notices() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    let identity = install_identity(cluster).await;
    training_operator::install(cluster).await.unwrap();
    let kubeflows = training_operator::definition().expect("make test-take-over builds target/training-operator");
    let kubeflows = fs::read_to_string(kubeflows).unwrap();
    cluster.install_crd(&kubeflows).await.unwrap();
    let namespace = cluster.namespace("handed-over").await.unwrap();
    let mut rig = Rig::start_in(cluster, namespace, identity).await;
    rig.end_operator(End::Stop).await;

    let kubeflow = start(cluster, &rig.namespace).await;
    bring_there(&rig).await;
    later(&rig, "first").await;
    kubeflow.stop().await.unwrap();
    let (made, said) = (children(&rig).await, conditions(&rig).await);
    assert!(
        made.contains_key("elastic") && made.contains_key("over-master-0"),
        "{made:?}"
    );

    // Ours, in the order of docs/operations.md: the definition, then the operator.
    cluster
        .install_crd(&serde_json::to_string(&crd()).unwrap())
        .await
        .unwrap();
    let audit = cluster.audit().unwrap().unwrap();
    rig.go_on().await;
    for (name, _) in said
        .iter()
        .filter(|(_, said)| !said.contains("Succeeded") && !said.contains("Failed"))
    {
        rig.wait(name, |job| job.status["observedGeneration"].is_i64()).await;
    }
    later(&rig, "second").await;
    let ours = children(&rig).await;
    let (mut kept, mut known) = (ours.clone(), conditions(&rig).await);
    kept.retain(|name, _| made.contains_key(name));
    known.retain(|name, _| said.contains_key(name));
    assert_eq!(kept, made, "no pod and no autoscaler is replaced");
    assert_eq!(known, said);
    let writes = rig.requests(&audit);
    assert_eq!(writes.get("delete pods"), None, "{writes:?}");
    // One status for each job that goes on, and those of the job that came later.
    let going_on = 6;
    assert!(writes["patch pytorchjobs"] <= going_on + 4, "{writes:?}");

    rig.end_operator(End::Stop).await;
    cluster.install_crd(&kubeflows).await.unwrap();
    let kubeflow = start(cluster, &rig.namespace).await;
    later(&rig, "third").await;
    let mut kept = children(&rig).await;
    kept.retain(|name, _| ours.contains_key(name));
    assert_eq!(kept, ours, "nothing is replaced on the way back either");
    for name in ["running", "limited", "elastic", "restarted"] {
        rig.set_phase(&format!("{name}-master-0"), &PodPhase::Succeeded).await;
        wait_for(&rig.jobs(), name, TIMEOUT, |job: &Job| job.is("Succeeded"))
            .await
            .unwrap();
    }
    rig.patch("suspended", &suspend(false)).await;
    wait_for(&rig.pods(), "suspended-master-0", TIMEOUT, |_| true)
        .await
        .unwrap();
    kubeflow.stop().await.unwrap();
}
