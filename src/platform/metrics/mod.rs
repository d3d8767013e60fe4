//! What the operator counts, in Prometheus' text format.
//!
//! Names come from where dashboards already look: `training_operator_*` and the pod and service counters from Kubeflow
//! 1.9, `controller_runtime_*` from controller-runtime, `rest_client_*` and `leader_election_*` from
//! client-go. `pytorchjob_operator_*` are ours. A label holds a namespace, a kind or one of a few fixed words, never
//! the name of a job or pod.

mod jobs;
#[cfg(target_os = "linux")]
mod process;
mod register;
mod series;
mod times;
mod unfinished;
mod workqueue;

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{Encoder, Error, IntGauge, TextEncoder};

use self::jobs::JobsByState;
use self::series::{Series, gauge};
pub use self::workqueue::Workqueue;
use crate::api::JobStep;
use crate::api::names::CONTROLLER_NAME;

/// Value of the label `framework`: one operator of Kubeflow served several.
const FRAMEWORK: &str = "pytorch";

/// What came of one reconcile; value of the label `result`, as in controller-runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done until something changes or a deadline comes.
    Success,
    /// Failed; the job is tried again after a back-off.
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

/// What became of an event of the API, `kubectl get events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// The API server took it.
    Published,
    /// The API server refused it or could not be reached.
    Failed,
    /// It was not sent: the queue was full or the operator was stopping.
    Dropped,
}

impl EventFate {
    fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// All series, in a registry of their own. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Series>);

impl Metrics {
    /// A fresh set of series and the ones about the process itself (Linux only).
    ///
    /// Fails only if two series were given one name.
    pub fn new() -> Result<Self, Error> {
        Ok(Self(Arc::new(Series::new()?)))
    }

    /// All series as text, sorted by name.
    pub fn encode(&self) -> Result<String, Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| Error::Msg(error.to_string()))
    }

    /// `training_operator_jobs_*_total`.
    pub fn job(&self, step: JobStep, namespace: &str) {
        self.0.kubeflow.jobs[step as usize]
            .with_label_values(&[namespace, FRAMEWORK])
            .inc();
    }

    /// `pytorchjob_operator_jobs`: asks `count` for the jobs in each state, those with none included, at each scrape.
    ///
    /// Fails when it was called before.
    pub fn count_jobs(
        &self,
        count: impl Fn() -> BTreeMap<&'static str, usize> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.0.registry.register(Box::new(JobsByState::new(Box::new(count))?))
    }

    /// `pytorchjob_operator_job_start_seconds`: from the creation of a job, or its resumption, until it ran.
    pub fn job_ran(&self, after: Duration) {
        self.0
            .times
            .start_seconds
            .with_label_values::<&str>(&[])
            .observe(after.as_secs_f64());
    }

    /// `pytorchjob_operator_deadline_lateness_seconds`: by how much a job outlived its `activeDeadlineSeconds`.
    pub fn deadline_exceeded(&self, by: Duration) {
        self.0
            .times
            .lateness_seconds
            .with_label_values::<&str>(&[])
            .observe(by.as_secs_f64());
    }

    /// `pytorchjob_operator_job_seconds_total` and `pytorchjob_operator_job_gpu_seconds_total`: a job has spent this
    /// time.
    pub fn job_spent(&self, state: &str, seconds: u64, gpu_seconds: u64) {
        let times = &self.0.times;
        times.spent.with_label_values(&[state]).inc_by(seconds);
        times.spent_gpu.with_label_values(&[state]).inc_by(gpu_seconds);
    }

    /// `pytorchjob_operator_job_lost_seconds_total` and `pytorchjob_operator_job_lost_gpu_seconds_total`: an attempt
    /// that had run for so long has failed.
    pub fn job_lost(&self, seconds: u64, gpu_seconds: u64) {
        self.0.times.lost.inc_by(seconds);
        self.0.times.lost_gpu.inc_by(gpu_seconds);
    }

    /// `created_pods_total`.
    pub fn pod_created(&self) {
        self.0.kubeflow.pods_created.inc();
    }

    /// `deleted_pods_total`.
    pub fn pod_deleted(&self) {
        self.0.kubeflow.pods_deleted.inc();
    }

    /// `failed_pods_total`: pods that failed, each counted once. Kubeflow counts one on every pass that sees it.
    pub fn pods_failed(&self, pods: usize) {
        self.0.kubeflow.pods_failed.inc_by(pods as u64);
    }

    /// `succeeded_service_creation_total`.
    pub fn service_created(&self) {
        self.0.kubeflow.services_created.inc();
    }

    /// `failed_service_creation_total`.
    pub fn service_creation_failed(&self) {
        self.0.kubeflow.services_failed.inc();
    }

    /// `created_pod_groups_total`.
    pub fn pod_group_created(&self) {
        self.0.kubeflow.pod_groups_created.inc();
    }

    /// `deleted_pod_groups_total`.
    pub fn pod_group_deleted(&self) {
        self.0.kubeflow.pod_groups_deleted.inc();
    }

    /// `workqueue_*`: a queue whose figures they are.
    #[must_use]
    pub fn workqueue<K: Eq + Hash>(&self) -> Workqueue<K> {
        Workqueue::new(self.0.workqueue.clone())
    }

    /// A reconcile begins. It counts as in flight until the returned value is given its outcome or dropped.
    #[must_use]
    pub fn reconcile_started(&self) -> Reconcile {
        let active = self.0.reconcile.active.with_label_values(&[CONTROLLER_NAME]);
        active.inc();
        let started = Instant::now();
        self.0.workqueue.unfinished.begin(started);
        Reconcile {
            metrics: self.clone(),
            active,
            started,
            outcome: Outcome::Error,
        }
    }

    /// `leader_election_master_status`: whether this replica holds the lease of that name.
    pub fn set_leader(&self, lease: &str, leads: bool) {
        self.0.leader.with_label_values(&[lease]).set(i64::from(leads));
    }

    /// `rest_client_requests_total` and `rest_client_request_duration_seconds`. `code` is the HTTP status, or `<error>`
    /// when there was no answer.
    pub fn request(&self, method: &str, resource: &str, code: &str, took: Duration) {
        self.0.requests.with_label_values(&[code, method, resource]).inc();
        let seconds = self.0.request_seconds.with_label_values(&[method, resource]);
        seconds.observe(took.as_secs_f64());
    }

    /// `pytorchjob_operator_fenced_requests_total`: requests held back because the lease had run out.
    pub fn request_fenced(&self) {
        self.0.fenced.inc();
    }

    /// `pytorchjob_operator_watch_errors_total`: lists and watches of this kind that failed.
    pub fn watch_error(&self, kind: &str) {
        self.0.cache.watch_errors.with_label_values(&[kind]).inc();
    }

    /// `pytorchjob_operator_relists_total`: complete lists of this kind, the first one included.
    pub fn relist(&self, kind: &str) {
        self.0.cache.relists.with_label_values(&[kind]).inc();
    }

    /// `pytorchjob_operator_undecodable_objects_total`: objects of this kind that were received and could not be read.
    pub fn undecodable(&self, kind: &str) {
        self.0.cache.undecodable.with_label_values(&[kind]).inc();
    }

    /// `pytorchjob_operator_cached_objects`: objects of this kind in memory.
    pub fn set_cached(&self, kind: &str, objects: usize) {
        self.0.cache.objects.with_label_values(&[kind]).set(gauge(objects));
    }

    /// `pytorchjob_operator_tasks`: tasks of the runtime that have begun and not ended.
    pub fn set_tasks(&self, tasks: usize) {
        self.0.tasks.set(gauge(tasks));
    }

    /// `pytorchjob_operator_pruned_status_fields_total`: fields of written statuses that the definition in the cluster
    /// drops.
    pub fn status_pruned(&self, field: &str) {
        self.0.cache.status_pruned.with_label_values(&[field]).inc();
    }

    /// `pytorchjob_operator_events_total`.
    pub fn events(&self, fate: EventFate, count: usize) {
        self.0.events.with_label_values(&[fate.label()]).inc_by(count as u64);
    }
}

/// A reconcile in flight. Dropped without an outcome, because it panicked or was cancelled, it counts as an error.
#[derive(Debug)]
pub struct Reconcile {
    metrics: Metrics,
    active: IntGauge,
    started: Instant,
    outcome: Outcome,
}

impl Reconcile {
    /// The reconcile is over.
    pub fn finished(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        let series = &self.metrics.0.reconcile;
        self.active.dec();
        series
            .total
            .with_label_values(&[CONTROLLER_NAME, self.outcome.label()])
            .inc();
        let seconds = self.started.elapsed().as_secs_f64();
        series.seconds.with_label_values(&[CONTROLLER_NAME]).observe(seconds);
        let queue = &self.metrics.0.workqueue;
        queue.unfinished.end(self.started);
        let work = queue.work_seconds.with_label_values(&register::LABELS);
        work.observe(seconds);
        if self.outcome == Outcome::Error {
            series.errors.with_label_values(&[CONTROLLER_NAME]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(metrics: &Metrics, start: &str) -> Option<String> {
        metrics
            .encode()
            .unwrap()
            .lines()
            .find(|l| l.starts_with(start))
            .map(str::to_owned)
    }

    #[test]
    fn job_counters_keep_the_names_and_labels_of_kubeflow() {
        let metrics = Metrics::new().unwrap();
        let steps = [
            (JobStep::Created, "created"),
            (JobStep::Deleted, "deleted"),
            (JobStep::Successful, "successful"),
            (JobStep::Failed, "failed"),
            (JobStep::Restarted, "restarted"),
        ];
        for (count, (step, name)) in steps.into_iter().enumerate() {
            (0..=count).for_each(|_| metrics.job(step, "team-a"));
            let expected = format!(
                "training_operator_jobs_{name}_total{{framework=\"pytorch\",job_namespace=\"team-a\"}} {}",
                count + 1
            );
            assert_eq!(
                line(&metrics, &format!("training_operator_jobs_{name}_total")),
                Some(expected)
            );
        }
    }

    #[test]
    fn pod_and_service_counters_have_no_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.pod_created();
        metrics.pod_created();
        metrics.pod_deleted();
        metrics.service_created();
        for expected in [
            "created_pods_total 2",
            "deleted_pods_total 1",
            "failed_pods_total 0",
            "succeeded_service_creation_total 1",
            "failed_service_creation_total 0",
        ] {
            assert_eq!(line(&metrics, expected).as_deref(), Some(expected));
        }
        metrics.pods_failed(1);
        metrics.service_creation_failed();
        assert!(line(&metrics, "failed_pods_total 1").is_some());
        assert!(line(&metrics, "failed_service_creation_total 1").is_some());
    }

    #[test]
    fn a_reconcile_is_in_flight_until_it_ends_and_one_that_vanishes_is_an_error() {
        let metrics = Metrics::new().unwrap();
        let workers = |n| format!("controller_runtime_active_workers{{controller=\"pytorchjob-controller\"}} {n}");
        let done = metrics.reconcile_started();
        let vanished = metrics.reconcile_started();
        assert!(line(&metrics, &workers(2)).is_some());
        done.finished(Outcome::Success);
        drop(vanished);
        assert!(line(&metrics, &workers(0)).is_some());
        let total = "controller_runtime_reconcile_total{controller=\"pytorchjob-controller\",result=";
        assert!(line(&metrics, &format!("{total}\"success\"}} 1")).is_some());
        assert!(line(&metrics, &format!("{total}\"error\"}} 1")).is_some());
        let errors = "controller_runtime_reconcile_errors_total{controller=\"pytorchjob-controller\"} 1";
        assert!(line(&metrics, errors).is_some());
        let count = "controller_runtime_reconcile_time_seconds_count{controller=\"pytorchjob-controller\"} 2";
        assert!(line(&metrics, count).is_some());
    }

    #[test]
    fn every_series_of_ours_appears_under_its_own_name() {
        let metrics = Metrics::new().unwrap();
        metrics.set_leader("lock", true);
        metrics.request("POST", "pods", "201", Duration::from_millis(20));
        metrics.pod_group_created();
        metrics.pod_group_deleted();
        metrics.request_fenced();
        metrics.watch_error("Pod");
        metrics.relist("Pod");
        metrics.undecodable("PyTorchJob");
        metrics.set_cached("Pod", 7);
        metrics.status_pruned("ready");
        metrics.events(EventFate::Dropped, 2);
        for expected in [
            "leader_election_master_status{name=\"lock\"} 1",
            "rest_client_requests_total{code=\"201\",method=\"POST\",resource=\"pods\"} 1",
            "rest_client_request_duration_seconds_bucket{method=\"POST\",resource=\"pods\",le=\"0.025\"} 1",
            "created_pod_groups_total 1",
            "deleted_pod_groups_total 1",
            "pytorchjob_operator_fenced_requests_total 1",
            "pytorchjob_operator_watch_errors_total{kind=\"Pod\"} 1",
            "pytorchjob_operator_relists_total{kind=\"Pod\"} 1",
            "pytorchjob_operator_undecodable_objects_total{kind=\"PyTorchJob\"} 1",
            "pytorchjob_operator_cached_objects{kind=\"Pod\"} 7",
            "pytorchjob_operator_pruned_status_fields_total{field=\"ready\"} 1",
            "pytorchjob_operator_events_total{result=\"dropped\"} 2",
            concat!(
                "pytorchjob_operator_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert_eq!(line(&metrics, expected).as_deref(), Some(expected));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_itself_is_measured() {
        let text = line(&Metrics::new().unwrap(), "process_resident_memory_bytes ").unwrap();
        let bytes: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(bytes > 1 << 20, "{text}");
    }

    #[test]
    fn two_sets_of_metrics_do_not_share_a_count() {
        let (one, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        one.clone().pod_created();
        assert!(line(&one, "created_pods_total 1").is_some());
        assert!(line(&other, "created_pods_total 0").is_some());
    }
}
