//! The plan for a job that has not finished.

use crate::api::{ChildKind, CleanPodPolicy, ConditionType, JobStatus};
use crate::planner::build::template_hash;
use crate::planner::decision::{self, Decision};
use crate::planner::plan::{Action, Count, Plan, StatusWrite, Timer};
use crate::planner::policy::restart_policy::Failures;
use crate::planner::policy::scheduling_policy::{self, Turn};
use crate::planner::policy::{
    active_deadline_seconds, autoscaler, clean_pod_policy, node_exclusion, progress_policy, replicas, restart_policy,
    restart_strategy, startup_deadline_seconds, success, suspend, unreachable_seconds,
};
use crate::planner::replaced_pods::{self, ReplacedPods};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::status::conditions::{self, find, is_true, stored_time};
use crate::planner::status::replica_statuses::{self, claims_more};
use crate::planner::status::transition::Transition;
use crate::planner::status::urgency::urgency;
use crate::planner::status::{accounting, attempts, stalls};
use crate::planner::world::World;
use crate::planner::{refusal, waiting};

/// Decides about a job that has not finished: refuse it, keep it suspended, or work on it.
#[must_use]
pub(super) fn plan(world: &World<'_>, stored: &JobStatus) -> Plan {
    let mut draft = Draft::new(world, stored);
    draft.first_sight();
    if let Some(problems) = refusal::of(world, stored, &mut draft.plan) {
        draft.carry_out(Decision::Refuse(problems));
    } else if world.job.spec.suspended() || suspend::goes_on(world, stored) {
        draft.suspending();
    } else {
        draft.working();
    }
    draft.finish()
}

/// A plan in the making.
struct Draft<'a> {
    world: &'a World<'a>,
    stored: &'a JobStatus,
    status: JobStatus,
    completed: CompletedIndexes,
    plan: Plan,
    whose_turn: Turn,
    /// Whether pods or services wait for the gang scheduler.
    held: bool,
}

impl<'a> Draft<'a> {
    fn new(world: &'a World<'a>, stored: &'a JobStatus) -> Self {
        let mut status = stored.clone();
        status.observed_generation = world.job.metadata.generation;
        replaced_pods::forget_gone(world.pods, &mut status);
        Self {
            world,
            stored,
            status,
            completed: CompletedIndexes::of(world, stored),
            plan: Plan::default(),
            whose_turn: scheduling_policy::turn(world),
            held: false,
        }
    }

    fn first_sight(&mut self) {
        if find(&self.status, ConditionType::Created).is_none() {
            self.turn(
                Transition::Created,
                &format!("PyTorchJob {} is created.", self.world.name()),
            );
            let (job, gang) = (self.world.job, self.world.settings.gang.as_ref());
            self.plan.events.extend(restart_policy::ignored(job));
            self.plan.events.extend(scheduling_policy::template_event(job, gang));
        }
    }

    fn suspending(&mut self) {
        let ended = decision::ended_before_suspension(self.world, self.stored, &self.completed);
        if let Some((_, failures)) = &ended {
            self.remember(failures);
        }
        self.carry_out(ended.map_or(Decision::Suspend, |(decision, _)| decision));
    }

    /// Counts the pods that have failed, and remembers the first.
    fn remember(&mut self, failures: &Failures<'_>) {
        let failed = failures.pods();
        let counted = failed.len() - failures.stalled;
        self.plan
            .counts
            .extend((counted > 0).then_some(Count::PodsFailed(counted)));
        attempts::remember(self.world, &mut self.status, &failed);
    }

    fn working(&mut self) {
        if is_true(self.stored, ConditionType::Suspended) {
            self.turn(
                Transition::Resumed,
                &format!("PyTorchJob {} is resumed.", self.world.name()),
            );
        }
        self.status
            .start_time
            .get_or_insert_with(|| stored_time(self.world.now));
        self.status.completed_indexes = self.completed.to_status();

        let failures = restart_policy::failures(self.world, &self.status);
        let failed = failures.pods();
        self.remember(&failures);
        progress_policy::begin(self.world, &mut self.status, &mut self.plan);
        let decision = decision::decide(self.world, &self.status, &self.completed, failures);
        if let Decision::Restart(_, replaced) = &decision {
            restart_policy::count(self.world, &mut self.status, replaced);
            node_exclusion::count(self.world, &mut self.status, &failed);
            // What is started again because of its deadline has all the time once more.
            self.status.starting_since.take_if(|_| failed.is_empty());
        }
        self.carry_out(decision);
        progress_policy::end(self.world, &mut self.status, &mut self.plan);
    }

    /// Writes what the decision does to the status, and plans its actions.
    fn carry_out(&mut self, decision: Decision<'_>) {
        let works = matches!(decision, Decision::Restart(..) | Decision::Work);
        match decision {
            Decision::Refuse(message) => self.turn(Transition::Refused, &message),
            Decision::Succeed(message) => self.turn(Transition::Succeeded, &message),
            Decision::Fail(message) => self.turn(Transition::Failed, &message),
            Decision::Expire => self.expire(),
            Decision::Suspend => return self.suspend(),
            Decision::GiveUp(message) => {
                self.turn(Transition::GaveUp, &message);
                return self.suspend();
            }
            Decision::Restart(message, _) => {
                self.turn(Transition::Restarting, &message);
                self.work();
            }
            Decision::Work => {
                let restarts = !self.status.replaced_pods.is_empty() || restart_strategy::under_way(self.world);
                if let Some(message) = success::running(self.world).filter(|_| !restarts) {
                    self.run(&message);
                }
                self.work();
            }
        }
        self.count_pods(works && self.whose_turn != Turn::Scheduler);
        if works {
            self.watch_start();
        }
        self.hold_back();
    }

    fn run(&mut self, message: &str) {
        let ran = |condition| is_true(self.stored, condition);
        if !ran(ConditionType::Running) && !ran(ConditionType::Restarting) {
            self.plan
                .counts
                .extend(decision::overdue(self.world, &self.status, 0).map(Count::Ran));
        }
        self.turn(Transition::Running, message);
    }

    fn expire(&mut self) {
        let seconds = self.world.job.spec.active_deadline_seconds().unwrap_or_default();
        let late = decision::overdue(self.world, &self.status, seconds);
        self.plan.counts.extend(late.map(Count::DeadlineExceeded));
        self.turn(Transition::Failed, &active_deadline_seconds::message(self.world));
    }

    fn suspend(&mut self) {
        if suspend::is_news(self.world, self.stored, &self.status) {
            self.turn(Transition::Suspended, &suspend::message(self.world));
        }
        self.completed = CompletedIndexes::default();
        self.status.completed_indexes = None;
        self.count_pods(false);
        // A suspension is stored before anything is deleted because of it: one that is over by then has done nothing,
        // and one that has done something is told.
        if is_true(self.stored, ConditionType::Suspended) {
            self.plan.actions = clean_pod_policy::clean_up(self.world, CleanPodPolicy::All);
            self.plan.actions.extend(autoscaler::delete(self.world));
            self.plan.actions.extend(scheduling_policy::delete(self.world));
        }
    }

    /// Replaces what failed, creates what is missing, deletes what is too much.
    fn work(&mut self) {
        for (after, timer) in [
            (decision::deadline(self.world, &self.status), Timer::ActiveDeadline),
            (stalls::next(self.world), Timer::Progress),
            (restart_strategy::next(self.world), Timer::RestartInPlace),
        ] {
            self.plan.look_again(after, timer);
        }
        self.plan.actions = replicas::reconcile(self.world, &self.completed);
        if self.creates_pods() {
            attempts::begin(self.world, &mut self.status);
        }
        self.exclude_nodes();
        self.plan.actions.extend(autoscaler::reconcile(self.world));
        self.plan
            .actions
            .extend(scheduling_policy::reconcile(self.world, &self.completed));
        self.plan.actions.extend(template_hash::relabel(self.world));
    }

    /// Keeps the list of nodes that new pods stay away from.
    fn exclude_nodes(&mut self) {
        let (world, status) = (self.world, &mut self.status);
        node_exclusion::count_attempts(world, self.stored, status);
        self.plan.events.extend(node_exclusion::refresh(world, status));
        self.plan.events.extend(node_exclusion::relent(world, status));
        let next = node_exclusion::next(world, status);
        self.plan.look_again(next, Timer::NodeExclusion);
        if !world.is_restarting_as_a_whole() {
            self.plan.actions.extend(node_exclusion::outdated(world));
        }
    }

    /// Keeps the time by which all pods have to run.
    fn watch_start(&mut self) {
        let (world, creates) = (self.world, self.creates_pods());
        startup_deadline_seconds::track(world, &mut self.status, &self.completed, creates);
        let remaining = startup_deadline_seconds::remaining(world, &self.status).filter(|left| !left.is_zero());
        self.plan.look_again(remaining, Timer::StartupDeadline);
    }

    /// Whether pods are about to be created.
    fn creates_pods(&self) -> bool {
        let creates = |action: &Action| action.creates(ChildKind::Pod);
        self.whose_turn != Turn::Scheduler && self.plan.actions.iter().any(creates)
    }

    /// Leaves out the actions that have to wait until the status is stored, or for a gang scheduler.
    fn hold_back(&mut self) {
        let turn = self.whose_turn;
        let actions = &mut self.plan.actions;
        if turn == Turn::Scheduler {
            let all = actions.len();
            actions.retain(|action| !action.creates(ChildKind::Pod) && !action.creates(ChildKind::Service));
            self.held = actions.len() < all;
        }
        if is_true(self.stored, ConditionType::Suspended) {
            // Before the resumption is stored, new pods would be taken for what the suspension left.
            actions.clear();
        }
        let begins = self.stored.attempt() != self.status.attempt();
        let ending = self.world.restarts_as_a_whole() && !self.status.replaced_pods.is_empty();
        let excludes = self.stored.excluded_nodes != self.status.excluded_nodes;
        if turn != Turn::Pods || begins || ending || excludes || claims_more(self.world, self.stored, &self.status) {
            actions.retain(|action| !action.creates(ChildKind::Pod));
        }
    }

    fn turn(&mut self, transition: Transition, message: &str) {
        transition.apply(&mut self.status, &mut self.plan, message, self.world.now);
        attempts::turn(self.world, &mut self.status, transition);
        startup_deadline_seconds::turn(&mut self.status, transition);
    }

    fn count_pods(&mut self, works: bool) {
        self.status.replica_statuses = replica_statuses::counts(self.world, &self.completed, works);
        self.status.ready = Some(replica_statuses::ready(self.world, &self.completed));
    }

    fn finish(mut self) -> Plan {
        waiting::tell(self.world, &mut self.status, &mut self.plan, self.held);
        if !conditions::finished(&self.status) {
            let deletions = unreachable_seconds::deletions(self.world).into_iter();
            // What a deletion would hide is counted first.
            let (new, old) = (ReplacedPods::of(&self.status), ReplacedPods::of(self.stored));
            let counts = |action: &Action| match action {
                Action::ForceDelete { uid, .. } => new.contains_uid(uid) && !old.contains_uid(uid),
                _ => false,
            };
            self.plan.actions.extend(deletions.filter(|action| !counts(action)));
            let next = unreachable_seconds::next(self.world);
            self.plan.look_again(next, Timer::Unreachable);
        }
        accounting::keep(self.world, self.stored, &mut self.status, &mut self.plan);
        if self.status != *self.stored {
            self.plan.status = Some(StatusWrite {
                urgency: urgency(self.world, self.stored, &self.status),
                status: self.status,
            });
        }
        self.plan
    }
}
