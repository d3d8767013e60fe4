//! The simulated cluster as a client meets it: jobs are JSON that is admitted or refused, and the operator runs to rest.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use pytorchjob_operator::api::{ChildKind, JobStatus, PyTorchJob};
use pytorchjob_operator::planner::{self, Builder, Plan, Pod, Settings, World, finished, managed_elsewhere};
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Written};
use crate::support::differential::admission::Admission;
use crate::support::differential::edit::Edit;
use crate::support::environment::{Event, happen};

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

/// The simulated cluster with admission before it, and everything as it was built.
#[derive(Clone)]
pub struct Simulation<'a> {
    admission: &'a Admission,
    operator: &'a Operator,
    /// The job as stored; nothing once it has expired.
    pub job: Option<Value>,
    created: Value,
    /// What is left of it, and the time.
    pub cluster: Cluster,
    /// What was built of it, by kind and name.
    built: BTreeMap<(ChildKind, String), Value>,
}

impl<'a> Simulation<'a> {
    /// Creates a job, and lets nobody look at it yet. With `graceful`, deleted pods that run stay until
    /// [`Simulation::rest`], as on a node. Without nodes they vanish at once.
    pub fn create(
        admission: &'a Admission,
        operator: &'a Operator,
        graceful: bool,
        object: &Value,
    ) -> Result<Self, String> {
        let mut job = admission.admit(object.clone(), None)?;
        job["metadata"]["uid"] = json!(UID);
        job["metadata"]["generation"] = json!(1);
        // What cannot be decoded is found by the operator, as it would be.
        let mut cluster = Cluster::new(None);
        cluster.now = Timestamp::from_second(START).expect("a time within the calendar");
        cluster.stays = if graceful { |pod| !pod.finished() } else { |_| false };
        Ok(Self {
            admission,
            operator,
            created: job.clone(),
            job: Some(job),
            cluster,
            built: BTreeMap::new(),
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
        let mut fresh = Self::create(self.admission, self.operator, false, &object)?;
        fresh.cluster.stays = self.cluster.stays;
        fresh.cluster.now = time;
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

    /// The pods, by name.
    pub fn pods(&self) -> &BTreeMap<String, Pod> {
        &self.cluster.stored.pods
    }

    /// The objects of a kind as they were built, by name.
    pub fn built(&self, kind: ChildKind) -> impl Iterator<Item = (&str, &Value)> {
        let of_kind = self.built.iter().filter(move |((its, _), _)| *its == kind);
        of_kind.map(|((_, name), object)| (name.as_str(), object))
    }

    /// Lets something happen to a pod, if it can happen to it.
    pub fn happen(&mut self, name: &str, event: &Event) {
        let pods = &mut self.cluster.stored.pods;
        match event {
            Event::Delete => drop(pods.remove(name)),
            event => pods.get_mut(name).into_iter().for_each(|pod| happen(pod, event)),
        }
        self.forget_what_is_gone();
    }

    /// Lets `seconds` pass.
    pub fn wait(&mut self, seconds: i64) {
        self.cluster.now += SignedDuration::from_secs(seconds);
    }

    /// Lets the operator work until it has nothing to do. Fails when that never comes, or when it is handed a job that
    /// it cannot read.
    pub fn settle(&mut self) -> Result<(), String> {
        if self.job.is_none() {
            return Ok(());
        }
        let job = self.decoded()?;
        self.cluster.builds_from = Some((self.operator.sees)(&decode(&self.created)?, &job));
        self.cluster.store(job);
        for _ in 0..MOST_PASSES {
            self.cluster.see();
            let plan = self.cluster.seen.plan_by(&self.operator.plan, self.cluster.now);
            if plan.actions.is_empty() && plan.status.is_none() {
                return Ok(());
            }
            for written in self.cluster.carry_out(&plan, 0, &[]) {
                self.keep(&written);
            }
            self.forget_what_is_gone();
        }
        Err(format!("does not come to rest in {MOST_PASSES} passes"))
    }

    /// [`Simulation::settle`], and the kubelet ends what is terminating, until nothing is.
    pub fn rest(&mut self) -> Result<(), String> {
        self.settle()?;
        while self.pods().values().any(|pod| pod.terminating) {
            self.cluster.stored.pods.retain(|_, pod| !pod.terminating);
            self.forget_what_is_gone();
            self.settle()?;
        }
        Ok(())
    }

    /// Keeps what was written as a client would read it.
    fn keep(&mut self, written: &Written) {
        match written {
            Written::Created(child) => {
                let from = self
                    .cluster
                    .builds_from
                    .as_ref()
                    .expect("set before a plan is carried out");
                if let Some(object) = Builder::new(from, &Settings::default()).build(*child) {
                    self.built.insert((child.kind, child.name(JOB)), object);
                }
            }
            Written::Status => {
                let stored = self.cluster.stored.job.as_ref();
                if let (Some(job), Some(stored)) = (&mut self.job, stored) {
                    job["status"] = json!(stored.status);
                }
            }
            Written::Job => self.job = None,
            Written::Deleted(_) | Written::Restarted => {}
        }
    }

    fn forget_what_is_gone(&mut self) {
        let stored = &self.cluster.stored;
        self.built.retain(|(kind, name), _| match kind {
            ChildKind::Pod => stored.pods.contains_key(name),
            ChildKind::Service => stored.services.contains_key(name),
            _ => stored.autoscaler.is_some(),
        });
    }
}

impl fmt::Debug for Simulation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("job", &self.job)
            .field("cluster", &self.cluster.stored)
            .finish_non_exhaustive()
    }
}

/// Templates are kept as text, so a job decodes from text alone.
pub fn decode(job: &Value) -> Result<PyTorchJob, String> {
    serde_json::from_str(&job.to_string()).map_err(|error| format!("accepted, and cannot be decoded: {error}"))
}
