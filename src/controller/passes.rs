//! The jobs that are due, and the passes over them.

use std::collections::{HashMap, VecDeque};

use crate::cache::NamespacedName;
use crate::platform::tally::Tally;
use crate::platform::turns::Turns;

/// The jobs that are due, each once, and those that a pass looks at, each one pass at a time.
#[derive(Debug)]
pub(super) struct Passes {
    /// Passes at once. As many more may be begun in namespaces that have none under way: a thousand jobs that start
    /// together hold all passes until their first requests are answered, and nobody else is to wait for that.
    most: usize,
    due: Turns<NamespacedName>,
    states: HashMap<NamespacedName, State>,
    /// How many passes are under way.
    running: Tally,
    /// Namespaces that had nothing under way and found all passes taken.
    kept_waiting: VecDeque<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due,
    Running,
    /// It became due while it was looked at.
    RunningAndDue,
}

impl Passes {
    /// Up to `most` passes at once.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            due: Turns::default(),
            states: HashMap::new(),
            running: Tally::default(),
            kept_waiting: VecDeque::new(),
        }
    }

    /// The job has to be looked at.
    pub(super) fn due(&mut self, job: NamespacedName) {
        if let Some(state) = self.states.get_mut(&job) {
            if *state == State::Running {
                *state = State::RunningAndDue;
            }
            return;
        }
        self.states.insert(job.clone(), State::Due);
        let namespace = job.namespace.clone();
        if self.running.total() >= self.most && self.running.of(&namespace) == 0 {
            self.kept_waiting.push_back(namespace.clone());
        }
        self.due.push(&namespace, job);
    }

    /// The job whose turn it is, if a pass over it may begin.
    pub(super) fn begin(&mut self) -> Option<NamespacedName> {
        let job = match self.running.total() {
            passes if passes < self.most => self.due.pop(),
            passes if passes < self.most * 2 => self.next_kept_waiting(),
            _ => None,
        };
        let Some(job) = job else {
            if self.due.is_empty() {
                self.kept_waiting.clear();
            }
            return None;
        };
        self.running.add(&job.namespace);
        self.states.insert(job.clone(), State::Running);
        Some(job)
    }

    /// A pass over the job has ended. Whether the job is due again.
    pub(super) fn end(&mut self, job: &NamespacedName) -> bool {
        self.running.remove(&job.namespace);
        let again = self.states.remove(job) == Some(State::RunningAndDue);
        if again {
            self.due(job.clone());
        }
        again
    }

    fn next_kept_waiting(&mut self) -> Option<NamespacedName> {
        let (running, due) = (&self.running, &mut self.due);
        let waiting = std::iter::from_fn(|| self.kept_waiting.pop_front());
        waiting
            .filter(|namespace| running.of(namespace) == 0)
            .find_map(|namespace| due.pop_where(|other| *other == namespace))
            .map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(namespace: &str, name: &str) -> NamespacedName {
        NamespacedName::new(namespace, name)
    }

    #[test]
    fn of_a_thousand_due_jobs_that_of_another_namespace_comes_second() {
        let mut passes = Passes::new(1);
        (0..1_000).for_each(|index| passes.due(job("burst", &format!("job-{index}"))));
        passes.due(job("quiet", "canary"));
        assert_eq!(passes.begin(), Some(job("burst", "job-0")));
        passes.end(&job("burst", "job-0"));
        assert_eq!(passes.begin(), Some(job("quiet", "canary")));
    }

    #[test]
    fn a_namespace_with_nothing_under_way_does_not_wait_for_the_passes_of_another() {
        let mut passes = Passes::new(2);
        (0..9).for_each(|index| passes.due(job("burst", &index.to_string())));
        let begun = |passes: &mut Passes| std::iter::from_fn(|| passes.begin()).collect::<Vec<_>>();
        assert_eq!(begun(&mut passes), [job("burst", "0"), job("burst", "1")]);
        passes.due(job("quiet", "a"));
        passes.due(job("quiet", "b"));
        passes.due(job("other", "a"));
        passes.due(job("third", "a"));
        let beside = [job("quiet", "a"), job("other", "a")];
        assert_eq!(begun(&mut passes), beside, "one each, and no more than two");
        passes.end(&job("quiet", "a"));
        assert_eq!(begun(&mut passes), [job("third", "a")]);
        assert!(begun(&mut passes).is_empty());
        for ended in [job("other", "a"), job("third", "a"), job("burst", "0")] {
            passes.end(&ended);
        }
        assert_eq!(
            begun(&mut passes),
            [job("burst", "2")],
            "the others have had their turn"
        );
    }

    #[test]
    fn a_job_is_looked_at_once_however_often_it_is_due_and_by_one_pass_at_a_time() {
        let mut passes = Passes::new(2);
        passes.due(job("ns", "a"));
        passes.due(job("ns", "a"));
        assert_eq!(passes.begin(), Some(job("ns", "a")));
        assert_eq!(passes.begin(), None);
        passes.due(job("ns", "a"));
        assert_eq!(passes.begin(), None, "while it is looked at");
        assert!(passes.end(&job("ns", "a")), "but then again");
        assert_eq!(passes.begin(), Some(job("ns", "a")));
        assert!(!passes.end(&job("ns", "a")));
        assert_eq!(passes.begin(), None);
        assert!(
            passes.states.is_empty() && passes.running.total() == 0,
            "nothing is remembered of a job at rest"
        );
    }

    #[test]
    fn no_more_jobs_are_looked_at_at_once_than_may_be() {
        let mut passes = Passes::new(2);
        (0..3).for_each(|index| passes.due(job("ns", &index.to_string())));
        assert_eq!(
            [passes.begin(), passes.begin()],
            [Some(job("ns", "0")), Some(job("ns", "1"))]
        );
        assert_eq!(passes.begin(), None);
        passes.end(&job("ns", "1"));
        assert_eq!(passes.begin(), Some(job("ns", "2")));
    }
}
