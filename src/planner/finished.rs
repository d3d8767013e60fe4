//! A job that has finished: clean-up, then deletion when the time has come. The outcome itself is not looked at
//! again.

use std::time::Duration;

use crate::api::{CleanPodPolicy, ConditionType, JobStatus};
use crate::planner::plan::{Action, Plan, StatusWrite, Timer, Urgency};
use crate::planner::policy::{
    autoscaler, clean_pod_policy, graceful_stop_seconds, replicas, scheduling_policy, ttl_seconds_after_finished,
};
use crate::planner::replaced_pods;
use crate::planner::status::conditions::is_true;
use crate::planner::status::{attempts, replica_statuses};
use crate::planner::world::World;

/// What remains to be done after the outcome in `stored`.
pub(super) fn plan(world: &World<'_>, stored: &JobStatus) -> Plan {
    let spec = &world.job.spec;
    let expires = ttl_seconds_after_finished::expires_in(stored, spec.ttl_seconds_after_finished(), world.now);
    if expires == Some(Duration::ZERO) {
        return Plan {
            actions: vec![Action::DeleteJob],
            ..Plan::default()
        };
    }
    // An outcome of Kubeflow's operator has no generation. Its users know what an unset policy left running then, and
    // taking its jobs over is no reason to write to each of them.
    let ours = stored.observed_generation.is_some();
    let failed = ours && is_true(stored, ConditionType::Failed);
    let policy = clean_pod_policy::effective(spec.clean_pod_policy(), failed);
    let keeps = ours && policy == CleanPodPolicy::None;
    let left_over = keeps.then(|| replicas::left_over(world)).into_iter().flatten();
    let (status, urgency) = follow(world, stored, ours);
    let asked = ours && policy != CleanPodPolicy::None;
    let stopped = asked.then(|| graceful_stop_seconds::told(world, &status)).flatten();
    let mut plan = Plan {
        actions: clean_pod_policy::clean_up(world, policy)
            .into_iter()
            .chain(left_over)
            .chain(autoscaler::delete(world))
            .chain(scheduling_policy::delete(world))
            .collect(),
        status: urgency.map(|urgency| StatusWrite { status, urgency }),
        events: stopped.into_iter().collect(),
        ..Plan::default()
    };
    plan.look_again(expires, Timer::TtlAfterFinished);
    plan
}

/// The status as of now, and how soon it has to be stored if it is worth a write.
fn follow(world: &World<'_>, stored: &JobStatus, ours: bool) -> (JobStatus, Option<Urgency>) {
    let mut status = stored.clone();
    status.replica_statuses = replica_statuses::final_counts(world, &stored.replica_statuses);
    if ours {
        status.observed_generation = world.job.metadata.generation;
    }
    attempts::remember(world, &mut status, &[]);
    let corrected = status.first_failure != stored.first_failure || status.attempts != stored.attempts;
    let acted_on = status.observed_generation != stored.observed_generation;
    // The pods of a finished job end one by one; the last count is the one worth a write. Pods that are seen only now,
    // because their list came after the outcome, hold what quota gives.
    let settled = status.replica_statuses.values().all(|counts| counts.active.is_none());
    let counted = settled || ours && replica_statuses::rises(world, stored, &status);
    let urgency = if acted_on { Urgency::Condition } else { Urgency::Counts };
    let is_news = status != *stored && (counted || acted_on || corrected);
    // That a pod is gone is not worth a write of its own.
    replaced_pods::forget_gone(world.pods, &mut status);
    (status, is_news.then_some(urgency))
}
