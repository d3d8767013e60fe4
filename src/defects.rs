//! Defects that this operator has had or must not get. The simulation brings each of them back and has to find it:
//! a test that cannot fail proves nothing.
//!
//! A defect is one line at the place of its remedy, and outside of tests that line is not there: [`back`] is a constant
//! then.

use crate::planner::{self, Plan, World};

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Objects are told apart by the UID of their owner alone, which anybody may write in a namespace of theirs.
    ForgedChild,
    /// What a list shows does not replace what is kept under a greater version, as after a restore of etcd.
    Ghosts,
    /// What is written between the request for a list and its first object is taken for what was known before.
    LateList,
    /// A watch whose connection is half-open is noticed after five minutes.
    HalfOpenWatch,
    /// A deletion names no UID.
    DeletionByName,
    /// Nothing looks at a job when its deadline comes.
    NoTimer,
    /// A job is not read although the API server has refused a status for its version.
    RefutedJob,
    /// Who begins to lead believes what the watch has shown so far.
    StaleStandby,
    /// A job is not read although its objects go and nobody here deleted them.
    Recreation,
    /// The requests of a plan are sent however long it takes, and whether or not the job has been edited.
    LongPass,
    /// A failed pod is deleted while its failure is being counted, and not after.
    LateCount,
    /// Pods do not wait until their gang is admitted.
    Unadmitted,
    /// A pod is asked to start again in place, and nothing in it says so.
    NoNote,
    /// `backoffLimit` is not looked at.
    NoLimit,
    /// Pods that differ from the templates are taken for those of another definition, and not of an edit.
    UnseenEdit,
}

/// Whether a defect is back.
#[cfg(not(test))]
pub(crate) const fn back(_: Defect) -> bool {
    false
}

/// The plan of an operator with a defect of what its planner is told, or of when it is obeyed; none without one.
pub(crate) fn plan(world: &World<'_>) -> Option<Plan> {
    if back(Defect::NoLimit) {
        let mut job = world.job.clone();
        job.spec.backoff_limit = None;
        job.spec.run_policy.backoff_limit = None;
        return Some(planner::plan(&World { job: &job, ..*world }));
    }
    if back(Defect::UnseenEdit) {
        return Some(planner::plan(&World {
            definition_may_differ: true,
            compared_generation: world.job.metadata.generation,
            ..*world
        }));
    }
    back(Defect::LateCount).then(|| hastened(planner::plan(world), world))
}

/// A plan that does already what is to be done once its status is stored.
fn hastened(plan: Plan, world: &World<'_>) -> Plan {
    let Some(write) = &plan.status else { return plan };
    let mut job = world.job.clone();
    job.status = Some(write.status.clone());
    let actions = planner::plan(&World { job: &job, ..*world }).actions;
    Plan { actions, ..plan }
}

#[cfg(test)]
pub(crate) use simulated::{back, bring_back};

#[cfg(test)]
mod simulated {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static BACK: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Whether a defect is back on this thread.
    pub(crate) fn back(defect: Defect) -> bool {
        BACK.get() == Some(defect)
    }

    /// Brings one defect back on this thread, or none.
    pub(crate) fn bring_back(defect: Option<Defect>) {
        BACK.set(defect);
    }
}
