//! Pods, services and our own status writes, by job.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::ObjectView;
use super::children::{Children, Fact, JobId, JobKey, Observed};
use crate::api::{ChildKind, JobStatus, PyTorchJob};
use crate::planner::{Child, Pod};

/// The children of each kind but pods.
#[derive(Debug)]
struct OtherKinds(BTreeMap<ChildKind, Mutex<Children<Child>>>);

impl Default for OtherKinds {
    fn default() -> Self {
        let kinds = ChildKind::ALL.into_iter().filter(|kind| *kind != ChildKind::Pod);
        Self(kinds.map(|kind| (kind, Mutex::default())).collect())
    }
}

/// Everything known about what jobs own. Shared by the watches, which fill it, and the reconciles, which read it and record what
/// they wrote.
#[derive(Debug, Default)]
pub struct Index {
    pods: Mutex<Children<Pod>>,
    others: OtherKinds,
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
    pub pods: Vec<Pod>,
    /// Everything else, sorted by kind and name.
    pub others: Vec<Child>,
    /// Whether the watch has yet to show one of our writes.
    pub unseen: bool,
}

impl Fact for Pod {
    fn terminating(&self) -> bool {
        self.terminating
    }

    fn terminate(&mut self) {
        self.terminating = true;
    }

    // A request with no grace, as the kubelet makes once the containers have ended, hides the time of the first one. Who saw
    // the pod before knows better.
    fn inherit(&mut self, earlier: &Self) {
        self.terminating |= earlier.terminating;
        let ended_before = earlier.deletion_requested.is_none() && earlier.succeeded();
        self.deletion_requested = earlier
            .deletion_requested
            .or_else(|| self.deletion_requested.filter(|_| !ended_before));
    }
}

impl Fact for Child {
    fn terminating(&self) -> bool {
        self.terminating
    }

    fn terminate(&mut self) {
        self.terminating = true;
    }

    fn inherit(&mut self, earlier: &Self) {
        self.terminating |= earlier.terminating;
    }
}

impl Index {
    fn pods(&self) -> MutexGuard<'_, Children<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The children of another kind than pods.
    fn others(&self, kind: ChildKind) -> MutexGuard<'_, Children<Child>> {
        self.others.0[&kind].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds a watch event of a kind. Returns the jobs concerned.
    pub fn feed(&self, kind: ChildKind, event: Event<ObjectView>) -> Vec<JobKey> {
        match kind {
            ChildKind::Pod => feed(&mut self.pods(), event, ObjectView::observe_pod),
            kind => feed(&mut self.others(kind), event, |object| object.observe(kind)),
        }
    }

    /// We created an object, or found that we had.
    pub fn created(&self, kind: ChildKind, object: ObjectView, now: Instant) {
        match kind {
            ChildKind::Pod => self.pods().written(object.observe_pod(), now),
            kind => self.others(kind).written(object.observe(kind), now),
        }
    }

    /// We asked for the deletion of an object of the job.
    pub fn deletion_requested(&self, kind: ChildKind, owner: &JobId, name: &str, uid: &str, now: Instant) {
        match kind {
            ChildKind::Pod => self.pods().delete_asked(owner, name, uid, now),
            kind => self.others(kind).delete_asked(owner, name, uid, now),
        }
    }

    /// The API server says that this very object does not exist.
    pub fn not_found(&self, kind: ChildKind, owner: &JobId, name: &str, uid: &str) {
        match kind {
            ChildKind::Pod => self.pods().found_gone(owner, name, uid),
            kind => self.others(kind).found_gone(owner, name, uid),
        }
    }

    /// Number of objects of a kind.
    #[must_use]
    pub fn len(&self, kind: ChildKind) -> usize {
        match kind {
            ChildKind::Pod => self.pods().len(),
            kind => self.others(kind).len(),
        }
    }

    /// What the job owns.
    #[must_use]
    pub fn owned_by(&self, job: &JobId) -> Snapshot {
        let (pods, mut unseen) = self.pods().of(job);
        let mut others = Vec::new();
        for kind in self.others.0.keys() {
            let (found, kind_unseen) = self.others(*kind).of(job);
            others.extend(found);
            unseen |= kind_unseen;
        }
        Snapshot { pods, others, unseen }
    }

    /// What the job owns and has to be read: kind, name and UID of what we wrote and the watch has not shown for
    /// [`UNSEEN`](super::UNSEEN).
    #[must_use]
    pub fn overdue(&self, job: &JobId, now: Instant) -> Vec<(ChildKind, String, String)> {
        let of_kind = |kind| match kind {
            ChildKind::Pod => self.pods().overdue(job, now),
            kind => self.others(kind).overdue(job, now),
        };
        let with_kind = |kind| of_kind(kind).into_iter().map(move |(name, uid)| (kind, name, uid));
        ChildKind::ALL.into_iter().flat_map(with_kind).collect()
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

    /// UID of each job whose own status is kept, and the version of that status.
    #[must_use]
    pub fn own_statuses(&self) -> HashMap<String, String> {
        let versions = |(uid, own): (&String, &Own)| (uid.clone(), own.version.clone());
        self.statuses().iter().map(versions).collect()
    }

    /// A list of the jobs is complete that began when our own statuses were `before`: of those it knows best, whatever its versions.
    pub fn jobs_listed(&self, before: &HashMap<String, String>) {
        self.statuses().retain(|uid, own| before.get(uid) != Some(&own.version));
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
fn feed<T: Fact>(
    children: &mut Children<T>,
    event: Event<ObjectView>,
    observe: impl FnOnce(ObjectView) -> Observed<T>,
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

    #[test]
    fn after_a_restore_of_etcd_a_list_replaces_our_status_unless_it_was_written_meanwhile() {
        let index = Index::default();
        let own = |version: &str| Own {
            version: version.into(),
            status: JobStatus::default(),
        };
        index.status_written("u", own("10"));
        let before = index.own_statuses();
        index.jobs_listed(&before);
        assert!(index.with_own_status(&job("5")).is_none());

        index.status_written("u", own("10"));
        let before = index.own_statuses();
        index.status_written("u", own("11"));
        index.jobs_listed(&before);
        assert!(index.with_own_status(&job("5")).is_some());
    }
}
