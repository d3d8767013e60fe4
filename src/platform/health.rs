//! Whether the operator is ready, and whether it is stuck.
//!
//! *Ready* means that every cache has been filled once; a standby is ready too. *Live* means that every watch task
//! runs, and that the reconcile loop moves while it has work. A replica that is not live is restarted by the kubelet,
//! so nothing counts here that a restart does not cure: an API server that is down is not a reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A reconcile loop that has work and neither begins nor ends a reconcile for so long is stuck. Several times the
/// deadline of one reconcile.
const STALLED: Duration = Duration::from_mins(5);

/// The state of the process as the probes see it. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    watches: BTreeMap<&'static str, Watch>,
    reconciling: Loop,
}

#[derive(Debug, Default)]
struct Watch {
    synced: bool,
    ended: bool,
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
    /// A process that is ready once the watches of all these kinds have been [synced](WatchTask::synced).
    #[must_use]
    pub fn new(kinds: &[&'static str]) -> Self {
        let watches = kinds.iter().map(|kind| (*kind, Watch::default())).collect();
        let reconciling = Loop {
            running: false,
            waiting: false,
            in_flight: 0,
            moved: Instant::now(),
        };
        Self(Arc::new(Mutex::new(State { watches, reconciling })))
    }

    /// The watch task of a kind begins. It keeps the returned value for as long as it runs.
    #[must_use]
    pub fn watch(&self, kind: &'static str) -> WatchTask {
        self.state().watches.insert(kind, Watch::default());
        WatchTask {
            health: self.clone(),
            kind,
        }
    }

    /// The reconcile loop begins, because this replica leads. It keeps the returned value for as long as it runs.
    #[must_use]
    pub fn reconciling(&self) -> ReconcileLoop {
        let mut state = self.state();
        state.reconciling.running = true;
        state.reconciling.moved = Instant::now();
        ReconcileLoop(self.clone())
    }

    /// A job was queued.
    pub fn queued(&self) {
        let mut state = self.state();
        let work = &mut state.reconciling;
        if !work.waiting && work.in_flight == 0 {
            work.moved = Instant::now();
        }
        work.waiting = true;
    }

    /// A reconcile begins; it ends when the returned value is dropped.
    #[must_use]
    pub fn reconcile(&self) -> ReconcileTask {
        let mut state = self.state();
        let work = &mut state.reconciling;
        work.waiting = false;
        work.in_flight += 1;
        work.moved = Instant::now();
        ReconcileTask(self.clone())
    }

    /// The loop answered for a queued job without a reconcile, because the job is gone. Calling it on every result of
    /// the loop is right too.
    pub fn progress(&self) {
        let mut state = self.state();
        state.reconciling.waiting = false;
        state.reconciling.moved = Instant::now();
    }

    /// What keeps the process from being ready; empty when it is.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let state = self.state();
        let missing = state.watches.iter().filter(|(_, watch)| !watch.synced);
        missing
            .map(|(kind, _)| format!("cache of {kind}: the first list is not complete"))
            .collect()
    }

    /// What is broken beyond repair; empty when the process is live.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let state = self.state();
        let ended = state.watches.iter().filter(|(_, watch)| watch.ended);
        let mut broken: Vec<String> = ended
            .map(|(kind, _)| format!("watch of {kind}: its task has ended"))
            .collect();
        let work = &state.reconciling;
        let idle = work.moved.elapsed();
        if work.running && (work.waiting || work.in_flight > 0) && idle > STALLED {
            broken.push(format!(
                "reconcile loop: it has work ({} jobs in flight) and nothing has moved for {} s",
                work.in_flight,
                idle.as_secs()
            ));
        }
        broken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so a panic elsewhere cannot have left half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, kind: &'static str, change: impl FnOnce(&mut Watch)) {
        change(self.state().watches.entry(kind).or_default());
    }
}

/// A running watch task. Dropped, because the task returned or panicked, it makes the process fail its liveness probe.
#[derive(Debug)]
pub struct WatchTask {
    health: Health,
    kind: &'static str,
}

impl WatchTask {
    /// The first list is complete and in the cache.
    pub fn synced(&self) {
        self.health.update(self.kind, |watch| watch.synced = true);
    }
}

impl Drop for WatchTask {
    fn drop(&mut self) {
        self.health.update(self.kind, |watch| watch.ended = true);
    }
}

/// A running reconcile loop.
#[derive(Debug)]
pub struct ReconcileLoop(Health);

impl Drop for ReconcileLoop {
    fn drop(&mut self) {
        self.0.state().reconciling.running = false;
    }
}

/// A reconcile in flight.
#[derive(Debug)]
pub struct ReconcileTask(Health);

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
                "cache of Pod: the first list is not complete",
                "cache of PyTorchJob: the first list is not complete"
            ]
        );
        let (jobs, pods) = (health.watch("PyTorchJob"), health.watch("Pod"));
        jobs.synced();
        assert_eq!(health.unready(), ["cache of Pod: the first list is not complete"]);
        pods.synced();
        assert!(health.unready().is_empty());
        assert!(health.broken().is_empty());
    }

    #[test]
    fn a_watch_task_that_ends_breaks_the_process() {
        let health = Health::new(&["Pod"]);
        let pods = health.watch("Pod");
        let task = std::thread::spawn(move || {
            pods.synced();
            panic!("bug");
        });
        assert!(task.join().is_err());
        assert_eq!(health.broken(), ["watch of Pod: its task has ended"]);
        let _again = health.watch("Pod");
        assert!(health.broken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_loop_is_live_however_long_it_idles() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        drop(health.reconcile());
        advance(100 * STALLED).await;
        assert!(health.broken().is_empty());
        health.queued();
        advance(STALLED).await;
        assert!(health.broken().is_empty());
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
        assert_eq!(health.broken(), [expected]);
        drop(health.reconcile());
        assert!(health.broken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queued_job_that_is_gone_leaves_no_work_behind() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        health.queued();
        health.progress();
        advance(2 * STALLED).await;
        assert!(health.broken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconcile_that_hangs_is_noticed_unless_others_go_on() {
        let health = Health::new(&[]);
        let _loop = health.reconciling();
        let _hangs = health.reconcile();
        advance(STALLED).await;
        drop(health.reconcile());
        advance(STALLED).await;
        assert!(health.broken().is_empty());
        advance(SECOND).await;
        assert_eq!(health.broken().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_may_let_its_queue_wait_and_gets_the_full_time_once_it_leads() {
        let health = Health::new(&[]);
        health.queued();
        advance(2 * STALLED).await;
        assert!(health.broken().is_empty());
        let leading = health.reconciling();
        advance(STALLED).await;
        assert!(health.broken().is_empty());
        advance(SECOND).await;
        assert_eq!(health.broken().len(), 1);
        drop(leading);
        assert!(health.broken().is_empty());
    }
}
