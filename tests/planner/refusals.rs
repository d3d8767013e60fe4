//! Stored jobs that cannot run as written: one Failed condition and one Warning that name the cause, and no pod.

use serde_json::json;

use crate::api::names::reason;
use crate::api::{JobStatus, JobStep, ReplicaType};
use crate::planner::{Action, Count, Phase, Plan};
use crate::support::bad_jobs::{Bad, Stored, bad_jobs};
use crate::support::fixture::{JobBuilder, conditions, master, master_and_workers, time, workers};

/// Bad jobs that decode, with what the operator says of them: those that fail, or those that run all the same.
fn decodable(fatal: bool) -> Vec<(String, JobBuilder)> {
    let says = |bad: Bad| match bad.operator {
        Stored::Fails(says) if fatal => Some((says, bad.job)),
        Stored::Runs(says) if !fatal => Some((says, bad.job)),
        _ => None,
    };
    let mut jobs: Vec<_> = bad_jobs().into_iter().filter_map(says).collect();
    jobs.retain(|(_, job)| job.decode().is_ok());
    if fatal {
        // The API server itself knows that this is no name, and stores it under no definition.
        jobs.push(("metadata.name: ".to_owned(), master().named("UPPER")));
        jobs.push((
            "spec.nprocPerNode: ".to_owned(),
            master().spec("/nprocPerNode", json!(-1)),
        ));
    }
    assert!(jobs.len() >= if fatal { 30 } else { 8 }, "{} jobs decode", jobs.len());
    jobs
}

#[test]
fn a_job_that_cannot_run_fails_with_a_condition_and_a_warning_that_name_the_field() {
    for (says, job) in decodable(true) {
        let mut scene = job.scene();
        let plan = scene.reconcile();
        assert_eq!(
            scene.conditions(),
            ["Created=True(PyTorchJobCreated)", "Failed=True(InvalidPyTorchJobSpec)"],
            "{says}"
        );
        let message = scene.message("Failed");
        assert!(message.contains(&says), "{says} in: {message}");
        assert_eq!(plan.events.len(), 1, "{says}");
        assert!(
            plan.events[0].warning && plan.events[0].reason == reason::INVALID && plan.events[0].message == message
        );
        assert_eq!(plan.counts, [Count::Job(JobStep::Created), Count::Job(JobStep::Failed)]);
        assert_eq!(scene.status().completion_time, Some(time(0)));
        assert_eq!(plan.actions, []);
        assert_eq!(scene.reconcile(), Plan::default(), "{says}: told once, nothing created");
    }
}

#[test]
fn a_suspended_job_that_is_edited_is_looked_at_again() {
    for (says, bad) in decodable(true) {
        if !says.starts_with("spec.") {
            continue;
        }
        let mut scene = master_and_workers(1).policy("suspend", true).scene();
        scene.settle();
        scene.edit(|job| job.spec = bad.build().spec);
        scene.reconcile();
        assert!(scene.says("Failed=True(InvalidPyTorchJobSpec)"), "{says}");
    }
}

#[test]
fn pods_or_a_start_time_alone_say_that_a_job_has_started() {
    for (says, bad) in decodable(true) {
        let mut timed = bad.clone().scene();
        timed.job.status = Some(JobStatus {
            start_time: Some(time(0)),
            ..JobStatus::default()
        });
        let mut populated = bad.scene();
        populated.add_pod("job-worker-0").phase = Phase::Running;
        for mut scene in [timed, populated] {
            let plan = scene.reconcile();
            assert!(!scene.says("Failed"), "{says}");
            assert!(
                plan.events.iter().any(|event| event.reason == reason::INVALID),
                "{says}"
            );
        }
    }
}

#[test]
fn a_job_that_can_run_all_the_same_runs_with_one_warning() {
    for (says, job) in decodable(false) {
        let mut scene = job.scene();
        let plan = scene.reconcile();
        assert_eq!(scene.conditions(), ["Created=True(PyTorchJobCreated)"], "{says}");
        assert_eq!(plan.events.len(), 1, "{says}: {:?}", plan.events);
        assert!(
            plan.events[0].warning && plan.events[0].message.starts_with(&says),
            "{says}: {:?}",
            plan.events
        );
        assert!(!plan.actions.is_empty());
        scene.everything(Phase::Running);
        assert_eq!(scene.reconcile().events, [], "{says}: told once");
    }
}

#[test]
fn a_job_that_has_started_goes_on_with_a_warning_whatever_is_wrong_with_it() {
    for (says, job) in decodable(true) {
        let mut scene = job.scene();
        let conditions = json!([{ "type": "Running", "status": "True", "reason": "PyTorchJobRunning" }]);
        let status = json!({ "conditions": conditions, "startTime": time(0) });
        scene.job.status = Some(serde_json::from_value(status).expect("the status decodes"));
        let plan = scene.reconcile();
        let warnings = plan.events.iter().filter(|event| event.reason == reason::INVALID);
        let told = warnings.filter(|event| event.message.starts_with(&says)).count();
        assert_eq!(told, 1, "{says}: {:?}", plan.events);
        assert!(!plan.counts.contains(&Count::Job(JobStep::Failed)), "{says}");
        let deletes = |action: &Action| matches!(action, Action::Delete { .. } | Action::DeleteJob);
        assert!(!plan.actions.iter().any(deletes), "{says}: {:?}", plan.actions);
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
fn an_outcome_of_another_operator_is_not_replaced_by_a_refusal() {
    let mut scene = master().replicas(ReplicaType::Master, 2).scene();
    let status = json!({ "conditions": [{ "type": "Succeeded", "status": "True", "reason": "PyTorchJobSucceeded" }] });
    let status: JobStatus = serde_json::from_value(status).expect("the status decodes");
    scene.job.status = Some(status);
    scene.settle();
    assert_eq!(conditions(&scene.status()), ["Succeeded=True(PyTorchJobSucceeded)"]);
}
