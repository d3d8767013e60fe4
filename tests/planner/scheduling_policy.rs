//! `runPolicy.schedulingPolicy`: the PodGroup of a job, for each gang scheduler.
//!
//! G-numbers are the sentences of Kubeflow training-operator 1.9 about gang scheduling; it has no test of them but S1,
//! of its SDK, and `IsCustomSchedulerSet`.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::api::{ChildKind, ChildRef, ReplicaType, names};
use crate::planner::{Action, Builder, GangScheduler, Phase, Plan, finished};
use crate::support::fixture::{
    JobBuilder, Scene, actions, elastic_workers, master, master_and_workers, message, owner_references, workers,
};

fn coscheduling() -> GangScheduler {
    GangScheduler::SchedulerPlugins(names::SCHEDULER_PLUGINS.into())
}

fn schedulers() -> [GangScheduler; 3] {
    [GangScheduler::Volcano, coscheduling(), GangScheduler::Kubernetes]
}

fn scene(job: JobBuilder, scheduler: &GangScheduler) -> Scene {
    job.scene().with_gang(scheduler.clone())
}

/// The PodGroup that would be created.
fn group(job: JobBuilder, scheduler: &GangScheduler) -> Value {
    let scene = scene(job, scheduler);
    let builder = Builder::new(&scene.job, &scene.settings);
    builder
        .build(ChildRef::of_job(scheduler.kind()))
        .expect("every job has a PodGroup")
}

fn spec(job: JobBuilder, scheduler: &GangScheduler) -> Value {
    group(job, scheduler)["spec"].clone()
}

/// How many pods are placed together.
fn members(spec: &Value) -> &Value {
    let counts = [&spec["minMember"], &spec["schedulingPolicy"]["gang"]["minCount"]];
    counts.into_iter().find(|count| !count.is_null()).expect("a number")
}

fn with_requests(job: JobBuilder, role: ReplicaType, resources: Value) -> JobBuilder {
    job.container(role, "/resources", resources)
}

fn admit(scene: &mut Scene) {
    scene.pod_group().pod_group.as_mut().expect("a PodGroup").pending = false;
}

/// Reconciles until nothing is left to do; Volcano admits the PodGroup.
fn settle(scene: &mut Scene) {
    scene.settle();
    admit(scene);
    scene.settle();
}

#[test]
fn the_flag_names_volcano_in_any_case_kubernetes_or_a_scheduler_with_the_coscheduling_plugin() {
    let plugins = |name: &str| GangScheduler::SchedulerPlugins(name.into());
    for (flag, expected) in [
        ("volcano", GangScheduler::Volcano),
        ("Volcano", GangScheduler::Volcano),
        ("kubernetes", GangScheduler::Kubernetes),
        ("scheduler-plugins-scheduler", plugins("scheduler-plugins-scheduler")),
        ("My-Scheduler", plugins("My-Scheduler")),
    ] {
        assert_eq!(flag.parse(), Ok(expected), "{flag}");
    }
}

#[test]
fn without_a_gang_scheduler_nothing_is_made_and_no_pod_differs() {
    let job = || master_and_workers(1).policy("schedulingPolicy", json!({ "minAvailable": 2 }));
    let mut scene = job().scene();
    scene.settle();
    assert!(scene.others.iter().all(|child| child.kind == ChildKind::Service));
    assert_eq!(
        scene.build_pod(ReplicaType::Worker, 0)["metadata"]["annotations"],
        Value::Null
    );
    assert!(scene.settings.kinds().all(|kind| !kind.is_pod_group()));
}

#[test]
fn g_a_pod_group_is_named_like_the_job_owned_by_it_and_has_its_annotations() {
    for scheduler in schedulers() {
        let job = master().field(
            "/metadata/annotations",
            json!({ "volcano.sh/x": "y", names::LAST_APPLIED: "{}" }),
        );
        let group = group(job, &scheduler);
        assert_eq!(group["apiVersion"], scheduler.kind().api_version());
        assert_eq!(group["kind"], "PodGroup");
        assert_eq!(
            group["metadata"],
            json!({
                "name": "job",
                "namespace": "ns",
                "annotations": { "volcano.sh/x": "y" },
                "labels": {
                    "training.kubeflow.org/operator-name": "pytorchjob-controller",
                    "training.kubeflow.org/job-name": "job",
                },
                "ownerReferences": owner_references(),
            })
        );
    }
}

#[test]
fn g_each_scheduler_gets_the_fields_that_it_has() {
    let policy = json!({
        "minAvailable": 2,
        "queue": "research",
        "priorityClass": "high",
        "minResources": { "nvidia.com/gpu": "2" },
        "scheduleTimeoutSeconds": 60,
    });
    let job = || master_and_workers(2).policy("schedulingPolicy", policy.clone());
    for (scheduler, expected) in [
        (
            GangScheduler::Volcano,
            json!({ "minMember": 2, "queue": "research", "priorityClassName": "high",
                "minResources": { "nvidia.com/gpu": "2" } }),
        ),
        (
            coscheduling(),
            json!({ "minMember": 2, "minResources": { "nvidia.com/gpu": "2" }, "scheduleTimeoutSeconds": 60 }),
        ),
        (
            GangScheduler::Kubernetes,
            json!({ "schedulingPolicy": { "gang": { "minCount": 2 } }, "disruptionMode": { "all": {} },
                "priorityClassName": "high" }),
        ),
    ] {
        assert_eq!(spec(job(), &scheduler), expected, "{scheduler:?}");
    }
}

#[test]
fn g_without_a_policy_all_replicas_are_needed_and_volcano_uses_its_default_queue() {
    for (scheduler, expected) in [
        (GangScheduler::Volcano, json!({ "minMember": 3, "queue": "default" })),
        (coscheduling(), json!({ "minMember": 3 })),
        (
            GangScheduler::Kubernetes,
            json!({ "schedulingPolicy": { "gang": { "minCount": 3 } }, "disruptionMode": { "all": {} } }),
        ),
    ] {
        assert_eq!(spec(master_and_workers(2), &scheduler), expected, "{scheduler:?}");
    }
}

#[test]
fn w21_an_elastic_job_needs_its_fewest_workers_and_its_master() {
    let one_bound = workers(2).spec("/elasticPolicy", json!({ "rdzvBackend": "c10d" }));
    for (job, expected) in [
        (elastic_workers(4, 2, 8), 2),
        (elastic_workers(2, 2, 8), 2),
        (
            master_and_workers(4).spec("/elasticPolicy", json!({ "minReplicas": 1, "maxReplicas": 8 })),
            2,
        ),
        (one_bound, 2),
        (
            elastic_workers(4, 2, 8).policy("schedulingPolicy", json!({ "minAvailable": 3 })),
            3,
        ),
    ] {
        for scheduler in schedulers() {
            assert_eq!(members(&spec(job.clone(), &scheduler)), expected, "{job:?}");
        }
    }
}

#[test]
fn a_gang_has_one_pod_at_least_and_may_be_larger_than_the_job() {
    for (available, expected) in [(0, 1), (1, 1), (10, 10)] {
        let job = master().policy("schedulingPolicy", json!({ "minAvailable": available }));
        for scheduler in schedulers() {
            assert_eq!(members(&spec(job.clone(), &scheduler)), expected, "{scheduler:?}");
        }
    }
}

#[test]
fn w15_min_resources_are_what_the_first_members_ask_for_the_master_first() {
    let job = with_requests(
        master_and_workers(3),
        ReplicaType::Master,
        json!({ "requests": { "cpu": "500m", "memory": "1Gi" }, "limits": { "nvidia.com/gpu": 8 } }),
    );
    let job = with_requests(
        job,
        ReplicaType::Worker,
        json!({ "limits": { "cpu": 2, "nvidia.com/gpu": "4" } }),
    );
    let available = |pods: u32| job.clone().policy("schedulingPolicy", json!({ "minAvailable": pods }));
    for (pods, expected) in [
        (1, json!({ "cpu": "500m", "memory": "1Gi" })),
        (3, json!({ "cpu": "4500m", "memory": "1Gi", "nvidia.com/gpu": "8" })),
        (4, json!({ "cpu": "6500m", "memory": "1Gi", "nvidia.com/gpu": "12" })),
        (9, json!({ "cpu": "6500m", "memory": "1Gi", "nvidia.com/gpu": "12" })),
    ] {
        for scheduler in [GangScheduler::Volcano, coscheduling()] {
            assert_eq!(spec(available(pods), &scheduler)["minResources"], expected, "{pods}");
        }
    }
}

#[test]
fn min_resources_counts_the_higher_priority_class_first_and_of_the_same_the_master() {
    let class = |job: JobBuilder, role, class: &str| job.template(role, "/spec/priorityClassName", json!(class));
    let cpu =
        |job: JobBuilder, role, cpu: &str| job.container(role, "/resources", json!({ "requests": { "cpu": cpu } }));
    let job = cpu(master_and_workers(2), ReplicaType::Master, "1");
    let job = cpu(job, ReplicaType::Worker, "10").policy("schedulingPolicy", json!({ "minAvailable": 2 }));
    let named = |master, worker| {
        class(
            class(job.clone(), ReplicaType::Master, master),
            ReplicaType::Worker,
            worker,
        )
    };
    for (job, expected) in [
        (job.clone(), "11"),
        (named("high", "low"), "11"),
        (named("low", "high"), "20"),
        (named("high", "high"), "11"),
        (named("low", "unknown"), "11"),
        (named("negative", "unknown"), "20"),
    ] {
        let mut scene = scene(job.clone(), &GangScheduler::Volcano);
        scene.settings.priorities = [("high", 10), ("low", 1), ("negative", -1)]
            .map(|(name, value)| (name.into(), value))
            .into();
        let group = ChildRef::of_job(ChildKind::VolcanoPodGroup);
        let group = Builder::new(&scene.job, &scene.settings).build(group).unwrap();
        assert_eq!(
            group["spec"]["minResources"]["cpu"],
            expected,
            "{:?}",
            job.build().spec.pytorch_replica_specs
        );
    }
}

#[test]
fn a_group_of_kubernetes_has_the_priority_class_of_its_pods_if_they_agree() {
    let class = |job: JobBuilder, role, class: &str| job.template(role, "/spec/priorityClassName", json!(class));
    let master = |name| class(master_and_workers(1), ReplicaType::Master, name);
    for (job, expected) in [
        (master_and_workers(1), Value::Null),
        (master("high"), Value::Null),
        (class(master("high"), ReplicaType::Worker, "low"), Value::Null),
        (class(master("high"), ReplicaType::Worker, "high"), json!("high")),
        (
            class(master("high"), ReplicaType::Worker, "high")
                .policy("schedulingPolicy", json!({ "priorityClass": "urgent" })),
            json!("urgent"),
        ),
    ] {
        let spec = spec(job.clone(), &GangScheduler::Kubernetes);
        assert_eq!(spec["priorityClassName"], expected, "{job:?}");
    }
}

#[test]
fn g_a_pod_is_a_member_of_the_group_and_goes_to_the_gang_scheduler() {
    let metadata = json!({ "annotations": { "a": "b" } });
    let job = || master_and_workers(1).template(ReplicaType::Worker, "/metadata", metadata.clone());
    let pod = |scheduler: &GangScheduler| scene(job(), scheduler).build_pod(ReplicaType::Worker, 0);
    let volcano = pod(&GangScheduler::Volcano);
    assert_eq!(
        volcano["metadata"]["annotations"],
        json!({ "a": "b", "scheduling.k8s.io/group-name": "job", "volcano.sh/task-spec": "worker" })
    );
    assert_eq!(volcano["spec"]["schedulerName"], "volcano");
    let plugins = pod(&coscheduling());
    assert_eq!(plugins["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"], "job");
    assert_eq!(plugins["spec"]["schedulerName"], "scheduler-plugins-scheduler");
    let kubernetes = pod(&GangScheduler::Kubernetes);
    assert_eq!(kubernetes["spec"]["schedulingGroup"], json!({ "podGroupName": "job" }));
    assert_eq!(kubernetes["spec"]["schedulerName"], Value::Null);
    for pod in [plugins, kubernetes] {
        assert_eq!(pod["metadata"]["annotations"], json!({ "a": "b" }));
    }
}

#[test]
fn g_a_scheduler_in_the_template_stays_and_is_worth_a_warning_unless_it_is_the_gang_scheduler() {
    for (scheduler, named, warned) in [
        (GangScheduler::Volcano, "", false),
        (GangScheduler::Volcano, "volcano", false),
        (GangScheduler::Volcano, "mine", true),
        (coscheduling(), "mine", true),
        (GangScheduler::Kubernetes, "mine", false),
    ] {
        let job = master_and_workers(1).template(ReplicaType::Worker, "/spec/schedulerName", json!(named));
        let mut scene = scene(job, &scheduler);
        let expected = if named.is_empty() { "volcano" } else { named };
        assert_eq!(
            scene.build_pod(ReplicaType::Worker, 0)["spec"]["schedulerName"],
            expected
        );
        let plan = scene.reconcile();
        let warning = plan
            .events
            .iter()
            .find(|event| event.reason == names::reason::TEMPLATE_SCHEDULER);
        assert_eq!(
            warning.is_some_and(|event| event.warning),
            warned,
            "{scheduler:?}, {named:?}"
        );
        assert!(scene.reconcile().events.is_empty(), "once");
    }
}

#[test]
fn g_volcano_holds_pods_and_services_back_until_it_has_admitted_the_group() {
    let mut scene = scene(master_and_workers(1), &GangScheduler::Volcano);
    assert_eq!(actions(&scene.reconcile()), ["create PodGroup"]);
    scene.settle();
    assert!(scene.pods.is_empty() && scene.services().is_empty());
    assert_eq!(
        scene.status().replica_statuses["Worker"].active,
        None,
        "nothing is about to be created"
    );
    assert_eq!(
        scene.message("Created"),
        "PyTorchJob job is created. Waiting: PodGroup job: Pending. Volcano has not admitted it."
    );
    admit(&mut scene);
    assert_eq!(
        actions(&scene.reconcile()),
        ["create service master-0", "create service worker-0"],
        "the status that counts the pods comes first"
    );
    assert_eq!(scene.status().replica_statuses["Worker"].active, Some(1));
    assert_eq!(
        actions(&scene.reconcile()),
        ["create pod master-0", "create pod worker-0"]
    );
    assert_eq!(scene.message("Created"), "PyTorchJob job is created.");
}

#[test]
fn w21_a_pending_group_causes_no_write_however_often_it_is_looked_at() {
    let mut scene = scene(master_and_workers(1), &GangScheduler::Volcano);
    scene.settle();
    for _ in 0..5 {
        scene.wait(1);
        assert!(scene.reconcile().is_idle());
    }
}

#[test]
fn w21_a_job_whose_group_is_pending_again_ends_and_fails_as_any_other() {
    let pending = || {
        let mut scene = scene(master_and_workers(1), &GangScheduler::Volcano);
        settle(&mut scene);
        scene.run();
        scene.pod_group().pod_group.as_mut().expect("a PodGroup").pending = true;
        scene
    };
    assert!(pending().plan().is_idle(), "nothing waits for the group");
    let mut scene = pending();
    scene.phase("job-master-0", Phase::Succeeded);
    scene.settle();
    assert_eq!(
        scene.conditions().last().unwrap(),
        "Succeeded=True(PyTorchJobSucceeded)"
    );
    let mut scene = pending();
    scene.edit(|job| job.spec.active_deadline_seconds = Some(0));
    scene.settle();
    assert_eq!(scene.conditions().last().unwrap(), "Failed=True(PyTorchJobFailed)");
    let mut scene = pending();
    scene.remove("job-worker-0");
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-master-0"], "a replacement waits for its turn");
    admit(&mut scene);
    scene.settle();
    assert_eq!(scene.pod_names(), ["job-master-0", "job-worker-0"]);
}

#[test]
fn g_pods_of_other_schedulers_are_held_back_only_until_the_group_exists() {
    for scheduler in [coscheduling(), GangScheduler::Kubernetes] {
        let mut scene = scene(master(), &scheduler);
        assert_eq!(
            actions(&scene.reconcile()),
            ["create service master-0", "create PodGroup"]
        );
        assert_eq!(
            scene.status().replica_statuses["Master"].active,
            Some(1),
            "one status claims them"
        );
        assert_eq!(actions(&scene.reconcile()), ["create pod master-0"]);
        assert!(scene.reconcile().is_idle());
    }
}

#[test]
fn s1_a_gang_that_is_too_large_is_created_and_runs_once_min_available_is_lowered() {
    for scheduler in schedulers() {
        let job = master_and_workers(1).policy("schedulingPolicy", json!({ "minAvailable": 10 }));
        let mut scene = scene(job, &scheduler);
        scene.settle();
        assert_eq!(scene.conditions(), ["Created=True(PyTorchJobCreated)"]);
        scene.edit(|job| {
            let policy = job.spec.run_policy.scheduling_policy.as_mut();
            policy.expect("it has one").min_available = Some(2);
        });
        assert_eq!(actions(&scene.reconcile()), ["update PodGroup"], "{scheduler:?}");
        let stored = &scene.pod_group().pod_group.as_ref().expect("a PodGroup").spec;
        assert_eq!(stored.min_member, Some(2));
        settle(&mut scene);
        scene.everything(Phase::Succeeded);
        scene.settle();
        assert_eq!(
            scene.conditions().last().unwrap(),
            "Succeeded=True(PyTorchJobSucceeded)"
        );
    }
}

#[test]
fn w21_a_group_is_written_only_when_it_differs_whatever_the_notation() {
    let job = with_requests(
        master(),
        ReplicaType::Master,
        json!({ "requests": { "memory": "1024Mi" } }),
    );
    let mut scene = scene(job, &coscheduling());
    scene.settle();
    let group = scene.pod_group().pod_group.as_mut().expect("a PodGroup");
    let one = crate::planner::Amount::parse("1Gi").expect("a quantity");
    group.spec.min_resources = Some([("memory".to_owned(), one)].into());
    assert!(scene.reconcile().is_idle());
    scene
        .pod_group()
        .pod_group
        .as_mut()
        .expect("a PodGroup")
        .spec
        .min_member = Some(7);
    assert_eq!(
        actions(&scene.reconcile()),
        ["update PodGroup"],
        "somebody else has changed it"
    );
}

#[test]
fn w21_a_group_that_is_gone_is_made_again() {
    for scheduler in schedulers() {
        let mut scene = scene(master_and_workers(1), &scheduler);
        settle(&mut scene);
        scene.run();
        scene.others.retain(|child| !child.kind.is_pod_group());
        assert_eq!(actions(&scene.reconcile()), ["create PodGroup"], "{scheduler:?}");
    }
}

#[test]
fn g_the_group_goes_on_suspension_and_at_the_end_and_comes_back_on_resumption() {
    for scheduler in schedulers() {
        let mut scene = scene(master().policy("cleanPodPolicy", "None"), &scheduler);
        settle(&mut scene);
        scene.run();
        let groups = |scene: &Scene| scene.others.iter().filter(|child| child.kind.is_pod_group()).count();
        assert_eq!(groups(&scene), 1);
        scene.suspend(true);
        scene.settle();
        assert_eq!(groups(&scene), 0, "suspended");
        scene.bury();
        scene.suspend(false);
        settle(&mut scene);
        assert_eq!(groups(&scene), 1, "resumed");
        scene.everything(Phase::Succeeded);
        scene.settle();
        assert_eq!(groups(&scene), 0, "finished");
        assert!(scene.reconcile().is_idle());
    }
}

#[test]
fn pods_wait_for_a_group_that_is_being_deleted_to_be_gone_and_made_again() {
    for scheduler in schedulers() {
        let mut scene = scene(master(), &scheduler);
        scene.settle();
        scene.pods.clear();
        admit(&mut scene);
        scene.pod_group().terminating = true;
        scene.settle();
        assert!(scene.pods.is_empty(), "{scheduler:?}");
        assert!(
            scene.plan().actions.is_empty(),
            "nor is the group deleted or made twice"
        );
        scene.others.retain(|child| !child.kind.is_pod_group());
        settle(&mut scene);
        assert_eq!(scene.pod_names(), ["job-master-0"]);
    }
}

#[test]
fn the_schedulers_reason_why_a_gang_does_not_fit_is_told_once_in_place_of_that_of_its_pods() {
    for scheduler in [GangScheduler::Volcano, GangScheduler::Kubernetes] {
        let mut scene = scene(master_and_workers(1), &scheduler);
        settle(&mut scene);
        let said = |pods: u32| Some(format!("{pods}/2 pods do not fit"));
        scene.pod_group().pod_group.as_mut().expect("a PodGroup").unschedulable = said(2);
        scene.pod("job-master-0").trouble = Some(Box::new(crate::planner::Trouble {
            reason: "Unschedulable",
            message: "no node".into(),
            ..crate::planner::Trouble::default()
        }));
        let plan = scene.reconcile();
        let events: Vec<_> = plan
            .events
            .iter()
            .map(|event| (event.reason, event.message.as_str()))
            .collect();
        let text = "PodGroup job: Unschedulable: 2/2 pods do not fit.";
        assert_eq!(events, [("Unschedulable", text)]);
        let expected = format!("PyTorchJob job is created. Waiting: {text}");
        assert_eq!(scene.message("Created"), expected);
        scene.pod_group().pod_group.as_mut().expect("a PodGroup").unschedulable = said(1);
        assert!(scene.reconcile().is_idle(), "numbers are no news");
        scene.pod_group().pod_group.as_mut().expect("a PodGroup").unschedulable = None;
        scene.run();
        assert!(!message(&scene.status(), "Created").contains("Waiting"));
    }
}

#[test]
fn without_the_schedulers_definition_jobs_wait_and_say_so_until_it_is_there() {
    for (scheduler, install) in [
        (
            GangScheduler::Volcano,
            "scheduling.volcano.sh/v1beta1. Install Volcano.",
        ),
        (
            coscheduling(),
            "scheduling.x-k8s.io/v1alpha1. Install the PodGroups of scheduler-plugins.",
        ),
    ] {
        let mut scene = scene(master(), &scheduler);
        scene.settings.gang.as_mut().expect("a gang scheduler").served = false;
        let plan = scene.reconcile();
        assert!(plan.actions.is_empty());
        let text = format!("the cluster has no PodGroups of {install}");
        assert_eq!(
            scene.message("Created"),
            format!("PyTorchJob job is created. Waiting: {text}")
        );
        let warned = plan.events.iter().any(|event| event.warning && event.message == text);
        assert!(warned, "{:?}", plan.events);
        assert!(scene.reconcile().is_idle(), "and once");
        scene.settings.gang.as_mut().expect("a gang scheduler").served = true;
        settle(&mut scene);
        assert_eq!(scene.pod_names(), ["job-master-0"]);
    }
}

#[test]
fn where_kubernetes_has_no_gangs_pods_run_without_and_the_job_says_so() {
    let mut scene = scene(master(), &GangScheduler::Kubernetes);
    scene.settings.gang.as_mut().expect("a gang scheduler").served = false;
    let pod = scene.build_pod(ReplicaType::Master, 0);
    assert_eq!(
        pod["spec"]["schedulingGroup"],
        Value::Null,
        "such a pod would never be scheduled"
    );
    let events = scene.reconcile().events;
    assert!(
        events
            .iter()
            .any(|event| event.warning && event.reason == names::reason::NO_GANG)
    );
    scene.settle();
    scene.everything(Phase::Running);
    assert!(
        scene
            .reconcile()
            .events
            .iter()
            .all(|event| event.reason != names::reason::NO_GANG),
        "once"
    );
    assert!(
        scene.message("Running").starts_with(
            "PyTorchJob job is running. Warning: no gang is in force: this cluster has no PodGroups of scheduling.k8s.io/v1beta1"
        ),
        "{}",
        scene.message("Running")
    );
}

#[test]
fn pods_whose_group_the_api_server_has_dropped_are_no_gang_and_the_job_says_so() {
    let mut scene = scene(master_and_workers(1), &GangScheduler::Kubernetes);
    scene.settle();
    assert!(!scene.message("Created").contains("Warning"));
    scene.pod("job-master-0").group = None;
    let plan = scene.reconcile();
    assert_eq!(plan.events.len(), 1);
    assert_eq!(
        actions(&plan),
        ["update PodGroup"],
        "to a gang of one, which is what there is"
    );
    assert!(
        scene
            .message("Created")
            .contains(" Warning: no gang is in force: its pods have no schedulingGroup."),
        "{}",
        scene.message("Created")
    );
    assert!(scene.reconcile().is_idle());
}

#[test]
fn pods_that_are_older_than_the_flag_go_on_and_are_replaced_one_by_one_until_all_belong_to_the_group() {
    for scheduler in schedulers() {
        let mut scene = master_and_workers(1).running().with_gang(scheduler.clone());
        scene.settle();
        assert!(
            scene.others.iter().all(|child| !child.kind.is_pod_group()),
            "{scheduler:?}"
        );
        let minimum = |scene: &mut Scene| {
            let group = scene.pod_group().pod_group.as_ref().expect("a PodGroup");
            group.spec.min_member
        };
        scene.remove("job-worker-0");
        settle(&mut scene);
        assert_eq!(minimum(&mut scene), Some(1), "one worker is no gang of two");
        assert_eq!(scene.pod_names(), ["job-master-0", "job-worker-0"]);
        scene.remove("job-master-0");
        settle(&mut scene);
        assert_eq!(minimum(&mut scene), Some(2));
        assert!(scene.reconcile().is_idle());
    }
}

/// Reconciles until nothing is left to do, and says how often the PodGroup was written.
fn writes_of_group(scene: &mut Scene) -> usize {
    let mut writes = 0;
    loop {
        let plan = scene.reconcile();
        if plan.actions.is_empty() && plan.status.is_none() {
            return writes;
        }
        writes += actions(&plan)
            .iter()
            .filter(|action| *action == "update PodGroup")
            .count();
    }
}

fn min_member(scene: &mut Scene) -> Option<i32> {
    scene
        .pod_group()
        .pod_group
        .as_ref()
        .expect("a PodGroup")
        .spec
        .min_member
}

/// A gang whose pods all run.
fn running(job: JobBuilder, scheduler: &GangScheduler) -> Scene {
    let mut scene = scene(job, scheduler);
    settle(&mut scene);
    scene.run();
    scene
}

/// Lets workers complete, one after another, and with `drained` their pods go.
fn complete(scene: &mut Scene, workers: std::ops::Range<u32>, drained: bool) -> usize {
    let mut writes = 0;
    for index in workers {
        let name = format!("job-worker-{index}");
        scene.phase(&name, Phase::Succeeded);
        writes += writes_of_group(scene);
        if drained {
            scene.remove(&name);
            writes += writes_of_group(scene);
        }
    }
    writes
}

#[test]
fn a_gang_that_has_to_place_a_pod_again_waits_for_no_worker_that_has_completed() {
    for scheduler in schedulers() {
        let job = with_requests(workers(2), ReplicaType::Worker, json!({ "requests": { "cpu": "1" } }));
        let mut scene = running(job, &scheduler);
        assert_eq!(
            complete(&mut scene, 0..1, true),
            0,
            "{scheduler:?}: none waits to be placed"
        );
        assert_eq!(min_member(&mut scene), Some(2));
        scene.remove("job-worker-1");
        assert_eq!(writes_of_group(&mut scene), 1, "{scheduler:?}");
        assert_eq!(scene.pod_names(), ["job-worker-1"]);
        let group = &scene.pod_group().pod_group.as_ref().expect("a PodGroup").spec;
        assert_eq!(group.min_member, Some(1));
        let one = [(
            "cpu".to_owned(),
            crate::planner::Amount::parse("1").expect("a quantity"),
        )];
        assert_eq!(group.min_resources, scheduler.has_min_resources().then(|| one.into()));
        scene.everything(Phase::Running);
        assert_eq!(
            writes_of_group(&mut scene),
            0,
            "{scheduler:?}: what it says does no harm"
        );
    }
}

#[test]
fn a_group_is_not_written_for_each_worker_that_completes() {
    for scheduler in schedulers() {
        for drained in [false, true] {
            let mut scene = running(workers(8), &scheduler);
            assert_eq!(complete(&mut scene, 0..7, drained), 0, "{scheduler:?}, {drained}");
            scene.remove("job-worker-7");
            let counts = scheduler.counts_succeeded_pods() && !drained;
            assert_eq!(
                writes_of_group(&mut scene),
                usize::from(!counts),
                "{scheduler:?}, {drained}"
            );
            assert_eq!(
                min_member(&mut scene),
                Some(if counts { 8 } else { 1 }),
                "{scheduler:?}, {drained}"
            );
        }
    }
}

#[test]
fn a_worker_that_completes_while_another_waits_to_be_placed_is_no_longer_waited_for() {
    for scheduler in schedulers() {
        let mut scene = running(workers(3), &scheduler);
        scene.remove("job-worker-2");
        assert_eq!(writes_of_group(&mut scene), 0, "{scheduler:?}");
        for (completed, expected) in [(0..1, 2), (1..2, 1)] {
            assert_eq!(complete(&mut scene, completed, true), 1, "{scheduler:?}");
            assert_eq!(min_member(&mut scene), Some(expected), "{scheduler:?}");
        }
    }
}

#[test]
fn a_gang_with_a_master_waits_for_no_worker_whose_pod_has_succeeded_while_that_pod_is_there() {
    for (scheduler, expected) in [
        (GangScheduler::Volcano, 3),
        (coscheduling(), 2),
        (GangScheduler::Kubernetes, 2),
    ] {
        let mut scene = running(master_and_workers(2), &scheduler);
        assert_eq!(complete(&mut scene, 0..1, false), 0, "{scheduler:?}");
        scene.remove("job-worker-1");
        scene.settle();
        assert_eq!(min_member(&mut scene), Some(expected), "{scheduler:?}");
        scene.terminate("job-worker-0");
        scene.settle();
        assert_eq!(min_member(&mut scene), Some(3), "{scheduler:?}: it runs again");
    }
    let job = master_and_workers(2).policy("restartScope", "Job");
    let mut scene = running(job, &coscheduling());
    complete(&mut scene, 0..1, false);
    scene.exit("job-worker-1", 1);
    assert_eq!(writes_of_group(&mut scene), 0, "all start again");
    assert_eq!(min_member(&mut scene), Some(3));
}

#[test]
fn min_available_is_at_most_what_is_left_to_run_and_follows_its_edits() {
    let available = |pods: i32| json!({ "minAvailable": pods });
    for (job, completed, expected) in [
        (workers(4), 1, 3),
        (workers(4), 3, 1),
        (workers(4).policy("schedulingPolicy", available(1)), 2, 1),
        (workers(4).policy("schedulingPolicy", available(3)), 1, 3),
        (workers(4).policy("schedulingPolicy", available(3)), 2, 2),
        (workers(4).policy("schedulingPolicy", available(0)), 3, 1),
    ] {
        for scheduler in schedulers() {
            let mut scene = running(job.clone(), &scheduler);
            assert_eq!(complete(&mut scene, 0..completed, true), 0, "{job:?}");
            scene.remove("job-worker-3");
            scene.settle();
            assert_eq!(min_member(&mut scene), Some(expected), "{job:?}, {scheduler:?}");
            scene.run();
            for (pods, expected) in [(1, 1), (4, i32::try_from(4 - completed).expect("few"))] {
                scene.edit(|job| {
                    let policy = &mut job.spec.run_policy.scheduling_policy;
                    policy.get_or_insert_default().min_available = Some(pods);
                });
                scene.settle();
                assert_eq!(min_member(&mut scene), Some(expected), "{job:?}, edited to {pods}");
            }
        }
    }
}

#[test]
fn a_worker_that_runs_again_is_waited_for_although_it_had_completed() {
    for scheduler in schedulers() {
        let mut scene = running(workers(2).policy("restartScope", "Job"), &scheduler);
        complete(&mut scene, 0..1, true);
        scene.remove("job-worker-1");
        settle(&mut scene);
        assert_eq!(min_member(&mut scene), Some(1), "{scheduler:?}");
        scene.run();
        scene.exit("job-worker-1", 1);
        settle(&mut scene);
        scene.bury();
        settle(&mut scene);
        assert_eq!(scene.pod_names(), ["job-worker-0", "job-worker-1"], "all start again");
        assert_eq!(min_member(&mut scene), Some(2), "{scheduler:?}");

        let mut scene = running(master_and_workers(1), &scheduler);
        scene.phase("job-worker-0", Phase::Succeeded);
        scene.settle();
        scene.remove("job-worker-0");
        settle(&mut scene);
        assert_eq!(
            scene.pod_names(),
            ["job-master-0", "job-worker-0"],
            "the Master decides"
        );
        assert_eq!(min_member(&mut scene), Some(2), "{scheduler:?}");
    }
}

#[test]
fn a_job_that_is_refused_gets_no_group() {
    for scheduler in schedulers() {
        let mut scene = scene(master().container(ReplicaType::Master, "/image", json!("")), &scheduler);
        let plan = scene.reconcile();
        assert!(!plan.actions.iter().any(|action| matches!(action, Action::Create(_))));
    }
}

/// Something that happens to a job with a gang scheduler.
#[derive(Clone, Debug)]
enum Step {
    Reconcile,
    /// The operator ends after it has stored the status.
    Crash,
    /// Volcano admits the group, or takes that back.
    Pending(bool),
    DeleteGroup,
    GroupGone,
    Phase(Phase),
    RemovePod,
    Bury,
    Suspend(bool),
    MinAvailable(i32),
    Served(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let phase = prop_oneof![Just(Phase::Running), Just(Phase::Running), Just(Phase::Succeeded)];
    let step = prop_oneof![
        6 => Just(Step::Reconcile),
        1 => Just(Step::Crash),
        2 => any::<bool>().prop_map(Step::Pending),
        1 => Just(Step::DeleteGroup),
        1 => Just(Step::GroupGone),
        1 => phase.prop_map(Step::Phase),
        1 => Just(Step::RemovePod),
        1 => Just(Step::Bury),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => (0..5).prop_map(Step::MinAvailable),
        1 => any::<bool>().prop_map(Step::Served),
    ];
    prop::collection::vec(step, 0..40)
}

fn take(scene: &mut Scene, step: &Step) {
    let group = scene.others.iter_mut().find(|child| child.kind.is_pod_group());
    match (step, group) {
        (Step::Reconcile, _) => drop(checked(scene, Scene::reconcile)),
        (Step::Crash, _) => drop(checked(scene, Scene::store)),
        (Step::Pending(pending), Some(group)) if group.kind == ChildKind::VolcanoPodGroup => {
            group.pod_group.as_mut().expect("a PodGroup").pending = *pending;
        }
        (Step::DeleteGroup, Some(group)) => group.terminating = true,
        (Step::GroupGone, Some(group)) if group.terminating => {
            scene.others.retain(|child| !child.kind.is_pod_group());
        }
        (Step::Phase(phase), _) => scene.everything(*phase),
        (Step::RemovePod, _) => drop(scene.pods.pop()),
        (Step::Bury, _) => scene.bury(),
        (Step::Suspend(suspend), _) => scene.suspend(*suspend),
        (Step::MinAvailable(pods), _) => scene.edit(|job| {
            let policy = &mut job.spec.run_policy.scheduling_policy;
            policy.get_or_insert_default().min_available = Some(*pods);
        }),
        (Step::Served(served), _) => scene.settings.gang.as_mut().expect("a gang scheduler").served = *served,
        _ => {}
    }
}

/// Makes a plan, which may create pods only for a group that is there and admitted, and no second group.
fn checked(scene: &mut Scene, make: fn(&mut Scene) -> Plan) -> Plan {
    let before = scene.clone();
    let plan = make(scene);
    let mut groups = before.others.iter().filter(|child| child.kind.is_pod_group());
    let group = groups.next();
    let gang = before.settings.gang.as_ref().expect("a gang scheduler");
    let ready = group.is_some_and(|group| {
        let content = group.pod_group.as_ref().expect("a PodGroup");
        gang.served && !group.terminating && !content.pending
    });
    let without_gang = gang.scheduler == GangScheduler::Kubernetes && !gang.served;
    for action in &plan.actions {
        let Action::Create(child) = action else { continue };
        assert!(
            child.kind != ChildKind::Pod || ready || without_gang,
            "{action:?} with {group:?}"
        );
        assert!(
            !child.kind.is_pod_group() || (group.is_none() && gang.served),
            "{action:?} with {group:?}"
        );
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_pods_come_after_their_group_and_the_group_is_there_exactly_while_the_job_may_run(
        scheduler in prop::sample::select(schedulers().to_vec()),
        steps in steps(),
    ) {
        let mut scene = scene(master_and_workers(2), &scheduler);
        for step in &steps {
            take(&mut scene, step);
        }
        scene.settings.gang.as_mut().expect("a gang scheduler").served = true;
        for _ in 0..3 {
            take(&mut scene, &Step::GroupGone);
            scene.bury();
            scene.settle();
            take(&mut scene, &Step::Pending(false));
        }
        scene.settle();
        prop_assert!(scene.reconcile().is_idle());
        let may_run = !finished(&scene.status()) && !scene.job.spec.suspended();
        let groups = scene.others.iter().filter(|child| child.kind.is_pod_group()).count();
        // Pods that were made without a group need none.
        let needed = may_run && scene.pods.iter().any(|pod| pod.group.is_some());
        prop_assert!(usize::from(needed) <= groups && groups <= usize::from(may_run), "{:?}", scene.conditions());
        prop_assert!(!may_run || scene.pods.len() == 3, "{:?}", scene.pods);
    }
}
