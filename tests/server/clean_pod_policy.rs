//! `cleanPodPolicy` on live pods and services: what is left once a job has finished.

use pytorchjob_test_cluster::PodPhase;
use serde_json::{Value, json};

use crate::job::{Spelling, in_both_spellings, job_with_policy, with};
use crate::rig::{Rig, failed, names, replica_names};

/// A job whose Master has decided it, while worker 0 has ended, worker 1 runs and worker 2 is pending.
async fn decided(rig: &Rig, name: &str, policy: &Value, outcome: &PodPhase) {
    let job = with(job_with_policy(name, 3, "Never"), policy);
    let (_, pods) = rig.create_with_pods(&job).await;
    let pod = |replica: &str| format!("{name}-{replica}");
    assert_eq!(
        names(&pods),
        replica_names(name, &["master-0", "worker-0", "worker-1", "worker-2"])
    );
    rig.set_phase(&pod("master-0"), &PodPhase::Running).await;
    rig.set_phase(&pod("worker-0"), &PodPhase::Succeeded).await;
    rig.set_phase(&pod("worker-1"), &PodPhase::Running).await;
    rig.wait(name, |job| {
        job.count("Worker", "succeeded") == 1 && job.status["ready"] == "3/4"
    })
    .await;
    rig.set_phase(&pod("master-0"), outcome).await;
    rig.wait_finished(name).await;
}

/// Decides a job in both spellings of the policy and checks what is left.
async fn leaves(policy: Value, outcome: PodPhase, left: &[&str]) {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        decided(&rig, name, &spelling.policy("cleanPodPolicy", policy.clone()), &outcome).await;
        let after = rig.settle(name).await;
        assert_eq!(after.is("Succeeded"), outcome == PodPhase::Succeeded);
        assert_eq!(rig.pod_names(name).await, replica_names(name, left), "pods");
        assert_eq!(rig.service_names(name).await, replica_names(name, left), "services");
    })
    .await;
}

const ALL: [&str; 4] = ["master-0", "worker-0", "worker-1", "worker-2"];
const ENDED: [&str; 2] = ["master-0", "worker-0"];

#[tokio::test]
async fn unset_keeps_everything_of_a_job_that_succeeded() {
    leaves(Value::Null, PodPhase::Succeeded, &ALL).await;
}

#[tokio::test]
async fn unset_stops_what_runs_and_keeps_what_has_ended_of_a_job_that_failed() {
    leaves(Value::Null, failed(1), &ENDED).await;
}

#[tokio::test]
async fn none_deletes_nothing_of_a_job_that_succeeded() {
    leaves(json!("None"), PodPhase::Succeeded, &ALL).await;
}

#[tokio::test]
async fn none_deletes_nothing_of_a_job_that_failed() {
    leaves(json!("None"), failed(1), &ALL).await;
}

#[tokio::test]
async fn running_keeps_what_has_ended_of_a_job_that_succeeded() {
    leaves(json!("Running"), PodPhase::Succeeded, &ENDED).await;
}

#[tokio::test]
async fn running_keeps_what_has_ended_of_a_job_that_failed() {
    leaves(json!("Running"), failed(1), &ENDED).await;
}

#[tokio::test]
async fn all_deletes_everything_of_a_job_that_succeeded() {
    leaves(json!("All"), PodPhase::Succeeded, &[]).await;
}

#[tokio::test]
async fn all_deletes_everything_of_a_job_that_failed() {
    leaves(json!("All"), failed(1), &[]).await;
}

#[tokio::test]
async fn a_deadline_leaves_the_pods_that_the_policy_says() {
    let rig = Rig::start().await;
    let at_its_deadline = async |name: &str, policy: Value, left: &[&str]| {
        let policies = json!({ "spec": { "activeDeadlineSeconds": 6, "cleanPodPolicy": policy } });
        let job = with(job_with_policy(name, 1, "OnFailure"), &policies);
        let (_, pods) = rig.create_with_pods(&job).await;
        rig.set_phase(&names(&pods)[0], &PodPhase::Running).await;
        rig.wait_finished(name).await;
        rig.settle(name).await;
        assert_eq!(rig.pod_names(name).await, replica_names(name, left));
        assert_eq!(rig.service_names(name).await, replica_names(name, left));
    };
    tokio::join!(
        at_its_deadline("unset", Value::Null, &[]),
        at_its_deadline("none", json!("None"), &["master-0", "worker-0"]),
        at_its_deadline("running", json!("Running"), &[]),
        at_its_deadline("all", json!("All"), &[]),
    );
}

#[tokio::test]
async fn a_policy_changed_while_the_job_runs_holds_at_its_end() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling| {
        let name = spelling.name();
        let job = with(
            job_with_policy(name, 1, "Never"),
            &spelling.policy("cleanPodPolicy", "None"),
        );
        rig.running(&job).await;
        rig.patch(name, &spelling.policy("cleanPodPolicy", "All")).await;
        rig.settle(name).await;
        assert_eq!(
            rig.pod_names(name).await,
            replica_names(name, &["master-0", "worker-0"]),
            "not before the end"
        );
        rig.set_phase(&format!("{name}-master-0"), &PodPhase::Succeeded).await;
        rig.wait_pod_names(name, &[]).await;
        rig.wait_service_names(name, &[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_policy_changed_on_a_finished_job_holds_at_once() {
    let rig = Rig::start().await;
    in_both_spellings(async |spelling: Spelling| {
        let name = spelling.name();
        let set = |policy: &str| spelling.policy("cleanPodPolicy", policy);
        decided(&rig, name, &set("None"), &PodPhase::Succeeded).await;
        let outcome = rig.settle(name).await;
        assert_eq!(rig.pod_names(name).await, replica_names(name, &ALL));

        rig.patch(name, &set("Running")).await;
        rig.wait_pod_names(name, &replica_names(name, &ENDED)).await;
        rig.wait_service_names(name, &replica_names(name, &ENDED)).await;

        rig.patch(name, &set("All")).await;
        rig.wait_pod_names(name, &[]).await;
        rig.wait_service_names(name, &[]).await;

        // Going back restores nothing, and the outcome has stayed.
        rig.patch(name, &set("None")).await;
        let after = rig.settle(name).await;
        assert_eq!(rig.pod_names(name).await, [""; 0]);
        assert_eq!(after.status["conditions"], outcome.status["conditions"]);
        assert_eq!(after.count("Master", "succeeded"), 1);
        assert_eq!(after.count("Worker", "active"), 0);
    })
    .await;
}
