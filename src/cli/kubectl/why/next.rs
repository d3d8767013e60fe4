//! What happens next to a job, when, and by which policy.

use std::fmt::Write;

use k8s_openapi::jiff::SignedDuration;

use crate::api::{ConditionType, JobCondition, JobStatus, RunPolicy, StartupDeadlineAction};
use crate::cli::kubectl::age::{age, time};
use crate::cli::kubectl::observation::Facts;
use crate::planner::{Action, Plan, Timer, finished, managed_elsewhere, plan, state};

/// What comes at its time whatever the job owns.
const INDEPENDENT_OF_CHILDREN: [Timer; 2] = [Timer::ActiveDeadline, Timer::TtlAfterFinished];

/// What the operator does now, and when it looks again by itself. It does nothing about a job that is being deleted.
pub(super) fn next(facts: &Facts, status: &JobStatus) -> String {
    if managed_elsewhere(&facts.job) || facts.is_being_deleted() {
        return String::new();
    }
    let plan = match facts.plan() {
        Ok(plan) => plan,
        Err(unknown) => {
            let limit = plan(&facts.world());
            let of_time = limit
                .timer
                .is_some_and(|timer| INDEPENDENT_OF_CHILDREN.contains(&timer));
            let due = due(facts, &limit).filter(|_| of_time);
            return format!("{unknown}\n{}", due.unwrap_or_default());
        }
    };
    let name = facts.world().name().to_owned();
    let mut text = String::new();
    let actions: Vec<String> = plan.actions.iter().map(|action| described(action, &name)).collect();
    if !actions.is_empty() {
        let _ = writeln!(text, "Next: {}.", actions.join(", "));
    }
    if let Some(told) = plan.status.as_ref().and_then(|write| news(status, &write.status)) {
        let _ = writeln!(text, "{told}");
    }
    if let Some(due) = due(facts, &plan) {
        text += &due;
    } else if actions.is_empty() && plan.status.is_none() {
        let waits = if finished(status) {
            "Nothing is left to do, and without ttlSecondsAfterFinished it stays."
        } else {
            "Nothing is to be done until a pod or the job changes."
        };
        let _ = writeln!(text, "{waits}");
    }
    text
}

/// When the plan looks again, and what for.
fn due(facts: &Facts, plan: &Plan) -> Option<String> {
    let after = SignedDuration::try_from(plan.requeue?).unwrap_or(SignedDuration::MAX);
    let at = facts.now.checked_add(after).ok();
    let at = at.map(|at| format!(", at {}", time(at))).unwrap_or_default();
    let what = at_the_time(plan.timer?, &facts.job.spec.run_policy);
    Some(format!("{what}, in {}{at}.\n", age(after)))
}

/// The state of a job, and the condition that says so.
pub(super) fn of_state(status: &JobStatus) -> Option<(ConditionType, &JobCondition)> {
    let state = state(status)?;
    let mut conditions = status.conditions.iter().rev();
    Some((state, conditions.find(|entry| entry.type_ == state.as_str())?))
}

/// The state that the plan stores, if it is another, with the rule that says so.
fn news(stored: &JobStatus, new: &JobStatus) -> Option<String> {
    let (condition, entry) = of_state(new)?;
    let message = entry.message.as_deref().unwrap_or_default();
    let before = of_state(stored).map(|(condition, entry)| (condition, entry.message.as_deref().unwrap_or_default()));
    (before != Some((condition, message))).then(|| format!("Then it is {}: {message}", condition.as_str()))
}

/// What happens when the plan looks again, and by which policy.
fn at_the_time(timer: Timer, policy: &RunPolicy) -> &'static str {
    match timer {
        Timer::ActiveDeadline => "It fails by activeDeadlineSeconds",
        Timer::TtlAfterFinished => "It is deleted by ttlSecondsAfterFinished",
        Timer::StartupDeadline => match policy.startup_deadline_action() {
            StartupDeadlineAction::Fail => "It fails by startupDeadlineSeconds unless all its pods run",
            StartupDeadlineAction::Suspend => "It is suspended by startupDeadlineSeconds unless all its pods run",
            StartupDeadlineAction::Restart => "Pods start again by startupDeadlineSeconds unless all run",
        },
        Timer::Progress => "A replica that goes on writing nothing is called stalled by progressPolicy",
        Timer::RestartInPlace => "A pod that has not restarted in place is created again by restartStrategy",
        Timer::NodeExclusion => "New pods may go to an excluded node again by nodeExclusion",
        Timer::Unreachable => {
            "A pod that its node has not ended is deleted by force, by unreachableSeconds or Kueue's annotation"
        }
        Timer::Waiting => "What keeps its pods is looked at again",
    }
}

/// An action in words.
pub(in crate::cli::kubectl) fn described(action: &Action, job: &str) -> String {
    match action {
        Action::Create(child) => format!("create {} {}", child.kind, child.name(job)),
        Action::Update { child, .. } => format!("update {} {}", child.kind, child.name(job)),
        Action::RestartInPlace { child, .. } => format!("restart {} {} in place", child.kind, child.name(job)),
        Action::Recreate { child, why, .. } => format!("create {} {} again ({why})", child.kind, child.name(job)),
        Action::Delete { kind, name, .. } => format!("delete {kind} {name}"),
        Action::ForceDelete { name, .. } => format!("delete pod {name} by force"),
        Action::DeleteJob => "delete the job".to_owned(),
    }
}
