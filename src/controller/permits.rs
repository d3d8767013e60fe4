//! How many requests are under way at once, and whose request goes next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::controller::turns::Turns;

/// A semaphore that serves the namespaces of those who wait in turn.
#[derive(Debug)]
pub(super) struct Permits(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Turns<oneshot::Sender<Permit>>,
}

/// Leave to make one request; the end of it is its return.
#[derive(Debug)]
pub(super) struct Permit(Arc<Permits>);

impl Permits {
    /// So many permits.
    pub(super) fn new(permits: usize) -> Arc<Self> {
        let waiting = Turns::default();
        Arc::new(Self(Mutex::new(State { free: permits, waiting })))
    }

    /// Waits for a permit. Nothing while the process ends.
    pub(super) async fn acquire(self: &Arc<Self>, namespace: &str) -> Option<Permit> {
        let granted = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Permit(self.clone()));
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push(namespace, grant);
            granted
        };
        granted.await.ok()
    }

    /// Whose turn it is. When nobody waits any more, the permit is free.
    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.state();
        let next = std::iter::from_fn(|| state.waiting.pop()).find(|waiting| !waiting.is_closed());
        if next.is_none() {
            state.free += 1;
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(next) = self.0.next() {
            // Somebody who has given up meanwhile drops it, and so passes it on.
            let _taken = next.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_request_of_another_namespace_waits_for_one_and_not_for_all_that_came_before() {
        let (permits, order) = (Permits::new(1), RefCell::new(Vec::new()));
        let held = permits.acquire("b").await;
        let request = async |name: &'static str| {
            let _permit = permits.acquire(&name[..1]).await;
            order.borrow_mut().push(name);
        };
        let requests = join_all(["b1", "b2", "b3", "q1"].map(request));
        futures::join!(requests, async { drop(held) });
        assert_eq!(*order.borrow(), ["b1", "q1", "b2", "b3"]);
    }

    #[tokio::test]
    async fn a_permit_for_one_who_has_given_up_is_the_next_ones() {
        let permits = Permits::new(1);
        let held = permits.acquire("ns").await;
        let (mut first, mut second) = (Box::pin(permits.acquire("ns")), Box::pin(permits.acquire("other")));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        drop(held);
        assert!(second.now_or_never().flatten().is_some(), "and given back with it");
        assert!(permits.acquire("ns").now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn a_permit_that_comes_too_late_is_free_again() {
        let permits = Permits::new(1);
        let held = permits.acquire("ns").await;
        let mut late = Box::pin(permits.acquire("ns"));
        assert!((&mut late).now_or_never().is_none());
        drop(held);
        drop(late);
        assert!(permits.acquire("ns").now_or_never().flatten().is_some());
    }
}
