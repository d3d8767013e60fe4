//! Whether the operator is ready, and whether it is stuck.
//!
//! *Ready* means that every cache has been filled once; a standby is ready too. *Live* means that the reconcile loop
//! moves while it has work. A replica that is not live is restarted by the kubelet, so nothing counts here that a
//! restart does not cure, such as an API server that is down, nor what ends the process by itself, such as a watch that
//! ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A reconcile loop that has work and neither begins nor ends a reconcile for so long is stuck. Several times the
/// deadline of one reconcile.
const STALLED: Duration = Duration::from_mins(5);

/// The state of the process as the probes see it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Kinds whose initial list is not complete.
    unsynced: BTreeSet<&'static str>,
    reconciling: Loop,
}

#[derive(Debug)]
struct Loop {
    /// Whether this replica reconciles at all: a standby does not.
    running: bool,
    /// A job was queued and no reconcile has begun since.
    waiting: bool,
    in_flight: usize,
    /// When work last moved, or arrived while there was none.
    moved: Instant,
}

impl Health {
    /// A process that is ready once all these kinds are [synced](Self::synced).
    #[must_use]
    pub(crate) fn new(kinds: &[&'static str]) -> Self {
        let reconciling = Loop {
            running: false,
            waiting: false,
            in_flight: 0,
            moved: Instant::now(),
        };
        let unsynced = kinds.iter().copied().collect();
        Self(Arc::new(Mutex::new(State { unsynced, reconciling })))
    }

    /// The process is not ready before this kind is [synced](Self::synced) too.
    pub(crate) fn expect(&self, kind: &'static str) {
        self.state().unsynced.insert(kind);
    }

    /// The first list of a kind is complete and in the cache.
    pub(crate) fn synced(&self, kind: &'static str) {
        self.state().unsynced.remove(kind);
    }

    /// The reconcile loop begins, because this replica leads. It keeps the returned value for as long as it runs.
    #[must_use]
    pub(crate) fn reconciling(&self) -> ReconcileLoop {
        let mut state = self.state();
        state.reconciling.running = true;
        state.reconciling.moved = Instant::now();
        ReconcileLoop(self.clone())
    }

    /// A job was queued.
    pub(crate) fn queued(&self) {
        let mut state = self.state();
        let work = &mut state.reconciling;
        if !work.waiting && work.in_flight == 0 {
            work.moved = Instant::now();
        }
        work.waiting = true;
    }

    /// A reconcile begins; it ends when the returned value is dropped.
    #[must_use]
    pub(crate) fn reconcile(&self) -> ReconcileTask {
        let mut state = self.state();
        let work = &mut state.reconciling;
        work.waiting = false;
        work.in_flight += 1;
        work.moved = Instant::now();
        ReconcileTask(self.clone())
    }

    /// The loop answered for a queued job without a reconcile, because the job is gone. Calling it on every result of
    /// the loop is right too.
    pub(crate) fn progress(&self) {
        let mut state = self.state();
        state.reconciling.waiting = false;
        state.reconciling.moved = Instant::now();
    }

    /// What keeps the process from being ready; empty when it is.
    #[must_use]
    pub(crate) fn unready(&self) -> Vec<String> {
        let state = self.state();
        let missing = state.unsynced.iter();
        missing
            .map(|kind| format!("cache of {kind}: initial list not complete"))
            .collect()
    }

    /// Why the process is not live; nothing when it is.
    #[must_use]
    pub(crate) fn broken(&self) -> Option<String> {
        let state = self.state();
        let work = &state.reconciling;
        let idle = work.moved.elapsed();
        let stuck = work.running && (work.waiting || work.in_flight > 0) && idle > STALLED;
        stuck.then(|| {
            format!(
                "reconcile loop: it has work ({} jobs in flight) and nothing has moved for {} s",
                work.in_flight,
                idle.as_secs()
            )
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so a panic elsewhere cannot have left half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running reconcile loop.
#[derive(Debug)]
pub(crate) struct ReconcileLoop(Health);

impl Drop for ReconcileLoop {
    fn drop(&mut self) {
        self.0.state().reconciling.running = false;
    }
}

/// A reconcile in flight.
#[derive(Debug)]
pub(crate) struct ReconcileTask(Health);

impl Drop for ReconcileTask {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.reconciling.in_flight -= 1;
        state.reconciling.moved = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_process_is_ready_when_every_cache_was_filled() {
        let health = Health::new(&["PyTorchJob", "Pod"]);
        assert_eq!(
            health.unready(),
            [
                "cache of Pod: initial list not complete",
                "cache of PyTorchJob: initial list not complete"
            ]
        );
        health.synced("PyTorchJob");
        assert_eq!(health.unready(), ["cache of Pod: initial list not complete"]);
        health.synced("Pod");
        assert!(health.unready().is_empty());
        assert_eq!(health.broken(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_loop_is_live_however_long_it_idles() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        drop(health.reconcile());
        advance(100 * STALLED).await;
        assert_eq!(health.broken(), None);
        health.queued();
        advance(STALLED).await;
        assert_eq!(health.broken(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_leaves_its_queue_alone_is_stuck() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        health.queued();
        advance(Duration::from_secs(299)).await;
        // More work is no progress.
        health.queued();
        advance(2 * SECOND).await;
        let expected = "reconcile loop: it has work (0 jobs in flight) and nothing has moved for 301 s";
        assert_eq!(health.broken().as_deref(), Some(expected));
        drop(health.reconcile());
        assert_eq!(health.broken(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queued_job_that_is_gone_leaves_no_work_behind() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        health.queued();
        health.progress();
        advance(2 * STALLED).await;
        assert_eq!(health.broken(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconcile_that_hangs_is_noticed_unless_others_go_on() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        let _hangs = health.reconcile();
        advance(STALLED).await;
        drop(health.reconcile());
        advance(STALLED).await;
        assert_eq!(health.broken(), None);
        advance(SECOND).await;
        assert!(health.broken().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_may_let_its_queue_wait_and_gets_the_full_time_once_it_leads() {
        let health = Health::new(&[]);
        health.queued();
        advance(2 * STALLED).await;
        assert_eq!(health.broken(), None);
        let leading = health.reconciling();
        advance(STALLED).await;
        assert_eq!(health.broken(), None);
        advance(SECOND).await;
        assert!(health.broken().is_some());
        drop(leading);
        assert_eq!(health.broken(), None);
    }
}
