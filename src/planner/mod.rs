//! The decisions, pure: a snapshot and the time go in, a plan comes out.
//!
//! Nothing here waits, fails, logs, counts or reads a clock, and a test keeps it so. The laws:
//!
//! * Same input, same plan. Master comes before Worker, then the index.
//! * Status is derived from what was observed, never from what this plan is about to do.
//! * A verdict is stored before anything is deleted because of it, and a failure is counted before its pod is deleted; so a crash
//!   between any two writes loses nothing. That is why such a plan has a status and no actions: the next one has the actions.
//! * A verdict comes with its reason, message and completion time in one status, and never changes again.
//! * On an unchanged world, the plan after the last one is empty.
//!
//! One file a policy, named after the API field.

pub mod active_deadline_seconds;
pub mod backoff_limit;
pub mod clean_pod_policy;
pub mod conditions;
mod decision;
mod elastic_policy;
pub mod env;
mod init_container;
pub mod pod;
mod replica_statuses;
mod replicas;
pub mod restart_policy;
mod service;
mod success;
mod suspend;
mod template;
mod ttl_seconds_after_finished;
pub mod validate;
mod world;

pub use decision::{Action, Count, Note, Plan, StatusWrite, Urgency};
pub use replica_statuses::selector;
pub use service::build as build_service;
pub use world::{Failure, Phase, PodFact, ServiceFact, Settings, World};

use std::time::Duration;

use self::active_deadline_seconds::remaining;
use self::conditions::{finished, is_true, set, stored_time};
use self::replica_statuses::Moment;
use crate::api::names::{self, reason};
use crate::api::{ConditionType, JobStatus, PyTorchJob};

/// Decides what to do about one job.
#[must_use]
pub fn plan(world: &World<'_>) -> Plan {
    let status = world.status();
    if managed_elsewhere(world.job) || world.job.metadata.deletion_timestamp.is_some() {
        Plan::default()
    } else if finished(&status) {
        after_verdict(world, status)
    } else {
        let mut draft = Draft::new(world, status);
        draft.first_sight();
        if let Some(problems) = draft.refusal() {
            draft.fail(reason::INVALID, problems);
        } else if world.job.spec.suspended() {
            draft.suspended();
        } else {
            draft.working();
        }
        draft.finish()
    }
}

/// Whether another controller runs the job. Any other value is none of our business either: such a job is never touched.
#[must_use]
pub fn managed_elsewhere(job: &PyTorchJob) -> bool {
    job.spec
        .run_policy
        .managed_by
        .as_deref()
        .is_some_and(|manager| manager != names::MANAGED_BY_SELF)
}

/// The status of a stored object that is not a PyTorchJob at all, such as one with a string for a number: Failed, with the cause.
/// Nothing when it has its verdict already.
#[must_use]
pub fn undecodable(
    name: &str,
    mut status: JobStatus,
    cause: &str,
    now: k8s_openapi::jiff::Timestamp,
) -> Option<(JobStatus, Note)> {
    if finished(&status) {
        return None;
    }
    let message = refusal_message(name, cause);
    set(
        &mut status,
        ConditionType::Failed,
        reason::INVALID,
        message.clone(),
        now,
    );
    status.completion_time = Some(stored_time(now));
    Some((
        status,
        Note {
            warning: true,
            reason: reason::INVALID,
            message,
        },
    ))
}

fn refusal_message(name: &str, causes: &str) -> String {
    format!("PyTorchJob {name} cannot be run as it is stored: {causes}. Correct it and create it anew.")
}

/// Clean-up, then deletion when the time has come. The verdict itself is not looked at again.
fn after_verdict(world: &World<'_>, stored: JobStatus) -> Plan {
    let spec = &world.job.spec;
    let expires = ttl_seconds_after_finished::expires_in(&stored, spec.ttl_seconds_after_finished(), world.now);
    if expires == Some(Duration::ZERO) {
        return Plan {
            actions: vec![Action::DeleteJob],
            ..Plan::default()
        };
    }
    let failed = is_true(&stored, ConditionType::Failed);
    let policy = clean_pod_policy::effective(spec.clean_pod_policy(), failed);
    let mut status = stored.clone();
    status.replica_statuses = replica_statuses::final_counts(world, &stored.replica_statuses);
    if stored.observed_generation.is_some() {
        // A verdict of Kubeflow's operator has no generation, and taking its jobs over is no reason to write to each of them.
        status.observed_generation = world.job.metadata.generation;
    }
    let acted_on = status.observed_generation != stored.observed_generation;
    // The pods of a finished job end one by one; the last count is the one worth a write.
    let settled = status.replica_statuses.values().all(|counts| counts.active.is_none());
    let urgency = if acted_on { Urgency::Condition } else { Urgency::Counts };
    Plan {
        actions: clean_pod_policy::clean_up(world, policy),
        status: (status != stored && (settled || acted_on)).then_some(StatusWrite { status, urgency }),
        requeue: expires,
        ..Plan::default()
    }
}

/// A plan in the making, for a job without verdict.
struct Draft<'a> {
    world: &'a World<'a>,
    stored: JobStatus,
    status: JobStatus,
    urgency: Urgency,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn new(world: &'a World<'a>, stored: JobStatus) -> Self {
        let mut status = stored.clone();
        status.observed_generation = world.job.metadata.generation;
        status
            .replaced_pods
            .retain(|uid| world.pods.iter().any(|pod| pod.uid == *uid));
        Self {
            world,
            stored,
            status,
            urgency: Urgency::Counts,
            plan: Plan::default(),
        }
    }

    fn first_sight(&mut self) {
        if conditions::find(&self.status, ConditionType::Created).is_some() {
            return;
        }
        let message = format!("PyTorchJob {} is created.", self.world.name());
        set(
            &mut self.status,
            ConditionType::Created,
            reason::CREATED,
            message,
            self.world.now,
        );
        self.urgency = Urgency::Now;
        self.plan.counts.push(Count::JobCreated);
        self.plan.notes.extend(template::restart_policy_note(self.world.job));
    }

    fn suspended(&mut self) {
        if let Some(note) = suspend::suspend(self.world, &mut self.status) {
            self.plan.notes.push(note);
            self.urgency = Urgency::Now;
        }
        self.count_pods(Moment::Suspended);
        self.plan.actions = replicas::delete_all(self.world);
    }

    fn working(&mut self) {
        if let Some(note) = suspend::resume(self.world, &mut self.status) {
            self.plan.notes.push(note);
            self.urgency = Urgency::Now;
        }
        let start = self
            .status
            .start_time
            .get_or_insert_with(|| stored_time(self.world.now))
            .clone();
        self.count_pods(Moment::Working);

        let failures = restart_policy::failures(self.world, &self.status);
        if let Some(pod) = failures.first {
            restart_policy::remember(&mut self.status, pod);
            self.plan.counts.push(Count::PodsFailed(failures.new));
        }
        let deadline = self
            .world
            .job
            .spec
            .active_deadline_seconds()
            .and_then(|seconds| remaining(&start, seconds, self.world.now));
        if let Some(message) = success::succeeded(self.world) {
            self.succeed(message);
        } else if let Some(message) = failures.fatal.clone() {
            self.fail(reason::FAILED, message);
        } else if self.out_of_restarts(&failures) {
            self.fail(reason::FAILED, backoff_limit::message(self.world.name()));
        } else if deadline == Some(Duration::ZERO) {
            self.fail(reason::FAILED, active_deadline_seconds::message(self.world.name()));
        } else {
            self.plan.requeue = deadline;
            self.go_on(&failures);
        }
    }

    /// No verdict: replace what failed, create what is missing, delete what is too much.
    fn go_on(&mut self, failures: &restart_policy::Failures<'_>) {
        if let Some(message) = restart_policy::message(self.world, failures) {
            restart_policy::count(&mut self.status, failures);
            set(
                &mut self.status,
                ConditionType::Restarting,
                reason::RESTARTING,
                message.clone(),
                self.world.now,
            );
            self.plan.notes.push(Note {
                warning: true,
                reason: reason::RESTARTING,
                message,
            });
            self.plan.counts.push(Count::JobRestarted);
            self.urgency = Urgency::Now;
        } else if self.status.replaced_pods.is_empty() {
            if let Some(message) = success::running(self.world) {
                set(
                    &mut self.status,
                    ConditionType::Running,
                    reason::RUNNING,
                    message,
                    self.world.now,
                );
            }
        }
        self.plan.actions = replicas::reconcile(self.world);
    }

    fn out_of_restarts(&self, failures: &restart_policy::Failures<'_>) -> bool {
        let Some(limit) = self.world.job.spec.backoff_limit() else {
            return false;
        };
        let mut status = self.status.clone();
        restart_policy::count(&mut status, failures);
        let living = self
            .world
            .pods
            .iter()
            .filter(|pod| !status.replaced_pods.contains(&pod.uid));
        backoff_limit::exceeded(limit, status.restarts.unwrap_or(0), living)
    }

    /// Why the job cannot run as written. Looked at once for each generation: only an edit can change the answer.
    fn refusal(&mut self) -> Option<String> {
        if self.stored.observed_generation.is_some()
            && self.stored.observed_generation == self.status.observed_generation
        {
            return None;
        }
        let (fatal, tolerable): (Vec<_>, Vec<_>) = validate::problems(self.world.job)
            .into_iter()
            .partition(|problem| problem.fatal);
        let warnings = tolerable.iter().map(|problem| Note {
            warning: true,
            reason: reason::INVALID,
            message: problem.to_string(),
        });
        self.plan.notes.extend(warnings);
        let causes = fatal.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        (!fatal.is_empty()).then(|| refusal_message(self.world.name(), &causes))
    }

    fn succeed(&mut self, message: String) {
        self.verdict(
            ConditionType::Succeeded,
            reason::SUCCEEDED,
            message,
            false,
            Count::JobSucceeded,
        );
    }

    fn fail(&mut self, reason: &'static str, message: String) {
        self.verdict(ConditionType::Failed, reason, message, true, Count::JobFailed);
    }

    fn verdict(
        &mut self,
        condition: ConditionType,
        reason: &'static str,
        message: String,
        warning: bool,
        count: Count,
    ) {
        set(&mut self.status, condition, reason, message.clone(), self.world.now);
        self.status.completion_time = Some(stored_time(self.world.now));
        self.plan.notes.push(Note {
            warning,
            reason,
            message,
        });
        self.plan.counts.push(count);
        self.plan.actions.clear();
        self.urgency = Urgency::Now;
    }

    fn count_pods(&mut self, moment: Moment) {
        self.status.replica_statuses = replica_statuses::counts(self.world, moment);
        self.status.ready = Some(replica_statuses::ready(self.world));
    }

    fn finish(mut self) -> Plan {
        if self.status != self.stored {
            if self.status.conditions != self.stored.conditions
                || self.status.observed_generation != self.stored.observed_generation
            {
                self.urgency = self.urgency.max(Urgency::Condition);
            }
            self.plan.status = Some(StatusWrite {
                status: self.status,
                urgency: self.urgency,
            });
        }
        self.plan
    }
}
