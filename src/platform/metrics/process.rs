//! `process_*`: CPU time, memory, threads and open files of this process, which the library can read on Linux only.

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, MetricFamily};

use crate::platform::clock;

const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// What the library collects, with fractions of a second of CPU time. The library counts whole ones, too coarse for a
/// rate over minutes of a process that uses some milliseconds of each second.
pub(super) struct Process(ProcessCollector);

impl Process {
    pub(super) fn new() -> Self {
        Self(ProcessCollector::for_self())
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        let cpu = families.iter_mut().filter(|family| family.name() == CPU_SECONDS);
        for metric in cpu.flat_map(MetricFamily::mut_metric) {
            let mut used = Counter::default();
            used.set_value(clock::cpu_time().as_secs_f64());
            metric.set_counter(used);
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;
    use std::time::Duration;

    use super::*;
    use crate::platform::metrics::Metrics;

    /// One step of the kernel's figures: `USER_HZ` is 100 wherever the operator runs.
    const TICK: Duration = Duration::from_millis(10);

    /// User and system time of this process, each rounded down to a tick.
    fn used() -> Duration {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        // The second field is the name in parentheses, and may contain blanks. utime and stime are fields 14 and 15.
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
        TICK * ticks
    }

    fn shown(metrics: &Metrics) -> Duration {
        let text = metrics.encode().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(CPU_SECONDS)).unwrap();
        Duration::from_secs_f64(line.trim().parse().unwrap())
    }

    #[test]
    fn cpu_time_is_that_of_the_kernel_to_its_steps_and_not_to_the_second() {
        let metrics = Metrics::new().unwrap();
        // In the middle of a second, where whole ones would be far off.
        let middle = |used: &Duration| (300..700).contains(&used.subsec_millis());
        let before = repeat_with(used).find(middle).unwrap();
        let shown = shown(&metrics);
        let after = used();
        assert!(
            (before..=after + TICK * 2).contains(&shown),
            "{before:?} {shown:?} {after:?}"
        );
    }
}
