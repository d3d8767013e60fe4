//! `runPolicy.failurePolicy`: what becomes of a failure, by what it was.

use serde_json::{Value, json};

use crate::api::{PyTorchJob, ReplicaType};
use crate::planner::{Count, Phase};
use crate::support::fixture::{JobBuilder, Scene, actions, master_and_workers, time, workers};

const IMPORT: &str = "ModuleNotFoundError: No module named 'flash_attn'";
const GPU: &str = "RuntimeError: CUDA error: uncorrectable ECC error encountered";

fn rules(job: JobBuilder, rules: &Value) -> JobBuilder {
    job.policy("failurePolicy", json!({ "rules": rules }))
}

/// The state of the job, its restarts and its pods after worker 1 has failed in this way and all is settled.
fn after(job: JobBuilder, fails: impl Fn(&mut Scene)) -> (String, Option<i32>, usize) {
    let mut scene = job.running();
    fails(&mut scene);
    scene.settle();
    let state = scene.status().conditions.pop().unwrap_or_default().type_;
    (state, scene.status().restarts, scene.pods.len())
}

fn failed() -> (String, Option<i32>, usize) {
    ("Failed".to_owned(), None, 3)
}

fn restarted() -> (String, Option<i32>, usize) {
    ("Running".to_owned(), Some(1), 3)
}

/// It goes on as if nothing had happened.
fn ignored() -> (String, Option<i32>, usize) {
    ("Running".to_owned(), None, 3)
}

/// How a pod ends.
type Fails = fn(&mut Scene);

#[test]
fn the_first_rule_that_fits_decides_and_without_one_the_restart_policy_does() {
    let list = json!([
        { "class": "ImportError", "action": "FailJob" },
        { "class": "GpuFault", "action": "Restart" },
        { "exitCodes": { "operator": "In", "values": [42, 43] }, "action": "Ignore" },
        { "exitCodes": { "operator": "In", "values": [43] }, "action": "FailJob" },
        { "onPodConditions": [{ "type": "bad-disk" }, { "type": "Late", "status": "False" }], "action": "Ignore" },
        { "onPodConditions": [{ "type": "Odd", "status": "Unknown" }], "action": "Ignore" },
    ]);
    let condition = |scene: &mut Scene, type_: &str, status: &str| {
        scene.exit("job-worker-1", 1);
        let failure = scene.pod("job-worker-1").failure.as_mut().unwrap();
        failure.conditions = vec![(type_.to_owned(), status.to_owned())];
    };
    let cases: [(&str, Fails, _, _); 8] = [
        (
            "class",
            |scene| scene.exit_saying("job-worker-1", 1, IMPORT),
            failed(),
            failed(),
        ),
        (
            "class",
            |scene| scene.exit_saying("job-worker-1", 1, GPU),
            restarted(),
            restarted(),
        ),
        ("code", |scene| scene.exit("job-worker-1", 42), ignored(), ignored()),
        (
            "the earlier rule",
            |scene| scene.exit("job-worker-1", 43),
            ignored(),
            ignored(),
        ),
        ("no rule", |scene| scene.exit("job-worker-1", 1), restarted(), failed()),
        (
            "no rule",
            |scene| scene.exit("job-worker-1", 137),
            restarted(),
            failed(),
        ),
        ("no code", |scene| scene.evict("job-worker-1"), restarted(), failed()),
        ("disrupted", |scene| disrupt(scene, Phase::Failed), ignored(), ignored()),
    ];
    for (name, fails, on_failure, never) in cases {
        for (policy, expected) in [("OnFailure", on_failure), ("Never", never)] {
            let job = rules(master_and_workers(2), &list).restart(ReplicaType::Worker, policy);
            assert_eq!(after(job, fails), expected, "{name}, {policy}");
        }
    }
    let job = || rules(master_and_workers(2), &list);
    for (type_, status, expected) in [
        ("bad-disk", "True", ignored()),
        ("bad-disk", "False", restarted()),
        ("Late", "False", ignored()),
        ("Late", "True", restarted()),
        ("Odd", "Unknown", ignored()),
        ("Odd", "True", restarted()),
        ("Other", "True", restarted()),
    ] {
        assert_eq!(
            after(job(), |scene| condition(scene, type_, status)),
            expected,
            "{type_} {status}"
        );
    }
}

/// The pod of worker 1 is thrown out by somebody else than its node.
fn disrupt(scene: &mut Scene, phase: Phase) {
    let pod = scene.pod("job-worker-1");
    (pod.disrupted, pod.phase) = (true, phase);
    pod.terminating = phase == Phase::Running;
}

#[test]
fn not_in_fits_every_other_code_and_nothing_without_one() {
    let job = || {
        let codes = json!({ "operator": "NotIn", "values": [137, 143] });
        rules(
            master_and_workers(2),
            &json!([{ "exitCodes": codes, "action": "FailJob" }]),
        )
    };
    assert_eq!(after(job(), |scene| scene.exit("job-worker-1", 1)), failed());
    assert_eq!(after(job(), |scene| scene.exit("job-worker-1", 137)), restarted());
    assert_eq!(after(job(), |scene| scene.evict("job-worker-1")), restarted());
}

#[test]
fn a_disruption_is_a_failure_where_a_rule_says_so() {
    for condition in [
        json!({ "class": "Preempted" }),
        json!({ "onPodConditions": [{ "type": "DisruptionTarget" }] }),
    ] {
        let job = |action: &str| {
            let mut rule = condition.clone();
            rule["action"] = json!(action);
            rules(master_and_workers(2), &json!([rule]))
        };
        for phase in [Phase::Running, Phase::Failed] {
            let after = |action: &str| {
                let (state, restarts, _) = after(job(action), |scene| disrupt(scene, phase));
                (state == "Failed", restarts)
            };
            assert_eq!(after("FailJob"), (true, None), "{phase:?}");
            assert_eq!(after("Restart"), (false, Some(1)), "{phase:?}");
            assert_eq!(after("Ignore"), (false, None), "{phase:?}");
        }
    }
}

#[test]
fn a_rule_about_exit_codes_fits_a_disrupted_pod_unless_one_before_it_ignores_disruptions() {
    let fails = json!({ "exitCodes": { "operator": "In", "values": [1] }, "action": "FailJob" });
    let ignores = json!({ "class": "Preempted", "action": "Ignore" });
    for (list, expected) in [
        (json!([fails]), "Failed"),
        (json!([fails, ignores]), "Failed"),
        (json!([ignores, fails]), "Running"),
    ] {
        let (state, ..) = after(rules(master_and_workers(2), &list), |scene| {
            scene.exit("job-worker-1", 1);
            disrupt(scene, Phase::Failed);
        });
        assert_eq!(state, expected, "{list}");
    }
}

#[test]
fn a_disruption_of_what_a_completed_worker_has_left_is_no_failure() {
    for (action, scope) in [
        ("FailJob", "Replica"),
        ("FailJob", "Job"),
        ("Restart", "Replica"),
        ("Restart", "Job"),
    ] {
        let rule = json!({ "class": "Preempted", "action": action });
        let mut scene = rules(workers(2), &json!([rule]))
            .policy("restartScope", scope)
            .running();
        scene.phase("job-worker-1", Phase::Succeeded);
        scene.settle();
        disrupt(&mut scene, Phase::Succeeded);
        scene.settle();
        let status = scene.status();
        assert_eq!(status.completed_indexes.as_deref(), Some("1"), "{action}, {scope}");
        assert_eq!(
            (scene.says("Running=True"), status.restarts, status.first_failure),
            (true, None, None),
            "{action}, {scope}"
        );
    }
}

#[test]
fn a_drained_pod_starts_the_whole_job_again_once_although_it_goes_by_itself() {
    let rule = json!({ "class": "Preempted", "action": "Restart" });
    let mut scene = rules(master_and_workers(2), &json!([rule]))
        .policy("restartScope", "Job")
        .running();
    disrupt(&mut scene, Phase::Running);
    scene.store();
    assert_eq!(scene.status().restarts, Some(1));
    // It is gone before the operator, which has stopped, is back.
    scene.bury();
    assert_eq!(
        actions(&scene.plan()),
        ["delete pod worker-0"],
        "the master marks the restart"
    );
    for _ in 0..3 {
        scene.reconcile();
        scene.bury();
    }
    scene.settle();
    scene.run();
    assert_eq!((scene.status().restarts, scene.pods.len()), (Some(1), 3));
    assert!(scene.says("Running=True"));
}

#[test]
fn of_a_rank_that_goes_with_its_node_it_is_told_which_node_that_was() {
    let rule = json!({ "class": "Preempted", "action": "Restart" });
    let mut scene = rules(master_and_workers(2), &json!([rule]))
        .policy("restartScope", "Job")
        .running();
    scene.terminate_on("job-worker-1", "gone");
    scene.pod("job-worker-1").disrupted = true;
    scene.store();
    assert_eq!(
        scene.message("Restarting"),
        "PyTorchJob job is restarting because 1 Worker replica(s) failed. job-worker-1 was disrupted on node gone. All \
         replicas start again."
    );
    let first = scene.status().first_failure.unwrap_or_default();
    assert_eq!(first.node.as_deref(), Some("gone"));
    assert_eq!(first.class.as_deref(), Some("Preempted"));
}

#[test]
fn a_job_that_a_rule_fails_says_which_rule_and_why() {
    let rule = json!({ "class": "ImportError", "action": "FailJob" });
    let mut scene = rules(master_and_workers(2), &json!([rule])).running();
    scene.exit_saying("job-worker-1", 1, IMPORT);
    let plan = scene.reconcile();
    assert_eq!(
        scene.message("Failed"),
        "PyTorchJob job is failed because failurePolicy.rules[0] says FailJob. job-worker-1 exited with code 1 (Error). \
         It was ImportError."
    );
    assert_eq!(plan.actions, [], "first the outcome");
    assert_eq!(plan.counts[0], Count::PodsFailed(1));
    let first = scene.status().first_failure.unwrap_or_default();
    assert_eq!(first.excerpt.as_deref(), Some(IMPORT));
}

#[test]
fn what_is_ignored_is_not_counted_nor_told_nor_remembered() {
    let rule = json!({ "exitCodes": { "operator": "In", "values": [42] }, "action": "Ignore" });
    let mut scene = rules(master_and_workers(2), &json!([rule]))
        .policy("backoffLimit", 0)
        .running();
    scene.exit("job-worker-1", 42);
    let plan = scene.reconcile();
    assert_eq!(actions(&plan), ["delete pod worker-1"]);
    assert_eq!((plan.counts, plan.events), (vec![], vec![]));
    scene.settle();
    assert_eq!((scene.pods.len(), scene.status().restarts), (3, None));
    assert_eq!(scene.status().first_failure, None);
}

#[test]
fn the_kubelet_restarts_nothing_in_place() {
    for policy in ["Always", "OnFailure", "ExitCode", "Never"] {
        let rule = json!({ "class": "ImportError", "action": "FailJob" });
        let job = rules(master_and_workers(1), &json!([rule])).restart(ReplicaType::Worker, policy);
        let pod = job.scene().build_pod(ReplicaType::Worker, 0);
        assert_eq!(pod["spec"]["restartPolicy"], "Never", "{policy}");
    }
}

#[test]
fn a_rule_with_a_word_of_tomorrow_fits_nothing() {
    let job = rules(
        master_and_workers(2),
        &json!([
            { "class": "Gremlins", "action": "FailJob" },
            { "class": "ImportError", "action": "Wait" },
            { "exitCodes": { "operator": "Near", "values": [1] }, "action": "FailJob" },
        ]),
    );
    let decoded: PyTorchJob = job.clone().build();
    assert_eq!(
        decoded.spec.run_policy.failure_policy.map(|policy| policy.rules.len()),
        Some(3)
    );
    // Such a job was started by a version that knows the words.
    let mut scene = job.scene();
    scene.job.status.get_or_insert_default().start_time = Some(time(0));
    scene.settle();
    scene.run();
    scene.exit_saying("job-worker-1", 1, IMPORT);
    scene.settle();
    assert_eq!(scene.status().restarts, Some(1));
}
