//! Pods, services and our own status writes, by job.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::children::{Children, Fact, JobKey, Observed};
use crate::api::{JobStatus, PyTorchJob};
use crate::planner::{PodFact, ServiceFact};

/// Everything known about what jobs own. Shared by the watches, which fill it, and the reconciles, which read it and record what
/// they wrote.
#[derive(Debug, Default)]
pub struct Index {
    pods: Mutex<Children<PodFact>>,
    services: Mutex<Children<ServiceFact>>,
    autoscalers: Mutex<Children<ServiceFact>>,
    statuses: Mutex<HashMap<String, Own>>,
}

/// A status that we wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// resourceVersion that the write gave the job.
    pub version: String,
    /// The status.
    pub status: JobStatus,
}

/// What one job owns.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Pods, sorted by name.
    pub pods: Vec<PodFact>,
    /// Services, sorted by name.
    pub services: Vec<ServiceFact>,
    /// Autoscalers, sorted by name.
    pub autoscalers: Vec<ServiceFact>,
    /// Whether the watch has yet to show one of our writes.
    pub unseen: bool,
}

impl Fact for PodFact {
    fn terminating(&self) -> bool {
        self.terminating
    }

    fn terminate(&mut self) {
        self.terminating = true;
    }
}

impl Fact for ServiceFact {
    fn terminating(&self) -> bool {
        self.terminating
    }

    fn terminate(&mut self) {
        self.terminating = true;
    }
}

impl Index {
    /// The pods.
    pub fn pods(&self) -> MutexGuard<'_, Children<PodFact>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The services.
    pub fn services(&self) -> MutexGuard<'_, Children<ServiceFact>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The autoscalers.
    pub fn autoscalers(&self) -> MutexGuard<'_, Children<ServiceFact>> {
        self.autoscalers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the job with this UID owns.
    #[must_use]
    pub fn of(&self, namespace: &str, job: &str, now: Instant) -> Snapshot {
        let (pods, pod_unseen) = self.pods().of(namespace, job, now);
        let (services, service_unseen) = self.services().of(namespace, job, now);
        let (autoscalers, autoscaler_unseen) = self.autoscalers().of(namespace, job, now);
        Snapshot {
            pods,
            services,
            autoscalers,
            unseen: pod_unseen || service_unseen || autoscaler_unseen,
        }
    }

    /// We wrote the status of a job.
    pub fn status_written(&self, job: &str, own: Own) {
        self.statuses().insert(job.to_owned(), own);
    }

    /// The job with our latest status, where the watch has not shown it yet: `None` when the job is up to date as it is.
    ///
    /// A status write is bound to the resourceVersion it was decided on, so everything but the status is the same in both.
    #[must_use]
    pub fn with_own_status(&self, job: &PyTorchJob) -> Option<PyTorchJob> {
        let uid = job.metadata.uid.as_deref()?;
        let mut statuses = self.statuses();
        let own = statuses.get(uid)?;
        if newer(&own.version, job.metadata.resource_version.as_deref()?) {
            let mut job = job.clone();
            job.metadata.resource_version = Some(own.version.clone());
            job.status = Some(own.status.clone());
            return Some(job);
        }
        statuses.remove(uid);
        None
    }

    /// The job is gone.
    pub fn forget(&self, job: &str) {
        self.statuses().remove(job);
    }

    fn statuses(&self) -> MutexGuard<'_, HashMap<String, Own>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Feeds a watch event into the objects of one kind. Returns the jobs concerned.
pub fn feed<K, T: Fact>(
    children: &mut Children<T>,
    event: Event<K>,
    observe: impl FnOnce(K) -> Observed<T>,
) -> Vec<JobKey> {
    match event {
        Event::Init => {
            children.list_begins();
            Vec::new()
        }
        Event::InitApply(object) | Event::Apply(object) => children.applied(observe(object)),
        Event::InitDone => children.list_ends(),
        Event::Delete(object) => children.deleted(&observe(object)),
    }
}

/// Whether a resourceVersion is newer than another; unknown when they are no numbers, and then the watch is right.
fn newer(own: &str, seen: &str) -> bool {
    own.parse::<u64>()
        .ok()
        .zip(seen.parse::<u64>().ok())
        .is_some_and(|(own, seen)| own > seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(version: &str) -> PyTorchJob {
        let object = serde_json::json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
            "metadata": { "name": "job", "uid": "u", "resourceVersion": version }, "spec": { "pytorchReplicaSpecs": {} } });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn our_status_holds_until_the_watch_shows_it_or_something_newer() {
        let index = Index::default();
        assert!(index.with_own_status(&job("5")).is_none());
        let status = JobStatus {
            restarts: Some(1),
            ..JobStatus::default()
        };
        index.status_written(
            "u",
            Own {
                version: "10".into(),
                status: status.clone(),
            },
        );
        let seen = index.with_own_status(&job("9")).unwrap();
        assert_eq!(
            (seen.status, seen.metadata.resource_version.as_deref()),
            (Some(status), Some("10"))
        );
        assert!(index.with_own_status(&job("10")).is_none());
        assert!(
            index.with_own_status(&job("9")).is_none(),
            "what the watch has shown is forgotten"
        );
    }
}
