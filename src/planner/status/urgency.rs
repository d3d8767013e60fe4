//! How soon a status must be stored.

use crate::api::{ConditionType, FirstFailure, JobStatus};
use crate::planner::plan::Urgency;
use crate::planner::status::conditions::{find, finished, is_true};
use crate::planner::status::replica_statuses::claims_more;
use crate::planner::world::World;

/// How soon `new` must replace `stored`, for a job that had not finished.
#[must_use]
pub(crate) fn urgency(world: &World<'_>, stored: &JobStatus, new: &JobStatus) -> Urgency {
    let suspended = |status| is_true(status, ConditionType::Suspended);
    if finished(new) {
        // As a rule the others end with the Master; one status then shows the outcome and the last pod. A failure does
        // not wait: what still runs is to be stopped.
        let rest = is_true(new, ConditionType::Succeeded) && world.pods.iter().any(|pod| !pod.finished());
        return if rest { Urgency::Condition } else { Urgency::Now };
    }
    let first = find(stored, ConditionType::Created).is_none();
    let claims = claims_more(world, stored, new);
    let begins = stored.attempt() != new.attempt() || stored.excluded_nodes != new.excluded_nodes;
    let found = !causes(stored).eq(causes(new));
    if first || claims || begins || found || suspended(stored) != suspended(new) || stored.restarts != new.restarts {
        return Urgency::Now;
    }
    // Kueue frees quota by the counts of a suspended job.
    let awaited = suspended(new) || stored.observed_generation != new.observed_generation;
    if awaited || stored.conditions != new.conditions {
        return Urgency::Condition;
    }
    Urgency::Counts
}

/// What was found out of failures. What shows it may be gone soon: a container that starts again tells of its last end
/// alone.
fn causes(status: &JobStatus) -> impl Iterator<Item = Option<&FirstFailure>> {
    let attempts = status.attempts.iter().map(|attempt| attempt.first_failure.as_ref());
    attempts.chain([status.first_failure.as_ref()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::child::Phase;
    use crate::planner::fixture::{at, master_and_workers};
    use crate::planner::status::transition::Transition;

    #[test]
    fn what_others_wait_for_is_stored_first_and_counts_alone_last() {
        use Transition::{Created, Failed, Refused, Restarting, Resumed, Running, Succeeded, Suspended};
        let after = |transitions: &[Transition]| {
            let mut status = JobStatus::default();
            for transition in transitions {
                transition.write(&mut status, "m", at(0));
            }
            status
        };
        let scene = master_and_workers(1).running();
        for (stored, new, expected) in [
            (&[][..], &[Created][..], Urgency::Now),
            (&[Created], &[Created], Urgency::Counts),
            (&[Created], &[Created, Running], Urgency::Condition),
            (&[Created], &[Created, Suspended], Urgency::Now),
            (&[Created, Suspended], &[Created, Suspended], Urgency::Condition),
            (&[Created, Suspended], &[Created, Suspended, Resumed], Urgency::Now),
            (&[Created, Running], &[Created, Running, Restarting], Urgency::Condition),
            (&[Created, Running], &[Created, Running, Succeeded], Urgency::Condition),
            (&[Created, Running], &[Created, Running, Failed], Urgency::Now),
            (&[Created], &[Created, Refused], Urgency::Now),
        ] {
            let (stored, new) = (after(stored), after(new));
            assert_eq!(urgency(&scene.world(), &stored, &new), expected, "{stored:?} {new:?}");
        }
    }

    #[test]
    fn a_counted_restart_a_cause_a_new_generation_and_the_success_of_the_last_pod_are_told_by_the_status() {
        let mut scene = master_and_workers(1).running();
        let stored = scene.status();
        let restarted = JobStatus {
            restarts: Some(1),
            ..stored.clone()
        };
        assert_eq!(urgency(&scene.world(), &stored, &restarted), Urgency::Now);
        let edited = JobStatus {
            observed_generation: Some(9),
            ..stored.clone()
        };
        assert_eq!(urgency(&scene.world(), &stored, &edited), Urgency::Condition);
        let caused = JobStatus {
            first_failure: Some(FirstFailure::default()),
            ..stored.clone()
        };
        assert_eq!(urgency(&scene.world(), &stored, &caused), Urgency::Now);
        let mut succeeded = stored.clone();
        Transition::Succeeded.write(&mut succeeded, "m", at(0));
        scene.everything(Phase::Succeeded);
        assert_eq!(urgency(&scene.world(), &stored, &succeeded), Urgency::Now);
    }
}
