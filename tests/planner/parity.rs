//! Parity with Kubeflow training-operator 1.9.4: its own tests, as far as a plan can answer them.
//!
//! E-numbers are its integration tests for PyTorchJob, T its unit tests for PyTorchJob, C those of the engine that all
//! its kinds of job share. A test whose name ends in `on_purpose` shows where this operator answers differently, and
//! how. E1 to E5 are on the real API server too, and `EnabledSchemes` is in `command_line.rs`. Not here: `expectations`
//! and `MaxInt`, which have no counterpart, and `ClaimPods` and `ClaimServices`, which PyTorchJob did not run.

use serde_json::{Value, json};

use crate::api::ConditionType::{Failed, Running, Succeeded, Suspended};
use crate::api::names::reason;
use crate::api::{ChildKind, ChildRef, JobStatus, Replica, ReplicaType};
use crate::planner::{
    Builder, Gang, GangScheduler, Phase, Plan, Settings, finished, is_true, managed_elsewhere, problems,
};
use crate::support::fixture::{
    JobBuilder, RESUMED, Scene, actions, elastic_workers, master, master_and_workers, owner_references, time, workers,
};

fn env(pod: &Value, name: &str) -> Option<String> {
    let env = pod["spec"]["containers"][0]["env"].as_array()?;
    let entry = env.iter().rev().find(|entry| entry["name"] == name)?;
    entry["value"].as_str().map(Into::into)
}

fn with_port(job: JobBuilder, role: ReplicaType, port: u16) -> JobBuilder {
    job.container(
        role,
        "/ports",
        json!([{ "name": "pytorchjob-port", "containerPort": port, "protocol": "TCP" }]),
    )
}

#[test]
fn e1_master_and_two_workers_get_pods_services_ports_environment_and_succeed_with_the_master() {
    let job = with_port(
        with_port(master_and_workers(2), ReplicaType::Master, 8080),
        ReplicaType::Worker,
        8080,
    );
    let mut scene = job.scene();
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-master-0", "job-worker-0", "job-worker-1"]);
    assert_eq!(scene.service_names(), scene.pod_names());

    let (pod, service) = (
        scene.build_pod(ReplicaType::Master, 0),
        scene.build_service(ReplicaType::Master, 0),
    );
    assert_eq!(
        pod["spec"]["containers"][0]["ports"],
        json!([{ "name": "pytorchjob-port", "containerPort": 8080, "protocol": "TCP" }])
    );
    assert_eq!(service["spec"]["ports"][0]["port"], 8080);
    assert_eq!(env(&pod, "MASTER_PORT"), Some("8080".into()));
    assert_eq!(
        env(&pod, "MASTER_ADDR").as_deref(),
        service["metadata"]["name"].as_str()
    );
    assert_eq!(env(&pod, "PET_NPROC_PER_NODE"), Some("auto".into()));
    for object in [&pod, &service] {
        assert_eq!(object["metadata"]["ownerReferences"], owner_references());
    }

    scene.phase("job-master-0", Phase::Succeeded);
    scene.reconcile();
    assert_eq!(scene.status().replica_statuses["Master"].succeeded, Some(1));
    assert_eq!(
        scene.conditions().last().map(String::as_str),
        Some("Succeeded=True(PyTorchJobSucceeded)")
    );
}

#[test]
fn e3_a_job_created_suspended_has_no_start_no_pods_and_two_conditions() {
    let mut scene = master_and_workers(1).policy("suspend", true).scene();
    scene.settle();
    scene.wait(3);
    assert_eq!(scene.reconcile(), Plan::default());
    assert_eq!(scene.status().start_time, None);
    assert!(scene.pods.is_empty() && scene.services().is_empty());
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)", "Suspended=True(PyTorchJobSuspended)"]
    );
    assert_eq!(scene.message("Created"), "PyTorchJob job is created.");
    assert_eq!(scene.message("Suspended"), "PyTorchJob job is suspended.");
}

#[test]
fn e4_run_suspend_resume_goes_through_kubeflows_conditions_in_their_order() {
    let mut scene = master_and_workers(1).running();
    assert_eq!(
        scene.conditions(),
        ["Created=True(PyTorchJobCreated)", "Running=True(PyTorchJobRunning)"]
    );
    let start = scene.status().start_time;
    assert_eq!(start, Some(time(0)));

    scene.wait(60);
    scene.suspend(true);
    scene.settle();
    scene.bury();
    scene.settle();
    assert!(scene.pods.is_empty() && scene.services().is_empty());
    assert!(
        scene
            .status()
            .replica_statuses
            .values()
            .all(|counts| counts.active.is_none())
    );
    assert_eq!(scene.status().start_time, start);
    assert_eq!(
        scene.conditions(),
        [
            "Created=True(PyTorchJobCreated)",
            "Running=False(PyTorchJobSuspended)",
            "Suspended=True(PyTorchJobSuspended)"
        ]
    );
    assert_eq!(scene.message("Running"), "PyTorchJob job is suspended.");

    scene.wait(60);
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-master-0", "job-worker-0"]);
    assert_eq!(scene.service_names(), scene.pod_names());
    scene.run();
    assert_eq!(scene.conditions(), RESUMED);
    assert_eq!(scene.message("Suspended"), "PyTorchJob job is resumed.");
    assert_eq!(scene.status().start_time, Some(time(120)));
}

#[test]
fn e5_a_job_managed_by_multikueue_is_left_alone_suspended_or_not() {
    let mut scene = master_and_workers(1)
        .policy("managedBy", "kueue.x-k8s.io/multikueue")
        .policy("suspend", true)
        .scene();
    assert_eq!(scene.reconcile(), Plan::default());
    scene.suspend(false);
    assert_eq!(scene.reconcile(), Plan::default());
    assert_eq!(scene.status(), JobStatus::default());
}

#[test]
fn e6_an_elastic_job_gets_its_rendezvous_and_succeeds_with_its_worker() {
    let job = elastic_workers(1, 1, 3).spec("/elasticPolicy/maxRestarts", json!(3));
    let mut scene = with_port(job, ReplicaType::Worker, 8080).scene();
    scene.settle();
    let (pod, service) = (
        scene.build_pod(ReplicaType::Worker, 0),
        scene.build_service(ReplicaType::Worker, 0),
    );
    for (name, expected) in [
        ("PET_RDZV_BACKEND", "c10d"),
        ("PET_NNODES", "1:3"),
        ("PET_RDZV_ENDPOINT", "job-worker-0:8080"),
        ("PET_MAX_RESTARTS", "3"),
    ] {
        assert_eq!(env(&pod, name).as_deref(), Some(expected), "{name}");
    }
    for object in [&pod, &service] {
        assert_eq!(object["metadata"]["ownerReferences"], owner_references());
    }
    scene.everything(Phase::Succeeded);
    scene.reconcile();
    assert_eq!(scene.status().replica_statuses["Worker"].succeeded, Some(1));
    assert_eq!(
        scene.conditions().last().map(String::as_str),
        Some("Succeeded=True(PyTorchJobSucceeded)")
    );
}

/// An elastic job that runs and is scaled by its load.
fn scaled_by_load() -> Scene {
    let metrics = json!([{
        "type": "Resource",
        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } },
    }]);
    let job = elastic_workers(1, 1, 3).spec("/elasticPolicy/metrics", metrics);
    let scene = job.running();
    assert_eq!(scene.autoscalers().len(), 1);
    scene
}

#[test]
fn e7_suspension_takes_the_autoscaler_and_resuming_brings_it_back() {
    let mut scene = scaled_by_load();
    scene.suspend(true);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 0);
    scene.bury();
    scene.suspend(false);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 1);
}

#[test]
fn w13_the_autoscaler_does_not_survive_the_job_and_does_not_come_back() {
    let mut scene = scaled_by_load();
    scene.everything(Phase::Succeeded);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 0);
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn t_elastic_environment_is_exactly_the_variables_of_the_policy() {
    let full = json!({
        "minReplicas": 1, "maxReplicas": 3, "rdzvHost": "localhost", "rdzvPort": 1234, "rdzvId": "rdzv-id",
        "rdzvConf": [{ "key": "rdzv-conf-name", "value": "rdzv-conf-value" }], "maxRestarts": 3, "rdzvBackend": "c10d",
    });
    let elastic = |pod: &Value| -> Vec<String> {
        let env = pod["spec"]["containers"][0]["env"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let names = env.iter().filter_map(|entry| entry["name"].as_str().map(String::from));
        names
            .filter(|name| name.starts_with("PET_RDZV") || name == "PET_MAX_RESTARTS" || name == "PET_NNODES")
            .collect()
    };
    assert_eq!(
        elastic(&workers(1).scene().build_pod(ReplicaType::Worker, 0)),
        ["PET_NNODES"]
    );
    let pod = workers(1)
        .spec("/elasticPolicy", full)
        .scene()
        .build_pod(ReplicaType::Worker, 0);
    assert_eq!(elastic(&pod).len(), 6);
    assert_eq!(env(&pod, "PET_RDZV_ENDPOINT").as_deref(), Some("localhost:1234"));
    assert_eq!(
        env(&pod, "PET_RDZV_CONF").as_deref(),
        Some("rdzv-conf-name=rdzv-conf-value")
    );
}

#[test]
fn t_init_containers_are_on_workers_of_jobs_with_a_master() {
    for (job, role, expected) in [
        (workers(1), ReplicaType::Worker, 0),
        (master_and_workers(1), ReplicaType::Worker, 1),
        (master_and_workers(1), ReplicaType::Master, 0),
    ] {
        let pod = job.scene().build_pod(role, 0);
        assert_eq!(
            pod["spec"]["initContainers"].as_array().map_or(0, Vec::len),
            expected,
            "{role}"
        );
    }
}

#[test]
fn t_validation_gives_kubeflows_outcomes() {
    let elastic = || elastic_workers(2, 1, 3);
    for (accepted, job, why) in [
        (
            true,
            elastic().policy("managedBy", "kubeflow.org/training-operator"),
            "valid, elastic and managed by us",
        ),
        (false, master().named("0-test"), "name"),
        (
            false,
            master().template(ReplicaType::Master, "/spec/containers", json!([])),
            "no containers",
        ),
        (
            false,
            master().container(ReplicaType::Master, "/image", json!("")),
            "empty image",
        ),
        (
            false,
            master().container(ReplicaType::Master, "/name", json!("x")),
            "no container named pytorch",
        ),
        (false, master().replicas(ReplicaType::Master, 2), "two masters"),
        (
            true,
            elastic().spec("/elasticPolicy/nProcPerNode", json!(2)),
            "deprecated, and allowed",
        ),
        (
            false,
            elastic()
                .spec("/elasticPolicy/nProcPerNode", json!(2))
                .spec("/nprocPerNode", json!("2")),
            "both numbers of processes",
        ),
        (false, master().policy("managedBy", "other"), "unknown manager"),
        (
            false,
            master().spec("/elasticPolicy", json!({})),
            "elastic without workers",
        ),
        (false, workers(0), "no worker"),
    ] {
        assert_eq!(problems(&job.build()).is_empty(), accepted, "{why}");
    }
}

#[test]
fn t_a_master_without_replicas_is_one_master_on_purpose() {
    let job = master()
        .spec("/pytorchReplicaSpecs/Master/replicas", Value::Null)
        .build();
    assert_eq!(
        problems(&job),
        [],
        "Kubeflow refuses the absent number although its default is the only legal value"
    );
    assert_eq!(job.spec.replicas(ReplicaType::Master), 1);
}

#[test]
fn t_elastic_bounds_default_to_each_other_and_to_the_workers() {
    for (policy, expected) in [
        (json!({}), "2:2"),
        (json!({ "minReplicas": 1, "maxReplicas": 4 }), "1:4"),
        (json!({ "maxReplicas": 4 }), "4:4"),
        (json!({ "minReplicas": 1 }), "1:1"),
    ] {
        let pod = workers(2)
            .spec("/elasticPolicy", policy.clone())
            .scene()
            .build_pod(ReplicaType::Worker, 0);
        assert_eq!(env(&pod, "PET_NNODES").as_deref(), Some(expected), "{policy}");
    }
}

#[test]
fn t_processes_default_to_auto_elastic_or_not() {
    for job in [workers(1), elastic_workers(1, 1, 1)] {
        assert_eq!(
            env(&job.scene().build_pod(ReplicaType::Worker, 0), "PET_NPROC_PER_NODE").as_deref(),
            Some("auto")
        );
    }
}

/// A finished or suspended job with one running and one succeeded worker.
fn ended(policy: &str, how: &str) -> Scene {
    let job = master_and_workers(2).policy("cleanPodPolicy", policy);
    let mut scene = job.running();
    scene.phase("job-worker-1", Phase::Succeeded);
    match how {
        "Succeeded" => scene.phase("job-master-0", Phase::Succeeded),
        "Suspended" => scene.suspend(true),
        _ => {
            scene.edit(|job| job.spec.active_deadline_seconds = Some(0));
        }
    }
    if how != "Suspended" {
        scene.reconcile();
    }
    scene
}

#[test]
fn c_delete_pods_and_services() {
    let pods = |plan: &Plan| {
        actions(plan)
            .into_iter()
            .filter(|line| line.starts_with("delete pod"))
            .count()
    };
    for (how, policy, expected) in [
        ("Succeeded", "Running", 1),
        ("Suspended", "Running", 3),
        ("Succeeded", "All", 3),
        ("Failed", "All", 3),
        ("Succeeded", "None", 0),
        ("Suspended", "None", 3),
        ("Failed", "None", 0),
        ("Failed", "Running", 2),
    ] {
        let mut scene = ended(policy, how);
        if how == "Suspended" {
            scene.store();
        }
        let plan = scene.reconcile();
        assert_eq!(
            (pods(&plan), plan.actions.len()),
            (expected, expected),
            "{how}, {policy}"
        );
        let services = scene.services().len();
        scene.bury();
        scene.settle();
        assert_eq!(
            services - scene.services().len(),
            expected,
            "{how}, {policy}: each service after its pod"
        );
    }
}

#[test]
fn c_past_backoff_limit() {
    for (limit, restarts, exceeded) in [(0, 0, false), (3, 3, true)] {
        let mut scene = master().policy("backoffLimit", limit).running();
        scene.pod("job-master-0").restarts = restarts;
        scene.settle();
        assert_eq!(finished(&scene.status()), exceeded, "{restarts} of {limit}");
    }
}

#[test]
fn c_past_active_deadline() {
    for (seconds, expected) in [(0, true), (2, false)] {
        let mut scene = master().policy("activeDeadlineSeconds", seconds).scene();
        scene.reconcile();
        assert_eq!(finished(&scene.status()), expected, "{seconds}");
    }
}

#[test]
fn c_managed_by_external_controller() {
    assert!(!managed_elsewhere(&master().build()));
    for (manager, external) in [
        ("", true),
        ("kubeflow.org/training-operator", false),
        ("kueue.x-k8s.io/multikueue", true),
        ("other", true),
    ] {
        assert_eq!(
            managed_elsewhere(&master().policy("managedBy", manager).build()),
            external,
            "{manager:?}"
        );
    }
}

#[test]
fn c_backoff_limit_exceeded_respects_clean_pod_policy() {
    for (policy, remaining) in [("None", 2), ("All", 0), ("Running", 0)] {
        let mut scene = master_and_workers(1)
            .policy("backoffLimit", 1)
            .policy("cleanPodPolicy", policy)
            .running();
        scene.pod("job-worker-0").restarts = 1;
        scene.settle();
        scene.bury();
        assert_eq!(scene.pods.len(), remaining, "{policy}");
        assert!(scene.message("Failed").contains("backoff limit"));
    }
}

#[test]
fn c_set_restart_policy() {
    for (policy, expected) in [
        ("ExitCode", "Never"),
        ("Never", "Never"),
        ("Always", "Always"),
        ("OnFailure", "OnFailure"),
    ] {
        let job = master().restart(ReplicaType::Master, policy).build();
        let master = ChildRef::of_replica(ChildKind::Pod, Replica::new(ReplicaType::Master, 0));
        let pod = Builder::new(&job, &Settings::default())
            .build(master)
            .expect("a Master has a pod");
        assert_eq!(pod["spec"]["restartPolicy"], expected);
    }
}

#[test]
fn c_slice_sizes_follow_the_spec_alone_on_purpose() {
    for (replicas, extra, created, deleted) in [
        (3, None, &[][..], &[][..]),
        (4, None, &["worker-3"], &[]),
        (2, None, &[], &["worker-2"]),
        (3, Some("job-worker-4"), &[], &["worker-4"]),
    ] {
        let mut scene = elastic_workers(3, 1, 9).running();
        if let Some(extra) = extra {
            scene.add_pod(extra).phase = Phase::Running;
            scene.add_service(extra);
        }
        scene.scale(ReplicaType::Worker, replicas);
        scene.store();
        let lines = |verb: &str, names: &[&str]| {
            let names = names.iter();
            names.map(|name| format!("{verb} {name}")).collect::<Vec<_>>()
        };
        let expected = [
            lines("delete pod", deleted),
            lines("create pod", created),
            lines("create service", created),
        ]
        .concat();
        assert_eq!(
            actions(&scene.plan()),
            expected,
            "B21: {replicas} replicas, {extra:?} makes no room for worker-3"
        );
    }
}

/// Two failed, three succeeded, one running, one running and terminating.
fn seven() -> Scene {
    let mut scene = workers(7).running();
    for (index, phase) in [
        Phase::Failed,
        Phase::Failed,
        Phase::Succeeded,
        Phase::Succeeded,
        Phase::Succeeded,
    ]
    .into_iter()
    .enumerate()
    {
        scene.phase(&format!("job-worker-{index}"), phase);
    }
    scene.terminate("job-worker-6");
    scene
}

#[test]
fn c_update_job_replica_statuses_counts_a_terminating_pod_as_active_on_purpose() {
    let mut scene = seven();
    scene.reconcile();
    let counts = scene.status().replica_statuses["Worker"].clone();
    assert_eq!(
        (counts.failed, counts.succeeded, counts.active),
        (Some(2), Some(3), Some(2)),
        "Kubeflow: 3, 3, 1"
    );
}

#[test]
fn c_is_finished_and_the_other_predicates() {
    let with = |type_: &str| -> JobStatus {
        let status = json!({ "conditions": [{ "type": type_, "status": "True" }] });
        serde_json::from_value(status).expect("the status decodes")
    };
    for (type_, expected) in [
        ("Succeeded", true),
        ("Failed", true),
        ("Suspended", false),
        ("Running", false),
    ] {
        assert_eq!(finished(&with(type_)), expected, "{type_}");
    }
    for condition in [Succeeded, Failed, Running, Suspended] {
        assert!(is_true(&with(condition.as_str()), condition));
        assert!(!is_true(&with("Created"), condition));
    }
}

#[test]
fn c_is_retryable_exit_code() {
    for (code, retried) in [(1, false), (2, false), (3, false), (130, true), (138, true)] {
        let mut scene = workers(2).restart(ReplicaType::Worker, "ExitCode").running();
        scene.exit("job-worker-0", code);
        scene.reconcile();
        assert_eq!(!finished(&scene.status()), retried, "{code}");
    }
}

#[test]
fn c_is_job_suspended() {
    for (job, expected) in [
        (master(), false),
        (master().spec("/runPolicy", json!({})), false),
        (master().policy("suspend", false), false),
        (master().policy("suspend", true), true),
    ] {
        assert_eq!(job.build().spec.suspended(), expected);
    }
}

#[test]
fn c_duration_until_expire_time() {
    let mut scene = master().policy("ttlSecondsAfterFinished", 10).running();
    assert_eq!(scene.plan().requeue, None, "running");
    scene.everything(Phase::Succeeded);
    scene.settle();
    scene.wait(4);
    assert_eq!(
        scene.plan().requeue.map(|left| left.as_secs()),
        Some(6),
        "finished with TTL"
    );
    scene.edit(|job| job.spec.run_policy.ttl_seconds_after_finished = None);
    assert_eq!(scene.plan().requeue, None, "no TTL");
}

#[test]
fn c_four_pods_with_one_restart_each_reach_a_limit_of_four() {
    let mut scene = workers(4)
        .policy("backoffLimit", 4)
        .policy("cleanPodPolicy", "All")
        .running();
    scene.pods.iter_mut().for_each(|pod| pod.restarts = 1);
    scene.settle();
    scene.bury();
    assert!(scene.pods.is_empty());
    assert!(is_true(&scene.status(), Failed));
}

/// The gang scheduler does not replace a scheduler that a template names, and says so. Kubeflow's finds none, all and
/// one of the templates.
#[test]
fn c_is_custom_scheduler_set() {
    let volcano = Settings {
        gang: Some(Gang {
            scheduler: GangScheduler::Volcano,
            served: true,
        }),
        ..Settings::default()
    };
    for (master, worker, expected) in [
        ("", "", false),
        ("mine", "mine", true),
        ("", "mine", true),
        ("mine", "", true),
    ] {
        let mut scene = master_and_workers(1)
            .template(ReplicaType::Master, "/spec/schedulerName", json!(master))
            .template(ReplicaType::Worker, "/spec/schedulerName", json!(worker))
            .scene();
        scene.settings = volcano.clone();
        let plan = scene.reconcile();
        let warned = plan
            .events
            .iter()
            .any(|event| event.reason == reason::TEMPLATE_SCHEDULER);
        assert_eq!(warned, expected, "{master:?}, {worker:?}");
    }
}

/// The objects of a replica have its name, in lower case, and the name says which replica it is.
#[test]
fn c_gen_general_name_and_label_parsing() {
    for (type_, index, name) in [
        (ReplicaType::Master, 0, "job-master-0"),
        (ReplicaType::Worker, 12, "job-worker-12"),
    ] {
        let replica = Replica::new(type_, index);
        assert_eq!(replica.name("job"), name);
        assert_eq!(Replica::parse("job", name), Some(replica));
    }
    for name in [
        "job-worker",
        "job-worker-",
        "job-worker-x",
        "job-worker-01",
        "job-boss-0",
        "worker-0",
        "jobworker-0",
    ] {
        assert_eq!(Replica::parse("job", name), None, "{name}");
    }
}

/// Running after Created; Restarting and Running, each in the other's place; Failed, which leaves Running as False.
#[test]
fn c_update_job_conditions() {
    let mut scene = workers(1).restart(ReplicaType::Worker, "ExitCode").running();
    let created = "Created=True(PyTorchJobCreated)";
    let running = "Running=True(PyTorchJobRunning)";
    assert_eq!(scene.conditions(), [created, running]);
    scene.exit("job-worker-0", 130);
    scene.reconcile();
    assert_eq!(scene.conditions(), [created, "Restarting=True(PyTorchJobRestarting)"]);
    scene.bury();
    scene.settle();
    scene.run();
    assert_eq!(scene.conditions(), [created, running]);
    scene.exit("job-worker-0", 1);
    scene.settle();
    assert_eq!(
        scene.conditions(),
        [
            created,
            "Running=False(PyTorchJobRunning)",
            "Failed=True(PyTorchJobFailed)"
        ]
    );
}

/// Section 2.9's scenario table: phases of the master and of the workers, and the last condition.
#[test]
fn c_the_scenario_table() {
    for (job, policy, pods, expected) in [
        (master_and_workers(1), "OnFailure", "PR", "Created"),
        (master_and_workers(1), "OnFailure", "RP", "Running"),
        (master_and_workers(1), "OnFailure", "RS", "Running"),
        (master_and_workers(1), "OnFailure", "SR", "Succeeded"),
        (master_and_workers(1), "OnFailure", "RF", "Restarting"),
        (master_and_workers(1), "Always", "RF", "Restarting"),
        (master_and_workers(1), "Never", "RF", "Failed"),
        (workers(2), "OnFailure", "SS", "Succeeded"),
        (workers(2), "OnFailure", "SR", "Running"),
        (elastic_workers(2, 1, 2), "OnFailure", "SR", "Succeeded"),
        (elastic_workers(2, 1, 2), "Never", "SF", "Succeeded"),
        (elastic_workers(2, 1, 2), "OnFailure", "SF", "Succeeded"),
    ] {
        let mut scene = job.restart(ReplicaType::Worker, policy).scene();
        scene.settle();
        for (pod, letter) in scene.pods.iter_mut().zip(pods.chars()) {
            pod.phase = match letter {
                'R' => Phase::Running,
                'S' => Phase::Succeeded,
                'F' => Phase::Failed,
                _ => Phase::Pending,
            };
        }
        scene.reconcile();
        let last = scene.status().conditions.pop().map(|entry| entry.type_);
        assert_eq!(last.as_deref(), Some(expected), "{policy}, {pods}");
    }
}
