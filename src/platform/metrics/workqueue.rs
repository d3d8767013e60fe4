//! What `workqueue_*` says of the queue of jobs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::platform::metrics::register::LABELS;
use crate::platform::metrics::series::{WorkqueueSeries, gauge};

/// The keys that wait in the queue, each once. What comes back at a time of its own choice is among them once that time
/// has come, as in client-go.
#[derive(Debug)]
pub struct Workqueue<K> {
    series: WorkqueueSeries,
    waiting: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Workqueue<K> {
    /// An empty one.
    #[must_use]
    pub(super) fn new(series: WorkqueueSeries) -> Self {
        let waiting = Mutex::default();
        Self { series, waiting }
    }

    /// Something about this one changed, or its time has come. Nothing if it waits already.
    pub fn add(&self, key: K) {
        let series = &self.series;
        let mut waiting = self.waiting();
        if let Entry::Vacant(entry) = waiting.entry(key) {
            entry.insert(Instant::now());
            series.adds.with_label_values(&LABELS).inc();
        }
        series.depth.with_label_values(&LABELS).set(gauge(waiting.len()));
    }

    /// It is looked at now, or there is nothing to look at.
    pub fn take(&self, key: &K) {
        let series = &self.series;
        let mut waiting = self.waiting();
        let Some(since) = waiting.remove(key) else { return };
        series.depth.with_label_values(&LABELS).set(gauge(waiting.len()));
        let waited = series.wait_seconds.with_label_values(&LABELS);
        waited.observe(since.elapsed().as_secs_f64());
    }

    /// A reconcile failed and is tried again.
    pub fn retry(&self) {
        self.series.retries.with_label_values(&LABELS).inc();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::platform::metrics::Metrics;

    #[test]
    fn a_job_that_changes_twice_waits_once_and_is_added_once_until_it_is_looked_at() {
        let metrics = Metrics::new().unwrap();
        let queue = metrics.workqueue();
        let line = |name: &str, value: u32| {
            let line = format!(
                "workqueue_{name}{{controller=\"pytorchjob-controller\",name=\"pytorchjob-controller\"}} {value}"
            );
            let text = metrics.encode().unwrap();
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        };
        queue.add("one");
        queue.add("one");
        queue.add("other");
        line("adds_total", 2);
        line("depth", 2);
        queue.take(&"one");
        queue.take(&"one");
        queue.take(&"nobody");
        line("depth", 1);
        line("queue_duration_seconds_count", 1);
        queue.add("one");
        line("adds_total", 3);
        line("depth", 2);
        queue.retry();
        line("retries_total", 1);
    }
}
