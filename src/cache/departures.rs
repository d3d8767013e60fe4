//! What becomes of pods that go, until the job that loses them is looked at: who took them away, and how long they took
//! to end. Nothing is decided by it: it is what a user is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::key::JobId;
use crate::planner::Stopped;

/// As many are kept of each. A replica that leads takes them at once; a standby takes none, and jobs may go with their
/// pods.
const KEPT: usize = 1_024;

/// What was seen of pods that go.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// Of pods that somebody else takes away: a sentence about each.
    pub disrupted: Notes<String>,
    /// Pods that are gone after they were asked to end.
    pub stopped: Notes<Stopped>,
}

impl Departures {
    /// Forgets what was noted before: whoever led until now may have deleted those pods.
    pub(crate) fn forget(&self) {
        self.disrupted.lock().clear();
        self.stopped.lock().clear();
    }
}

/// Notes about pods of jobs, oldest first.
#[derive(Debug)]
pub(crate) struct Notes<T>(Mutex<Vec<(JobId, T)>>);

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Notes<T> {
    /// Notes something about a pod of the job.
    pub(super) fn note(&self, job: JobId, what: T) {
        let mut all = self.lock();
        if all.len() == KEPT {
            all.remove(0);
        }
        all.push((job, what));
    }

    /// What was noted of a job and has not been taken yet.
    #[must_use]
    pub(crate) fn take(&self, job: &JobId) -> Vec<T> {
        self.take_if(job, |_| true)
    }

    /// The same of what is asked for; the rest stays.
    #[must_use]
    pub(crate) fn take_if(&self, job: &JobId, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut all = self.lock();
        let taken = all.extract_if(.., |(of, what)| of == job && is_wanted(what));
        taken.map(|(_, what)| what).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(JobId, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_gets_its_own_once_in_their_order_and_what_nobody_takes_is_dropped_when_there_is_too_much() {
        let departures = Departures::default();
        let notes = &departures.disrupted;
        let (one, other) = (JobId::new("ns", "one"), JobId::new("ns", "other"));
        for (job, what) in [(&one, "a"), (&other, "b"), (&one, "c")] {
            notes.note(job.clone(), what.to_owned());
        }
        assert_eq!(notes.take(&one), ["a", "c"]);
        assert!(notes.take(&one).is_empty());
        for what in ["a", "b"] {
            notes.note(one.clone(), what.to_owned());
        }
        assert_eq!(notes.take_if(&one, |what| what == "b"), ["b"]);
        assert_eq!(notes.take(&one), ["a"]);
        for index in 0..KEPT {
            notes.note(one.clone(), index.to_string());
        }
        assert!(notes.take(&other).is_empty());
        notes.note(one.clone(), "last".to_owned());
        departures.forget();
        assert!(notes.take(&one).is_empty());
    }
}
