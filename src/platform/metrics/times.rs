//! Times in the life of jobs.

use prometheus::{Error, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Registry};

use crate::platform::metrics::register::{counter, counters, histogram, register};

/// Bounds in seconds for what waits for queues, nodes and images.
const LONG: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

/// Times in the life of jobs.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) start_seconds: HistogramVec,
    pub(super) lateness_seconds: HistogramVec,
    pub(super) spent: IntCounterVec,
    pub(super) spent_gpu: IntCounterVec,
    pub(super) lost: IntCounter,
    pub(super) lost_gpu: IntCounter,
}

impl Times {
    pub(super) fn new(r: &Registry) -> Result<Self, Error> {
        let start = HistogramOpts::new(
            "pytorchjob_operator_job_start_seconds",
            "From the creation or resumption of a job until it ran",
        );
        let lateness = (
            "pytorchjob_operator_deadline_lateness_seconds",
            "By how much jobs outlived activeDeadlineSeconds",
        );
        Ok(Self {
            start_seconds: register(r, HistogramVec::new(start.buckets(LONG.to_vec()), &[])?)?,
            lateness_seconds: histogram(r, lateness, &[])?,
            spent: counters(
                r,
                (
                    "pytorchjob_operator_job_seconds_total",
                    "Time of jobs by what it was spent on, counted when that ends",
                ),
                &["state"],
            )?,
            spent_gpu: counters(
                r,
                (
                    "pytorchjob_operator_job_gpu_seconds_total",
                    "The same times the GPUs that the jobs asked for",
                ),
                &["state"],
            )?,
            lost: counter(
                r,
                "pytorchjob_operator_job_lost_seconds_total",
                "Time that failed attempts had run",
            )?,
            lost_gpu: counter(
                r,
                "pytorchjob_operator_job_lost_gpu_seconds_total",
                "The same times the GPUs that the jobs asked for",
            )?,
        })
    }
}
