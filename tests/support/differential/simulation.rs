//! An API server with one job, the environment its pods live in, and an operator that runs to rest.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use pytorchjob_operator::api::{ChildKind, ChildRef, JobStatus, PyTorchJob, names};
use pytorchjob_operator::planner::{
    self, Action, Builder, Child, Plan, Settings, World, finished, managed_elsewhere, template_hash,
};
use serde_json::{Value, json};

use crate::support::differential::admission::Admission;
use crate::support::differential::edit::Edit;
use crate::support::environment::{Event, created, delete, happen};
use crate::support::fixture::{autoscaler_spec, child};

/// Name of every job.
pub const JOB: &str = "job";
/// UID of every simulated job, so that what refers to it is equal.
pub const UID: &str = "5a5c1f0e-0000-4000-8000-000000000001";
/// When every simulation begins.
const START: i64 = 1_800_000_000;
/// A job that needs more passes than this to come to rest never does.
const MOST_PASSES: usize = 30;

/// The deciding and building parts of an operator: the real ones, or a stand-in with a fault.
pub struct Operator {
    /// Decides.
    pub plan: Box<dyn Fn(&World<'_>) -> Plan>,
    /// The job that pods, services and autoscalers are built from. Gets the job at its creation and the current one.
    pub sees: fn(created: &PyTorchJob, now: &PyTorchJob) -> PyTorchJob,
}

impl Operator {
    /// The real one.
    pub fn real() -> Self {
        Self {
            plan: Box::new(planner::plan),
            sees: |_, now| now.clone(),
        }
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// What the operator sees.
    pub fact: planner::Pod,
    /// What it was created as.
    pub built: Value,
}

/// A job, what it owns, and who acts on them.
#[derive(Clone)]
pub struct Simulation<'a> {
    admission: &'a Admission,
    operator: &'a Operator,
    /// Deleted pods that run stay until [`Simulation::bury`], as on a node. Without nodes they vanish at once.
    graceful: bool,
    /// The job as stored; nothing once it has expired.
    pub job: Option<Value>,
    created: Value,
    /// By name.
    pub pods: BTreeMap<String, Pod>,
    /// By name, as built.
    pub services: BTreeMap<String, Value>,
    /// As built.
    pub autoscaler: Option<Value>,
    /// The time.
    pub now: Timestamp,
    born: u32,
}

impl<'a> Simulation<'a> {
    /// Creates a job, and lets nobody look at it yet.
    pub fn create(
        admission: &'a Admission,
        operator: &'a Operator,
        graceful: bool,
        object: &Value,
    ) -> Result<Self, String> {
        let mut job = admission.admit(object.clone(), None)?;
        job["metadata"]["uid"] = json!(UID);
        job["metadata"]["generation"] = json!(1);
        Ok(Self {
            admission,
            operator,
            graceful,
            created: job.clone(),
            job: Some(job),
            pods: BTreeMap::new(),
            services: BTreeMap::new(),
            autoscaler: None,
            now: Timestamp::from_second(START).expect("a time within the calendar"),
            born: 0,
        })
    }

    /// A job as stored in `self`, created again at `time` in a cluster of its own.
    pub fn fresh(&self, time: Timestamp) -> Result<Self, String> {
        let stored = self.stored();
        let mut metadata = json!({ "name": JOB, "namespace": stored["metadata"]["namespace"] });
        for field in ["labels", "annotations"] {
            if let Some(value) = stored["metadata"].get(field) {
                metadata[field] = value.clone();
            }
        }
        let object = json!({
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": stored["spec"],
        });
        let mut fresh = Self::create(self.admission, self.operator, self.graceful, &object)?;
        fresh.now = time;
        Ok(fresh)
    }

    /// The schema of `spec`.
    pub fn schema(&self) -> &'a Value {
        self.admission.spec()
    }

    /// The stored job; null once it has expired.
    pub fn stored(&self) -> Value {
        self.job.clone().unwrap_or_default()
    }

    /// The stored job, decoded.
    pub fn decoded(&self) -> Result<PyTorchJob, String> {
        decode(&self.stored())
    }

    /// The stored status.
    pub fn status(&self) -> JobStatus {
        serde_json::from_value(self.stored()["status"].clone()).unwrap_or_default()
    }

    /// Replaces the stored status.
    pub fn set_status(&mut self, status: &JobStatus) {
        if let Some(job) = &mut self.job {
            job["status"] = json!(status);
        }
    }

    /// Whether the job has finished or has expired.
    pub fn over(&self) -> bool {
        self.job.is_none() || finished(&self.status())
    }

    /// Whether another controller runs the job.
    pub fn elsewhere(&self) -> bool {
        self.decoded().is_ok_and(|job| managed_elsewhere(&job))
    }

    /// Sends an edit. A refused one changes nothing.
    pub fn edit(&mut self, edit: &Edit) -> Result<(), String> {
        let Some(old) = &self.job else { return Ok(()) };
        let mut new = edit.apply(old)?;
        new["status"] = old["status"].clone();
        if new["status"].is_null() {
            new.as_object_mut().map(|new| new.remove("status"));
        }
        let mut new = self.admission.admit(new, Some(old))?;
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        self.job = Some(new);
        Ok(())
    }

    /// Lets something happen to a pod, if it can happen to it.
    pub fn happen(&mut self, name: &str, event: &Event) {
        match event {
            Event::Delete => drop(self.pods.remove(name)),
            event => self
                .pods
                .get_mut(name)
                .into_iter()
                .for_each(|pod| happen(&mut pod.fact, event)),
        }
    }

    /// Lets `seconds` pass.
    pub fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Lets the operator work until it has nothing to do. Fails when that never comes, or when it is handed a job that
    /// it cannot read.
    pub fn settle(&mut self) -> Result<(), String> {
        for _ in 0..MOST_PASSES {
            if self.job.is_none() {
                return Ok(());
            }
            let job = self.decoded()?;
            let plan = self.plan(&job);
            if plan.actions.is_empty() && plan.status.is_none() {
                return Ok(());
            }
            if let Some(write) = &plan.status {
                self.set_status(&write.status);
            }
            let seen = (self.operator.sees)(&decode(&self.created)?, &job);
            plan.actions.iter().for_each(|action| self.act(action, &seen));
        }
        Err(format!("does not come to rest in {MOST_PASSES} passes"))
    }

    /// [`Simulation::settle`], and the kubelet ends what is terminating, until nothing is.
    pub fn rest(&mut self) -> Result<(), String> {
        self.settle()?;
        while self.pods.values().any(|pod| pod.fact.terminating) {
            self.pods.retain(|_, pod| !pod.fact.terminating);
            self.settle()?;
        }
        Ok(())
    }

    fn plan(&self, job: &PyTorchJob) -> Plan {
        let pods: Vec<_> = self.pods.values().map(|pod| pod.fact.clone()).collect();
        let named = |kind, name: &str| child(kind, name, &format!("uid-of-{name}"));
        let services = self.services.keys().map(|name| named(ChildKind::Service, name));
        let autoscaler = self.autoscaler.iter().map(|object| Child {
            autoscaler: Some(Box::new(autoscaler_spec(object))),
            ..named(ChildKind::HorizontalPodAutoscaler, JOB)
        });
        let others: Vec<_> = services.chain(autoscaler).collect();
        (self.operator.plan)(&World {
            job,
            pods: &pods,
            others: &others,
            refusal: None,
            definition_may_differ: true,
            compared_generation: None,
            settings: &Settings::default(),
            now: self.now,
        })
    }

    fn act(&mut self, action: &Action, seen: &PyTorchJob) {
        let settings = Settings::default();
        let object_of = |child: &ChildRef| Builder::new(seen, &settings).build(*child);
        match action {
            Action::Create(child) => match (child.kind, object_of(child)) {
                (ChildKind::Pod, Some(object)) => self.create_pod(child.name(JOB), object),
                (ChildKind::Service, Some(object)) => drop(self.services.insert(child.name(JOB), object)),
                (ChildKind::HorizontalPodAutoscaler, object) => self.autoscaler = object,
                (kind, _) => unreachable!("no job here has a {kind}"),
            },
            Action::Update { .. } => {
                unreachable!("no job here has a PodGroup or metrics, and the definition is always the same")
            }
            Action::Delete { kind, name, uid } => match kind {
                ChildKind::Pod => self.delete_pod(name, uid),
                ChildKind::Service => drop(self.services.remove(name)),
                ChildKind::HorizontalPodAutoscaler => self.autoscaler = None,
                kind => unreachable!("no job here has a {kind}"),
            },
            Action::DeleteJob => {
                self.job = None;
                self.pods.clear();
                self.services.clear();
                self.autoscaler = None;
            }
        }
    }

    fn create_pod(&mut self, name: String, built: Value) {
        self.born += 1;
        let label = &built["metadata"]["labels"][names::LABEL_POD_TEMPLATE_HASH];
        let built_from = label.as_str().and_then(template_hash::parse);
        let fact = created(&name, format!("uid-{}", self.born), built_from);
        self.pods.insert(name, Pod { fact, built });
    }

    fn delete_pod(&mut self, name: &str, uid: &str) {
        if self.pods.get(name).is_some_and(|pod| pod.fact.uid == *uid) {
            let graceful = self.graceful;
            delete(
                &mut self.pods,
                name,
                |pod| &mut pod.fact,
                |pod| graceful && !pod.finished(),
            );
        }
    }
}

impl fmt::Debug for Simulation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("job", &self.job)
            .field("pods", &self.pods)
            .finish_non_exhaustive()
    }
}

/// Templates are kept as text, so a job decodes from text alone.
pub fn decode(job: &Value) -> Result<PyTorchJob, String> {
    serde_json::from_str(&job.to_string()).map_err(|error| format!("accepted, and cannot be decoded: {error}"))
}
