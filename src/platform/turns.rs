//! Whose turn it is. Namespaces are served one after the other, so that a tenant who brings a thousand jobs at once
//! delays the job of another tenant by one of them and not by all.

use std::collections::{HashMap, VecDeque};

/// What waits, served round-robin by namespace, and within a namespace in the order of arrival.
#[derive(Debug)]
pub(crate) struct Turns<T> {
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
    pub(crate) fn push(&mut self, namespace: &str, item: T) {
        if let Some(waiting) = self.waiting.get_mut(namespace) {
            waiting.push_back(item);
            return;
        }
        self.waiting.insert(namespace.to_owned(), VecDeque::from([item]));
        self.order.push_back(namespace.to_owned());
    }

    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_where(|_| true).map(|(_, item)| item)
    }

    /// The next one of a namespace that is `eligible`, which then comes after all others, and the namespace.
    pub(crate) fn pop_where(&mut self, eligible: impl Fn(&str) -> bool) -> Option<(String, T)> {
        let place = self.order.iter().position(|namespace| eligible(namespace))?;
        let namespace = self.order.remove(place)?;
        let item = self.take(namespace.clone())?;
        Some((namespace, item))
    }

    fn take(&mut self, namespace: String) -> Option<T> {
        let waiting = self.waiting.get_mut(&namespace)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        item
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
