//! How many of something each namespace has.

use std::collections::HashMap;

/// A number for each namespace. Those that have none are not kept.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    some: HashMap<String, usize>,
    total: usize,
}

impl Tally {
    /// One more.
    pub(crate) fn add(&mut self, namespace: &str) {
        *self.some.entry(namespace.to_owned()).or_default() += 1;
        self.total += 1;
    }

    /// One less, if there is one.
    pub(crate) fn remove(&mut self, namespace: &str) {
        if let Some(some) = self.some.get_mut(namespace) {
            *some -= 1;
            self.total -= 1;
            if *some == 0 {
                self.some.remove(namespace);
            }
        }
    }

    /// How many this namespace has.
    pub(crate) fn of(&self, namespace: &str) -> usize {
        self.some.get(namespace).copied().unwrap_or_default()
    }

    /// How many all have.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}
