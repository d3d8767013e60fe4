//! How many requests are under way at once, and whose request goes next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::platform::tally::Tally;
use crate::platform::turns::Turns;

/// How long after its last request a namespace is still a neighbour to the others.
const NEIGHBOUR: Duration = Duration::from_secs(10);

/// A semaphore that serves the namespaces of those who wait in turn, and bounds what one has at once. The API server
/// serves what it has been sent in no order, so whatever it has of one tenant delays the others there.
#[derive(Debug)]
pub(super) struct Permits(Mutex<State>);

/// How many permits there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// In all.
    pub most: usize,
    /// For one namespace that has no neighbour. What is left is there when one comes.
    pub alone: usize,
    /// For one namespace beside others.
    pub beside_others: usize,
}

#[derive(Debug)]
struct State {
    waiting: Turns<oneshot::Sender<Permit>>,
    room: Room,
}

/// Who has permits, and who is there.
#[derive(Debug)]
struct Room {
    limits: Limits,
    free: usize,
    held: Tally,
    /// Who asked last, and when; and when anybody else did.
    last: Option<(String, Instant)>,
    other: Option<Instant>,
}

/// Leave to make one request; the end of it is its return.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    namespace: String,
}

impl Permits {
    /// So many permits.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let room = Room {
            limits,
            free: limits.most,
            held: Tally::default(),
            last: None,
            other: None,
        };
        let waiting = Turns::default();
        Arc::new(Self(Mutex::new(State { waiting, room })))
    }

    /// Waits for a permit. Nothing while the process ends.
    pub(super) async fn acquire(self: &Arc<Self>, namespace: &str) -> Option<Permit> {
        let granted = {
            let mut state = self.state();
            let now = Instant::now();
            state.room.asked(namespace, now);
            if state.room.has_one_for(namespace, now) {
                state.room.hand_out(namespace);
                return Some(self.permit(namespace.to_owned()));
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push(namespace, grant);
            granted
        };
        granted.await.ok()
    }

    /// Whose turn it is, and the permit, if there is one.
    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Permit>, Permit)> {
        let (mut state, now) = (self.state(), Instant::now());
        let State { waiting, room } = &mut *state;
        let next = std::iter::from_fn(|| waiting.pop_where(|namespace| room.has_one_for(namespace, now)));
        let (namespace, grant) = { next }.find(|(_, grant)| !grant.is_closed())?;
        room.hand_out(&namespace);
        Some((grant, self.permit(namespace)))
    }

    fn permit(self: &Arc<Self>, namespace: String) -> Permit {
        let permits = self.clone();
        Permit { permits, namespace }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn asked(&mut self, namespace: &str, now: Instant) {
        match &mut self.last {
            Some((last, at)) if last == namespace => *at = now,
            last => self.other = last.replace((namespace.to_owned(), now)).map(|(_, at)| at),
        }
    }

    /// Whether another namespace has asked for something lately.
    fn has_neighbour(&self, namespace: &str, now: Instant) -> bool {
        let other = match &self.last {
            Some((last, at)) if last != namespace => Some(*at),
            _ => self.other,
        };
        other.is_some_and(|at| now.duration_since(at) < NEIGHBOUR)
    }

    fn has_one_for(&self, namespace: &str, now: Instant) -> bool {
        let share = if self.has_neighbour(namespace, now) {
            self.limits.beside_others
        } else {
            self.limits.alone
        };
        self.free > 0 && self.held.of(namespace) < share
    }

    fn hand_out(&mut self, namespace: &str) {
        self.free -= 1;
        self.held.add(namespace);
    }

    fn take_back(&mut self, namespace: &str) {
        self.free += 1;
        self.held.remove(namespace);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.state().room.take_back(&self.namespace);
        // More than one where a namespace is alone again.
        while let Some((grant, permit)) = self.permits.next() {
            // Somebody who has given up meanwhile drops it, and so passes it on.
            let _taken = grant.send(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt;
    use futures::future::{BoxFuture, join_all};

    use super::*;

    const ONE: Limits = Limits {
        most: 1,
        alone: 1,
        beside_others: 1,
    };

    #[tokio::test]
    async fn a_request_of_another_namespace_waits_for_one_and_not_for_all_that_came_before() {
        let (permits, order) = (Permits::new(ONE), RefCell::new(Vec::new()));
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
        let permits = Permits::new(ONE);
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
        let permits = Permits::new(ONE);
        let held = permits.acquire("ns").await;
        let mut late = Box::pin(permits.acquire("ns"));
        assert!((&mut late).now_or_never().is_none());
        drop(held);
        drop(late);
        assert!(permits.acquire("ns").now_or_never().flatten().is_some());
    }

    /// Takes out those that have been granted.
    fn granted(waiting: &mut Vec<BoxFuture<'_, Option<Permit>>>) -> Vec<Permit> {
        let mut granted = Vec::new();
        waiting.retain_mut(|permit| match permit.now_or_never() {
            Some(permit) => {
                granted.extend(permit);
                false
            }
            None => true,
        });
        granted
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_has_nearly_all_and_who_has_a_neighbour_a_share_until_that_one_has_been_quiet_for_a_while() {
        let permits = Permits::new(Limits {
            most: 4,
            alone: 3,
            beside_others: 2,
        });
        let mut burst: Vec<_> = (0..6).map(|_| permits.acquire("burst").boxed()).collect();
        let mut held = granted(&mut burst);
        assert_eq!(held.len(), 3);
        let quiet = permits.acquire("quiet").now_or_never().flatten();
        assert!(quiet.is_some(), "what is left");
        drop(held.pop());
        assert!(granted(&mut burst).is_empty(), "it has its share beside others");
        drop(quiet);
        drop(held.pop());
        held.extend(granted(&mut burst));
        assert_eq!(held.len(), 2);
        tokio::time::advance(NEIGHBOUR).await;
        drop(held.pop());
        held.extend(granted(&mut burst));
        assert_eq!(held.len(), 3, "alone again");
        drop((held, burst));
        let state = permits.state();
        assert!(state.room.free == 4 && state.room.held.total() == 0, "{state:?}");
    }
}
