//! Pods that somebody else takes away, until the job that loses them is looked at. Nothing is decided by it: it is what
//! a user is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::key::JobId;

/// As many as are kept. A replica that leads takes them at once; a standby takes none, and jobs may go with their pods.
const KEPT: usize = 256;

/// What was seen, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Departures(Mutex<Vec<(JobId, String)>>);

impl Departures {
    /// A pod of the job is taken away: a sentence about it.
    pub(super) fn note(&self, job: JobId, what: String) {
        let mut all = self.lock();
        if all.len() == KEPT {
            all.remove(0);
        }
        all.push((job, what));
    }

    /// What was noted of a job and has not been taken yet.
    #[must_use]
    pub(crate) fn take(&self, job: &JobId) -> Vec<String> {
        let mut all = self.lock();
        all.extract_if(.., |(of, _)| of == job).map(|(_, what)| what).collect()
    }

    /// Forgets what was noted before: whoever led until now may have deleted those pods.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(JobId, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_gets_its_own_once_in_their_order_and_what_nobody_takes_is_dropped_when_there_is_too_much() {
        let departures = Departures::default();
        let (one, other) = (JobId::new("ns", "one"), JobId::new("ns", "other"));
        for (job, what) in [(&one, "a"), (&other, "b"), (&one, "c")] {
            departures.note(job.clone(), what.to_owned());
        }
        assert_eq!(departures.take(&one), ["a", "c"]);
        assert!(departures.take(&one).is_empty());
        for index in 0..KEPT {
            departures.note(one.clone(), index.to_string());
        }
        assert!(departures.take(&other).is_empty());
        departures.note(one.clone(), "last".to_owned());
        departures.forget();
        assert!(departures.take(&one).is_empty());
    }
}
