//! Whose turn it is. Namespaces are served one after the other, so that a tenant who brings a thousand jobs at once
//! delays the job of another tenant by one of them and not by all.

use std::collections::{HashMap, VecDeque};

use crate::cache::NamespacedName;

/// What waits, served round-robin by namespace, and within a namespace in the order of arrival.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// The namespaces in which something waits, the next one first.
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<T>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }
}

impl<T> Turns<T> {
    /// The last of its namespace. A namespace in which nothing waited comes after all others.
    pub(super) fn push(&mut self, namespace: &str, item: T) {
        if let Some(waiting) = self.waiting.get_mut(namespace) {
            waiting.push_back(item);
            return;
        }
        self.waiting.insert(namespace.to_owned(), VecDeque::from([item]));
        self.order.push_back(namespace.to_owned());
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<T> {
        let namespace = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&namespace)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        item
    }
}

/// The jobs that are due, each once, and those that a pass looks at, each one pass at a time.
#[derive(Debug, Default)]
pub(super) struct Passes {
    due: Turns<NamespacedName>,
    states: HashMap<NamespacedName, State>,
    running: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due,
    Running,
    /// It became due while it was looked at.
    RunningAndDue,
}

impl Passes {
    /// The job has to be looked at.
    pub(super) fn due(&mut self, job: NamespacedName) {
        if let Some(state) = self.states.get_mut(&job) {
            if *state == State::Running {
                *state = State::RunningAndDue;
            }
            return;
        }
        self.states.insert(job.clone(), State::Due);
        self.push(job);
    }

    /// The job whose turn it is, while fewer than `most` are looked at.
    pub(super) fn begin(&mut self, most: usize) -> Option<NamespacedName> {
        if self.running >= most {
            return None;
        }
        let job = self.due.pop()?;
        self.running += 1;
        self.states.insert(job.clone(), State::Running);
        Some(job)
    }

    /// A pass over the job has ended. Whether the job is due again.
    pub(super) fn end(&mut self, job: &NamespacedName) -> bool {
        self.running -= 1;
        let again = self.states.remove(job) == Some(State::RunningAndDue);
        if again {
            self.due(job.clone());
        }
        again
    }

    fn push(&mut self, job: NamespacedName) {
        let namespace = job.namespace.clone();
        self.due.push(&namespace, job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(namespace: &str, name: &str) -> NamespacedName {
        NamespacedName::new(namespace, name)
    }

    #[test]
    fn namespaces_take_turns_and_within_one_the_first_comes_first() {
        let mut turns = Turns::default();
        for name in ["a1", "a2", "a3", "a4", "b1", "b2", "c1"] {
            turns.push(&name[..1], name);
        }
        let mut order: Vec<_> = (0..4).map_while(|_| turns.pop()).collect();
        turns.push("c", "c2");
        order.extend(std::iter::from_fn(|| turns.pop()));
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3", "c2", "a4"]);
    }

    #[test]
    fn one_job_beside_a_thousand_of_another_namespace_waits_for_one_of_them() {
        let mut passes = Passes::default();
        (0..1_000).for_each(|index| passes.due(job("burst", &format!("job-{index}"))));
        assert_eq!(passes.begin(1), Some(job("burst", "job-0")));
        passes.due(job("quiet", "canary"));
        passes.end(&job("burst", "job-0"));
        assert_eq!(passes.begin(1), Some(job("burst", "job-1")));
        passes.end(&job("burst", "job-1"));
        assert_eq!(passes.begin(1), Some(job("quiet", "canary")));
    }

    #[test]
    fn a_job_is_looked_at_once_however_often_it_is_due_and_by_one_pass_at_a_time() {
        let mut passes = Passes::default();
        passes.due(job("ns", "a"));
        passes.due(job("ns", "a"));
        assert_eq!(passes.begin(2), Some(job("ns", "a")));
        assert_eq!(passes.begin(2), None);
        passes.due(job("ns", "a"));
        assert_eq!(passes.begin(2), None, "while it is looked at");
        assert!(passes.end(&job("ns", "a")), "but then again");
        assert_eq!(passes.begin(2), Some(job("ns", "a")));
        assert!(!passes.end(&job("ns", "a")));
        assert_eq!(passes.begin(2), None);
        assert!(passes.states.is_empty(), "nothing is remembered of a job at rest");
    }

    #[test]
    fn no_more_jobs_are_looked_at_at_once_than_may_be() {
        let mut passes = Passes::default();
        (0..3).for_each(|index| passes.due(job("ns", &index.to_string())));
        assert_eq!(
            [passes.begin(2), passes.begin(2)],
            [Some(job("ns", "0")), Some(job("ns", "1"))]
        );
        assert_eq!(passes.begin(2), None);
        passes.end(&job("ns", "1"));
        assert_eq!(passes.begin(2), Some(job("ns", "2")));
    }
}
