//! Jobs, and pods and services by job.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use crate::api::ChildKind;
use crate::cache::children::Children;
use crate::cache::departures::Departures;
use crate::cache::jobs::Jobs;
use crate::cache::key::{JobId, NamespacedName, identity};
use crate::cache::view::ObjectView;
use crate::defects::{Defect, back};
use crate::planner::{Child, Pod, Stopped};
use crate::platform::clock;

/// The children of each kind but pods.
#[derive(Debug)]
struct OtherKinds(BTreeMap<ChildKind, Mutex<Children<Child>>>);

impl Default for OtherKinds {
    fn default() -> Self {
        let kinds = ChildKind::ALL.into_iter().filter(|kind| *kind != ChildKind::Pod);
        Self(kinds.map(|kind| (kind, Mutex::default())).collect())
    }
}

/// Everything known of jobs and what they own. Shared by the watches, which fill it, and the reconciles, which read it
/// and record what they wrote.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pods: Mutex<Children<Pod>>,
    others: OtherKinds,
    jobs: Jobs,
    departures: Departures,
}

/// What one job owns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Pods, sorted by name.
    pub pods: Vec<Pod>,
    /// Everything else, sorted by kind and name.
    pub others: Vec<Child>,
    /// Whether the watch has yet to show one of our writes.
    pub unconfirmed: bool,
}

impl Index {
    fn pods(&self) -> MutexGuard<'_, Children<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The children of another kind than pods.
    fn others(&self, kind: ChildKind) -> MutexGuard<'_, Children<Child>> {
        self.others.0[&kind].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs themselves.
    #[must_use]
    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// What was seen of pods that go.
    #[must_use]
    pub(crate) fn departures(&self) -> &Departures {
        &self.departures
    }

    /// Feeds a watch event of a kind. Returns the jobs concerned.
    pub(crate) fn feed(&self, kind: ChildKind, event: Event<ObjectView>) -> Vec<NamespacedName> {
        let gone = match &event {
            // If etcd was restored, pods are back that a newer version of their job has no use for.
            Event::Init if kind == ChildKind::Pod => {
                self.jobs.doubt_all();
                false
            }
            Event::Delete(object) => !self.is_deleting(kind, object),
            Event::InitDone => true,
            _ => false,
        };
        let (jobs, restored) = match kind {
            ChildKind::Pod => {
                self.note_departure(&event);
                self.pods().feed(event, ObjectView::observe_pod)
            }
            kind => self.others(kind).feed(event, |object| object.observe(kind)),
        };
        if restored {
            self.jobs.restored().cancel();
        }
        if gone && !back(Defect::Recreation) {
            // The garbage collector may have removed it, because the job is gone and the watch of jobs is late.
            // What went because we asked for it says nothing of the job.
            for job in &jobs {
                self.jobs.doubt(job);
            }
        }
        jobs
    }

    /// The watch of a kind is about to ask again after an error.
    pub(crate) fn watch_asks_again(&self, kind: ChildKind) {
        match kind {
            ChildKind::Pod => self.pods().watch_asks_again(),
            kind => self.others(kind).watch_asks_again(),
        }
    }

    /// Notes what an event tells of a pod that goes: that it worked until now and that we did not ask for it, and when
    /// it was asked to end, unless it had ended before.
    fn note_departure(&self, event: &Event<ObjectView>) {
        let (pod, gone) = match event {
            Event::Delete(pod) => (pod, true),
            Event::Apply(pod) if pod.departs() => (pod, false),
            _ => return,
        };
        let [namespace, name, uid] = identity(&pod.metadata);
        let pods = self.pods();
        let Some((job, kept, ours)) = pods.known(&NamespacedName::new(namespace, name), uid) else {
            return;
        };
        if !(ours || kept.terminating || kept.disrupted || kept.finished()) {
            self.departures.disrupted.note(job.clone(), pod.departure());
        }
        let asked = kept.deletion_requested.filter(|_| gone);
        if let Some(asked) = asked.filter(|asked| kept.finished_at.is_none_or(|end| end > *asked)) {
            let stopped = Stopped {
                name: kept.name.clone(),
                asked,
                gone: clock::now(),
                ours,
            };
            self.departures.stopped.note(job.clone(), stopped);
        }
    }

    /// This replica leads since the API server had this resourceVersion. Whoever led before may have deleted the pods
    /// that are gone or go.
    pub(crate) fn take_over(&self, version: u64) {
        self.departures.forget();
        self.pods().take_over(version);
        self.jobs.led_from(version);
    }

    /// Name and UID of the pods of the job that have ended, failed in place or were disrupted, and were last seen
    /// before this replica led.
    pub(crate) fn ended_before_leading(&self, owner: &JobId) -> Vec<(String, String)> {
        let pods = self.pods();
        let ended = |pod: &&Pod| pod.finished() || pod.failed_in_place() || pod.disrupted;
        let named = |pod: &Pod| (pod.name.clone(), pod.uid.clone());
        pods.before_leading(owner).filter(ended).map(named).collect()
    }

    /// We created an object, or found that we had.
    pub(crate) fn created(&self, kind: ChildKind, object: ObjectView, now: Instant) {
        match kind {
            ChildKind::Pod => self.pods().written(object.observe_pod(), now),
            kind => self.others(kind).written(object.observe(kind), now),
        }
    }

    /// We are about to ask for the deletion of an object of the job, or could not.
    pub(crate) fn set_deleting(&self, kind: ChildKind, owner: &JobId, name: &str, uid: &str, deleting: bool) {
        match kind {
            ChildKind::Pod => self.pods().set_deleting(owner, name, uid, deleting),
            kind => self.others(kind).set_deleting(owner, name, uid, deleting),
        }
    }

    fn is_deleting(&self, kind: ChildKind, object: &ObjectView) -> bool {
        let [namespace, name, uid] = identity(&object.metadata);
        let key = NamespacedName::new(namespace, name);
        match kind {
            ChildKind::Pod => self.pods().is_deleting(&key, uid),
            kind => self.others(kind).is_deleting(&key, uid),
        }
    }

    /// Whether the deletion of this pod of the job was ever asked for here.
    #[must_use]
    pub(crate) fn was_asked_to_end(&self, job: &JobId, name: &str, uid: &str) -> bool {
        let pods = self.pods();
        let known = pods.known(&NamespacedName::new(&job.namespace, name), uid);
        known.is_some_and(|(owner, _, asked)| owner == job && asked)
    }

    /// We asked for the deletion of an object of the job.
    pub(crate) fn deletion_requested(&self, kind: ChildKind, owner: &JobId, name: &str, uid: &str, now: Instant) {
        match kind {
            ChildKind::Pod => self.pods().delete_asked(owner, name, uid, now),
            kind => self.others(kind).delete_asked(owner, name, uid, now),
        }
    }

    /// The version of this very object as it is known, where versions are numbers.
    pub(crate) fn version(&self, kind: ChildKind, owner: &JobId, name: &str, uid: &str) -> Option<u64> {
        match kind {
            ChildKind::Pod => self.pods().version(owner, name, uid),
            kind => self.others(kind).version(owner, name, uid),
        }
    }

    /// The API server says that this very object does not exist.
    pub(crate) fn not_found(&self, kind: ChildKind, owner: &JobId, name: &str, uid: &str) {
        match kind {
            ChildKind::Pod => self.pods().found_gone(owner, name, uid),
            kind => self.others(kind).found_gone(owner, name, uid),
        }
    }

    /// Number of objects of a kind.
    #[must_use]
    pub(crate) fn len(&self, kind: ChildKind) -> usize {
        match kind {
            ChildKind::Pod => self.pods().len(),
            kind => self.others(kind).len(),
        }
    }

    /// What the job owns.
    #[must_use]
    pub(crate) fn owned_by(&self, job: &JobId) -> Snapshot {
        let (pods, mut unconfirmed) = self.pods().owned_by(job);
        let mut others = Vec::new();
        for kind in self.others.0.keys() {
            let (found, kind_unconfirmed) = self.others(*kind).owned_by(job);
            others.extend(found);
            unconfirmed |= kind_unconfirmed;
        }
        Snapshot {
            pods,
            others,
            unconfirmed,
        }
    }

    /// What the job owns and has to be read: kind, name and UID of what we wrote and the watch has not shown for
    /// [`CONFIRMED_WITHIN`](super::CONFIRMED_WITHIN).
    #[must_use]
    pub(crate) fn overdue(&self, job: &JobId, now: Instant) -> Vec<(ChildKind, String, String)> {
        let of_kind = |kind| match kind {
            ChildKind::Pod => self.pods().overdue(job, now),
            kind => self.others(kind).overdue(job, now),
        };
        let with_kind = |kind| of_kind(kind).into_iter().map(move |(name, uid)| (kind, name, uid));
        ChildKind::ALL.into_iter().flat_map(with_kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_doubted_when_one_of_its_pods_is_gone_that_nobody_here_deleted() {
        let index = Index::default();
        let job = serde_json::json!({ "metadata": { "name": "job", "namespace": "ns", "uid": "u", "resourceVersion": "1" },
            "spec": { "pytorchReplicaSpecs": {} } });
        let pod = serde_json::json!({ "metadata": { "name": "pod", "namespace": "ns", "uid": "p", "resourceVersion": "2",
            "ownerReferences": [{ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job", "uid": "u", "controller": true }] } });
        let pod: ObjectView = serde_json::from_value(pod).unwrap();
        index
            .jobs()
            .feed(Event::Apply(serde_json::from_str(&job.to_string()).unwrap()));
        let key = NamespacedName::new("ns", "job");
        let (owner, asked) = (JobId::new("ns", "u"), [Some(true), Some(false), None]);
        for asked in asked {
            let answer = index.jobs().get(&key).unwrap();
            index
                .jobs()
                .answered(answer.as_ref().clone(), index.jobs().last_doubt());
            index.feed(ChildKind::Pod, Event::Apply(pod.clone()));
            if let Some(begun) = asked {
                index.set_deleting(ChildKind::Pod, &owner, "pod", "p", true);
                index.set_deleting(ChildKind::Pod, &owner, "pod", "p", begun);
            }
            // It terminates for a while.
            index.feed(ChildKind::Pod, Event::Apply(pod.clone()));
            assert!(index.jobs().is_certain(&key));
            index.feed(ChildKind::Pod, Event::Delete(pod.clone()));
            assert_eq!(index.jobs().is_certain(&key), asked == Some(true), "{asked:?}");
        }
    }

    /// A pod of the job `u` that runs on a node, with changes.
    fn pod(version: u32, more: &serde_json::Value) -> ObjectView {
        let mut pod = serde_json::json!({ "metadata": { "name": "pod", "namespace": "ns", "uid": "p",
            "resourceVersion": version.to_string(), "ownerReferences": [{ "apiVersion": "kubeflow.org/v1",
                "kind": "PyTorchJob", "name": "job", "uid": "u", "controller": true }] },
            "spec": { "nodeName": "node" }, "status": { "phase": "Running" } });
        json_patch::merge(&mut pod, more);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_pod_that_others_take_away_is_noted_once_and_every_pod_that_was_asked_to_end_when_it_is_gone() {
        let (works, owner) = (serde_json::json!({}), JobId::new("ns", "u"));
        let disrupted = serde_json::json!({ "status": { "conditions": [{ "type": "DisruptionTarget", "status": "True",
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting." }] } });
        let deleted = serde_json::json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        for (ours, how, expected, stopped) in [
            (
                false,
                &disrupted,
                &["Pod pod on node node is disrupted: EvictionByEvictionAPI: Eviction API: evicting."][..],
                &[][..],
            ),
            (
                false,
                &deleted,
                &["Pod pod on node node was deleted by someone else."],
                &[false],
            ),
            (
                false,
                &works,
                &["Pod pod on node node was deleted by someone else."],
                &[],
            ),
            (true, &deleted, &[], &[true]),
        ] {
            let index = Index::default();
            index.feed(ChildKind::Pod, Event::Apply(pod(1, &works)));
            if ours {
                index.set_deleting(ChildKind::Pod, &owner, "pod", "p", true);
                // It was not answered.
                index.set_deleting(ChildKind::Pod, &owner, "pod", "p", false);
            }
            index.feed(ChildKind::Pod, Event::Apply(pod(2, how)));
            index.feed(ChildKind::Pod, Event::Apply(pod(3, how)));
            index.feed(ChildKind::Pod, Event::Delete(pod(4, how)));
            assert_eq!(index.departures().disrupted.take(&owner), expected);
            let gone = index.departures().stopped.take(&owner);
            assert!(gone.iter().all(|pod| pod.name == "pod"));
            assert_eq!(gone.iter().map(|pod| pod.ours).collect::<Vec<_>>(), stopped);
        }
    }

    #[test]
    fn a_new_list_of_pods_may_tell_of_a_restore_before_one_of_jobs_does_so_jobs_are_doubted() {
        let index = Index::default();
        let job = serde_json::json!({ "metadata": { "name": "job", "namespace": "ns", "uid": "u", "resourceVersion": "5" },
            "spec": { "pytorchReplicaSpecs": {} } });
        index
            .jobs()
            .feed(Event::Apply(serde_json::from_str(&job.to_string()).unwrap()));
        let certain = || index.jobs().is_certain(&NamespacedName::new("ns", "job"));
        index.feed(ChildKind::Service, Event::Init);
        assert!(certain());
        index.feed(ChildKind::Pod, Event::Init);
        assert!(!certain());
    }

    #[test]
    fn pods_that_ended_before_the_leadership_are_told_until_they_are_read_or_listed() {
        let index = Index::default();
        let pod = |version: u64, status: serde_json::Value| -> ObjectView {
            let pod = serde_json::json!({
                "metadata": { "name": "pod", "namespace": "ns", "uid": "p", "resourceVersion": version.to_string(),
                    "ownerReferences": [{ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job",
                        "uid": "u", "controller": true }] },
                "status": status });
            serde_json::from_value(pod).unwrap()
        };
        let failed = |version| pod(version, serde_json::json!({ "phase": "Failed" }));
        let told = || index.ended_before_leading(&JobId::new("ns", "u")).len();
        let disrupted = serde_json::json!({ "phase": "Running",
            "conditions": [{ "type": "DisruptionTarget", "status": "True" }] });
        index.take_over(10);
        for (version, status, expected) in [
            (6, serde_json::json!({ "phase": "Running" }), 0),
            (7, disrupted, 1),
            (8, serde_json::json!({ "phase": "Succeeded" }), 1),
            (9, serde_json::json!({ "phase": "Failed" }), 1),
            (10, serde_json::json!({ "phase": "Failed" }), 0),
        ] {
            index.feed(ChildKind::Pod, Event::Apply(pod(version, status)));
            assert_eq!(told(), expected, "{version}");
        }
        let begin = || index.feed(ChildKind::Pod, Event::Init);
        let end = || [Event::InitApply(failed(10)), Event::InitDone].map(|event| index.feed(ChildKind::Pod, event));
        begin();
        index.take_over(20);
        end();
        assert_eq!(told(), 1, "the list had begun before");
        begin();
        end();
        assert_eq!(told(), 0);
        index.take_over(30);
        assert_eq!(told(), 1);
        index.created(ChildKind::Pod, failed(10), Instant::now());
        assert_eq!(told(), 0, "it was read");
    }

    #[test]
    fn a_replica_that_takes_over_takes_what_goes_for_asked_for_and_what_had_ended_before_is_not_told() {
        let deleted = serde_json::json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        let failed = serde_json::json!({ "status": { "phase": "Failed", "containerStatuses": [{ "name": "pytorch",
            "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": 1, "finishedAt": "2025-12-31T00:00:00Z" } } }] } });
        let index = Index::default();
        let owner = JobId::new("ns", "u");
        let feed = |event| index.feed(ChildKind::Pod, event);
        feed(Event::Apply(pod(1, &serde_json::json!({}))));
        feed(Event::Apply(pod(2, &deleted)));
        index.take_over(3);
        feed(Event::Delete(pod(3, &deleted)));
        let stopped = index.departures().stopped.take(&owner);
        assert!(stopped.len() == 1 && stopped[0].ours, "{stopped:?}");
        assert!(index.departures().disrupted.take(&owner).is_empty());

        feed(Event::Apply(pod(4, &failed)));
        let mut gone = failed;
        json_patch::merge(&mut gone, &deleted);
        feed(Event::Apply(pod(5, &gone)));
        feed(Event::Delete(pod(6, &gone)));
        assert!(index.departures().stopped.take(&owner).is_empty());
    }
}
