//! A simulated cluster: an API server with one job, an environment that does what environments do, and an operator that
//! sees all of it late, whose writes get refused or lost, and that may stop between any two of them. What becomes of pods
//! is [`crate::support::environment`]'s.
//!
//! [`crate::support::differential::simulation`] puts admission before it and lets the operator run to rest.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::{ChildKind, ChildRef, CleanPodPolicy, PyTorchJob, RawJson, ReplicaType};
use crate::planner::{self, Action, Builder, Child, Phase, Plan, Pod, Settings, World, finished, template_hash};
use crate::support::environment::{Event, created, delete, happen};
use crate::support::fixture::in_place::{ask, join};
use crate::support::fixture::{at, autoscaler_spec, child as child_of};

/// What becomes of one write of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done and answered.
    Done,
    /// Refused.
    Refused,
    /// Done, but the answer is lost.
    Lost,
    /// The operator stops before it, and starts again with fresh lists.
    Crash,
}

/// One step of a history. A `usize` picks one of the objects that are there.
#[derive(Clone, Debug)]
pub enum Step {
    /// A pending pod starts.
    Run(usize),
    /// A running pod succeeds.
    Succeed(usize),
    /// A running pod fails with this exit code.
    Fail(usize, i32),
    /// A pod that has not finished is evicted.
    Evict(usize),
    /// The kubelet restarts a container in place.
    Restart(usize),
    /// The kubelet starts a training container again that failed, or that was asked to start again.
    Again(usize),
    /// Somebody deletes a pod.
    DeletePod(usize),
    /// A terminating pod ends badly, its object stays.
    End(usize),
    /// A terminating pod is gone.
    Bury(usize),
    /// Somebody deletes a service.
    DeleteService(usize),
    /// The user suspends or resumes the job.
    Suspend(bool),
    /// The user sets activeDeadlineSeconds, in the flat spelling or under runPolicy.
    Deadline(Option<i64>, bool),
    /// The user sets ttlSecondsAfterFinished.
    Ttl(Option<i32>, bool),
    /// The user sets cleanPodPolicy.
    Clean(Option<CleanPodPolicy>, bool),
    /// The user sets backoffLimit.
    Limit(Option<i32>, bool),
    /// The user scales an elastic job.
    Scale(i32),
    /// The user gives all templates of a suspended job another image, and resumes it in the same edit or not.
    Template(u8, bool),
    /// Time passes, in milliseconds.
    Wait(i64),
    /// The watch of jobs catches up.
    SeeJob,
    /// The watch of pods catches up, but for one in so many.
    SeePods(usize),
    /// The watch of services catches up.
    SeeServices,
    /// The operator plans, and its writes, beginning with this one, have these outcomes.
    Operate(usize, Vec<Outcome>),
}

/// The objects, as stored or as somebody sees them.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub job: Option<PyTorchJob>,
    pub pods: BTreeMap<String, Pod>,
    pub services: BTreeMap<String, Child>,
    pub autoscaler: Option<Child>,
}

impl Objects {
    /// What the planner makes of these objects.
    pub fn plan(&self, now: Timestamp) -> Plan {
        self.plan_by(planner::plan, now)
    }

    /// What a stand-in for the planner makes of them.
    pub fn plan_by(&self, plan: impl Fn(&World<'_>) -> Plan, now: Timestamp) -> Plan {
        let Some(job) = &self.job else { return Plan::default() };
        let pods: Vec<_> = self.pods.values().cloned().collect();
        let others: Vec<_> = self.services.values().chain(&self.autoscaler).cloned().collect();
        let settings = Settings::default();
        plan(&World {
            job,
            pods: &pods,
            others: &others,
            refusal: None,
            definition_may_differ: true,
            compared_generation: None,
            settings: &settings,
            now,
        })
    }

    /// Whether the job has finished.
    pub fn finished(&self) -> bool {
        self.job
            .as_ref()
            .and_then(|job| job.status.as_ref())
            .is_some_and(finished)
    }
}

/// The API server, and an operator's view of it.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub stored: Objects,
    pub seen: Objects,
    pub now: Timestamp,
    /// Whether the answer to a status write was lost. The operator does not decide about the job before it has read it
    /// again: it cannot know what it has said already.
    pub in_doubt: bool,
    /// Whether a pod that is deleted stays, terminating, until it is gone.
    pub stays: fn(&Pod) -> bool,
    /// The job that the operator builds from, if that is not the one it sees.
    pub builds_from: Option<PyTorchJob>,
    born: u32,
    version: u64,
}

/// A write that reached the API server.
#[derive(Clone, Debug)]
pub enum Written {
    /// A new status.
    Status,
    /// A new child.
    Created(ChildRef),
    /// A training container was asked to start again in place.
    Restarted,
    /// This pod began to be deleted; as it was before.
    Deleted(Box<Pod>),
    /// The job is gone.
    Job,
}

impl Cluster {
    /// A cluster with this job, which the operator knows.
    pub fn new(job: impl Into<Option<PyTorchJob>>) -> Self {
        let stored = Objects {
            job: job.into(),
            ..Objects::default()
        };
        Self {
            seen: stored.clone(),
            stored,
            now: at(0),
            in_doubt: false,
            stays: |pod| pod.phase == Phase::Running,
            builds_from: None,
            born: 0,
            version: 1,
        }
    }

    /// The operator sees everything as it is.
    pub fn see(&mut self) {
        self.in_doubt = false;
        self.seen = self.stored.clone();
    }

    /// Somebody writes the job.
    pub fn store(&mut self, mut job: PyTorchJob) {
        self.version += 1;
        job.metadata.resource_version = Some(self.version.to_string());
        self.stored.job = Some(job);
    }

    /// Lets the environment, the user or a watch make its step. [`Step::Operate`] is not one of these.
    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Run(n) => self.pod(n, |pod| pod.phase == Phase::Pending && !pod.terminating, &Event::Run),
            Step::Succeed(n) => self.pod(n, running, &Event::Succeed),
            Step::Fail(n, code) => self.pod(n, running, &Event::Exit(code)),
            Step::Evict(n) => self.pod(n, |pod| !pod.finished() && !pod.terminating, &Event::Evict),
            Step::Restart(n) => self.pod(n, running, &Event::Restart),
            Step::Again(n) => self.pod(n, running, &Event::Again),
            Step::DeletePod(n) => {
                let name = self.stored.pods.keys().nth(n % self.stored.pods.len().max(1)).cloned();
                name.map(|name| self.delete_pod(&name)).unwrap_or_default();
            }
            Step::End(n) => self.pod(n, |pod| pod.terminating && !pod.finished(), &Event::Exit(143)),
            Step::Bury(n) => {
                let dying: Vec<_> = self.stored.pods.values().filter(|pod| pod.terminating).collect();
                if let Some(name) = dying.get(n % dying.len().max(1)).map(|pod| pod.name.clone()) {
                    self.stored.pods.remove(&name);
                }
            }
            Step::DeleteService(n) => {
                let name = self
                    .stored
                    .services
                    .keys()
                    .nth(n % self.stored.services.len().max(1))
                    .cloned();
                name.map(|name| self.stored.services.remove(&name)).unwrap_or_default();
            }
            Step::Wait(milliseconds) => self.now += SignedDuration::from_millis(milliseconds),
            Step::SeeJob => {
                self.in_doubt = false;
                self.seen.job.clone_from(&self.stored.job);
            }
            Step::SeePods(but) => self.see_pods(but),
            Step::SeeServices => self.seen.services.clone_from(&self.stored.services),
            ref edit => self.edit(edit),
        }
    }

    /// Does what the plan says, each write with its outcome, the first ones done when they run out. Tells what reached
    /// the server.
    pub fn carry_out(&mut self, plan: &Plan, first: usize, outcomes: &[Outcome]) -> Vec<Written> {
        let mut writes: Vec<Option<&Action>> = plan.actions.iter().map(Some).collect();
        if plan.status.is_some() {
            writes.insert(0, None);
        }
        if !writes.is_empty() {
            let first = first % writes.len();
            writes.rotate_left(first);
        }
        let outcomes = outcomes.iter().copied().chain(std::iter::repeat(Outcome::Done));
        let mut written = Vec::new();
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            let answered = match outcome {
                Outcome::Done => true,
                Outcome::Lost => false,
                Outcome::Refused => continue,
                Outcome::Crash => {
                    self.see();
                    break;
                }
            };
            written.extend(match write {
                None => self.write_status(plan, answered),
                Some(action) => self.act(action, answered),
            });
        }
        written
    }

    fn write_status(&mut self, plan: &Plan, answered: bool) -> Option<Written> {
        let seen = self.seen.job.as_ref()?.metadata.resource_version.clone();
        let job = self
            .stored
            .job
            .as_mut()
            .filter(|job| job.metadata.resource_version == seen)?;
        let text = serde_json::to_string(&plan.status.as_ref()?.status).expect("a status is JSON");
        job.status = Some(serde_json::from_str(&text).expect("a status is read back"));
        self.version += 1;
        job.metadata.resource_version = Some(self.version.to_string());
        if answered {
            self.seen.job = Some(job.clone());
        } else {
            self.in_doubt = true;
        }
        Some(Written::Status)
    }

    fn act(&mut self, action: &Action, answered: bool) -> Option<Written> {
        match action {
            Action::Create(child) => self.create(*child, answered).then_some(Written::Created(*child)),
            Action::Delete { kind, name, uid } => self.delete(*kind, name, uid, answered),
            Action::ForceDelete { .. } => unreachable!("no job here has unreachableSeconds"),
            Action::Update { .. } => {
                unreachable!("no job here has a PodGroup or edits its metrics, and the definition is always the same")
            }
            Action::RestartInPlace { child, uid, restart } => {
                let name = child.name(&self.job_name());
                let pod = self.stored.pods.get_mut(&name).filter(|pod| pod.uid == *uid)?;
                // Without an answer the operator may have stopped between its two requests.
                ask(pod, restart, answered);
                if answered {
                    self.see_child(ChildKind::Pod, &name);
                }
                Some(Written::Restarted)
            }
            Action::Recreate { child, uid, .. } => {
                let name = child.name(&self.job_name());
                self.delete(child.kind, &name, uid, answered)
            }
            Action::DeleteJob => {
                let seen = self.seen.job.as_ref()?.metadata.resource_version.clone();
                self.stored
                    .job
                    .as_ref()
                    .filter(|job| job.metadata.resource_version == seen)?;
                self.stored = Objects::default();
                Some(Written::Job)
            }
        }
    }

    fn job_name(&self) -> String {
        let job = self.seen.job.as_ref();
        job.and_then(|job| job.metadata.name.clone()).unwrap_or_default()
    }

    /// Creates an object unless there is one of its name.
    fn create(&mut self, child: ChildRef, answered: bool) -> bool {
        let Some(from) = self.builds_from.clone().or_else(|| self.seen.job.clone()) else {
            return false;
        };
        let name = child.name(from.metadata.name.as_deref().unwrap_or_default());
        let built_from = (template_hash::current(&from.spec), from.metadata.generation);
        let autoscaler = (child.kind == ChildKind::HorizontalPodAutoscaler)
            .then(|| Builder::new(&from, &Settings::default()).build(child))
            .flatten();
        let uid = self.uid();
        let new = match child.kind {
            ChildKind::Pod if !self.stored.pods.contains_key(&name) => {
                let mut pod = created(&name, uid, Some(built_from));
                join(&mut pod, &from);
                self.stored.pods.insert(name.clone(), pod);
                true
            }
            ChildKind::Service if !self.stored.services.contains_key(&name) => {
                let service = child_of(child.kind, &name, &uid);
                self.stored.services.insert(name.clone(), service);
                true
            }
            ChildKind::HorizontalPodAutoscaler if self.stored.autoscaler.is_none() => {
                self.stored.autoscaler = Some(Child {
                    autoscaler: autoscaler.map(|object| Box::new(autoscaler_spec(&object))),
                    ..child_of(child.kind, &name, &uid)
                });
                true
            }
            _ => false,
        };
        if new && answered {
            self.see_child(child.kind, &name);
        }
        new
    }

    /// Deletes the object of this name and UID.
    fn delete(&mut self, kind: ChildKind, name: &str, uid: &str, answered: bool) -> Option<Written> {
        let written = match kind {
            ChildKind::Pod => {
                let before = self.stored.pods.get(name).filter(|pod| pod.uid == uid)?.clone();
                self.delete_pod(name);
                Some(Written::Deleted(Box::new(before)))
            }
            ChildKind::Service => {
                self.stored.services.get(name).filter(|service| service.uid == uid)?;
                self.stored.services.remove(name);
                None
            }
            _ => {
                self.stored.autoscaler.take_if(|autoscaler| autoscaler.uid == uid);
                None
            }
        };
        if answered {
            self.see_child(kind, name);
        }
        written
    }

    /// The operator sees one object as it is.
    fn see_child(&mut self, kind: ChildKind, name: &str) {
        match kind {
            ChildKind::Pod => see(&mut self.seen.pods, &self.stored.pods, name),
            ChildKind::Service => see(&mut self.seen.services, &self.stored.services, name),
            _ => self.seen.autoscaler.clone_from(&self.stored.autoscaler),
        }
    }

    /// Deletes a pod, at once or with its grace period.
    pub fn delete_pod(&mut self, name: &str) {
        let stays = self.stays;
        delete(&mut self.stored.pods, name, stays);
    }

    fn uid(&mut self) -> String {
        self.born += 1;
        format!("uid-{}", self.born)
    }

    fn pod(&mut self, n: usize, eligible: impl Fn(&Pod) -> bool, event: &Event) {
        let mut pods: Vec<_> = self.stored.pods.values_mut().filter(|pod| eligible(pod)).collect();
        let count = pods.len().max(1);
        if let Some(pod) = pods.get_mut(n % count) {
            happen(pod, event);
        }
    }

    fn see_pods(&mut self, but: usize) {
        let names: Vec<_> = self.stored.pods.keys().chain(self.seen.pods.keys()).cloned().collect();
        for (_, name) in names.into_iter().enumerate().filter(|(n, _)| n % but.max(2) != 1) {
            see(&mut self.seen.pods, &self.stored.pods, &name);
        }
    }

    fn edit(&mut self, edit: &Step) {
        let Some(job) = &mut self.stored.job else { return };
        let spec = &mut job.spec;
        match *edit {
            Step::Suspend(suspend) => spec.run_policy.suspend = Some(suspend),
            Step::Deadline(seconds, flat) => {
                (spec.active_deadline_seconds, spec.run_policy.active_deadline_seconds) = spelt(seconds, flat);
            }
            Step::Ttl(seconds, flat) => {
                (
                    spec.ttl_seconds_after_finished,
                    spec.run_policy.ttl_seconds_after_finished,
                ) = spelt(seconds, flat);
            }
            Step::Clean(policy, flat) => {
                (spec.clean_pod_policy, spec.run_policy.clean_pod_policy) = spelt(policy.map(Into::into), flat);
            }
            Step::Template(image, resume) if spec.suspended() => {
                spec.run_policy.suspend = Some(!resume);
                for replica in spec.pytorch_replica_specs.values_mut() {
                    replica.template = template(image);
                }
            }
            Step::Limit(limit, flat) => (spec.backoff_limit, spec.run_policy.backoff_limit) = spelt(limit, flat),
            Step::Scale(replicas) if spec.elastic_policy.is_some() => {
                if let Some(workers) = spec.pytorch_replica_specs.get_mut(ReplicaType::Worker.key()) {
                    workers.replicas = Some(replicas);
                }
            }
            _ => return,
        }
        let mut job = job.clone();
        job.metadata.generation = job.metadata.generation.map(|generation| generation + 1);
        self.store(job);
    }
}

/// Brings what is seen of one object to what is stored.
fn see<T: Clone>(seen: &mut BTreeMap<String, T>, stored: &BTreeMap<String, T>, name: &str) {
    match stored.get(name) {
        Some(object) => seen.insert(name.to_owned(), object.clone()),
        None => seen.remove(name),
    };
}

fn template(image: u8) -> RawJson {
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": format!("train:{image}") }] } });
    RawJson::new(&template).expect("a template is JSON")
}

fn spelt<T>(value: Option<T>, flat: bool) -> (Option<T>, Option<T>) {
    if flat { (value, None) } else { (None, value) }
}

fn running(pod: &Pod) -> bool {
    pod.phase == Phase::Running && !pod.terminating
}
