//! `status`: what a plan reports, when, how urgently, and what it tells the user.

use std::time::Duration;

use serde_json::json;

use crate::api::names::reason;
use crate::api::{JobStatus, JobStep, ReplicaType};
use crate::planner::{self, Count, Phase, Plan, Urgency};
use crate::support::fixture::{conditions, elastic_workers, master, master_and_workers, time, turns, workers};

fn events(plan: &Plan) -> Vec<(&'static str, bool)> {
    plan.events.iter().map(|event| (event.reason, event.warning)).collect()
}

#[test]
fn the_first_plan_reports_created_and_the_start_and_counts_the_job_once() {
    let mut scene = master_and_workers(2).scene();
    let plan = scene.reconcile();
    assert_eq!(scene.conditions(), ["Created=True(PyTorchJobCreated)"]);
    assert_eq!(scene.message("Created"), "PyTorchJob job is created.");
    let status = scene.status();
    assert_eq!(status.start_time, Some(time(0)));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.ready.as_deref(), Some("0/3"));
    assert_eq!(status.replica_statuses.keys().collect::<Vec<_>>(), ["Master", "Worker"]);
    assert_eq!(plan.counts, [Count::Job(JobStep::Created)]);
    assert_eq!(plan.events, [], "Kubeflow has no event for Created");
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Now));
    assert!(
        !scene.reconcile().counts.contains(&Count::Job(JobStep::Created)),
        "not a second time"
    );
}

#[test]
fn the_master_makes_the_job_run_and_only_the_change_is_reported() {
    let mut scene = master_and_workers(1).scene();
    scene.settle();
    scene.phase("job-worker-0", Phase::Running);
    let plan = scene.reconcile();
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)"],
        "a worker alone is not enough"
    );
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Counts));
    scene.phase("job-master-0", Phase::Running);
    let plan = scene.reconcile();
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)", "Running=True(PyTorchJobRunning)"]
    );
    assert_eq!(scene.message("Running"), "PyTorchJob job is running.");
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Condition));
    assert_eq!(plan.events, [], "Kubeflow has no event for Running");
    assert_eq!(scene.plan(), Plan::default(), "settled means silent");
}

#[test]
fn how_long_a_job_waited_until_it_ran_is_counted_at_its_start_and_at_each_resumption_and_not_at_a_restart() {
    let mut scene = master_and_workers(1).scene();
    scene.settle();
    let ran = |plan: &Plan, seconds| plan.counts.contains(&Count::Ran(Duration::from_secs(seconds)));
    scene.wait(7);
    scene.everything(Phase::Running);
    assert!(ran(&scene.reconcile(), 7));
    scene.wait(20);
    scene.exit("job-worker-0", 137);
    scene.reconcile();
    assert!(scene.says("Restarting=True"), "{:?}", scene.conditions());
    scene.settle();
    scene.everything(Phase::Running);
    let plan = scene.reconcile();
    assert!(scene.says("Running=True"), "{:?}", scene.conditions());
    assert!(plan.counts.is_empty(), "after a restart: {:?}", plan.counts);
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.wait(100);
    scene.suspend(false);
    scene.settle();
    scene.wait(3);
    scene.everything(Phase::Running);
    assert!(ran(&scene.reconcile(), 3), "from the resumption on");
}

#[test]
fn a_success_waits_a_moment_for_pods_that_end_with_the_master() {
    let mut scene = master_and_workers(2).running();
    scene.phase("job-master-0", Phase::Succeeded);
    assert_eq!(scene.plan().status.map(|write| write.urgency), Some(Urgency::Condition));
    scene.everything(Phase::Succeeded);
    assert_eq!(scene.plan().status.map(|write| write.urgency), Some(Urgency::Now));
}

#[test]
fn success_is_one_status_with_outcome_completion_time_event_and_count() {
    for (job, message) in [
        (master(), "PyTorchJob job is successfully completed."),
        (workers(2), "PyTorchJob ns/job successfully completed."),
        (elastic_workers(2, 1, 2), "PyTorchJob ns/job successfully completed."),
    ] {
        let mut scene = job.running();
        scene.everything(Phase::Succeeded);
        scene.wait(60);
        let plan = scene.reconcile();
        assert_eq!(
            scene.conditions(),
            [
                "Created=True(PyTorchJobCreated)",
                "Running=False(PyTorchJobRunning)",
                "Succeeded=True(PyTorchJobSucceeded)"
            ]
        );
        assert_eq!(scene.message("Succeeded"), message);
        assert_eq!(scene.status().completion_time, Some(time(60)));
        assert_eq!(plan.status.as_ref().map(|write| write.urgency), Some(Urgency::Now));
        assert_eq!(turns(&plan), [Count::Job(JobStep::Successful)]);
        assert_eq!(events(&plan), [(reason::SUCCEEDED, false)]);
        assert_eq!(plan.events[0].message, message);
        assert_eq!(
            plan.actions,
            [],
            "the outcome is stored before anything is deleted because of it"
        );
    }
}

#[test]
fn w16_a_job_that_succeeds_while_a_replica_fails_has_one_outcome() {
    for policy in ["Never", "OnFailure", "ExitCode"] {
        let mut scene = elastic_workers(2, 1, 2).restart(ReplicaType::Worker, policy).running();
        scene.phase("job-worker-0", Phase::Succeeded);
        scene.exit("job-worker-1", 1);
        scene.reconcile();
        let true_ones: Vec<_> = scene
            .conditions()
            .into_iter()
            .filter(|line| line.contains("=True"))
            .collect();
        assert_eq!(
            true_ones,
            ["Created=True(PyTorchJobCreated)", "Succeeded=True(PyTorchJobSucceeded)"],
            "{policy}"
        );
    }
}

#[test]
fn w34_after_success_active_follows_the_pods_and_is_written_once_the_last_is_gone() {
    let mut scene = master_and_workers(2).policy("cleanPodPolicy", "Running").running();
    scene.phase("job-master-0", Phase::Succeeded);
    scene.reconcile();
    assert_eq!(
        scene.status().replica_statuses["Worker"].active,
        Some(2),
        "they still run at the outcome"
    );
    scene.reconcile();
    scene.remove("job-worker-1");
    assert_eq!(scene.plan().status, None, "one is left: not worth a write");
    scene.remove("job-worker-0");
    let plan = scene.reconcile();
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Counts));
    let status = scene.status();
    assert_eq!(
        (
            status.replica_statuses["Worker"].active,
            status.replica_statuses["Worker"].succeeded
        ),
        (None, None)
    );
    assert_eq!(status.replica_statuses["Master"].succeeded, Some(1));
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn an_edit_of_a_finished_job_is_acknowledged_and_changes_no_outcome() {
    let mut scene = master().running();
    scene.everything(Phase::Succeeded);
    scene.settle();
    let before = scene.status();
    scene.edit(|job| job.spec.active_deadline_seconds = Some(0));
    scene.suspend(true);
    scene.wait(100);
    scene.settle();
    assert_eq!(
        scene.status(),
        JobStatus {
            observed_generation: Some(3),
            ..before
        }
    );
    assert_eq!(scene.pod_names(), ["job-master-0"]);
}

#[test]
fn a_template_restart_policy_is_warned_about_once() {
    let mut scene = master()
        .template(ReplicaType::Master, "/spec/restartPolicy", json!("Always"))
        .scene();
    let plan = scene.reconcile();
    assert_eq!(events(&plan), [(reason::TEMPLATE_RESTART_POLICY, true)]);
    // Kubeflow's sentence, and what it leaves out.
    assert_eq!(
        plan.events[0].message,
        "Restart policy in pod template will be overwritten by restart policy in replica spec: \
         template.spec.restartPolicy of Master is Always, and restartPolicy, which applies, is OnFailure"
    );
    assert_eq!(events(&scene.reconcile()), []);
}

#[test]
fn what_overwrites_a_template_restart_policy_and_with_what_is_told_as_it_is() {
    let rules = json!({ "rules": [{ "action": "FailJob", "class": "ImportError" }] });
    let job = || master().template(ReplicaType::Master, "/spec/restartPolicy", json!("Always"));
    let whole = || job().policy("restartScope", "Job");
    let in_place = || whole().policy("restartStrategy", "InPlace");
    for (job, told) in [
        (whole(), "the pod gets Never, since restartScope is Job"),
        (in_place(), "the pod gets OnFailure, since restartStrategy is InPlace"),
        (
            in_place().restart(ReplicaType::Master, "Never"),
            "the pod gets Never, since restartScope is Job",
        ),
        (
            job().policy("failurePolicy", rules),
            "the pod gets Never, since a failurePolicy is set",
        ),
    ] {
        let mut scene = job.scene();
        let message = scene.reconcile().events.swap_remove(0).message;
        let expected = "Restart policy in pod template will be overwritten: \
                        template.spec.restartPolicy of Master is Always, and ";
        assert_eq!(message, format!("{expected}{told}"));
        let policy = scene.build_pod(ReplicaType::Master, 0)["spec"]["restartPolicy"].clone();
        assert!(
            told.contains(&format!("gets {}", policy.as_str().unwrap_or_default())),
            "{policy}"
        );
    }
}

#[test]
fn w15_the_worker_selector_survives_the_masters_success() {
    let mut scene = master_and_workers(1).running();
    scene.phase("job-master-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(
        scene.status().replica_statuses["Worker"].selector.as_deref(),
        Some(
            "training.kubeflow.org/job-name=job,training.kubeflow.org/operator-name=pytorchjob-controller,\
             training.kubeflow.org/replica-type=worker"
        )
    );
}

#[test]
fn w35_a_settled_job_says_nothing_however_often_it_is_looked_at() {
    for mut scene in [
        master_and_workers(3).running(),
        master().policy("suspend", true).scene(),
        workers(2).policy("managedBy", "kueue.x-k8s.io/multikueue").scene(),
    ] {
        scene.settle();
        for _ in 0..3 {
            scene.wait(3600);
            assert_eq!(scene.reconcile(), Plan::default());
        }
    }
}

#[test]
fn a_job_that_is_being_deleted_is_left_to_the_garbage_collector() {
    let mut scene = master_and_workers(1).running();
    scene.everything(Phase::Failed);
    scene.job.metadata.deletion_timestamp = Some(time(5));
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_running_job_of_kubeflows_operator_is_taken_over_without_touching_its_pods() {
    let mut scene = master_and_workers(1).running();
    let kubeflow = json!({
        "conditions": [
            { "type": "Created", "status": "True", "reason": "PyTorchJobCreated", "message": "PyTorchJob job is created." },
            { "type": "Running", "status": "True", "reason": "PyTorchJobRunning", "message": "PyTorchJob job is running." },
        ],
        "replicaStatuses": { "Master": { "active": 1 }, "Worker": { "active": 1 } },
        "startTime": "2027-01-15T07:00:00Z",
    });
    let kubeflow: JobStatus = serde_json::from_value(kubeflow).expect("Kubeflow's status decodes");
    scene.job.status = Some(kubeflow.clone());
    let plan = scene.reconcile();
    assert_eq!((plan.actions, plan.events, plan.counts), (vec![], vec![], vec![]));
    assert_eq!(scene.status().conditions, kubeflow.conditions);
    assert_eq!(scene.status().start_time, kubeflow.start_time);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_finished_job_of_kubeflows_operator_is_taken_over_without_a_write() {
    let mut scene = master().running();
    scene.everything(Phase::Succeeded);
    scene.settle();
    let mut status = scene.status();
    (status.observed_generation, status.ready) = (None, None);
    scene.job.status = Some(status);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn the_lists_that_go_operators_write_as_null_are_empty() {
    let status: JobStatus =
        serde_json::from_value(json!({ "conditions": null, "replicaStatuses": null })).expect("decodes");
    assert_eq!(status, JobStatus::default());
}

#[test]
fn an_undecodable_job_fails_with_the_cause_once() {
    let stored = JobStatus::default();
    let (status, event) = planner::undecodable("job", Some(&stored), "spec.backoffLimit: not a number", time(7).0)
        .expect("it has not finished yet");
    let status = status.expect("it has not started");
    assert_eq!(conditions(&status), ["Failed=True(InvalidPyTorchJobSpec)"]);
    assert_eq!(status.completion_time, Some(time(7)));
    assert!(event.warning && event.reason == reason::INVALID);
    assert!(
        event.message.contains("job") && event.message.contains("spec.backoffLimit: not a number"),
        "{}",
        event.message
    );
    assert_eq!(planner::undecodable("job", Some(&status), "again", time(8).0), None);
}

#[test]
fn an_undecodable_job_that_has_started_or_whose_status_cannot_be_read_is_warned_about_and_not_failed() {
    let started = JobStatus {
        start_time: Some(time(1)),
        ..JobStatus::default()
    };
    for stored in [Some(&started), None] {
        let (status, event) =
            planner::undecodable("job", stored, "spec.backoffLimit: not a number", time(7).0).expect("it is said");
        assert_eq!(status, None);
        assert!(
            event.warning && event.message.contains("spec.backoffLimit: not a number"),
            "{}",
            event.message
        );
    }
}
