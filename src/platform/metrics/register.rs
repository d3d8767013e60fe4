//! How series are made and registered.

use prometheus::core::Collector;
use prometheus::{Error, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::api::names::CONTROLLER_NAME;

/// Values of the labels `controller` and `name` of `workqueue_*`, which controller-runtime gives the same.
pub(super) const LABELS: [&str; 2] = [CONTROLLER_NAME, CONTROLLER_NAME];
/// Bounds in seconds. An unchanged job takes microseconds, a job of 1,000 pods on a busy API server a minute.
const SECONDS: [f64; 13] = [
    0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
];

pub(super) fn register<C: Collector + Clone + 'static>(registry: &Registry, series: C) -> Result<C, Error> {
    registry.register(Box::new(series.clone()))?;
    Ok(series)
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    register(registry, IntCounter::new(name, help)?)
}

pub(super) fn counters(
    registry: &Registry,
    (name, help): (&str, &str),
    labels: &[&str],
) -> Result<IntCounterVec, Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

pub(super) fn histogram(
    registry: &Registry,
    (name, help): (&str, &str),
    labels: &[&str],
) -> Result<HistogramVec, Error> {
    let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
    register(registry, HistogramVec::new(options, labels)?)
}

pub(super) fn gauges(registry: &Registry, (name, help): (&str, &str), labels: &[&str]) -> Result<IntGaugeVec, Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}
