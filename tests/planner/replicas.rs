//! `replicas` on live jobs: scaling, and what belongs to nobody.

use crate::api::ReplicaType;
use crate::planner::{Phase, Plan};
use crate::support::fixture::{actions, elastic_workers, master_and_workers, workers};

#[test]
fn scaling_an_elastic_job_up_adds_workers_and_leaves_the_others() {
    let mut scene = elastic_workers(1, 1, 3).running();
    scene.scale(ReplicaType::Worker, 3);
    assert_eq!(
        actions(&scene.reconcile()),
        ["create service worker-1", "create service worker-2"],
        "first their pods are counted as active"
    );
    assert_eq!(scene.status().replica_statuses["Worker"].active, Some(3));
    assert_eq!(
        actions(&scene.reconcile()),
        ["create pod worker-1", "create pod worker-2"]
    );
    assert_eq!(scene.status().ready.as_deref(), Some("1/3"));
    scene.run();
    assert_eq!(scene.status().ready.as_deref(), Some("3/3"));
}

#[test]
fn b21_scaling_down_under_slow_termination_creates_nothing_again() {
    let mut scene = elastic_workers(5, 1, 5).running();
    scene.scale(ReplicaType::Worker, 2);
    scene.reconcile();
    for gone in ["worker-2", "worker-4", "worker-3"] {
        assert!(actions(&scene.reconcile()).is_empty(), "before {gone} is gone");
        scene.remove(&format!("job-{gone}"));
        assert_eq!(actions(&scene.reconcile()), [format!("delete service {gone}")]);
    }
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-1"]);
    assert_eq!(scene.service_names(), ["job-worker-0", "job-worker-1"]);
    assert_eq!(
        scene.conditions().last().map(String::as_str),
        Some("Running=True(PyTorchJobRunning)")
    );
    assert_eq!(scene.status().restarts, None, "a scale-down is no failure");
}

#[test]
fn scaling_down_and_up_again_waits_for_the_old_pod_of_each_name() {
    let mut scene = elastic_workers(3, 1, 3).running();
    scene.scale(ReplicaType::Worker, 1);
    scene.settle();
    scene.scale(ReplicaType::Worker, 3);
    assert_eq!(scene.reconcile().actions, [], "their services are still there");
    scene.remove("job-worker-2");
    assert_eq!(actions(&scene.reconcile()), ["create pod worker-2"]);
}

#[test]
fn success_of_a_replica_that_is_no_longer_wanted_is_no_success() {
    let mut scene = elastic_workers(2, 1, 2).running();
    scene.scale(ReplicaType::Worker, 1);
    scene.phase("job-worker-1", Phase::Succeeded);
    scene.settle();
    assert_eq!(scene.status().completion_time, None);
}

#[test]
fn a_suspended_job_can_be_resized_and_comes_back_in_its_new_size() {
    let mut scene = master_and_workers(3).running();
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.scale(ReplicaType::Worker, 1);
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-master-0", "job-worker-0"]);
    assert_eq!(scene.status().ready.as_deref(), Some("0/2"));
}

#[test]
fn w8_a_thousand_workers_are_one_plan() {
    let mut scene = workers(1_000).scene();
    scene.store();
    assert_eq!(scene.plan().actions.len(), 2_000);
}

#[test]
fn objects_with_other_names_are_left_alone_while_the_job_works() {
    let mut scene = master_and_workers(1).running();
    for name in ["job-worker--1", "job-worker-01", "job-launcher-0", "other-worker-0"] {
        scene.add_pod(name).phase = Phase::Failed;
        scene.add_service(name);
    }
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_replica_beyond_every_count_is_deleted_and_nothing_is_made_up_to_it() {
    let mut scene = workers(1).running();
    scene.add_pod("job-worker-999999").phase = Phase::Running;
    assert_eq!(actions(&scene.reconcile()), ["delete pod worker-999999"]);
}

/// Kubeflow's operator takes the keys in any case, and stores them as they were written.
#[test]
fn a_started_job_with_keys_in_lower_case_keeps_its_pods_and_gets_those_that_are_missing() {
    let mut scene = master_and_workers(2).running();
    let specs = &mut scene.job.spec.pytorch_replica_specs;
    *specs = std::mem::take(specs)
        .into_iter()
        .map(|(key, replica)| (key.to_lowercase(), replica))
        .collect();
    scene.job.status.get_or_insert_default().observed_generation = None;
    assert_eq!(actions(&scene.reconcile()), Vec::<String>::new());
    scene.remove("job-worker-1");
    scene.run();
    assert_eq!(scene.pod_names(), ["job-master-0", "job-worker-0", "job-worker-1"]);
    assert_eq!(scene.status().replica_statuses["Worker"].active, Some(2));
}

#[test]
fn a_key_that_is_exact_wins() {
    let mut spec = workers(2).build().spec;
    let mut other = spec.pytorch_replica_specs["Worker"].clone();
    other.replicas = Some(5);
    for key in ["WORKER", "worker"] {
        spec.pytorch_replica_specs.insert(key.to_owned(), other.clone());
    }
    assert_eq!(spec.replicas(ReplicaType::Worker), 2);
    spec.pytorch_replica_specs.remove("Worker");
    assert_eq!(spec.replicas(ReplicaType::Worker), 5);
}
