//! What a job waits for: pods that stay terminating, and creations that are refused.

use std::time::Duration;

use crate::api::names::reason;
use crate::planner::{Plan, Trouble, Urgency};
use crate::support::fixture::{Scene, at, conditions, master_and_workers, workers};

const STUCK: &str = "pod job-worker-0 on node n1 should have ended by 2027-01-15T08:00:30Z and is still terminating. If the node is \
                     gone, taint it with node.kubernetes.io/out-of-service or delete the pod with `kubectl delete pod job-worker-0 \
                     --force`.";

/// The message of the condition that is the job's state.
fn state(scene: &Scene) -> String {
    let newest = scene
        .status()
        .conditions
        .into_iter()
        .rfind(|entry| entry.status == "True");
    newest.and_then(|entry| entry.message).unwrap_or_default()
}

fn warnings(plan: &Plan) -> Vec<(&str, &str)> {
    plan.events
        .iter()
        .filter(|event| event.warning)
        .map(|event| (event.reason, event.message.as_str()))
        .collect()
}

#[test]
fn a_pod_that_stays_terminating_is_named_once_with_its_node_and_what_frees_it_until_it_is_gone() {
    let mut scene = workers(2).running();
    scene.terminate_on("job-worker-0", "n1");
    scene.now = at(59);
    let plan = scene.reconcile();
    assert_eq!(state(&scene), "PyTorchJob ns/job is running.");
    assert_eq!(plan.requeue, Some(Duration::from_secs(1)), "comes back in time");
    scene.now = at(60);
    let plan = scene.reconcile();
    assert_eq!(state(&scene), format!("PyTorchJob ns/job is running. Waiting: {STUCK}"));
    assert_eq!(warnings(&plan), [(reason::STUCK_POD, STUCK)]);
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Condition));
    scene.now = at(100_000);
    assert_eq!(scene.plan(), Plan::default(), "not a second time");

    scene.bury();
    scene.settle();
    assert_eq!(state(&scene), "PyTorchJob ns/job is running.");
}

#[test]
fn several_pods_that_stay_are_counted() {
    let mut scene = master_and_workers(3).running();
    for name in ["job-worker-0", "job-worker-1", "job-worker-2"] {
        scene.terminate_on(name, "n1");
    }
    scene.now = at(60);
    scene.reconcile();
    assert!(
        state(&scene).ends_with("`. The same is true of 2 more."),
        "{}",
        state(&scene)
    );
}

#[test]
fn the_message_follows_the_number_of_pods_that_are_waited_for() {
    let mut scene = master_and_workers(2).running();
    for name in ["job-worker-0", "job-worker-1"] {
        scene.terminate_on(name, "n1");
    }
    scene.now = at(60);
    scene.reconcile();
    assert!(
        state(&scene).ends_with(" The same is true of 1 more."),
        "{}",
        state(&scene)
    );
    scene.remove("job-worker-1");
    scene.settle();
    assert!(
        state(&scene).ends_with(&format!("Waiting: {STUCK}")),
        "{}",
        state(&scene)
    );
}

#[test]
fn a_suspended_job_and_one_that_is_resumed_say_which_pod_they_wait_for() {
    let mut scene = workers(1).policy("suspend", true).scene();
    scene.add_pod("job-worker-0");
    scene.terminate_on("job-worker-0", "n1");
    scene.now = at(60);
    scene.settle();
    assert_eq!(state(&scene), format!("PyTorchJob job is suspended. Waiting: {STUCK}"));
    scene.job.spec.run_policy.suspend = Some(false);
    scene.settle();
    assert_eq!(state(&scene), format!("PyTorchJob job is created. Waiting: {STUCK}"));
    let told = scene
        .status()
        .conditions
        .iter()
        .filter(|entry| entry.message.as_deref().unwrap().contains("Waiting"))
        .count();
    assert_eq!(told, 1, "{:?}", conditions(&scene.status()));
}

#[test]
fn a_refusal_is_told_while_something_is_missing_and_numbers_alone_are_no_news() {
    let refusal = |pod: &str, used: u32| {
        Some(format!(
            "cannot create pod ns/{pod}: pods \"{pod}\" is forbidden: exceeded quota: q, used: pods={used}"
        ))
    };
    let mut scene = workers(2).scene();
    scene.store();
    scene.refusal = refusal("job-worker-0", 9);
    let plan = scene.store();
    let told = |scene: &Scene| {
        state(scene)
            .strip_prefix("PyTorchJob job is created. Waiting: ")
            .map(ToOwned::to_owned)
    };
    assert_eq!(told(&scene), scene.refusal);
    assert_eq!(plan.status.map(|write| write.urgency), Some(Urgency::Condition));
    assert_eq!(plan.events, [], "whoever tried has an event for it");

    scene.refusal = refusal("job-worker-0", 8);
    assert_eq!(scene.plan().status, None, "a write for each attempt");
    scene.refusal = Some("cannot create pod ns/job-worker-0: admission webhook \"w\" denied the request".into());
    scene.store();
    assert_eq!(told(&scene), scene.refusal, "another cause");
    scene.refusal = refusal("job-worker-1", 8);
    scene.store();
    assert_eq!(told(&scene), scene.refusal, "another pod");

    // What the shell remembers does not count when nothing is missing any more.
    scene.settle();
    assert_eq!(state(&scene), "PyTorchJob job is created.");
}

#[test]
fn an_outcome_takes_away_what_the_job_waited_for() {
    let mut scene = workers(2).policy("activeDeadlineSeconds", 90).running();
    scene.terminate_on("job-worker-0", "n1");
    scene.now = at(60);
    scene.reconcile();
    scene.now = at(90);
    scene.reconcile();
    let messages: Vec<String> = scene
        .status()
        .conditions
        .into_iter()
        .filter_map(|entry| entry.message)
        .collect();
    assert!(
        messages.iter().all(|message| !message.contains("Waiting")),
        "{messages:?}"
    );
    assert!(scene.status().completion_time.is_some());
}

/// Says of a pod why it does not run.
fn trouble(scene: &mut Scene, pod: &str, reason: &'static str, message: &str) {
    scene.pod(pod).trouble = Some(Box::new(Trouble {
        reason,
        message: message.into(),
        ..Trouble::default()
    }));
}

#[test]
fn a_pod_that_does_not_run_is_named_with_the_schedulers_words_and_has_one_event() {
    let mut scene = master_and_workers(2).scene();
    scene.settle();
    trouble(
        &mut scene,
        "job-worker-1",
        "Unschedulable",
        "0/3 nodes are available: 3 Insufficient cpu.",
    );
    let plan = scene.reconcile();
    let text = "pod job-worker-1: Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.";
    assert_eq!(state(&scene), format!("PyTorchJob job is created. Waiting: {text}"));
    assert_eq!(warnings(&plan), [("Unschedulable", text)]);
    trouble(
        &mut scene,
        "job-worker-1",
        "Unschedulable",
        "0/4 nodes are available: 4 Insufficient cpu.",
    );
    assert_eq!(scene.plan(), Plan::default(), "numbers are no news");
    trouble(
        &mut scene,
        "job-worker-1",
        "Unschedulable",
        "0/4 nodes are available: 4 Insufficient memory.",
    );
    let plan = scene.reconcile();
    assert!(state(&scene).ends_with("4 Insufficient memory."));
    assert_eq!(warnings(&plan), [], "one event for each pod and reason");

    trouble(&mut scene, "job-master-0", "ImagePullBackOff", "Back-off pulling image");
    let plan = scene.reconcile();
    let text = "pod job-master-0: ImagePullBackOff: Back-off pulling image. Other pods do not run either.";
    assert_eq!(
        state(&scene),
        format!("PyTorchJob job is created. Waiting: {text}"),
        "Master before Worker"
    );
    assert_eq!(warnings(&plan), [("ImagePullBackOff", text)]);
    trouble(
        &mut scene,
        "job-master-0",
        "ImagePullBackOff",
        "failed to resolve reference",
    );
    assert_eq!(scene.plan(), Plan::default(), "the kubelet's words after an attempt");

    scene.pods.iter_mut().for_each(|pod| pod.trouble = None);
    scene.run();
    assert_eq!(state(&scene), "PyTorchJob job is running.");
}

#[test]
fn what_keeps_pods_of_a_suspended_job_from_running_is_no_news() {
    let mut scene = master_and_workers(1).running();
    trouble(&mut scene, "job-worker-0", "CrashLoopBackOff", "back-off 10s");
    scene.suspend(true);
    scene.store();
    assert_eq!(state(&scene), "PyTorchJob job is suspended.");
}

#[test]
fn a_crash_loop_is_told_once_and_until_the_container_has_run_for_ten_minutes() {
    const TEXT: &str = "pod job-worker-0: CrashLoopBackOff: back-off 10s restarting failed container.";
    let mut scene = master_and_workers(1).running();
    scene.pod("job-worker-0").started_again = Some(at(5));
    scene.now = at(6);
    assert_eq!(
        scene.plan(),
        Plan::default(),
        "a container that failed once is in no loop"
    );
    trouble(
        &mut scene,
        "job-worker-0",
        "CrashLoopBackOff",
        "back-off 10s restarting failed container",
    );
    let plan = scene.reconcile();
    assert_eq!(warnings(&plan), [("CrashLoopBackOff", TEXT)]);
    let told = state(&scene);
    assert!(told.ends_with(TEXT), "{told}");

    // It runs for a while, ends, waits longer, and so on.
    for (started, words) in [(20, "back-off 20s"), (60, "back-off 40s"), (140, "back-off 1m20s")] {
        scene.pod("job-worker-0").trouble = None;
        scene.pod("job-worker-0").started_again = Some(at(started));
        scene.now = at(started + 1);
        let plan = scene.plan();
        assert_eq!(
            (&plan.actions[..], &plan.events[..], &plan.status),
            (&[][..], &[][..], &None)
        );
        assert_eq!(
            plan.requeue,
            Some(Duration::from_secs(599)),
            "until it counts as running"
        );
        scene.now = at(started + 5);
        trouble(&mut scene, "job-worker-0", "CrashLoopBackOff", words);
        assert_eq!(scene.plan(), Plan::default());
    }
    scene.pod("job-worker-0").trouble = None;
    scene.pod("job-worker-0").started_again = Some(at(300));
    scene.now = at(899);
    assert_eq!(scene.reconcile().requeue, Some(Duration::from_secs(1)));
    assert_eq!(state(&scene), told);
    scene.now = at(900);
    scene.reconcile();
    assert_eq!(state(&scene), "PyTorchJob job is running.");
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn a_pod_that_the_kubelet_does_not_call_ready_is_not_counted_as_ready() {
    let mut scene = master_and_workers(1).running();
    scene.pod("job-worker-0").unready = true;
    scene.settle();
    assert_eq!(scene.status().ready.as_deref(), Some("1/2"));
}
