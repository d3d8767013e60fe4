//! The table of all series: type, name, help text and labels.

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

#[cfg(target_os = "linux")]
use crate::platform::metrics::process::Process;
use crate::platform::metrics::register::{counter, counters, gauges, histogram, register};
use crate::platform::metrics::times::Times;
use crate::platform::metrics::unfinished::Unfinished;

#[derive(Debug)]
pub(super) struct Series {
    pub(super) registry: Registry,
    pub(super) kubeflow: Kubeflow,
    pub(super) reconcile: Reconciling,
    pub(super) cache: Cache,
    pub(super) workqueue: WorkqueueSeries,
    pub(super) requests: IntCounterVec,
    pub(super) request_seconds: HistogramVec,
    pub(super) times: Times,
    pub(super) fenced: IntCounter,
    pub(super) leader: IntGaugeVec,
    pub(super) events: IntCounterVec,
    pub(super) tasks: IntGauge,
}

impl Series {
    pub(super) fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let r = &registry;
        #[cfg(target_os = "linux")]
        r.register(Box::new(Process::new()))?;
        build_info(r)?;
        Ok(Self {
            kubeflow: Kubeflow::new(r)?,
            reconcile: Reconciling::new(r)?,
            cache: Cache::new(r)?,
            requests: counters(
                r,
                ("rest_client_requests_total", "Requests to the API server"),
                &["code", "method", "resource"],
            )?,
            request_seconds: histogram(
                r,
                (
                    "rest_client_request_duration_seconds",
                    "Duration of requests to the API server, of watches until the answer begins",
                ),
                &["method", "resource"],
            )?,
            workqueue: WorkqueueSeries::new(r)?,
            times: Times::new(r)?,
            fenced: counter(
                r,
                "pytorchjob_operator_fenced_requests_total",
                "Requests held back because the lease had run out",
            )?,
            leader: gauges(
                r,
                ("leader_election_master_status", "1 while this replica holds the lease"),
                &["name"],
            )?,
            events: counters(r, ("pytorchjob_operator_events_total", "Events by result"), &["result"])?,
            tasks: register(
                r,
                IntGauge::new("pytorchjob_operator_tasks", "Tasks that have begun and not ended")?,
            )?,
            registry,
        })
    }
}

/// What Kubeflow's operator counted.
#[derive(Debug)]
pub(super) struct Kubeflow {
    /// In the order of [`JobStep`](crate::api::JobStep).
    pub(super) jobs: [IntCounterVec; 5],
    pub(super) pods_created: IntCounter,
    pub(super) pods_deleted: IntCounter,
    pub(super) pods_failed: IntCounter,
    pub(super) services_created: IntCounter,
    pub(super) services_failed: IntCounter,
    pub(super) pod_groups_created: IntCounter,
    pub(super) pod_groups_deleted: IntCounter,
}

impl Kubeflow {
    fn new(r: &Registry) -> Result<Self, Error> {
        let jobs = |name: &str, help: &str| {
            let name = format!("training_operator_jobs_{name}_total");
            counters(r, (&name, help), &["job_namespace", "framework"])
        };
        Ok(Self {
            jobs: [
                jobs("created", "Jobs created")?,
                jobs("deleted", "Jobs deleted after their TTL")?,
                jobs("successful", "Jobs that succeeded")?,
                jobs("failed", "Jobs that failed")?,
                jobs("restarted", "Restarts of replicas")?,
            ],
            pods_created: counter(r, "created_pods_total", "Pods created")?,
            pods_deleted: counter(r, "deleted_pods_total", "Pods deleted")?,
            pods_failed: counter(r, "failed_pods_total", "Pods that failed")?,
            services_created: counter(r, "succeeded_service_creation_total", "Services created")?,
            services_failed: counter(r, "failed_service_creation_total", "Services that could not be created")?,
            pod_groups_created: counter(r, "created_pod_groups_total", "PodGroups created")?,
            pod_groups_deleted: counter(r, "deleted_pod_groups_total", "PodGroups deleted")?,
        })
    }
}

/// The reconcile loop, named as in controller-runtime.
#[derive(Debug)]
pub(super) struct Reconciling {
    pub(super) total: IntCounterVec,
    pub(super) errors: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) active: IntGaugeVec,
}

impl Reconciling {
    fn new(r: &Registry) -> Result<Self, Error> {
        let name = |name: &str| format!("controller_runtime_{name}");
        Ok(Self {
            total: counters(
                r,
                (&name("reconcile_total"), "Reconciles by result"),
                &["controller", "result"],
            )?,
            errors: counters(
                r,
                (&name("reconcile_errors_total"), "Reconciles that failed"),
                &["controller"],
            )?,
            seconds: histogram(
                r,
                (&name("reconcile_time_seconds"), "Duration of reconciles"),
                &["controller"],
            )?,
            active: gauges(r, (&name("active_workers"), "Reconciles in flight"), &["controller"])?,
        })
    }
}

/// The queue of jobs, named as in client-go.
#[derive(Clone, Debug)]
pub(super) struct WorkqueueSeries {
    pub(super) adds: IntCounterVec,
    pub(super) retries: IntCounterVec,
    pub(super) depth: IntGaugeVec,
    pub(super) wait_seconds: HistogramVec,
    pub(super) work_seconds: HistogramVec,
    pub(super) unfinished: Unfinished,
}

impl WorkqueueSeries {
    fn new(r: &Registry) -> Result<Self, Error> {
        const LABELS: [&str; 2] = ["controller", "name"];
        let name = |name: &str| format!("workqueue_{name}");
        let adds = (
            &*name("adds_total"),
            "Jobs put into the queue because something changed or their time had come",
        );
        let retries = (
            &*name("retries_total"),
            "Jobs put into the queue again because a reconcile failed",
        );
        let depth = (&*name("depth"), "Jobs that wait for a reconcile");
        let wait = (&*name("queue_duration_seconds"), "How long these waited");
        let work = (&*name("work_duration_seconds"), "Duration of reconciles");
        Ok(Self {
            adds: counters(r, adds, &LABELS)?,
            retries: counters(r, retries, &LABELS)?,
            depth: gauges(r, depth, &LABELS)?,
            wait_seconds: histogram(r, wait, &LABELS)?,
            work_seconds: histogram(r, work, &LABELS)?,
            unfinished: Unfinished::new(r, &LABELS)?,
        })
    }
}

/// The watches and what they keep in memory, by kind.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) watch_errors: IntCounterVec,
    pub(super) relists: IntCounterVec,
    pub(super) undecodable: IntCounterVec,
    pub(super) objects: IntGaugeVec,
    pub(super) status_pruned: IntCounterVec,
}

impl Cache {
    fn new(r: &Registry) -> Result<Self, Error> {
        let counters = |name: &str, help: &str| {
            let name = format!("pytorchjob_operator_{name}_total");
            counters(r, (&name, help), &["kind"])
        };
        Ok(Self {
            watch_errors: counters("watch_errors", "Lists and watches that failed")?,
            relists: counters("relists", "Complete lists, the first one included")?,
            undecodable: counters("undecodable_objects", "Objects received that could not be read")?,
            objects: gauges(
                r,
                ("pytorchjob_operator_cached_objects", "Objects in memory"),
                &["kind"],
            )?,
            status_pruned: self::counters(
                r,
                (
                    "pytorchjob_operator_pruned_status_fields_total",
                    "Fields of written statuses that the stored definition dropped",
                ),
                &["field"],
            )?,
        })
    }
}

fn build_info(registry: &Registry) -> Result<(), Error> {
    let options = Opts::new("pytorchjob_operator_build_info", "Always 1; the label is the version")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    register(registry, IntGauge::with_opts(options)?)?.set(1);
    Ok(())
}

/// Counts of objects in memory are far below the bounds of an `i64`.
pub(super) fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
