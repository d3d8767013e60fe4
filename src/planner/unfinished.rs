//! The plan for a job without verdict.

use std::time::Duration;

use crate::api::names::reason;
use crate::api::{CleanPodPolicy, ConditionType, JobStatus};
use crate::planner::build::template;
use crate::planner::plan::{Count, Note, Plan, StatusWrite, Urgency};
use crate::planner::policy::active_deadline_seconds::{self, remaining};
use crate::planner::policy::autoscaler;
use crate::planner::policy::backoff_limit;
use crate::planner::policy::clean_pod_policy;
use crate::planner::policy::replicas;
use crate::planner::policy::restart_policy;
use crate::planner::policy::success;
use crate::planner::policy::suspend;
use crate::planner::refusal_message;
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::status::conditions::{self, set, stored_time};
use crate::planner::status::replica_statuses::{self, Moment};
use crate::planner::validate;
use crate::planner::world::World;

/// Decides about a job without verdict: refuse it, keep it suspended, or work on it.
#[must_use]
pub fn plan(world: &World<'_>, stored: JobStatus) -> Plan {
    let mut draft = Draft::new(world, stored);
    draft.first_sight();
    if let Some(problems) = draft.refusal() {
        draft.count_pods(Moment::Working, &CompletedIndexes::of(world, &draft.stored));
        draft.fail(reason::INVALID, problems);
    } else if world.job.spec.suspended() || suspend::unfinished(world, &draft.stored) {
        draft.suspended();
    } else {
        draft.working();
    }
    draft.finish()
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
        self.status.completed_indexes = None;
        self.count_pods(Moment::Suspended, &CompletedIndexes::default());
        // Quota is freed by these counts.
        self.urgency = self.urgency.max(Urgency::Condition);
        self.plan.actions = clean_pod_policy::clean_up(self.world, CleanPodPolicy::All);
        self.plan.actions.extend(autoscaler::delete(self.world));
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
        let completed = CompletedIndexes::of(self.world, &self.status);
        self.status.completed_indexes = completed.to_status();
        self.count_pods(Moment::Working, &completed);

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
        if let Some(message) = success::succeeded(self.world, &completed) {
            self.succeed(message);
        } else if let Some(message) = failures.fatal.clone() {
            self.fail(reason::FAILED, message);
        } else if self.out_of_restarts(&failures) {
            self.fail(reason::FAILED, backoff_limit::message(self.world.name()));
        } else if deadline == Some(Duration::ZERO) {
            self.fail(reason::FAILED, active_deadline_seconds::message(self.world.name()));
        } else {
            self.plan.requeue = deadline;
            self.go_on(&failures, &completed);
        }
    }

    /// No verdict: replace what failed, create what is missing, delete what is too much.
    fn go_on(&mut self, failures: &restart_policy::Failures<'_>, completed: &CompletedIndexes) {
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
        } else if self.status.replaced_pods.is_empty()
            && let Some(message) = success::running(self.world)
        {
            set(
                &mut self.status,
                ConditionType::Running,
                reason::RUNNING,
                message,
                self.world.now,
            );
        }
        // A resumption is stored before anything is created, or new pods would be taken for what the suspension left.
        if !conditions::is_true(&self.stored, ConditionType::Suspended) {
            self.plan.actions = replicas::reconcile(self.world, completed);
            self.plan.actions.extend(autoscaler::create(self.world));
        }
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
        // Whoever started the job found that it can run: it goes on, whatever this operator would have said first.
        let started = self.stored.start_time.is_some() || !self.world.pods.is_empty();
        let (fatal, tolerable): (Vec<_>, Vec<_>) = validate::problems(self.world.job)
            .into_iter()
            .partition(|problem| problem.fatal && !started);
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
        // As a rule the others end with the Master; one status then tells of the verdict and of the last pod. A failure does not wait:
        // what still runs is to be stopped.
        if self.world.pods.iter().any(|pod| !pod.finished()) {
            self.urgency = Urgency::Condition;
        }
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
        self.urgency = Urgency::Now;
    }

    fn count_pods(&mut self, moment: Moment, completed: &CompletedIndexes) {
        self.status.replica_statuses = replica_statuses::counts(self.world, moment, completed);
        self.status.ready = Some(replica_statuses::ready(self.world, completed));
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
