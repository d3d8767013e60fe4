//! How long the reconciles in flight have taken so far, computed when somebody asks. What does not end shows in no
//! histogram.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, GaugeVec, Opts, Registry};

use crate::platform::metrics::register::{LABELS, register};

/// Two series, named as in client-go, and when each reconcile in flight began. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    begun: Arc<Mutex<Vec<Instant>>>,
    total: GaugeVec,
    longest: GaugeVec,
}

impl Unfinished {
    pub(super) fn new(registry: &Registry, labels: &[&str]) -> Result<Self, Error> {
        let gauges = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), labels);
        let total = gauges(
            "workqueue_unfinished_work_seconds",
            "How long the reconciles in flight have taken so far, in sum",
        )?;
        let longest = gauges(
            "workqueue_longest_running_processor_seconds",
            "How long the longest of these has taken so far",
        )?;
        let begun = Arc::default();
        register(registry, Self { begun, total, longest })
    }

    /// A reconcile begins.
    pub(super) fn begin(&self, now: Instant) {
        self.begun().push(now);
    }

    /// The reconcile that began then is over. Of two that began in the same moment either will do.
    pub(super) fn end(&self, begun: Instant) {
        let mut all = self.begun();
        if let Some(place) = all.iter().position(|other| *other == begun) {
            all.swap_remove(place);
        }
    }

    /// The time of all of them, and of the longest.
    fn so_far(&self, now: Instant) -> [Duration; 2] {
        let begun = self.begun();
        let times = || begun.iter().map(|begun| now.duration_since(*begun));
        [times().sum(), times().max().unwrap_or_default()]
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Unfinished {
    fn desc(&self) -> Vec<&Desc> {
        [self.total.desc(), self.longest.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let [total, longest] = self.so_far(Instant::now()).map(|time| time.as_secs_f64());
        self.total.with_label_values(&LABELS).set(total);
        self.longest.with_label_values(&LABELS).set(longest);
        [self.total.collect(), self.longest.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::metrics::{Metrics, Outcome};

    #[test]
    fn work_in_flight_is_the_sum_of_all_and_the_longest_is_the_one_that_began_first() {
        let unfinished = Unfinished::new(&Registry::new(), &["controller", "name"]).unwrap();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let so_far = || unfinished.so_far(after(9)).map(|time| time.as_secs());
        assert_eq!(so_far(), [0, 0]);
        for seconds in [2, 0, 2, 5] {
            unfinished.begin(after(seconds));
        }
        assert_eq!(so_far(), [27, 9]);
        unfinished.end(after(0));
        assert_eq!(so_far(), [18, 7]);
        unfinished.end(after(2));
        assert_eq!(so_far(), [11, 7], "of two that began together one goes on");
        unfinished.end(after(2));
        unfinished.end(after(5));
        assert_eq!(so_far(), [0, 0]);
    }

    #[test]
    fn a_reconcile_is_unfinished_work_at_each_scrape_until_it_ends_or_vanishes() {
        let metrics = Metrics::new().unwrap();
        let shown = || {
            let text = metrics.encode().unwrap();
            ["unfinished_work", "longest_running_processor"].map(|name| {
                let name = format!(
                    "workqueue_{name}_seconds{{controller=\"pytorchjob-controller\",name=\"pytorchjob-controller\"}} "
                );
                let value = text.lines().find_map(|line| line.strip_prefix(&name));
                Duration::from_secs_f64(value.unwrap().parse().unwrap())
            })
        };
        assert_eq!(shown(), [Duration::ZERO; 2]);
        let (done, vanished) = (metrics.reconcile_started(), metrics.reconcile_started());
        let [_, before] = shown();
        let [total, longest] = shown();
        assert!(before < longest && longest < total, "{before:?} {longest:?} {total:?}");
        done.finished(Outcome::Success);
        let [total, longest] = shown();
        assert!(total > before && total == longest, "{total:?} {longest:?}");
        drop(vanished);
        assert_eq!(shown(), [Duration::ZERO; 2]);
    }
}
