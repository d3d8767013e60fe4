//! `runPolicy.startupDeadlineSeconds` on the API server: never early, hardly late, whatever comes between.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::{PodPhase, bind_pod, remove_pod};
use serde_json::{Value, json};

use crate::job::{Job, job, with};
use crate::rig::{End, Rig, names, replica_names};

const SECONDS: i64 = 6;
const UNSCHEDULABLE: &str = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";

fn with_deadline(name: &str, policy: &Value) -> Value {
    let policy = with(json!({ "startupDeadlineSeconds": SECONDS }), policy);
    with(job(name, 1), &json!({ "spec": { "runPolicy": policy } }))
}

/// Creates the job, lets its Master run, and its worker not: the scheduler cannot place it.
async fn half_started(rig: &Rig, job: &Value) -> Job {
    let (job, _) = rig.create_with_pods(job).await;
    let name = job.name();
    let conditions = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": UNSCHEDULABLE }]);
    let patch = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
    let worker = format!("{name}-worker-0");
    rig.pods()
        .patch_status(&worker, &PatchParams::default(), &patch)
        .await
        .unwrap();
    rig.set_phase(&format!("{name}-master-0"), &PodPhase::Running).await;
    rig.wait(name, |job| job.is("Running") && job.second("startingSince").is_some())
        .await
}

/// When the condition became True, in seconds since the epoch.
fn since(job: &Job, condition: &str) -> i64 {
    let time = job.condition(condition).unwrap()["lastTransitionTime"].clone();
    let time: k8s_openapi::jiff::Timestamp = serde_json::from_value(time).unwrap();
    time.as_second()
}

#[tokio::test]
async fn a_job_whose_pods_do_not_all_run_in_time_fails_in_time_over_a_restart_of_the_operator() {
    let mut rig = Rig::start().await;
    let started = half_started(&rig, &with_deadline("late", &json!({}))).await;
    rig.end_operator(End::Kill).await;
    rig.go_on().await;
    let failed = rig.wait_finished("late").await;
    let took = failed.second("completionTime").unwrap() - started.second("startingSince").unwrap();
    assert!((SECONDS..=SECONDS + 1).contains(&took), "{took} s");
    assert_eq!(
        failed.why(),
        format!(
            "Job late has failed because not all of its pods ran within startupDeadlineSeconds ({SECONDS} s): \
             pod late-worker-0: Unschedulable: {UNSCHEDULABLE}"
        )
    );
    rig.wait_pod_names("late", &[]).await;
}

#[tokio::test]
async fn a_job_that_gives_up_has_no_pods_keeps_its_spec_and_tries_again_after_an_edit() {
    let rig = Rig::start().await;
    let policy = json!({ "startupDeadlineAction": "Suspend" });
    let started = half_started(&rig, &with_deadline("tired", &policy)).await;
    let given_up = rig.wait("tired", |job| job.is("Suspended")).await;
    let took = since(&given_up, "Suspended") - started.second("startingSince").unwrap();
    assert!((SECONDS..=SECONDS + 1).contains(&took), "{took} s");
    let [_, _, reason, message] = given_up.conditions().last().copied().unwrap();
    assert_eq!(reason, "StartupDeadlineExceeded");
    assert!(
        message.ends_with(&format!("pod tired-worker-0: Unschedulable: {UNSCHEDULABLE}")),
        "{message}"
    );
    assert_eq!(rig.wait_event("tired", "Warning", reason).await, message);
    assert_eq!(
        (&given_up.spec, given_up.metadata.generation),
        (&started.spec, started.metadata.generation),
        "the spec is the user's"
    );
    rig.wait_pod_names("tired", &[]).await;
    rig.wait_service_names("tired", &[]).await;

    let later = json!({ "spec": { "runPolicy": { "startupDeadlineSeconds": 600 } } });
    rig.patch("tired", &later).await;
    let pods = rig.wait_pods("tired", |pods| pods.len() == 2).await;
    rig.set_phases(names(&pods), &PodPhase::Running).await;
    let running = rig
        .wait("tired", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    assert_eq!(running.outline(), ["Created", "-Suspended", "Running"]);
    assert_eq!(running.status["startingSince"], Value::Null);
}

#[tokio::test]
async fn a_job_that_starts_again_because_of_its_deadline_counts_one_restart_and_no_old_pod_meets_a_new_one() {
    let rig = Rig::start().await;
    let policy = json!({ "startupDeadlineAction": "Restart", "restartScope": "Job" });
    half_started(&rig, &with_deadline("again", &policy)).await;
    // The pod of a node has time to end, and the one that no node has taken goes at once.
    let master = "again-master-0";
    bind_pod(&rig.client, &rig.namespace, master, "node").await.unwrap();
    let restarting = rig.wait("again", |job| job.is("Restarting")).await;
    assert_eq!(restarting.status["restarts"], 1);
    // The next attempt has all the time that it needs here.
    let later = json!({ "spec": { "runPolicy": { "startupDeadlineSeconds": 600 } } });
    rig.patch("again", &later).await;
    let ends = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    rig.wait_pods("again", |pods| names(pods) == [master] && pods.iter().all(ends))
        .await;
    remove_pod(&rig.client, &rig.namespace, master).await.unwrap();
    rig.wait_pod_names("again", &replica_names("again", &["master-0", "worker-0"]))
        .await;
    let job = rig
        .wait("again", |job| {
            job.status["attempts"][1]["number"] == 2 && job.second("startingSince").is_some()
        })
        .await;
    assert_eq!(job.status["restarts"], 1);
    assert_eq!(job.status["startingSince"], job.status["attempts"][1]["started"]);
}
