//! `runPolicy.progressPolicy` on the API server: the kubelet's word is the readiness of the container.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::PodPhase;
use serde_json::{Value, json};

use crate::job::{Job, job, with};
use crate::rig::{End, Rig, names};

fn with_progress(name: &str, action: &str, startup: i64) -> Value {
    let policy = json!({ "file": "/ckpt", "deadlineSeconds": 10, "startupSeconds": startup, "action": action });
    with(
        job(name, 1),
        &json!({ "spec": { "runPolicy": { "progressPolicy": policy } } }),
    )
}

/// Says what the kubelet says when the readiness probe of the pod has failed for a minute, or succeeds again. Its clock
/// is behind, so that nobody has to wait for that minute.
async fn set_ready(rig: &Rig, pod: &str, ready: bool) {
    let mut status = rig.pods().get(pod).await.unwrap().status.unwrap();
    let value = if ready { "True" } else { "False" };
    for condition in status.conditions.iter_mut().flatten() {
        if ["Ready", "ContainersReady"].contains(&condition.type_.as_str()) {
            (condition.status, condition.last_transition_time) = (value.to_owned(), Some(behind()));
        }
    }
    for container in status.container_statuses.iter_mut().flatten() {
        container.ready = ready;
        let running = container.state.as_mut().and_then(|state| state.running.as_mut());
        running.unwrap().started_at = Some(behind());
    }
    let patch =
        json!({ "status": { "conditions": status.conditions, "containerStatuses": status.container_statuses } });
    rig.pods()
        .patch_status(pod, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

fn last_condition(job: &Job) -> String {
    job.conditions().last().unwrap()[0].to_owned()
}

#[tokio::test]
async fn ranks_that_stand_still_start_the_whole_job_again_once_over_a_crash_of_the_operator() {
    let mut rig = Rig::start().await;
    let scope = json!({ "spec": { "runPolicy": { "restartScope": "Job", "backoffLimit": 1 } } });
    let job = with(with_progress("hangs", "Restart", 1), &scope);
    let (_, before) = rig.create_with_pods(&job).await;
    let probe = before[0].spec.as_ref().unwrap().containers[0]
        .readiness_probe
        .clone()
        .unwrap();
    let command = probe.exec.unwrap().command.unwrap();
    assert_eq!(command[4..], ["/ckpt", "10"], "the API server has stored the probe");
    rig.set_phases(names(&before), &PodPhase::Running).await;
    rig.wait("hangs", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;

    rig.end_operator(End::Kill).await;
    for pod in names(&before) {
        set_ready(&rig, &pod, false).await;
    }
    rig.go_on().await;
    rig.wait("hangs", |job| job.is("Stalled")).await;
    let old: Vec<_> = before.iter().map(|pod| pod.metadata.uid.clone()).collect();
    let replaced = |pods: &[Pod]| pods.len() == 2 && pods.iter().all(|pod| !old.contains(&pod.metadata.uid));
    let after = rig.wait_pods("hangs", replaced).await;
    rig.set_phases(names(&after), &PodPhase::Running).await;
    let job = rig.wait("hangs", |job| job.is("Running") && !job.is("Stalled")).await;
    assert_eq!(job.status["restarts"], 1, "two ranks, one restart");
    assert_eq!(job.status["firstFailure"]["class"], "Stalled");
    assert_eq!(job.status["attempts"][0]["firstFailure"]["class"], "Stalled");
    assert_eq!(job.condition("Stalled").unwrap()["reason"], "TrainingProgresses");
    assert_eq!(last_condition(&job), "Running");
    let note = rig.wait_event("hangs", "Warning", "ProgressDeadlineExceeded").await;
    assert!(note.starts_with("hangs-") && note.contains(" to /ckpt"), "{note}");
}

#[tokio::test]
async fn a_rank_that_never_writes_is_told_when_the_time_for_its_start_is_over_and_not_before() {
    let rig = Rig::start().await;
    let (_, pods) = rig.create_with_pods(&with_progress("mute", "Warn", 4)).await;
    rig.set_phases(names(&pods), &PodPhase::Running).await;
    set_ready(&rig, "mute-worker-0", false).await;
    let stalled = rig.wait("mute", |job| job.is("Stalled")).await;
    assert_eq!(
        last_condition(&stalled),
        "Running",
        "clients take the last one for the state"
    );
    let told: Timestamp = time(&stalled.condition("Stalled").unwrap()["lastTransitionTime"]);
    let runs = time(&stalled.condition("Running").unwrap()["lastTransitionTime"]);
    let took = told.duration_since(runs).as_secs();
    assert!((4..=6).contains(&took), "told after {took} s");
    set_ready(&rig, "mute-worker-0", true).await;
    let job = rig.wait("mute", |job| !job.is("Stalled")).await;
    assert_eq!((&job.status["restarts"], job.is("Running")), (&Value::Null, true));
    rig.wait_event("mute", "Normal", "TrainingProgresses").await;
}

#[tokio::test]
async fn a_stall_fails_the_job_where_the_policy_says_so() {
    let rig = Rig::start().await;
    rig.running(&with_progress("given-up", "Fail", 1)).await;
    set_ready(&rig, "given-up-master-0", false).await;
    let failed = rig.wait_finished("given-up").await;
    // The container may have been started in the same second.
    let why = "PyTorchJob given-up is failed because progressPolicy says Fail. given-up-master-0 runs and has ";
    assert!(failed.why().starts_with(why), "{}", failed.why());
    assert!(!failed.is("Stalled"), "a finished job does not stall");
    assert_eq!(
        failed.condition("Stalled").unwrap()["reason"],
        "ProgressDeadlineExceeded"
    );
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a kubelet reports what its own clock says")]
fn behind() -> Time {
    Time(Timestamp::now() - SignedDuration::from_mins(1))
}
