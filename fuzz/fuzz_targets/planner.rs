//! The planner decides about any world, reachable or not: it does not panic, decides the same again, touches only what
//! is there, and comes to rest.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use pytorchjob_planner::api::{ChildKind, PyTorchJob, Replica, ReplicaType};
use pytorchjob_planner::planner::{self, Action, Child, Failure, Phase, Plan, Pod, Settings, World, finished};
use serde_json::{Value, json};

/// Rounds in which everything a plan says is done at once.
const ROUNDS: usize = 8;

#[derive(Arbitrary, Debug)]
struct Input {
    master: Option<Role>,
    worker: Option<Role>,
    elastic: Option<(u8, u8)>,
    suspend: Option<bool>,
    deadline: Option<i64>,
    ttl: Option<i32>,
    clean: Option<Word>,
    limit: Option<i32>,
    scope: Option<Word>,
    generation: Option<u8>,
    status: Option<Status>,
    pods: Vec<(u8, APod)>,
    services: Vec<(u8, bool)>,
    refusal: Option<String>,
    now: i32,
}

#[derive(Arbitrary, Debug)]
struct Role {
    replicas: Option<u8>,
    policy: Option<Word>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Word {
    All,
    Running,
    None,
    Always,
    OnFailure,
    Never,
    ExitCode,
    Job,
    Replica,
    Unknown,
}

#[derive(Arbitrary, Debug)]
struct Status {
    conditions: Vec<(u8, bool, Option<String>)>,
    active: Option<i32>,
    start: Option<i32>,
    completion: Option<i32>,
    observed: Option<u8>,
    restarts: Option<i32>,
    replaced: Vec<u8>,
    completed: Option<String>,
}

#[derive(Arbitrary, Debug)]
struct APod {
    phase: u8,
    terminating: bool,
    disrupted: bool,
    restarts: i32,
    exit_code: Option<i32>,
    hash: Option<bool>,
    generation: Option<u8>,
    requested: Option<i16>,
    finished: Option<i16>,
}

fuzz_target!(|input: Input| {
    let Ok(job) = serde_json::from_value::<PyTorchJob>(job(&input)) else {
        return;
    };
    let now = at(input.now);
    let mut things = Things {
        pods: input.pods.iter().map(pod).map(|pod| (pod.name.clone(), pod)).collect(),
        services: input.services.iter().map(|(n, going)| (name(*n), *going)).collect(),
        job: Some(job),
    };
    for round in 0..=ROUNDS {
        let Some(job) = &things.job else { return };
        let plan = things.plan(input.refusal.as_deref(), now);
        assert_eq!(
            plan,
            things.plan(input.refusal.as_deref(), now),
            "same input, same plan"
        );
        holds(job, &things, &plan);
        if plan.is_idle() {
            return;
        }
        assert!(round < ROUNDS, "does not come to rest: {plan:#?}");
        things.apply(plan, round);
    }
});

struct Things {
    job: Option<PyTorchJob>,
    pods: BTreeMap<String, Pod>,
    services: BTreeMap<String, bool>,
}

impl Things {
    fn plan(&self, refusal: Option<&str>, now: Timestamp) -> Plan {
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        let others: Vec<Child> = self.services.iter().map(service).collect();
        self.job.as_ref().map_or_else(Plan::default, |job| {
            planner::plan(&World {
                job,
                pods: &pods,
                others: &others,
                refusal,
                definition_may_differ: false,
                compared_generation: None,
                settings: &Settings::default(),
                now,
            })
        })
    }

    /// Does at once all that the plan says. What terminates is gone.
    fn apply(&mut self, plan: Plan, round: usize) {
        self.pods.retain(|_, pod| !pod.terminating);
        self.services.retain(|_, going| !*going);
        if let (Some(write), Some(job)) = (plan.status, &mut self.job) {
            let text = serde_json::to_string(&write.status).expect("a status is JSON");
            job.status = Some(serde_json::from_str(&text).expect("a status is read back"));
        }
        for action in plan.actions {
            match action {
                Action::Create(child) if child.kind == ChildKind::Pod => {
                    let name = child.name("job");
                    let job = self.job.as_ref();
                    let pod = Pod {
                        uid: format!("{name}-{round}"),
                        template_hash: job.map(|job| planner::template_hash::current(&job.spec)),
                        generation: job.and_then(|job| job.metadata.generation),
                        name: name.clone(),
                        ..Pod::default()
                    };
                    self.pods.insert(name, pod);
                }
                Action::Create(child) => drop(self.services.insert(child.name("job"), false)),
                Action::Delete {
                    kind: ChildKind::Pod,
                    name,
                    ..
                }
                | Action::ForceDelete { name, .. } => drop(self.pods.remove(&name)),
                Action::Delete { name, .. } => drop(self.services.remove(&name)),
                Action::Update { .. } | Action::RestartInPlace { .. } | Action::Recreate { .. } => {}
                Action::DeleteJob => self.job = None,
            }
        }
    }
}

/// What is true of a plan for any world.
fn holds(job: &PyTorchJob, things: &Things, plan: &Plan) {
    let stored = job.status.clone().unwrap_or_default();
    let over = finished(&stored);
    for (at, action) in plan.actions.iter().enumerate() {
        assert!(!plan.actions[..at].contains(action), "twice: {action:?}");
        match action {
            Action::Create(child) => {
                let replica = child.replica.expect("nothing else is asked for");
                assert!(
                    replica.index < job.spec.replicas(replica.type_),
                    "{child:?} is not desired"
                );
                assert!(!over && !job.spec.suspended(), "created: {child:?}");
                let name = child.name("job");
                let exists = match child.kind {
                    ChildKind::Pod => things.pods.contains_key(&name),
                    _ => things.services.contains_key(&name),
                };
                assert!(!exists, "{name} exists");
            }
            Action::Delete {
                kind: ChildKind::Pod,
                name,
                uid,
            } => {
                assert!(
                    things
                        .pods
                        .get(name)
                        .is_some_and(|pod| pod.uid == *uid && !pod.terminating),
                    "{action:?}"
                );
            }
            Action::Delete { name, .. } => assert_eq!(things.services.get(name), Some(&false), "{action:?}"),
            Action::ForceDelete { name, uid, .. } => {
                let pod = things.pods.get(name);
                assert!(!over && pod.is_some_and(|pod| pod.uid == *uid && pod.terminating), "{action:?}");
            }
            Action::Update { .. } | Action::RestartInPlace { .. } | Action::Recreate { .. } => {}
            Action::DeleteJob => assert!(over, "an unfinished job is deleted"),
        }
    }
    if let Some(write) = &plan.status {
        assert!(
            !over || write.status.conditions == stored.conditions,
            "an outcome changed"
        );
        assert!(
            over || !finished(&write.status) || write.status.completion_time.is_some(),
            "an outcome without time"
        );
    }
}

fn job(input: &Input) -> Value {
    let role = |role: &Role| {
        json!({
            "replicas": role.replicas.map(|replicas| replicas % 5),
            "restartPolicy": role.policy.map(word),
            "template": { "spec": { "containers": [{ "name": "pytorch", "image": "train:1" }] } },
        })
    };
    let roles: BTreeMap<_, _> = [("Master", &input.master), ("Worker", &input.worker)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, role(value.as_ref()?))))
        .collect();
    let mut object = json!({
        "metadata": { "name": "job", "namespace": "ns", "uid": "u", "generation": input.generation },
        "spec": {
            "pytorchReplicaSpecs": roles,
            "elasticPolicy": input.elastic.map(|(min, max)| json!({ "minReplicas": min, "maxReplicas": max })),
            "activeDeadlineSeconds": input.deadline,
            "ttlSecondsAfterFinished": input.ttl,
            "runPolicy": {
                "suspend": input.suspend,
                "backoffLimit": input.limit,
                "cleanPodPolicy": input.clean.map(word),
                "restartScope": input.scope.map(word),
            },
        },
        "status": input.status.as_ref().map(status),
    });
    drop_nulls(&mut object);
    object
}

fn status(status: &Status) -> Value {
    const TYPES: [&str; 7] = [
        "Created",
        "Running",
        "Restarting",
        "Succeeded",
        "Suspended",
        "Failed",
        "Else",
    ];
    let conditions: Vec<Value> = status
        .conditions
        .iter()
        .map(|(type_, holds, message)| {
            let holds = if *holds { "True" } else { "False" };
            json!({ "type": TYPES[usize::from(*type_) % TYPES.len()], "status": holds, "message": message })
        })
        .collect();
    let active = status.active.map(|active| json!({ "Worker": { "active": active } }));
    let time = |seconds: Option<i32>| seconds.map(|seconds| at(seconds).to_string());
    json!({
        "conditions": conditions,
        "replicaStatuses": active,
        "startTime": time(status.start),
        "completionTime": time(status.completion),
        "observedGeneration": status.observed,
        "restarts": status.restarts,
        "replacedPods": status.replaced.iter().map(|n| uid(*n)).collect::<Vec<_>>(),
        "completedIndexes": status.completed,
    })
}

fn pod((n, pod): &(u8, APod)) -> Pod {
    const PHASES: [Phase; 5] = [
        Phase::Pending,
        Phase::Running,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Unknown,
    ];
    let phase = PHASES[usize::from(pod.phase) % PHASES.len()];
    let failure = Failure {
        exit_code: pod.exit_code,
        ..Failure::default()
    };
    Pod {
        name: name(*n),
        uid: uid(*n),
        phase,
        terminating: pod.terminating,
        deletion_requested: pod.requested.map(|seconds| at(seconds.into())),
        disrupted: pod.disrupted,
        finished_at: pod.finished.map(|seconds| at(seconds.into())),
        restarts: pod.restarts,
        template_hash: pod.hash.map(u64::from),
        generation: pod.generation.map(i64::from),
        failure: (phase == Phase::Failed).then(|| Box::new(failure)),
        ..Pod::default()
    }
}

fn service((name, terminating): (&String, &bool)) -> Child {
    Child {
        kind: ChildKind::Service,
        name: name.clone(),
        uid: name.clone(),
        terminating: *terminating,
        pod_group: None,
        autoscaler: None,
    }
}

/// Names of replicas, wanted or not, and of what is none.
fn name(n: u8) -> String {
    match n % 8 {
        7 => "job-launcher-0".into(),
        index @ 0..2 => Replica::new(ReplicaType::Master, index.into()).name("job"),
        index => Replica::new(ReplicaType::Worker, u32::from(index) - 2).name("job"),
    }
}

fn uid(n: u8) -> String {
    format!("uid-{}", name(n))
}

fn word(word: Word) -> String {
    match word {
        Word::Unknown => "Else".into(),
        known => format!("{known:?}"),
    }
}

fn at(seconds: i32) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + i64::from(seconds))
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
