//! Jobs, pods and worlds in few words.
//!
//! Jobs are written as the JSON a user would send and decoded like any stored object, so that a builder cannot make
//! what the API server could not hand out.

#[path = "in_place.rs"]
pub mod in_place;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{ChildKind, ChildRef, FailureClass, JobCondition, JobStatus, PyTorchJob, Replica, ReplicaType, names};
use crate::planner::{
    self, Action, AutoscalerSpec, Builder, Child, Contents, Count, Deletion, End, FailedContainer, Failure, Gang,
    GangScheduler, Phase, Plan, Pod, PodGroup, Settings, World, classify, template_hash,
};

/// Name of every job that is not named otherwise.
pub const JOB: &str = "job";
/// UID of every job.
pub const UID: &str = "5a5c1f0e-0000-4000-8000-000000000001";
/// The second at which every scene starts.
pub const START: i64 = 1_800_000_000;

/// The conditions of a job that runs after a suspension.
pub const RESUMED: [&str; 3] = [
    "Created=True(PyTorchJobCreated)",
    "Suspended=False(PyTorchJobResumed)",
    "Running=True(PyTorchJobRunning)",
];

/// `seconds` after the start of the scene.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).expect("a time within the calendar")
}

/// The same as the API stores it.
pub fn time(seconds: i64) -> Time {
    Time(at(seconds))
}

/// The owner references of whatever that job owns.
pub fn owner_references() -> Value {
    json!([{
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "name": JOB,
        "uid": UID,
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

/// A job in the making.
#[derive(Clone, Debug)]
pub struct JobBuilder(Value);

/// A Master alone.
pub fn master() -> JobBuilder {
    JobBuilder(json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": { "name": JOB, "namespace": "ns", "uid": UID, "generation": 1, "resourceVersion": "1" },
        "spec": { "pytorchReplicaSpecs": { "Master": replica(1) } },
    }))
}

/// A Master and `workers` workers.
pub fn master_and_workers(workers: u32) -> JobBuilder {
    master().spec("/pytorchReplicaSpecs/Worker", replica(workers))
}

/// Workers without a Master.
pub fn workers(workers: u32) -> JobBuilder {
    master().spec("/pytorchReplicaSpecs", json!({ "Worker": replica(workers) }))
}

/// Workers that torchrun's elastic rendezvous joins.
pub fn elastic_workers(count: u32, min: u32, max: u32) -> JobBuilder {
    workers(count).spec(
        "/elasticPolicy",
        json!({ "rdzvBackend": "c10d", "minReplicas": min, "maxReplicas": max }),
    )
}

fn replica(replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "template": { "spec": { "containers": [{ "name": "pytorch", "image": "registry.example/train:1" }] } },
    })
}

impl JobBuilder {
    /// Puts `value` at `path` below `spec`, making the objects on the way.
    pub fn spec(self, path: &str, value: Value) -> Self {
        self.field(&format!("/spec{path}"), value)
    }

    /// Puts `value` at `path`, making the objects on the way. The index after the last item of a list appends.
    pub fn field(mut self, path: &str, value: Value) -> Self {
        let mut place = &mut self.0;
        for key in path.trim_start_matches('/').split('/') {
            place = match (place, key.parse::<usize>()) {
                (Value::Array(items), Ok(index)) => {
                    if index == items.len() {
                        items.push(Value::Null);
                    }
                    &mut items[index]
                }
                (object, _) => &mut object[key],
            };
        }
        *place = value;
        self
    }

    /// Names the job.
    pub fn named(self, name: &str) -> Self {
        self.field("/metadata/name", json!(name))
    }

    /// Sets a policy under `runPolicy`.
    pub fn policy(self, name: &str, value: impl Into<Value>) -> Self {
        self.spec(&format!("/runPolicy/{name}"), value.into())
    }

    /// Sets a policy in the flat spelling.
    pub fn flat(self, name: &str, value: impl Into<Value>) -> Self {
        self.spec(&format!("/{name}"), value.into())
    }

    /// Sets the restart policy of a role.
    pub fn restart(self, role: ReplicaType, policy: &str) -> Self {
        self.spec(&format!("/pytorchReplicaSpecs/{role}/restartPolicy"), json!(policy))
    }

    /// Sets the number of replicas of a role.
    pub fn replicas(self, role: ReplicaType, replicas: i64) -> Self {
        self.spec(&format!("/pytorchReplicaSpecs/{role}/replicas"), json!(replicas))
    }

    /// Puts `value` at `path` below the pod template of a role.
    pub fn template(self, role: ReplicaType, path: &str, value: Value) -> Self {
        self.spec(&format!("/pytorchReplicaSpecs/{role}/template{path}"), value)
    }

    /// Puts `value` at `path` below the training container of a role.
    pub fn container(self, role: ReplicaType, path: &str, value: Value) -> Self {
        self.template(role, &format!("/spec/containers/0{path}"), value)
    }

    /// Takes `spec` away.
    pub fn without_spec(mut self) -> Self {
        self.0.as_object_mut().map(|job| job.remove("spec"));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The job as a user sends it, for any namespace.
    pub fn manifest(mut self) -> Value {
        self.0["metadata"] = json!({ "name": self.name() });
        self.0
    }

    /// The job as a user writes it.
    pub fn json(self) -> Value {
        self.0
    }

    /// The decoded job.
    pub fn build(self) -> PyTorchJob {
        self.decode().expect("the job decodes")
    }

    /// The decoded job, or why there is none.
    pub fn decode(&self) -> Result<PyTorchJob, serde_json::Error> {
        serde_json::from_str(&self.0.to_string())
    }

    /// A scene with this job, not yet seen by the operator.
    pub fn scene(self) -> Scene {
        Scene {
            job: self.build(),
            pods: Vec::new(),
            others: Vec::new(),
            refusal: None,
            settings: Settings::default(),
            now: at(0),
            born: 0,
        }
    }

    /// A scene with this job and all its pods running, reconciled until nothing is left to do.
    pub fn running(self) -> Scene {
        let mut scene = self.scene();
        scene.settle();
        scene.run();
        scene
    }
}

/// A job, what it owns, and the time: everything a plan is made from, and a place to apply plans to.
#[derive(Clone, Debug)]
pub struct Scene {
    pub job: PyTorchJob,
    pub pods: Vec<Pod>,
    pub others: Vec<Child>,
    pub refusal: Option<String>,
    pub settings: Settings,
    pub now: Timestamp,
    born: u32,
}

impl Scene {
    /// The snapshot.
    pub fn world(&self) -> World<'_> {
        World {
            job: &self.job,
            pods: &self.pods,
            others: &self.others,
            refusal: self.refusal.as_deref(),
            definition_may_differ: true,
            compared_generation: None,
            settings: &self.settings,
            now: self.now,
        }
    }

    /// The plan for the snapshot.
    pub fn plan(&self) -> Plan {
        planner::plan(&self.world())
    }

    /// Makes the plan, stores its status and nothing else: the operator stops before the first action.
    pub fn store(&mut self) -> Plan {
        let plan = self.plan();
        if let Some(write) = &plan.status {
            self.job.status = Some(write.status.clone());
        }
        plan
    }

    /// Makes the plan, stores its status and does all it says.
    pub fn reconcile(&mut self) -> Plan {
        let plan = self.store();
        for action in &plan.actions {
            self.apply(action);
        }
        plan
    }

    /// Reconciles until something has been done, and says what.
    pub fn next(&mut self) -> Vec<String> {
        let plans = (0..5).map(|_| self.reconcile());
        let plan = plans.into_iter().find(|plan| !plan.actions.is_empty());
        plan.map(|plan| actions(&plan)).unwrap_or_default()
    }

    /// Reconciles until there is nothing to do.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            let plan = self.reconcile();
            if plan.actions.is_empty() && plan.status.is_none() {
                return;
            }
        }
        unreachable!("the job does not settle: {:#?}", self.plan());
    }

    /// Lets all pods run, and reconciles until there is nothing to do.
    pub fn run(&mut self) {
        self.everything(Phase::Running);
        self.settle();
    }

    /// Whether a condition begins with this, for example `Failed=True`.
    pub fn says(&self, beginning: &str) -> bool {
        self.conditions()
            .iter()
            .any(|condition| condition.starts_with(beginning))
    }

    /// Does what a cluster does at once: a running pod that is deleted terminates, any other is gone.
    pub fn apply(&mut self, action: &Action) {
        match action {
            Action::Create(child) if child.kind == ChildKind::Pod => {
                self.add_pod(&child.name(&self.name()));
            }
            Action::Create(child) => self.add(child.kind, &child.name(&self.name())),
            Action::Delete {
                kind: ChildKind::Pod,
                name,
                uid,
            } => {
                assert_eq!(self.pod(name).uid, *uid, "{name} is deleted by its UID");
                if self.pod(name).phase == Phase::Running {
                    self.pod(name).terminating = true;
                } else {
                    self.remove(name);
                }
            }
            Action::Delete { kind, name, .. } => {
                self.others.retain(|child| (child.kind, &child.name) != (*kind, name));
            }
            Action::ForceDelete { name, uid, .. } => {
                assert_eq!(self.pod(name).uid, *uid, "{name} is deleted by its UID");
                self.remove(name);
            }
            Action::Update { child, uid, contents } => self.update(*child, uid, contents),
            Action::RestartInPlace { child, uid, restart } => {
                let pod = self.pod(&child.name(JOB));
                assert_eq!(pod.uid, *uid, "it is asked by its UID");
                in_place::ask(pod, restart, true);
            }
            Action::Recreate { child, uid, .. } => {
                let (kind, name, uid) = (child.kind, child.name(JOB), uid.clone());
                self.apply(&Action::Delete { kind, name, uid });
            }
            Action::DeleteJob => self.job.metadata.deletion_timestamp = Some(Time(self.now)),
        }
    }

    fn update(&mut self, child: ChildRef, uid: &str, contents: &Contents) {
        let name = child.name(JOB);
        if let Contents::TemplateHash(label) = contents {
            let pod = self.pod(&name);
            assert_eq!(pod.uid, uid, "it is updated by its UID");
            pod.template_hash = template_hash::parse(label).map(|(hash, _)| hash);
            return;
        }
        let others = self.others.iter_mut();
        let mut found = others.filter(|other| (other.kind, &other.name) == (child.kind, &name));
        let object = found.next().expect("what is updated exists");
        assert_eq!(object.uid, uid, "it is updated by its UID");
        match contents {
            Contents::PodGroup(spec) => object.pod_group.as_mut().expect("it is a PodGroup").spec = spec.clone(),
            Contents::Autoscaler(spec) => object.autoscaler = Some(Box::new(spec.clone())),
            Contents::TemplateHash(_) => unreachable!("only pods have one"),
        }
    }

    /// Adds a pending pod.
    pub fn add_pod(&mut self, name: &str) -> &mut Pod {
        self.born += 1;
        let uid = format!("uid-{}", self.born);
        let place = self.pods.partition_point(|pod| pod.name.as_str() < name);
        let spec = &self.job.spec;
        let mut pod = Pod {
            name: name.into(),
            uid,
            template_hash: Some(template_hash::current(spec)),
            generation: self.job.metadata.generation,
            group: self
                .settings
                .gang
                .as_ref()
                .filter(|gang| gang.served)
                .map(|gang| gang.scheduler.kind()),
            ..Pod::default()
        };
        in_place::join(&mut pod, &self.job);
        self.pods.insert(place, pod);
        &mut self.pods[place]
    }

    /// Adds an object of another kind.
    pub fn add(&mut self, kind: ChildKind, name: &str) {
        self.born += 1;
        let mut child = child(kind, name, &format!("uid-{}", self.born));
        child.pod_group = kind.is_pod_group().then(|| {
            Box::new(PodGroup {
                spec: self.pod_group_spec(),
                pending: kind == ChildKind::VolcanoPodGroup,
                unschedulable: None,
            })
        });
        child.autoscaler = (kind == ChildKind::HorizontalPodAutoscaler).then(|| Box::new(self.autoscaler_spec()));
        let place = self
            .others
            .partition_point(|other| (other.kind, other.name.as_str()) < (kind, name));
        self.others.insert(place, child);
    }

    /// Adds a service.
    pub fn add_service(&mut self, name: &str) {
        self.add(ChildKind::Service, name);
    }

    /// Works with this gang scheduler.
    pub fn with_gang(mut self, scheduler: GangScheduler) -> Self {
        let served = true;
        self.settings.gang = Some(Gang { scheduler, served });
        self
    }

    /// The PodGroup.
    pub fn pod_group(&mut self) -> &mut Child {
        let groups = self.others.iter_mut();
        let mut groups = groups.filter(|child| child.kind.is_pod_group());
        groups.next().expect("the PodGroup is there")
    }

    /// What the autoscaler would be created with.
    fn autoscaler_spec(&self) -> AutoscalerSpec {
        let child = ChildRef::of_job(ChildKind::HorizontalPodAutoscaler);
        let built = Builder::new(&self.job, &self.settings).build(child);
        autoscaler_spec(&built.expect("the job asks for an autoscaler"))
    }

    /// What the PodGroup would be created with.
    fn pod_group_spec(&self) -> planner::PodGroupSpec {
        let gang = self.settings.gang.as_ref().expect("there is a gang scheduler");
        planner::pod_group_spec(&self.job, &gang.scheduler, &self.settings.priorities)
    }

    /// The services.
    pub fn services(&self) -> Vec<&Child> {
        self.of_kind(ChildKind::Service)
    }

    /// The autoscalers.
    pub fn autoscalers(&self) -> Vec<&Child> {
        self.of_kind(ChildKind::HorizontalPodAutoscaler)
    }

    fn of_kind(&self, kind: ChildKind) -> Vec<&Child> {
        self.others.iter().filter(|child| child.kind == kind).collect()
    }

    /// The pod of this name.
    pub fn pod(&mut self, name: &str) -> &mut Pod {
        self.pods
            .iter_mut()
            .find(|pod| pod.name == name)
            .expect("the pod is there")
    }

    /// Sets the phase of every pod.
    pub fn everything(&mut self, phase: Phase) {
        let names: Vec<String> = self.pods.iter().map(|pod| pod.name.clone()).collect();
        for name in &names {
            self.phase(name, phase);
        }
    }

    /// Sets the phase of one pod.
    pub fn phase(&mut self, name: &str, phase: Phase) {
        let pod = self.pod(name);
        pod.phase = phase;
        if phase == Phase::Running {
            in_place::run(pod);
        }
    }

    /// Lets the pod fail with this exit code of its training container.
    pub fn exit(&mut self, name: &str, code: i32) {
        let pod = self.pod(name);
        pod.phase = Phase::Failed;
        pod.failure = Some(Box::new(exited(code)));
    }

    /// Lets the pod fail with code 1, or its container if that starts again in place, after it has run since the start
    /// of the scene, with this end of its log.
    pub fn exit_saying(&mut self, name: &str, second: i64, message: &str) {
        if self.pod(name).in_place.is_some() {
            in_place::end(self.pod(name), 1);
        } else {
            self.exit(name, 1);
        }
        let pod = self.pod(name);
        pod.finished_at = Some(at(second));
        let end = End {
            exit_code: Some(1),
            message: Some(message),
            ..End::default()
        };
        let cause = classify(&end);
        if let Some(failure) = &mut pod.failure {
            failure.started_at = Some(at(0));
            failure.message = Some(message.to_owned());
            (failure.class, failure.excerpt) = (cause.class, cause.excerpt);
        }
        in_place::forget(pod);
    }

    /// Lets the pod fail without an exit code.
    pub fn evict(&mut self, name: &str) {
        let pod = self.pod(name);
        pod.phase = Phase::Failed;
        pod.failure = Some(Box::new(Failure {
            reason: Some("Evicted".into()),
            class: class(None, "Evicted"),
            ..Failure::default()
        }));
    }

    /// Begins the deletion of a pod.
    pub fn terminate(&mut self, name: &str) {
        self.pod(name).terminating = true;
    }

    /// Begins the deletion of a pod on a node, with 30 s of grace.
    pub fn terminate_on(&mut self, name: &str, node: &str) {
        let due = self.now + SignedDuration::from_secs(30);
        let pod = self.pod(name);
        pod.terminating = true;
        pod.deletion = Some(Box::new(Deletion {
            due,
            node: Some(node.to_owned()),
            held: false,
            may_be_forced: false,
        }));
    }

    /// Removes a pod.
    pub fn remove(&mut self, name: &str) {
        self.pods.retain(|pod| pod.name != name);
    }

    /// Removes the pods that are on their way out.
    pub fn bury(&mut self) {
        self.pods.retain(|pod| !pod.terminating);
    }

    /// Lets `seconds` pass.
    pub fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Edits the job as a user would: the generation goes up.
    pub fn edit(&mut self, change: impl FnOnce(&mut PyTorchJob)) {
        change(&mut self.job);
        self.job.metadata.generation = self.job.metadata.generation.map(|generation| generation + 1);
    }

    /// Suspends or resumes the job.
    pub fn suspend(&mut self, suspend: bool) {
        self.edit(|job| job.spec.run_policy.suspend = Some(suspend));
    }

    /// Sets the number of replicas of a role.
    pub fn scale(&mut self, role: ReplicaType, replicas: i32) {
        self.edit(|job| {
            let spec = job
                .spec
                .pytorch_replica_specs
                .get_mut(role.key())
                .expect("the role is there");
            spec.replicas = Some(replicas);
        });
    }

    /// Name of the job.
    pub fn name(&self) -> String {
        self.job.metadata.name.clone().unwrap_or_default()
    }

    /// The stored status.
    pub fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    /// The stored conditions as `Type=Status(Reason)`.
    pub fn conditions(&self) -> Vec<String> {
        conditions(&self.status())
    }

    /// The stored message of a condition.
    pub fn message(&self, type_: &str) -> String {
        message(&self.status(), type_)
    }

    /// Names of the pods.
    pub fn pod_names(&self) -> Vec<&str> {
        self.pods.iter().map(|pod| pod.name.as_str()).collect()
    }

    /// Names of the services.
    pub fn service_names(&self) -> Vec<&str> {
        self.services().iter().map(|service| service.name.as_str()).collect()
    }

    /// The pod that would be created for a replica.
    pub fn build_pod(&self, role: ReplicaType, index: u32) -> Value {
        let pod = ChildRef::of_replica(ChildKind::Pod, Replica::new(role, index));
        let built = Builder::new(&self.job, &self.settings).build(pod);
        built.expect("a pod is built for every replica")
    }

    /// The service that would be created for a replica.
    pub fn build_service(&self, role: ReplicaType, index: u32) -> Value {
        Builder::new(&self.job, &self.settings)
            .build(ChildRef::of_replica(ChildKind::Service, Replica::new(role, index)))
            .expect("every replica has a service")
    }
}

/// The failure of a pod whose training container ended with this code.
pub fn exited(code: i32) -> Failure {
    Failure {
        exit_code: Some(code),
        container: (code != 0).then(|| FailedContainer {
            name: names::CONTAINER.into(),
            exit_code: code,
        }),
        reason: Some("Error".into()),
        class: class(Some(code), "Error"),
        ..Failure::default()
    }
}

/// What an end was that says no more than this.
pub fn class(exit_code: Option<i32>, reason: &str) -> FailureClass {
    let end = End {
        exit_code,
        reason: Some(reason),
        message: None,
    };
    classify(&end).class
}

/// What decisions need to know of an autoscaler.
pub fn autoscaler_spec(object: &Value) -> AutoscalerSpec {
    let spec = &object["spec"];
    AutoscalerSpec {
        target: spec["scaleTargetRef"].clone(),
        min: spec["minReplicas"].as_i64(),
        max: spec["maxReplicas"].as_i64(),
        metrics: spec["metrics"].clone(),
    }
}

/// Conditions as `Type=Status(Reason)`, in order.
pub fn conditions(status: &JobStatus) -> Vec<String> {
    let line = |entry: &JobCondition| {
        format!(
            "{}={}({})",
            entry.type_,
            entry.status,
            entry.reason.as_deref().unwrap_or_default()
        )
    };
    status.conditions.iter().map(line).collect()
}

/// The message of a condition.
pub fn message(status: &JobStatus, type_: &str) -> String {
    let entry = status.conditions.iter().find(|entry| entry.type_ == type_);
    entry.and_then(|entry| entry.message.clone()).unwrap_or_default()
}

/// A plan's actions, one short line each.
pub fn actions(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| match action {
            Action::Create(child) => format!("create {}", titled(child.kind, short(&child.name(JOB)))),
            Action::Delete { kind, name, .. } => format!("delete {}", titled(*kind, short(name))),
            Action::ForceDelete { name, .. } => format!("force pod {}", short(name)),
            Action::Update { child, .. } => format!("update {}", titled(child.kind, short(&child.name(JOB)))),
            Action::RestartInPlace { child, .. } => format!("restart {}", short(&child.name(JOB))),
            Action::Recreate { child, why, .. } => format!("recreate {}: {why}", short(&child.name(JOB))),
            Action::DeleteJob => "delete job".into(),
        })
        .collect()
}

/// What a plan counts, the time that was spent aside.
pub fn turns(plan: &Plan) -> Vec<Count> {
    let counts = plan.counts.iter().copied();
    counts
        .filter(|count| !matches!(count, Count::Spent { .. } | Count::Lost { .. }))
        .collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("job-").unwrap_or(name)
}

fn titled(kind: ChildKind, name: &str) -> String {
    match kind {
        ChildKind::HorizontalPodAutoscaler => "autoscaler".into(),
        kind if kind.is_pod_group() => "PodGroup".into(),
        kind => format!("{kind} {name}"),
    }
}

/// An object of another kind than a pod.
pub fn child(kind: ChildKind, name: &str, uid: &str) -> Child {
    Child {
        kind,
        name: name.into(),
        uid: uid.into(),
        terminating: false,
        pod_group: None,
        autoscaler: None,
    }
}
