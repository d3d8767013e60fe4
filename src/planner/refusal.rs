//! Jobs that cannot run as they are written.

use k8s_openapi::jiff::Timestamp;

use crate::api::JobStatus;
use crate::api::names::reason;
use crate::planner::plan::{Event, Plan};
use crate::planner::status::conditions::finished;
use crate::planner::status::transition::Transition;
use crate::planner::validate;
use crate::planner::world::World;

/// What becomes of a stored object that is not a PyTorchJob at all, such as one with a string for a number. It is
/// Failed, with the cause; one that has started, or whose status is as broken, goes on and has a warning. Nothing when
/// it has finished already.
#[must_use]
pub fn undecodable(
    name: &str,
    stored: Option<&JobStatus>,
    cause: &str,
    now: Timestamp,
) -> Option<(Option<JobStatus>, Event)> {
    let Some(fresh) = stored.filter(|status| status.start_time.is_none()) else {
        let warning = Event {
            warning: true,
            reason: reason::INVALID,
            message: format!(
                "PyTorchJob {name} is not managed, since it is invalid: {cause}. Its pods are left as they are."
            ),
        };
        return (!stored.is_some_and(finished)).then_some((None, warning));
    };
    if finished(fresh) {
        return None;
    }
    let (mut status, message) = (fresh.clone(), message(name, cause));
    Transition::Refused.write(&mut status, &message, now);
    Transition::Refused.event(&message).map(|event| (Some(status), event))
}

/// The message of a job that cannot run as it is written, with the events about what it can run with in the plan.
/// Looked at once for each generation: only an edit can change the answer.
#[must_use]
pub(super) fn of(world: &World<'_>, stored: &JobStatus, plan: &mut Plan) -> Option<String> {
    let seen = stored.observed_generation;
    if seen.is_some() && seen == world.job.metadata.generation {
        return None;
    }
    // Whoever started the job found that it can run: it goes on, whatever this operator would have said first.
    let started = stored.start_time.is_some() || !world.pods.is_empty();
    let (fatal, tolerable): (Vec<_>, Vec<_>) = validate::problems(world.job)
        .into_iter()
        .partition(|problem| problem.fatal && !started);
    let warnings = tolerable.iter().map(|problem| Event {
        warning: true,
        reason: reason::INVALID,
        message: problem.to_string(),
    });
    plan.events.extend(warnings);
    let causes = fatal.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    (!fatal.is_empty()).then(|| message(world.name(), &causes))
}

/// The message of a job that cannot run.
fn message(name: &str, causes: &str) -> String {
    format!("PyTorchJob {name} is invalid: {causes}. Delete the job, fix its manifest and create it again.")
}
