//! Stored jobs that cannot run as written: one Failed condition and one Warning that name the cause, and no pod.

use serde_json::{Value, json};

use crate::api::names::reason;
use crate::api::{JobStatus, ReplicaType};
use crate::planner::{Action, Count, Phase, Plan};
use crate::support::fixture::{JobBuilder, conditions, elastic_workers, master, master_and_workers, time, workers};

/// Bad jobs, with the field that the message names.
fn fatal() -> Vec<(&'static str, JobBuilder)> {
    let no_containers = master().template(ReplicaType::Master, "/spec/containers", json!([]));
    vec![
        ("metadata.name", master().named("0-test")),
        ("metadata.name", master().named("UPPER")),
        ("metadata.name", master().named(&"x".repeat(60))),
        (
            "spec.pytorchReplicaSpecs",
            master().spec("/pytorchReplicaSpecs", json!({})),
        ),
        (
            "spec.pytorchReplicaSpecs[Launcher]",
            master().spec("/pytorchReplicaSpecs/Launcher", json!({ "template": {} })),
        ),
        (
            "spec.pytorchReplicaSpecs[Master].replicas",
            master().replicas(ReplicaType::Master, 2),
        ),
        (
            "spec.pytorchReplicaSpecs[Master].replicas",
            master().replicas(ReplicaType::Master, 0),
        ),
        ("spec.pytorchReplicaSpecs[Worker].replicas", workers(0)),
        (
            "spec.pytorchReplicaSpecs[Worker].replicas",
            workers(1).replicas(ReplicaType::Worker, -1),
        ),
        ("spec.pytorchReplicaSpecs[Worker].replicas", workers(10_001)),
        (
            "spec.pytorchReplicaSpecs[Master].template.spec.containers",
            no_containers,
        ),
        (
            "spec.pytorchReplicaSpecs[Master].template.spec.containers",
            master().container(ReplicaType::Master, "/name", json!("other")),
        ),
        (
            "spec.pytorchReplicaSpecs[Master].template.spec.containers[0].image",
            master().container(ReplicaType::Master, "/image", json!("")),
        ),
        (
            "spec.pytorchReplicaSpecs[Master].template.spec.containers[0].image",
            master().container(ReplicaType::Master, "/image", Value::Null),
        ),
        (
            "spec.pytorchReplicaSpecs[Master].template",
            master().template(ReplicaType::Master, "/spec/containers", json!("none")),
        ),
        (
            "spec.pytorchReplicaSpecs[Master].template.spec",
            master().template(ReplicaType::Master, "", json!({})),
        ),
        ("spec.elasticPolicy", master().spec("/elasticPolicy", json!({}))),
        ("spec.activeDeadlineSeconds", master().flat("activeDeadlineSeconds", -1)),
        ("spec.backoffLimit", master().flat("backoffLimit", -1)),
        (
            "spec.ttlSecondsAfterFinished",
            master().flat("ttlSecondsAfterFinished", -1),
        ),
        (
            "spec.runPolicy.activeDeadlineSeconds",
            master().policy("activeDeadlineSeconds", -1),
        ),
        ("spec.runPolicy.backoffLimit", master().policy("backoffLimit", -1)),
        (
            "spec.runPolicy.ttlSecondsAfterFinished",
            master().policy("ttlSecondsAfterFinished", -1),
        ),
        ("spec.nprocPerNode", master().spec("/nprocPerNode", json!("two words"))),
        ("spec.nprocPerNode", master().spec("/nprocPerNode", json!("+4"))),
        ("spec.nprocPerNode", master().spec("/nprocPerNode", json!("0"))),
        ("spec.nprocPerNode", master().spec("/nprocPerNode", json!("10000"))),
        ("spec.nprocPerNode", master().spec("/nprocPerNode", json!(-1))),
        ("spec.cleanPodPolicy", master().flat("cleanPodPolicy", "Sometimes")),
        (
            "spec.runPolicy.cleanPodPolicy",
            master().policy("cleanPodPolicy", "all"),
        ),
    ]
}

/// Jobs that the API server refuses today, but that run as they are.
fn tolerable() -> Vec<(&'static str, JobBuilder)> {
    vec![
        (
            "spec.activeDeadlineSeconds",
            master()
                .flat("activeDeadlineSeconds", 5)
                .policy("activeDeadlineSeconds", 6),
        ),
        (
            "spec.backoffLimit",
            master().flat("backoffLimit", 5).policy("backoffLimit", 6),
        ),
        (
            "spec.cleanPodPolicy",
            master().flat("cleanPodPolicy", "All").policy("cleanPodPolicy", "None"),
        ),
        (
            "spec.ttlSecondsAfterFinished",
            master()
                .flat("ttlSecondsAfterFinished", 5)
                .policy("ttlSecondsAfterFinished", 6),
        ),
        ("spec.elasticPolicy.minReplicas", elastic_workers(2, 3, 1)),
        ("spec.pytorchReplicaSpecs[Worker].replicas", elastic_workers(5, 1, 3)),
        (
            "spec.elasticPolicy.nProcPerNode",
            elastic_workers(2, 1, 3)
                .spec("/elasticPolicy/nProcPerNode", json!(2))
                .spec("/nprocPerNode", json!("2")),
        ),
        (
            "spec.activeDeadlineSeconds",
            master().flat("activeDeadlineSeconds", 2_147_483_648_i64),
        ),
    ]
}

#[test]
fn a_job_that_cannot_run_fails_with_a_condition_and_a_warning_that_name_the_field() {
    for (field, job) in fatal() {
        let mut scene = job.scene();
        let plan = scene.reconcile();
        assert_eq!(
            scene.conditions(),
            ["Created=True(PyTorchJobCreated)", "Failed=True(InvalidPyTorchJobSpec)"],
            "{field}"
        );
        let message = scene.message("Failed");
        assert!(message.contains(&format!("{field}: ")), "{field} in: {message}");
        assert_eq!(plan.notes.len(), 1, "{field}");
        assert!(plan.notes[0].warning && plan.notes[0].reason == reason::INVALID && plan.notes[0].message == message);
        assert_eq!(plan.counts, [Count::JobCreated, Count::JobFailed]);
        assert_eq!(scene.status().completion_time, Some(time(0)));
        assert_eq!(plan.actions, []);
        assert_eq!(
            scene.reconcile(),
            Plan::default(),
            "{field}: told once, nothing created"
        );
    }
}

#[test]
fn a_job_that_can_run_all_the_same_runs_with_one_warning() {
    for (field, job) in tolerable() {
        let mut scene = job.scene();
        let plan = scene.reconcile();
        assert_eq!(scene.conditions(), ["Created=True(PyTorchJobCreated)"], "{field}");
        assert_eq!(plan.notes.len(), 1, "{field}: {:?}", plan.notes);
        assert!(
            plan.notes[0].warning && plan.notes[0].message.starts_with(field),
            "{field}: {:?}",
            plan.notes
        );
        assert!(!plan.actions.is_empty());
        scene.everything(Phase::Running);
        assert_eq!(scene.reconcile().notes, [], "{field}: told once");
    }
}

#[test]
fn a_job_that_has_started_goes_on_with_a_warning_whatever_is_wrong_with_it() {
    for (field, job) in fatal() {
        let mut scene = job.scene();
        let conditions = json!([{ "type": "Running", "status": "True", "reason": "PyTorchJobRunning" }]);
        let status = json!({ "conditions": conditions, "startTime": time(0) });
        scene.job.status = Some(serde_json::from_value(status).expect("the status decodes"));
        let plan = scene.reconcile();
        let warnings = plan.notes.iter().filter(|note| note.reason == reason::INVALID);
        let told = warnings.filter(|note| note.message.starts_with(field)).count();
        assert_eq!(told, 1, "{field}: {:?}", plan.notes);
        assert!(!plan.counts.contains(&Count::JobFailed), "{field}");
        let deletes = |action: &Action| matches!(action, Action::Delete { .. } | Action::DeleteJob);
        assert!(!plan.actions.iter().any(deletes), "{field}: {:?}", plan.actions);
    }
}

#[test]
fn what_means_unset_or_a_number_in_disguise_is_accepted() {
    for job in [
        master().spec("/nprocPerNode", json!("")),
        master().spec("/nprocPerNode", json!(8)),
        master().spec("/nprocPerNode", json!("xpu")),
        master().spec("/nprocPerNode", json!("npu")),
        master().restart(ReplicaType::Master, ""),
    ] {
        let scene = job.clone().scene();
        assert!(
            !scene.plan().actions.is_empty(),
            "{:?}",
            job.json()["spec"]["nprocPerNode"]
        );
    }
}

#[test]
fn all_causes_are_told_at_once() {
    let mut scene = master()
        .named("0")
        .replicas(ReplicaType::Master, 2)
        .flat("backoffLimit", -3)
        .scene();
    scene.reconcile();
    let message = scene.message("Failed");
    for field in ["metadata.name", "[Master].replicas", "spec.backoffLimit: is -3"] {
        assert!(message.contains(field), "{field} in: {message}");
    }
}

#[test]
fn a_suspended_job_that_cannot_run_is_refused_too() {
    let mut scene = master()
        .replicas(ReplicaType::Master, 2)
        .policy("suspend", true)
        .scene();
    scene.reconcile();
    assert_eq!(scene.conditions()[1], "Failed=True(InvalidPyTorchJobSpec)");
}

#[test]
fn a_refused_job_obeys_its_ttl() {
    let mut scene = master()
        .replicas(ReplicaType::Master, 2)
        .policy("ttlSecondsAfterFinished", 5)
        .scene();
    scene.settle();
    scene.wait(5);
    assert_eq!(crate::support::fixture::actions(&scene.plan()), ["delete job"]);
}

#[test]
fn a_job_is_looked_at_once_for_each_generation() {
    let mut scene = master_and_workers(1).running();
    scene.job.spec.ttl_seconds_after_finished = Some(-1);
    assert_eq!(
        scene.plan().status,
        None,
        "same generation: the answer cannot have changed"
    );
}

#[test]
fn w23_a_replica_without_containers_does_not_panic_anything() {
    for template in [
        json!({}),
        json!({ "spec": {} }),
        json!({ "spec": { "containers": [] } }),
        json!({ "spec": null }),
    ] {
        let scene = workers(1).template(ReplicaType::Worker, "", template.clone()).scene();
        assert_eq!(scene.plan().actions, [], "{template}");
        assert!(scene.build_pod(ReplicaType::Worker, 0).is_object(), "{template}");
        assert!(scene.build_service(ReplicaType::Worker, 0).is_object(), "{template}");
    }
}

#[test]
fn a_verdict_of_another_operator_is_not_replaced_by_a_refusal() {
    let mut scene = master().replicas(ReplicaType::Master, 2).scene();
    let status = json!({ "conditions": [{ "type": "Succeeded", "status": "True", "reason": "PyTorchJobSucceeded" }] });
    let status: JobStatus = serde_json::from_value(status).expect("the status decodes");
    scene.job.status = Some(status);
    scene.settle();
    assert_eq!(conditions(&scene.status()), ["Succeeded=True(PyTorchJobSucceeded)"]);
}
