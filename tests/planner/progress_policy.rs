//! `runPolicy.progressPolicy`: what becomes of replicas that run and make no progress.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::api::{ConditionType, ReplicaType};
use crate::planner::{Count, Phase, Plan, Pod, Progress, finished, is_true};
use crate::support::fixture::{JobBuilder, Scene, actions, elastic_workers, master_and_workers, time, turns, workers};

/// Seconds that nothing is a stall after the start of the last replica.
const STARTUP: i64 = 300;
/// Seconds within which the kubelet has looked once more: a tenth of the deadline, and the time that one look may take.
const ROUND: i64 = 36;

fn with(job: JobBuilder, action: &str) -> JobBuilder {
    let policy = json!({ "file": "/ckpt", "deadlineSeconds": 60, "startupSeconds": STARTUP, "action": action });
    job.policy("progressPolicy", policy)
}

fn job(action: &str) -> JobBuilder {
    with(master_and_workers(2), action)
}

/// The job with all its pods running and writing, `STARTUP` seconds later.
fn training(job: JobBuilder) -> Scene {
    let mut scene = job.running();
    for pod in &mut scene.pods {
        pod.node = Some(format!("node-of-{}", pod.name));
    }
    write(&mut scene);
    scene.settle();
    scene.wait(STARTUP);
    assert_eq!(scene.plan(), Plan::default(), "nothing has to be done while all write");
    scene
}

/// All pods run since now and write.
fn write(scene: &mut Scene) {
    let started = scene.now;
    for pod in &mut scene.pods {
        pod.progress = Some(Box::new(Progress {
            started,
            still_since: None,
            shared: false,
        }));
    }
}

/// The kubelet has found for a whole round that this pod writes nothing.
fn stall(scene: &mut Scene, pod: &str) {
    unready(scene, pod);
    let still = &mut progress(scene, pod).still_since;
    *still = still.map(|since| since - SignedDuration::from_secs(ROUND));
}

/// The kubelet calls this pod unready from now on.
fn unready(scene: &mut Scene, pod: &str) {
    let now = scene.now;
    progress(scene, pod).still_since = Some(now);
}

/// The kubelet finds that this pod writes again.
fn go_on(scene: &mut Scene, pod: &str) {
    progress(scene, pod).still_since = None;
}

fn progress<'a>(scene: &'a mut Scene, pod: &str) -> &'a mut Progress {
    scene
        .pod(pod)
        .progress
        .as_mut()
        .expect("its readiness tells of its progress")
}

/// What happens to one replica.
type Change = fn(&mut Scene);

/// The events of a plan, in short.
fn events(plan: &Plan) -> Vec<(&str, &str)> {
    let events = plan.events.iter();
    events.map(|event| (event.reason, event.message.as_str())).collect()
}

#[test]
fn warn_tells_of_the_stall_once_and_that_it_is_over_and_does_nothing_else() {
    let mut scene = training(job("Warn"));
    stall(&mut scene, "job-worker-1");
    let plan = scene.reconcile();
    let message = "job-worker-1 runs and has written nothing to /ckpt for more than 60 s.";
    assert_eq!(events(&plan), [("ProgressDeadlineExceeded", message)]);
    assert_eq!(
        (actions(&plan), turns(&plan), plan.requeue),
        (vec![], vec![], None),
        "it tells, and nothing else"
    );
    assert_eq!(
        scene.conditions(),
        [
            "Created=True(PyTorchJobCreated)",
            "Stalled=True(ProgressDeadlineExceeded)",
            "Running=True(PyTorchJobRunning)"
        ]
    );
    assert_eq!(scene.message("Stalled"), message);
    scene.wait(20);
    stall(&mut scene, "job-master-0");
    assert_eq!(scene.plan(), Plan::default(), "another one is no news");
    go_on(&mut scene, "job-worker-1");
    assert_eq!(scene.plan(), Plan::default(), "one still stands");
    go_on(&mut scene, "job-master-0");
    let plan = scene.reconcile();
    assert_eq!(
        events(&plan),
        [("TrainingProgresses", "PyTorchJob job makes progress again.")]
    );
    assert_eq!(
        scene.conditions(),
        [
            "Created=True(PyTorchJobCreated)",
            "Stalled=False(TrainingProgresses)",
            "Running=True(PyTorchJobRunning)"
        ]
    );
    assert_eq!((scene.plan(), scene.status().restarts), (Plan::default(), None));
}

#[test]
fn the_ranks_that_stopped_first_are_named_in_that_order() {
    let mut scene = training(with(master_and_workers(6), "Warn"));
    for pod in [
        "job-worker-4",
        "job-master-0",
        "job-worker-0",
        "job-worker-2",
        "job-worker-1",
    ] {
        stall(&mut scene, pod);
        scene.wait(1);
    }
    scene.reconcile();
    assert_eq!(
        scene.message("Stalled"),
        "job-worker-4 runs and has written nothing to /ckpt for more than 60 s. \
         After it: job-master-0, job-worker-0, job-worker-2 and 1 more."
    );
}

#[test]
fn a_restart_is_counted_before_the_pod_that_stands_still_is_deleted_and_the_first_failure_says_what_it_was() {
    let mut scene = training(job("Restart").restart(ReplicaType::Worker, "Never"));
    stall(&mut scene, "job-worker-1");
    let plan = scene.store();
    assert_eq!(plan.actions, [], "first it is stored");
    assert_eq!(scene.status().restarts, Some(1));
    assert!(
        !plan.counts.iter().any(|count| matches!(count, Count::PodsFailed(_))),
        "no pod has failed"
    );
    assert_eq!(
        scene.message("Restarting"),
        "PyTorchJob job is restarting because 1 Worker replica(s) stalled. \
         job-worker-1 runs and has written nothing to /ckpt for more than 60 s."
    );
    let first = scene.status().first_failure.unwrap_or_default();
    assert_eq!(first.class.as_deref(), Some("Stalled"));
    assert_eq!((first.pod.as_str(), first.rank), ("job-worker-1", Some(2)));
    assert_eq!(first.node.as_deref(), Some("node-of-job-worker-1"));
    assert_eq!(
        first.excerpt.as_deref(),
        Some("job-worker-1 runs and has written nothing to /ckpt for more than 60 s.")
    );
    // It writes again before it is deleted: it is counted, and goes.
    go_on(&mut scene, "job-worker-1");
    assert_eq!(actions(&scene.reconcile()), ["delete pod worker-1"]);
    scene.bury();
    scene.settle();
    assert!(scene.says("Stalled=True"), "until all run again");
    scene.run();
    assert!(scene.says("Stalled=False"));
    assert_eq!((scene.pods.len(), scene.status().restarts), (3, Some(1)));
}

#[test]
fn a_stall_of_all_ranks_is_one_restart_of_the_whole_job_and_its_attempt_says_so() {
    let mut scene = training(job("Restart").policy("restartScope", "Job").policy("backoffLimit", 1));
    for pod in ["job-worker-0", "job-master-0", "job-worker-1"] {
        stall(&mut scene, pod);
    }
    for _ in 0..6 {
        scene.reconcile();
        scene.bury();
    }
    scene.settle();
    let attempts = scene.status().attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].why.as_deref(), Some("Restarting"));
    let failure = attempts[0].first_failure.clone().unwrap_or_default();
    assert_eq!(
        (failure.class.as_deref(), scene.status().restarts),
        (Some("Stalled"), Some(1))
    );
    scene.run();
    write(&mut scene);
    scene.wait(STARTUP);
    stall(&mut scene, "job-worker-1");
    scene.settle();
    assert_eq!(
        scene.message("Failed"),
        "Job job has failed because it has reached the specified backoff limit (1): 2 restarts"
    );
}

#[test]
fn fail_ends_the_job_at_once_and_its_condition_stays_as_the_reason() {
    let mut scene = training(job("Fail"));
    stall(&mut scene, "job-worker-0");
    scene.reconcile();
    assert_eq!(
        scene.message("Failed"),
        "PyTorchJob job is failed because progressPolicy says Fail. \
         job-worker-0 runs and has written nothing to /ckpt for more than 60 s."
    );
    assert_eq!(
        scene.conditions(),
        [
            "Created=True(PyTorchJobCreated)",
            "Stalled=False(ProgressDeadlineExceeded)",
            "Running=False(PyTorchJobRunning)",
            "Failed=True(PyTorchJobFailed)"
        ]
    );
    let first = scene.status().first_failure.unwrap_or_default();
    assert_eq!(
        (first.class.as_deref(), scene.status().restarts),
        (Some("Stalled"), None)
    );
}

#[test]
fn nothing_is_a_stall_within_the_time_for_the_start_of_the_last_replica_and_from_its_end_on_it_is_one() {
    let mut scene = job("Restart").running();
    write(&mut scene);
    for pod in ["job-worker-0", "job-worker-1"] {
        stall(&mut scene, pod);
    }
    scene.wait(100);
    // The container of the master was restarted in place.
    let now = scene.now;
    progress(&mut scene, "job-master-0").started = now;
    scene.wait(STARTUP - 1);
    let plan = scene.reconcile();
    assert_eq!(plan.requeue, Some(Duration::from_secs(1)));
    assert_eq!((plan.actions, plan.status), (vec![], None));
    scene.wait(1);
    scene.reconcile();
    assert_eq!(
        scene.message("Stalled"),
        "job-worker-0 runs and has not begun to write to /ckpt. After it: job-worker-1."
    );
    assert_eq!(scene.status().restarts, Some(2));
}

#[test]
fn a_pod_is_believed_when_it_is_unready_for_a_whole_round_of_the_probe() {
    for (action, told) in [
        ("Restart", "Restarting=True"),
        ("Fail", "Failed=True"),
        ("Warn", "Stalled=True"),
    ] {
        let mut scene = training(job(action));
        unready(&mut scene, "job-worker-1");
        scene.wait(10);
        unready(&mut scene, "job-worker-0");
        scene.wait(ROUND - 11);
        let plan = scene.plan();
        assert_eq!(plan.requeue, Some(Duration::from_secs(1)), "{action}");
        assert_eq!(
            (plan.actions, plan.status, plan.events),
            (vec![], None, vec![]),
            "{action}"
        );
        scene.wait(1);
        scene.reconcile();
        assert!(scene.says(told), "{action}: {:?}", scene.conditions());
        let message = "job-worker-1 runs and has written nothing to /ckpt for more than 60 s.";
        assert_eq!(scene.message("Stalled"), message, "the other may write yet");
    }
}

#[test]
fn ranks_that_write_survive_that_the_kubelet_starts_again() {
    for action in ["Restart", "Fail", "Warn"] {
        let mut scene = training(job(action));
        for pod in ["job-master-0", "job-worker-0", "job-worker-1"] {
            unready(&mut scene, pod);
        }
        scene.settle();
        scene.wait(ROUND - 1);
        scene.settle();
        for pod in ["job-master-0", "job-worker-0", "job-worker-1"] {
            go_on(&mut scene, pod);
        }
        scene.wait(1);
        assert_eq!(scene.plan(), Plan::default(), "{action}");
    }
}

#[test]
fn the_time_for_the_start_begins_when_the_job_is_seen_to_run_if_a_clock_of_a_node_is_behind() {
    let mut scene = job("Fail").running();
    write(&mut scene);
    for pod in ["job-master-0", "job-worker-0", "job-worker-1"] {
        progress(&mut scene, pod).started = time(-10_000).0;
        progress(&mut scene, pod).still_since = Some(time(-5_000).0);
    }
    scene.wait(STARTUP - 1);
    assert_eq!((scene.plan().actions, scene.plan().status), (vec![], None));
    scene.wait(1);
    scene.reconcile();
    assert!(scene.says("Failed=True"));
}

#[test]
fn while_a_replica_is_missing_starting_or_failed_the_others_wait_for_it_and_do_not_stall() {
    let holds: [(&str, Change); 5] = [
        ("missing", |scene| scene.remove("job-worker-0")),
        ("pending", |scene| scene.phase("job-worker-0", Phase::Pending)),
        ("terminating", |scene| scene.terminate("job-worker-0")),
        ("evicted", |scene| scene.evict("job-worker-0")),
        ("disrupted", |scene| {
            scene.phase("job-worker-0", Phase::Failed);
            scene.pod("job-worker-0").disrupted = true;
        }),
    ];
    for (what, hold) in holds {
        let mut scene = training(job("Fail"));
        hold(&mut scene);
        stall(&mut scene, "job-worker-1");
        scene.settle();
        assert!(
            !scene.says("Stalled") && !scene.says("Failed"),
            "{what}: {:?}",
            scene.conditions()
        );
    }
}

#[test]
fn a_worker_that_has_succeeded_is_not_waited_for() {
    let mut scene = training(with(workers(2), "Fail"));
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    stall(&mut scene, "job-worker-1");
    scene.settle();
    assert!(scene.says("Failed=True"), "with its pod");
    let mut scene = training(with(workers(2), "Fail"));
    scene.phase("job-worker-0", Phase::Succeeded);
    scene.settle();
    scene.remove("job-worker-0");
    scene.settle();
    stall(&mut scene, "job-worker-1");
    scene.settle();
    assert!(scene.says("Failed=True"), "and without it");
}

#[test]
fn elastic_training_goes_on_without_the_missing_and_its_stalls_count() {
    let mut scene = training(with(elastic_workers(3, 1, 3), "Fail"));
    scene.phase("job-worker-0", Phase::Pending);
    scene.pod("job-worker-0").progress = None;
    stall(&mut scene, "job-worker-1");
    scene.settle();
    assert!(scene.says("Failed=True"));
}

#[test]
fn a_suspended_a_restarting_and_a_finished_job_do_not_stall() {
    let mut scene = training(job("Fail"));
    scene.suspend(true);
    stall(&mut scene, "job-worker-1");
    scene.settle();
    assert!(
        scene.says("Suspended=True") && !scene.says("Stalled"),
        "it is being suspended"
    );

    let mut scene = training(job("Warn"));
    stall(&mut scene, "job-worker-1");
    scene.settle();
    scene.suspend(true);
    scene.settle();
    assert!(scene.says("Stalled=False(PyTorchJobSuspended)"), "a suspension ends it");

    let mut scene = training(job("Fail").policy("restartScope", "Job"));
    scene.exit("job-worker-0", 1);
    scene.reconcile();
    for pod in ["job-master-0", "job-worker-1"] {
        stall(&mut scene, pod);
    }
    scene.wait(10_000);
    scene.settle();
    assert!(scene.says("Restarting=True") && !scene.says("Stalled"), "it restarts");

    let mut scene = training(job("Fail").policy("cleanPodPolicy", "None"));
    scene.phase("job-master-0", Phase::Succeeded);
    scene.settle();
    let before = scene.status();
    stall(&mut scene, "job-worker-1");
    scene.settle();
    assert_eq!(scene.status().conditions, before.conditions, "it has finished");
}

#[test]
fn a_restart_by_a_stall_does_not_take_the_time_of_the_others_for_a_stall_of_theirs() {
    let mut scene = training(job("Restart"));
    stall(&mut scene, "job-worker-1");
    scene.reconcile();
    scene.reconcile();
    stall(&mut scene, "job-worker-0");
    scene.bury();
    scene.wait(10_000);
    scene.settle();
    scene.everything(Phase::Running);
    let started = scene.now;
    scene.pod("job-worker-1").progress = Some(Box::new(Progress {
        started,
        still_since: None,
        shared: false,
    }));
    scene.settle();
    assert_eq!(scene.status().restarts, Some(1));
    scene.wait(STARTUP - 1);
    scene.settle();
    assert_eq!(scene.status().restarts, Some(1));
    scene.wait(1);
    scene.settle();
    assert_eq!(scene.status().restarts, Some(2), "worker 0 still stands still");
}

#[test]
fn the_pod_has_the_probe_and_says_so_unless_the_template_has_one_of_its_own() {
    let pod = job("Warn").scene().build_pod(ReplicaType::Worker, 0);
    let probe = &pod["spec"]["containers"][0]["readinessProbe"];
    assert_eq!(probe["exec"]["command"][0], "sh");
    assert_eq!(probe["exec"]["command"][4], "/ckpt");
    assert_eq!(probe["exec"]["command"][5], "60");
    assert_eq!(
        (&probe["periodSeconds"], &probe["failureThreshold"]),
        (&json!(6), &json!(3))
    );
    let annotation =
        |pod: &Value| pod["metadata"]["annotations"]["training.kubeflow.org/progress-deadline-seconds"].clone();
    assert_eq!(annotation(&pod), "60");
    let own = json!({ "tcpSocket": { "port": 80 } });
    let pod = job("Warn").container(ReplicaType::Worker, "/readinessProbe", own.clone());
    let pod = pod.scene().build_pod(ReplicaType::Worker, 0);
    assert_eq!(
        (&pod["spec"]["containers"][0]["readinessProbe"], annotation(&pod)),
        (&own, Value::Null)
    );
    let pod = master_and_workers(2).scene().build_pod(ReplicaType::Worker, 0);
    assert_eq!(
        (&pod["spec"]["containers"][0]["readinessProbe"], annotation(&pod)),
        (&Value::Null, Value::Null)
    );
}

#[test]
fn without_the_policy_and_with_an_action_of_tomorrow_readiness_means_nothing() {
    for job in [master_and_workers(2), job("Dance")] {
        let mut scene = job.scene();
        scene.job.status.get_or_insert_default().start_time = Some(time(0));
        scene.settle();
        scene.run();
        write(&mut scene);
        for pod in ["job-master-0", "job-worker-0", "job-worker-1"] {
            stall(&mut scene, pod);
        }
        scene.wait(100_000);
        assert_eq!(scene.plan(), Plan::default());
    }
}

/// Something that happens to the job.
#[derive(Clone, Debug)]
enum Step {
    Operate,
    Wait(i64),
    Stall(usize),
    GoOn(usize),
    Start(usize),
    Restart(usize),
    RestartKubelet(usize),
    Fail(usize),
    Evict(usize),
    Delete(usize),
    Bury,
    Suspend(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    let pod = 0..3_usize;
    prop_oneof![
        6 => Just(Step::Operate),
        3 => prop::sample::select(vec![1, ROUND - 1, ROUND, STARTUP - 1, STARTUP]).prop_map(Step::Wait),
        4 => pod.clone().prop_map(Step::Stall),
        2 => pod.clone().prop_map(Step::GoOn),
        4 => pod.clone().prop_map(Step::Start),
        1 => pod.clone().prop_map(Step::Restart),
        3 => pod.clone().prop_map(Step::RestartKubelet),
        1 => pod.clone().prop_map(Step::Fail),
        1 => pod.clone().prop_map(Step::Evict),
        1 => pod.prop_map(Step::Delete),
        2 => Just(Step::Bury),
        1 => any::<bool>().prop_map(Step::Suspend),
    ]
}

/// The job, and which of its pods write although they are unready, until the kubelet, which was started again, has
/// looked at them.
#[derive(Clone, Debug)]
struct Model {
    scene: Scene,
    unseen: BTreeMap<String, Timestamp>,
}

impl Model {
    fn new(job: JobBuilder) -> Self {
        Self {
            scene: job.scene(),
            unseen: BTreeMap::new(),
        }
    }

    fn happen(&mut self, step: &Step) {
        let pod = |place: usize| Some(self.scene.pods.get(place)?.name.clone());
        match step {
            Step::RestartKubelet(place) => return self.restart_kubelet(*place),
            Step::Stall(place) if pod(*place).is_some_and(|pod| self.unseen.contains_key(&pod)) => return,
            Step::GoOn(place) | Step::Restart(place) | Step::Fail(place) | Step::Evict(place) | Step::Delete(place) => {
                pod(*place).and_then(|pod| self.unseen.remove(&pod));
            }
            _ => {}
        }
        happen(&mut self.scene, step);
        self.look();
    }

    fn restart_kubelet(&mut self, place: usize) {
        let now = self.scene.now;
        let Some(pod) = self.scene.pods.get_mut(place).filter(|pod| pod.running()) else {
            return;
        };
        let progress = pod.progress.as_mut().filter(|progress| progress.still_since.is_none());
        if let Some(progress) = progress {
            progress.still_since = Some(now);
            let looked = now + SignedDuration::from_secs(ROUND);
            self.unseen.insert(pod.name.clone(), looked);
        }
    }

    /// The kubelet looks in time at the pods that write.
    fn look(&mut self) {
        let now = self.scene.now;
        let scene = &mut self.scene;
        self.unseen.retain(|pod, looked| {
            let pod = scene
                .pods
                .iter_mut()
                .find(|known| known.name == *pod && known.running());
            let Some(progress) = pod.and_then(|pod| pod.progress.as_mut()) else {
                return false;
            };
            if *looked <= now {
                progress.still_since = None;
            }
            *looked > now
        });
    }
}

/// Lets it happen. A pod that runs has been started at some time, and the kubelet calls it unready until it writes.
fn happen(scene: &mut Scene, step: &Step) {
    let now = scene.now;
    let progress = |pod: &mut Pod| {
        let fresh = Progress {
            started: now,
            still_since: Some(now),
            shared: false,
        };
        let known = pod.progress.get_or_insert_with(|| Box::new(fresh));
        **known
    };
    let at = |place: usize, scene: &Scene| scene.pods.get(place).map(|pod| pod.name.clone());
    match step {
        Step::RestartKubelet(_) => {}
        Step::Operate => drop(scene.reconcile()),
        Step::Wait(seconds) => scene.wait(*seconds),
        Step::Bury => scene.bury(),
        Step::Suspend(suspend) => scene.suspend(*suspend),
        Step::Stall(place) | Step::GoOn(place) | Step::Start(place) | Step::Restart(place) => {
            let Some(pod) = scene.pods.get_mut(*place) else { return };
            if matches!(step, Step::Start(_)) && pod.phase == Phase::Pending {
                pod.phase = Phase::Running;
                progress(pod);
            }
            if pod.phase != Phase::Running {
                return;
            }
            let mut known = progress(pod);
            match step {
                Step::Stall(_) => known.still_since = known.still_since.or(Some(now)),
                Step::GoOn(_) => known.still_since = None,
                Step::Restart(_) => (known.started, known.still_since) = (now, Some(now)),
                _ => {}
            }
            pod.progress = Some(Box::new(known));
        }
        Step::Fail(place) | Step::Evict(place) | Step::Delete(place) => {
            let Some(name) = at(*place, scene) else { return };
            match step {
                Step::Fail(_) if scene.pod(&name).phase == Phase::Running => scene.exit(&name, 137),
                Step::Evict(_) => scene.evict(&name),
                Step::Delete(_) => scene.terminate(&name),
                _ => {}
            }
        }
    }
}

/// Nobody may be called stalled before this; never while the job is suspended, has ended, or lacks a replica.
fn earliest(scene: &Scene) -> Option<Timestamp> {
    let status = scene.status();
    let quiet = scene.job.spec.suspended() || !is_true(&status, ConditionType::Running) || finished(&status);
    let all = scene.pods.iter().filter(|pod| pod.running()).count() == 3;
    let started = scene.pods.iter().filter_map(|pod| Some(pod.progress.as_ref()?.started));
    let last = started.max().filter(|_| all && !quiet)?;
    Some(last + SignedDuration::from_secs(STARTUP))
}

proptest! {
    #[test]
    fn a_stall_is_never_told_early_nor_of_a_job_that_is_suspended_restarting_or_finished(
        action in prop::sample::select(vec!["Restart", "Fail", "Warn"]),
        scope in prop::sample::select(vec!["Replica", "Job"]),
        steps in prop::collection::vec(steps(), 0..120),
    ) {
        let mut model = Model::new(job(action).policy("restartScope", scope));
        for step in &steps {
            let before = model.scene.clone();
            let writes: Vec<String> = model.unseen.keys().cloned().collect();
            model.happen(step);
            let (scene, stalled) = (&model.scene, |scene: &Scene| scene.says("Stalled=True"));
            if matches!(step, Step::Operate) && !stalled(&before) && stalled(scene) {
                let earliest = earliest(&before);
                prop_assert!(earliest.is_some_and(|earliest| earliest <= before.now), "{earliest:?}, {before:#?}");
                let message = scene.message("Stalled");
                prop_assert!(!writes.iter().any(|pod| message.contains(pod)), "{message}: {writes:?}");
            }
            prop_assert!(!scene.conditions().last().is_some_and(|last| last.starts_with("Stalled=")));
            prop_assert!(!(stalled(scene) && finished(&scene.status())));
        }
    }

    #[test]
    fn without_the_policy_readiness_changes_no_plan(steps in prop::collection::vec(steps(), 0..120)) {
        let mut model = Model::new(master_and_workers(2));
        for step in &steps {
            model.happen(step);
            let mut blind = model.scene.clone();
            blind.pods.iter_mut().for_each(|pod| pod.progress = None);
            prop_assert_eq!(model.scene.plan(), blind.plan());
        }
    }
}
