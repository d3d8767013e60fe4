//! The jobs by their state, for the metrics.

use std::collections::BTreeMap;

use crate::api::ConditionType;
use crate::cache::jobs::Jobs;
use crate::cache::stored_job::StoredJob;
use crate::planner::{managed_elsewhere, state};

impl Jobs {
    /// How many jobs are in each state. One that nobody has looked at counts as `None`. One that another controller
    /// runs counts once that one has written a state, and not before: nobody here will look at it.
    pub(crate) fn by_state(&self) -> BTreeMap<&'static str, usize> {
        const NONE: &str = "None";
        let states = ConditionType::ALL.map(ConditionType::as_str).into_iter();
        let mut jobs: BTreeMap<_, _> = states.chain([NONE]).map(|state| (state, 0)).collect();
        for job in self.store().state() {
            let state = job.status().and_then(state).map(ConditionType::as_str);
            let none = || (!is_managed_elsewhere(&job)).then_some(NONE);
            if let Some(state) = state.or_else(none) {
                *jobs.entry(state).or_default() += 1;
            }
        }
        jobs
    }
}

fn is_managed_elsewhere(job: &StoredJob) -> bool {
    matches!(job, StoredJob::Decoded(job) if managed_elsewhere(job))
}
