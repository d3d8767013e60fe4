//! The jobs, as last seen, read or written.
//!
//! The watch, reads and own writes go in as whole jobs, and the newer resourceVersion wins. Some things say that what
//! is kept may not be what is stored: a write without an answer, a refuted precondition, an object of the job that is
//! gone although nobody here asked for it, another replica that has led until now. The job is doubted then, and the
//! answer of the API server to a request about it that was made since ends the doubt. The watch does not: what it shows
//! may be older than the cause of the doubt, and so may a list that had begun before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio_util::sync::CancellationToken;

use crate::cache::key::{NamespacedName, is_newer};
use crate::cache::listing::Lists;
use crate::cache::stored_job::StoredJob;

/// All jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    state: Mutex<State>,
    store: Store<StoredJob>,
    restored: CancellationToken,
}

#[derive(Debug)]
struct State {
    writer: Writer<StoredJob>,
    /// Each with the number of its last doubt.
    doubted: HashMap<NamespacedName, u64>,
    doubts: u64,
    /// What is older was written before this replica led.
    led_from: u64,
    lists: Lists,
}

/// The last doubt there was at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    number: u64,
    /// Whether it is the only one about its job.
    alone: bool,
}

/// What an event of the watch changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changed {
    /// The job to look at.
    pub job: Option<NamespacedName>,
    /// UIDs of the jobs that are gone.
    pub gone: Vec<String>,
}

impl Default for Jobs {
    fn default() -> Self {
        let mut writer = Writer::default();
        // Readers of kube's store wait for its first list. The lists are ours.
        writer.apply_watcher_event(&Event::InitDone);
        Self {
            store: writer.as_reader(),
            restored: CancellationToken::new(),
            state: Mutex::new(State {
                writer,
                doubted: HashMap::new(),
                doubts: 0,
                led_from: 0,
                lists: Lists::default(),
            }),
        }
    }
}

impl Jobs {
    /// For readers.
    #[must_use]
    pub(crate) fn store(&self) -> Store<StoredJob> {
        self.store.clone()
    }

    /// Feeds a watch event.
    pub(crate) fn feed(&self, event: Event<StoredJob>) -> Changed {
        let mut state = self.state();
        match event {
            Event::Init => {
                state.lists.begin();
                Changed::default()
            }
            Event::InitApply(job) => self.seen(&mut state, job),
            Event::Apply(job) => {
                state.lists.watch_shows(job.version());
                self.seen(&mut state, job)
            }
            Event::Delete(job) => {
                state.lists.watch_shows(job.version());
                self.deleted(&mut state, job)
            }
            Event::InitDone => self.list_ends(&mut state),
        }
    }

    /// The watch is about to ask again after an error.
    pub(crate) fn watch_asks_again(&self) {
        self.state().lists.watch_asks_again();
    }

    /// The API server has answered with the job as it is stored, or as good as: the doubts end that were there when it
    /// was asked, `last` of all. A job that the watch has shown gone, or recreated, stays so.
    pub(crate) fn answered(&self, job: StoredJob, last: Doubt) {
        let (key, mut state) = (job.key(), self.state());
        let Some(old) = self.get(&key) else { return };
        let is_it = old.uid() == job.uid();
        let stands = !is_newer(old.version(), job.version());
        // A successor takes the place of what is kept, however late the watch shows it; a predecessor says nothing.
        if !stands && !is_it {
            return;
        }
        if state.doubted.get(&key).is_some_and(|doubt| *doubt <= last.number) {
            state.doubted.remove(&key);
        }
        if stands {
            state.lists.wrote(&key);
            state.writer.apply_watcher_event(&Event::Apply(job));
        }
    }

    /// A read has answered, before which this version was kept, and this was the `last` doubt. An answer that is older
    /// tells of a restore.
    pub(crate) fn was_read(&self, job: StoredJob, kept: Option<u64>, last: Doubt) {
        if is_newer(kept, job.version()) {
            self.restored.cancel();
        }
        self.answered(job, last);
    }

    /// Cancelled once the API server shows an earlier state of something than it has shown before: etcd was restored.
    /// What is kept may never have been, and only new lists of every kind show what is.
    pub(crate) fn restored(&self) -> &CancellationToken {
        &self.restored
    }

    /// What is kept of this job may not be what is stored. Returns the last doubt of all, which this is unless nothing
    /// is kept.
    pub(crate) fn doubt(&self, key: &NamespacedName) -> Doubt {
        let mut state = self.state();
        let alone = self.get(key).is_some() && state.doubt(key.clone());
        let number = state.doubts;
        Doubt { number, alone }
    }

    /// The last doubt of all.
    pub(crate) fn last_doubt(&self) -> Doubt {
        let number = self.state().doubts;
        Doubt { number, alone: false }
    }

    /// What is kept of any job may not be what is stored.
    pub(crate) fn doubt_all(&self) {
        let mut state = self.state();
        for job in self.store.state() {
            state.doubt(job.key());
        }
    }

    /// There was no reason for this doubt: what is kept of the job is what was stored when it was raised.
    pub(crate) fn trust(&self, key: &NamespacedName, doubt: Doubt) {
        let mut state = self.state();
        if doubt.alone && state.doubted.get(key) == Some(&doubt.number) {
            state.doubted.remove(key);
        }
    }

    /// Whether there is no reason to believe that something else is stored.
    #[must_use]
    pub(crate) fn is_certain(&self, key: &NamespacedName) -> bool {
        !self.state().doubted.contains_key(key)
    }

    /// Whether a job of this resourceVersion is kept, and there is no reason to believe that something else is stored.
    #[must_use]
    pub(crate) fn is_certain_at(&self, key: &NamespacedName, version: Option<&str>) -> bool {
        let kept = self.get(key);
        let is_kept = kept.is_some_and(|kept| kept.meta().resource_version.as_deref() == version);
        is_kept && self.is_certain(key)
    }

    /// This replica leads since the API server had this resourceVersion. How late the watch is, nobody knows.
    pub(crate) fn led_from(&self, version: u64) {
        let mut state = self.state();
        state.led_from = version;
        state.lists.take_over();
        let older = self
            .store
            .state()
            .into_iter()
            .filter(|job| is_newer(Some(version), job.version()));
        for job in older {
            state.doubt(job.key());
        }
    }

    /// The job as kept.
    #[must_use]
    pub(crate) fn get(&self, key: &NamespacedName) -> Option<Arc<StoredJob>> {
        self.store.get(&reference(key))
    }

    /// All jobs, by namespace and name: the store has no order.
    pub(crate) fn keys(&self) -> Vec<NamespacedName> {
        let mut keys: Vec<_> = self.store.state().iter().map(|job| job.key()).collect();
        keys.sort_unstable();
        keys
    }

    fn seen(&self, state: &mut State, job: StoredJob) -> Changed {
        let key = job.key();
        let listed = state.lists.shows(&key, job.version());
        let old = self.get(&key);
        let kept = old.as_ref().and_then(|old| old.version());
        let is_earlier = match old {
            Some(_) => is_newer(kept, job.version()),
            None => state.lists.has_told_of(job.version()),
        };
        if listed && is_earlier {
            self.restored.cancel();
            return Changed::default();
        }
        if !listed && kept.zip(job.version()).is_some_and(|(kept, seen)| kept >= seen) {
            return Changed::default();
        }
        if listed && state.lists.ends_doubt(&key) {
            state.doubted.remove(&key);
        } else if is_newer(Some(state.led_from), job.version()) {
            state.doubt(key.clone());
        }
        let replaced = old.filter(|old| old.uid() != job.uid());
        state.writer.apply_watcher_event(&Event::Apply(job));
        Changed {
            job: Some(key),
            gone: replaced.iter().map(|old| old.uid().to_owned()).collect(),
        }
    }

    fn deleted(&self, state: &mut State, job: StoredJob) -> Changed {
        let key = job.key();
        let gone = vec![job.uid().to_owned()];
        if !self.get(&key).is_some_and(|old| is_newer(old.version(), job.version())) {
            state.remove(&key, job);
        }
        Changed { job: None, gone }
    }

    fn list_ends(&self, state: &mut State) -> Changed {
        let Some(listing) = state.lists.end() else {
            return Changed::default();
        };
        if !listing.is_of_before() {
            state.led_from = 0;
        }
        let jobs = self.store.state().into_iter();
        // Whatever we wrote since: a job is there before its status.
        let gone: Vec<_> = jobs.filter(|job| !listing.has_shown(&job.key())).collect();
        for job in &gone {
            state.remove(&job.key(), job.as_ref().clone());
        }
        Changed {
            job: None,
            gone: gone.iter().map(|job| job.uid().to_owned()).collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the job was not doubted before.
    fn doubt(&mut self, key: NamespacedName) -> bool {
        self.doubts += 1;
        self.lists.doubted(&key);
        self.doubted.insert(key, self.doubts).is_none()
    }

    fn remove(&mut self, key: &NamespacedName, job: StoredJob) {
        self.doubted.remove(key);
        self.writer.apply_watcher_event(&Event::Delete(job));
    }
}

/// The name by which the store knows a job.
fn reference(job: &NamespacedName) -> ObjectRef<StoredJob> {
    ObjectRef::new(&job.name).within(&job.namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(uid: &str, version: u64) -> StoredJob {
        let object = json!({
            "metadata": { "name": "job", "namespace": "ns", "uid": uid, "resourceVersion": version.to_string() },
            "spec": { "pytorchReplicaSpecs": {} } });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn key() -> NamespacedName {
        NamespacedName::new("ns", "job")
    }

    fn version(jobs: &Jobs) -> Option<u64> {
        jobs.get(&key()).and_then(|job| job.version())
    }

    fn with_conditions(name: &str, conditions: &[(&str, &str)], run_policy: &serde_json::Value) -> StoredJob {
        let condition = |(type_, status): &(&str, &str)| json!({ "type": type_, "status": status });
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        let job = json!({
            "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1" },
            "spec": { "pytorchReplicaSpecs": {}, "runPolicy": run_policy }, "status": { "conditions": conditions },
        });
        serde_json::from_str(&job.to_string()).unwrap()
    }

    fn counted(jobs: impl IntoIterator<Item = StoredJob>) -> Vec<(&'static str, usize)> {
        let all = Jobs::default();
        for job in jobs {
            all.feed(Event::Apply(job));
        }
        let counted = all.by_state().into_iter();
        counted.filter(|(_, jobs)| *jobs > 0).collect()
    }

    #[test]
    fn jobs_are_counted_by_the_state_that_the_column_shows() {
        let with = |name: &str, conditions: &[(&str, &str)]| with_conditions(name, conditions, &json!({}));
        let states = counted([
            with("new", &[]),
            with("running", &[("Created", "True"), ("Running", "True")]),
            with(
                "resumed",
                &[("Created", "True"), ("Running", "True"), ("Suspended", "False")],
            ),
            with(
                "done",
                &[("Created", "True"), ("Running", "False"), ("Succeeded", "True")],
            ),
        ]);
        assert_eq!(states, [("None", 1), ("Running", 2), ("Succeeded", 1)]);
    }

    #[test]
    fn a_job_of_another_controller_is_not_one_that_nobody_has_looked_at_and_counts_by_the_state_that_it_is_given() {
        let of = |manager: &str| json!({ "managedBy": manager });
        let elsewhere = of("kueue.x-k8s.io/multikueue");
        let states = counted([
            with_conditions("dispatched", &[], &elsewhere),
            with_conditions("reported", &[("Running", "True")], &elsewhere),
            with_conditions("ours", &[], &of("kubeflow.org/training-operator")),
        ]);
        assert_eq!(states, [("None", 1), ("Running", 1)]);
    }

    #[test]
    fn a_read_that_is_older_than_what_was_kept_before_it_tells_of_a_restore_and_one_that_the_watch_overtook_does_not() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.feed(Event::Apply(job("u", 7)));
        jobs.was_read(job("u", 6), Some(5), jobs.last_doubt());
        assert_eq!((version(&jobs), jobs.restored().is_cancelled()), (Some(7), false));
        jobs.was_read(job("u", 6), Some(7), jobs.last_doubt());
        assert!(jobs.restored().is_cancelled());
    }

    #[test]
    fn the_newer_version_wins_whoever_brings_it_and_the_watch_of_an_own_write_changes_nothing() {
        let jobs = Jobs::default();
        assert_eq!(jobs.feed(Event::Apply(job("u", 5))).job, Some(key()));
        jobs.answered(job("u", 9), jobs.last_doubt());
        for late in [5, 7, 9] {
            assert_eq!(jobs.feed(Event::Apply(job("u", late))), Changed::default());
        }
        assert_eq!(version(&jobs), Some(9));
        assert_eq!(jobs.feed(Event::Apply(job("u", 10))).job, Some(key()));
        jobs.answered(job("u", 8), jobs.last_doubt());
        assert_eq!(version(&jobs), Some(10));
    }

    #[test]
    fn an_answer_ends_a_doubt_and_the_watch_does_not() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.doubt(&key());
        jobs.feed(Event::Apply(job("u", 6)));
        assert!(!jobs.is_certain(&key()));
        jobs.answered(job("u", 6), jobs.last_doubt());
        assert!(jobs.is_certain(&key()));
    }

    #[test]
    fn what_a_list_from_before_this_replica_led_shows_first_when_it_leads_is_doubted() {
        let jobs = Jobs::default();
        jobs.feed(Event::Init);
        jobs.led_from(8);
        jobs.feed(Event::InitApply(job("u", 5)));
        jobs.feed(Event::InitDone);
        assert!(!jobs.is_certain(&key()), "whoever led before may have written it since");
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 5)));
        assert!(jobs.is_certain(&key()));
    }

    #[test]
    fn the_first_list_may_have_been_asked_for_before_this_replica_led() {
        let jobs = Jobs::default();
        jobs.led_from(8);
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 5)));
        assert!(!jobs.is_certain(&key()), "whoever led before may have written it since");
    }

    #[test]
    fn no_job_is_certain_at_a_version_that_is_not_kept() {
        let jobs = Jobs::default();
        let certain = |version| jobs.is_certain_at(&key(), Some(version));
        jobs.feed(Event::Apply(job("u", 5)));
        assert!(certain("5"));
        jobs.doubt(&key());
        assert!(!certain("5"));
        jobs.answered(job("u", 6), jobs.last_doubt());
        assert!(certain("6") && !certain("5"));
        jobs.feed(Event::Delete(job("u", 7)));
        assert!(!certain("6"), "it is gone");
    }

    #[test]
    fn an_answer_leaves_a_doubt_that_has_come_since_the_request() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        let asked = jobs.doubt(&key());
        jobs.doubt(&key());
        jobs.answered(job("u", 6), asked);
        assert!(!jobs.is_certain(&key()), "the answer may be older than its cause");
        let asked = jobs.last_doubt();
        jobs.answered(job("u", 6), asked);
        assert!(jobs.is_certain(&key()));
    }

    #[test]
    fn a_list_ends_the_doubts_from_before_it_began_and_leaves_those_that_have_come_since() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.doubt(&key());
        for certain in [true, false] {
            jobs.feed(Event::Init);
            if !certain {
                jobs.doubt(&key());
            }
            jobs.feed(Event::InitApply(job("u", 5)));
            jobs.feed(Event::InitDone);
            assert_eq!(jobs.is_certain(&key()), certain);
        }
    }

    #[test]
    fn a_doubt_is_ended_by_whoever_raised_it_and_one_before_or_since_is_not() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        let doubt = jobs.doubt(&key());
        jobs.trust(&key(), doubt);
        assert!(jobs.is_certain(&key()));

        let before = jobs.doubt(&key());
        let later = jobs.doubt(&key());
        jobs.trust(&key(), later);
        assert!(!jobs.is_certain(&key()), "it was doubted before");
        jobs.trust(&key(), before);
        assert!(!jobs.is_certain(&key()), "it has been doubted since");
    }

    #[test]
    fn an_answer_does_not_bring_back_a_job_that_is_gone_and_nothing_is_kept_of_it() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.doubt(&key());
        assert_eq!(jobs.feed(Event::Delete(job("u", 7))).gone, ["u"]);
        jobs.answered(job("u", 6), jobs.last_doubt());
        jobs.doubt(&key());
        assert_eq!(version(&jobs), None);
        assert!(jobs.state().doubted.is_empty());
    }

    #[test]
    fn the_late_deletion_of_a_predecessor_leaves_its_successor() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("old", 5)));
        assert_eq!(jobs.feed(Event::Apply(job("new", 9))).gone, ["old"]);
        assert_eq!(jobs.feed(Event::Delete(job("old", 8))).gone, ["old"]);
        assert_eq!(version(&jobs), Some(9));
    }

    #[test]
    fn an_answer_that_shows_a_successor_is_believed_before_the_watch_and_one_of_a_predecessor_is_not() {
        let jobs = Jobs::default();
        let uid = || jobs.get(&key()).map(|job| job.uid().to_owned());
        jobs.feed(Event::Apply(job("old", 5)));
        jobs.doubt(&key());
        jobs.was_read(job("new", 9), Some(5), jobs.last_doubt());
        assert_eq!((uid().as_deref(), jobs.is_certain(&key())), (Some("new"), true));
        assert_eq!(jobs.feed(Event::Delete(job("old", 7))).gone, ["old"]);
        assert_eq!(jobs.feed(Event::Apply(job("new", 8))), Changed::default());
        jobs.doubt(&key());
        jobs.was_read(job("old", 6), Some(5), jobs.last_doubt());
        assert_eq!((uid().as_deref(), jobs.is_certain(&key())), (Some("new"), false));
        assert_eq!(version(&jobs), Some(9));
    }

    #[test]
    fn what_is_older_than_the_leadership_is_doubted_whenever_the_watch_shows_it() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.led_from(10);
        assert!(!jobs.is_certain(&key()));
        jobs.feed(Event::Delete(job("u", 6)));
        jobs.feed(Event::Apply(job("v", 8)));
        assert!(!jobs.is_certain(&key()), "a job that came late");
        jobs.feed(Event::Delete(job("v", 9)));
        jobs.feed(Event::Apply(job("w", 10)));
        assert!(jobs.is_certain(&key()));
    }

    #[test]
    fn a_list_is_right_but_for_what_was_written_since_it_began() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.led_from(20);
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 5)));
        assert_eq!(jobs.feed(Event::InitDone).gone, [""; 0]);
        assert_eq!((version(&jobs), jobs.is_certain(&key())), (Some(5), true));

        jobs.feed(Event::Init);
        jobs.answered(job("u", 6), jobs.last_doubt());
        jobs.feed(Event::InitApply(job("u", 5)));
        jobs.feed(Event::InitDone);
        assert_eq!((version(&jobs), jobs.restored().is_cancelled()), (Some(6), false));

        // The list is asked for before it begins.
        jobs.watch_asks_again();
        jobs.answered(job("u", 7), jobs.last_doubt());
        jobs.doubt(&key());
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 6)));
        jobs.feed(Event::InitDone);
        assert_eq!((version(&jobs), jobs.restored().is_cancelled()), (Some(7), false));
        assert!(!jobs.is_certain(&key()), "the list is older than the doubt");

        jobs.feed(Event::Init);
        jobs.answered(job("u", 8), jobs.last_doubt());
        assert_eq!(
            jobs.feed(Event::InitDone).gone,
            ["u"],
            "a job is there before its status"
        );
        assert_eq!(version(&jobs), None);
    }

    #[test]
    fn a_list_that_shows_an_older_version_tells_of_a_restore() {
        for uid in ["u", "an earlier one"] {
            let jobs = Jobs::default();
            jobs.feed(Event::Apply(job("u", 10)));
            jobs.feed(Event::Init);
            assert!(!jobs.restored().is_cancelled());
            jobs.feed(Event::InitApply(job(uid, 5)));
            assert!(jobs.restored().is_cancelled(), "{uid}");
        }
    }

    #[test]
    fn a_list_that_shows_a_job_that_was_gone_tells_of_a_restore() {
        let jobs = Jobs::default();
        for event in [
            Event::Init,
            Event::InitApply(job("u", 5)),
            Event::InitDone,
            Event::Delete(job("u", 9)),
            Event::Init,
            Event::InitApply(job("w", 10)),
        ] {
            jobs.feed(event);
            assert!(!jobs.restored().is_cancelled());
        }
        jobs.feed(Event::Delete(job("w", 12)));
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 5)));
        assert!(jobs.restored().is_cancelled());
    }

    #[test]
    fn the_next_list_may_show_older_jobs_than_one_that_broke_off() {
        let jobs = Jobs::default();
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 9)));
        jobs.feed(Event::Init);
        let mut other =
            json!({ "metadata": { "name": "other", "namespace": "ns", "uid": "o", "resourceVersion": "5" } });
        other["spec"] = json!({ "pytorchReplicaSpecs": {} });
        jobs.feed(Event::InitApply(serde_json::from_value(other).unwrap()));
        assert!(!jobs.restored().is_cancelled());
    }

    #[test]
    fn what_was_written_while_a_list_broke_off_is_shown_by_the_next_one_unless_etcd_was_restored() {
        let jobs = Jobs::default();
        jobs.feed(Event::Apply(job("u", 5)));
        jobs.feed(Event::Init);
        jobs.answered(job("u", 10), jobs.last_doubt());
        jobs.feed(Event::Init);
        jobs.feed(Event::InitApply(job("u", 5)));
        assert!(jobs.restored().is_cancelled());
    }
}
