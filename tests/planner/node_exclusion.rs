//! `runPolicy.nodeExclusion`: which failures count against a node, for how long, and that a job does not wait for nodes
//! that it has excluded itself.

use serde_json::{Value, json};

use crate::api::FailureClass::{self, Crashed, CudaError, DiskFull, GpuFault, Killed, OutOfMemory, Unknown};
use crate::api::ReplicaType;
use crate::planner::{Phase, Plan, Trouble};
use crate::support::fixture::{JobBuilder, Scene, actions, at, master_and_workers};

const WINDOW: i64 = 3_600;
const GPU: &str = "RuntimeError: CUDA error: uncorrectable ECC error encountered";
const IMPORT: &str = "ModuleNotFoundError: No module named 'flash_attn'";
const PEER: &str = "RuntimeError: [1] is setting up NCCL communicator: Connection reset by peer";

fn exclusion(after: i32, max: i32) -> Value {
    json!({ "afterFailures": after, "windowSeconds": WINDOW, "max": max })
}

fn job(after: i32, max: i32) -> JobBuilder {
    master_and_workers(2).policy("nodeExclusion", exclusion(after, max))
}

/// Lets a pod fail on a node, now.
fn fail(scene: &mut Scene, pod: &str, node: &str, message: &str) {
    let second = scene.now.as_second() - at(0).as_second();
    scene.exit_saying(pod, second, message);
    let pod = scene.pod(pod);
    let training = pod.in_place.as_mut().and_then(|training| training.earlier.as_mut());
    let earlier = training.map(|earlier| &mut earlier.failure);
    let failure = pod.failure.as_deref_mut().or(earlier);
    failure.expect("it has just failed").node = Some(node.to_owned());
}

/// Lets it fail, and everything run again.
fn fail_and_run(scene: &mut Scene, pod: &str, node: &str, message: &str) {
    fail(scene, pod, node, message);
    scene.settle();
    scene.bury();
    scene.settle();
    scene.run();
}

fn excluded(scene: &Scene) -> Vec<String> {
    scene
        .status()
        .excluded_nodes
        .into_iter()
        .map(|node| node.name)
        .collect()
}

fn terms(scene: &Scene, index: u32) -> Value {
    let pod = scene.build_pod(ReplicaType::Worker, index);
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    affinity["nodeSelectorTerms"].clone()
}

/// A pod that was built with what is excluded now cannot be scheduled.
fn unschedulable(scene: &mut Scene, pod: &str) {
    let excludes = excluded(scene);
    let since = Some(scene.now);
    let pod = scene.pod(pod);
    pod.phase = Phase::Pending;
    pod.trouble = Some(Box::new(Trouble {
        reason: "Unschedulable",
        message: "0/3 nodes are available".into(),
        since,
        excludes,
    }));
}

#[test]
fn a_node_with_that_many_failures_gets_no_new_pod_and_the_status_and_an_event_say_why() {
    let mut scene = job(2, 4).running();
    fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    assert_eq!(excluded(&scene), [] as [&str; 0]);
    scene.wait(60);
    fail(&mut scene, "job-worker-1", "bad", GPU);
    let plan = scene.store();
    assert!(
        plan.actions.is_empty(),
        "it is stored before anything is deleted: {:?}",
        plan.actions
    );
    let node = scene.status().excluded_nodes.remove(0);
    assert_eq!(
        (
            node.name.as_str(),
            node.until.0.as_second() - scene.now.as_second(),
            node.because.as_str()
        ),
        (
            "bad",
            WINDOW - 60,
            "2 failures within 3600 s, the last of job-worker-1 (GpuFault)"
        )
    );
    let events = plan.events.iter().filter(|event| event.reason == "NodeExcluded");
    let events: Vec<_> = events.map(|event| event.message.as_str()).collect();
    assert_eq!(
        events,
        [
            "New pods do not go to node bad until 2027-01-15T09:00:00Z: 2 failures within 3600 s, the last of job-worker-1 (GpuFault)."
        ]
    );
    let not_bad = json!([{ "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["bad"] }] }]);
    assert_eq!(terms(&scene, 0), not_bad);
}

#[test]
fn the_first_failure_is_not_counted_again_by_a_crash_of_the_operator() {
    let mut scene = job(2, 4).running();
    fail(&mut scene, "job-worker-0", "bad", GPU);
    for _ in 0..3 {
        scene.store();
    }
    assert_eq!((scene.status().node_failures.len(), excluded(&scene).len()), (1, 0));
    let stored = serde_json::to_string(&scene.job).unwrap();
    scene.job = serde_json::from_str(&stored).unwrap();
    scene.settle();
    scene.run();
    fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    assert_eq!(excluded(&scene), ["bad"]);
}

#[test]
fn what_the_program_does_wrong_or_another_rank_caused_does_not_count() {
    for (message, counts) in [(GPU, true), ("", true), (IMPORT, false), (PEER, false)] {
        let mut scene = job(1, 4).running();
        fail_and_run(&mut scene, "job-worker-0", "bad", message);
        assert_eq!(!excluded(&scene).is_empty(), counts, "{message}");
    }
    let count: Vec<_> = FailureClass::ALL
        .into_iter()
        .filter(|class| class.may_be_the_nodes())
        .collect();
    assert_eq!(
        count,
        [Crashed, CudaError, DiskFull, GpuFault, Killed, OutOfMemory, Unknown]
    );
}

#[test]
fn a_disruption_and_an_eviction_do_not_count() {
    let mut scene = job(1, 4).running();
    scene.evict("job-worker-0");
    scene.pod("job-worker-0").failure.as_mut().unwrap().node = Some("bad".into());
    scene.settle();
    scene.run();
    fail(&mut scene, "job-worker-1", "bad", GPU);
    scene.pod("job-worker-1").disrupted = true;
    scene.settle();
    assert_eq!(excluded(&scene), [] as [&str; 0]);
}

#[test]
fn a_pod_that_has_ended_waits_for_no_node_and_is_deleted_once() {
    let mut scene = job(1, 4).running();
    fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    unschedulable(&mut scene, "job-worker-1");
    let pod = scene.pod("job-worker-1");
    pod.trouble.as_mut().unwrap().excludes = vec!["another".into()];
    assert_eq!(actions(&scene.plan()), ["delete pod worker-1"], "built without another");
    let pod = scene.pod("job-worker-1");
    (pod.phase, pod.disrupted) = (Phase::Failed, true);
    assert_eq!(actions(&scene.plan()), ["delete pod worker-1"], "disrupted");
}

#[test]
fn of_a_whole_job_only_the_failure_counts_that_caused_the_others_also_when_it_is_seen_late() {
    let mut scene = job(1, 4).policy("restartScope", "Job").running();
    fail(&mut scene, "job-worker-0", "good", PEER);
    scene.store();
    fail(&mut scene, "job-worker-1", "bad", GPU);
    scene.settle();
    scene.bury();
    let mut stored = false;
    for _ in 0..10 {
        let plan = scene.reconcile();
        let creates = actions(&plan).iter().any(|action| action.starts_with("create pod"));
        assert!(stored || !creates, "no pod is created before the exclusion is stored");
        stored = excluded(&scene) == ["bad"];
    }
    assert_eq!((excluded(&scene), scene.pods.len()), (vec!["bad".to_owned()], 3));
}

#[test]
fn of_a_job_that_starts_again_in_place_the_cause_replaces_what_was_counted_when_it_is_seen_late() {
    const NONE: &[&str] = &[];
    const GOOD: &[&str] = &["good"];
    const BAD: &[&str] = &["bad"];
    for (first, counted, late, corrected) in [
        (PEER, NONE, GPU, BAD),
        ("", GOOD, GPU, BAD),
        ("", GOOD, IMPORT, NONE),
        (GPU, GOOD, PEER, GOOD),
    ] {
        let whole = job(1, 4).policy("restartScope", "Job");
        let mut scene = whole.policy("restartStrategy", "InPlace").running();
        scene.wait(10);
        fail(&mut scene, "job-master-0", "good", first);
        scene.settle();
        assert_eq!(excluded(&scene), counted, "{first}");
        // It had ended a second before.
        scene.wait(-1);
        fail(&mut scene, "job-worker-1", "bad", late);
        scene.wait(1);
        scene.settle();
        assert_eq!(excluded(&scene), corrected, "{first}, {late}");
        assert_eq!(scene.status().node_failures.len(), corrected.len(), "{first}, {late}");
    }
}

#[test]
fn a_node_comes_back_in_the_second_in_which_its_failures_are_too_old() {
    let mut scene = job(1, 4).running();
    fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    scene.wait(WINDOW - 1);
    assert_eq!(scene.plan().requeue.map(|left| left.as_secs()), Some(1));
    assert!(scene.plan().is_idle(), "{:?}", scene.plan());
    scene.wait(1);
    scene.settle();
    let status = scene.status();
    assert!(status.excluded_nodes.is_empty() && status.node_failures.is_empty());
    assert_eq!(scene.plan(), Plan::default());
}

#[test]
fn of_more_nodes_than_the_most_those_stay_excluded_that_failed_last() {
    let mut scene = job(1, 2).running();
    for node in ["a", "b", "c"] {
        fail_and_run(&mut scene, "job-worker-0", node, GPU);
        scene.wait(60);
        scene.settle();
    }
    assert_eq!(excluded(&scene), ["b", "c"]);
}

#[test]
fn it_is_the_last_failure_of_a_node_that_tells_whether_it_stays_and_the_first_to_come_back_is_first() {
    for (max, expected) in [(1, &["a"] as &[&str]), (2, &["a", "b"])] {
        let mut scene = job(2, max).running();
        for (node, pause) in [("a", 50), ("b", 10), ("b", 40), ("a", 0)] {
            fail_and_run(&mut scene, "job-worker-0", node, GPU);
            scene.wait(pause);
        }
        assert_eq!(excluded(&scene), expected, "{max}");
    }
}

#[test]
fn an_edit_holds_for_the_failures_so_far() {
    let mut scene = job(2, 4).running();
    fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    scene.edit(|job| job.spec.run_policy.node_exclusion.as_mut().unwrap().after_failures = 1);
    scene.settle();
    assert_eq!(excluded(&scene), ["bad"]);
    scene.edit(|job| job.spec.run_policy.node_exclusion = None);
    scene.settle();
    assert!(excluded(&scene).is_empty() && scene.status().node_failures.is_empty());
    assert_eq!(terms(&scene, 0), Value::Null);
}

#[test]
fn the_exclusion_that_ends_first_goes_when_a_pod_has_waited_five_minutes_for_a_node() {
    let mut scene = job(1, 4).running();
    for node in ["old", "new"] {
        fail_and_run(&mut scene, "job-worker-0", node, GPU);
        scene.wait(60);
        scene.settle();
    }
    unschedulable(&mut scene, "job-worker-1");
    scene.settle();
    scene.wait(299);
    assert_eq!(scene.plan().requeue.map(|left| left.as_secs()), Some(1));
    assert!(scene.plan().is_idle());
    scene.wait(1);
    let plan = scene.store();
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    let events: Vec<_> = plan
        .events
        .iter()
        .map(|event| (event.reason, event.message.as_str()))
        .collect();
    let text = "Node old is excluded no longer: pod job-worker-1 cannot be scheduled without it, or at all, for 300 s.";
    assert_eq!(events, [("NodeReadmitted", text)]);
    assert_eq!(excluded(&scene), ["new"]);
    assert_eq!(actions(&scene.reconcile()), ["delete pod worker-1"]);
    assert_eq!(excluded(&scene), ["new"], "one at a time");
    scene.settle();
    assert_eq!(
        (scene.pods.len(), scene.status().restarts),
        (3, Some(2)),
        "it is no restart"
    );
    // The new pod waits as well, and once more as long.
    unschedulable(&mut scene, "job-worker-1");
    scene.wait(300);
    scene.settle();
    assert_eq!(excluded(&scene), [] as [&str; 0]);
    unschedulable(&mut scene, "job-worker-1");
    scene.settle();
    scene.wait(10_000);
    assert!(scene.plan().is_idle(), "there is nothing to let go: {:?}", scene.plan());
}

#[test]
fn a_pod_that_waits_for_something_else_lets_no_node_back() {
    let mut scene = job(1, 4).running();
    fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    unschedulable(&mut scene, "job-worker-1");
    scene.pod("job-worker-1").trouble.as_mut().unwrap().excludes.clear();
    scene.settle();
    scene.wait(1_000);
    scene.settle();
    assert_eq!(excluded(&scene), ["bad"], "it was built before");
}

#[test]
fn failures_and_nodes_are_bounded() {
    let mut scene = job(100, 64).running();
    for number in 0..140 {
        fail_and_run(&mut scene, "job-worker-0", &format!("node-{}", number % 2), GPU);
        scene.wait(1);
    }
    assert_eq!(scene.status().node_failures.len(), 128);
}

#[test]
fn without_the_policy_nothing_is_remembered_and_pods_are_the_same() {
    let mut scene = master_and_workers(2).running();
    for _ in 0..3 {
        fail_and_run(&mut scene, "job-worker-0", "bad", GPU);
    }
    let status = serde_json::to_value(scene.status()).unwrap();
    assert!(status.get("nodeFailures").is_none() && status.get("excludedNodes").is_none());
    let without = scene.build_pod(ReplicaType::Worker, 0);
    scene.job.spec.run_policy.node_exclusion = job(1, 1).build().spec.run_policy.node_exclusion;
    assert_eq!(
        scene.build_pod(ReplicaType::Worker, 0),
        without,
        "nothing is excluded yet"
    );
}
