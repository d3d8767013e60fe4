//! Objects of one kind, by the job that owns them.
//!
//! Two sources feed it: the watch, which is complete but late, and our own writes, which are early. The resourceVersion
//! decides which one is newer; it is an increasing number within one resource (stable since Kubernetes 1.35, and long
//! so in practice with etcd). So a plan never repeats a write only because the watch has not shown it yet, and no event
//! handler has to keep count of anything.

use std::time::Duration;

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use crate::cache::by_owner::{ByOwner, Entry, Fact};
use crate::cache::key::{JobId, NamespacedName, is_newer};
use crate::cache::listing::Lists;
use crate::cache::observed::Observed;

/// How long an own write is believed without the watch showing it; then the object is read. The watch may hang, or the
/// object was created by us and deleted by others while a list was under way.
pub(crate) const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);

/// Objects of one kind.
#[derive(Debug)]
pub(super) struct Children<T> {
    objects: ByOwner<T>,
    lists: Lists,
    /// A list has shown what was before what was kept.
    restored: bool,
    /// What is older was written before this replica led.
    led_from: u64,
}

impl<T> Default for Children<T> {
    fn default() -> Self {
        Self {
            objects: ByOwner::default(),
            lists: Lists::default(),
            restored: false,
            led_from: 0,
        }
    }
}

impl<T: Fact> Children<T> {
    /// Feeds a watch event. Returns the jobs concerned, and whether etcd was restored.
    pub(super) fn feed<K>(
        &mut self,
        event: Event<K>,
        observe: impl FnOnce(K) -> Observed<T>,
    ) -> (Vec<NamespacedName>, bool) {
        let jobs = match event {
            Event::Init => {
                self.lists.begin();
                Vec::new()
            }
            Event::InitApply(object) => self.applied(observe(object)),
            Event::InitDone => self.list_ends(),
            Event::Apply(object) => {
                let object = observe(object);
                self.lists.watch_shows(object.version);
                self.applied(object)
            }
            Event::Delete(object) => {
                let object = observe(object);
                self.lists.watch_shows(object.version);
                self.deleted(&object)
            }
        };
        (jobs, self.restored)
    }

    /// The watch is about to ask again after an error.
    pub(super) fn watch_asks_again(&mut self) {
        self.lists.watch_asks_again();
    }

    /// The watch shows an object. Returns the jobs concerned.
    fn applied(&mut self, object: Observed<T>) -> Vec<NamespacedName> {
        let key = object.key();
        let listed = self.lists.shows(&key, object.version);
        self.restored |= listed && self.is_earlier(&key, &object);
        if self.has_newer(&key, object.version) {
            return Vec::new();
        }
        self.put(key, object, None)
    }

    /// We wrote an object.
    pub(super) fn written(&mut self, object: Observed<T>, now: Instant) {
        let key = object.key();
        // The list that is under way still knows best.
        if self.has_newer(&key, object.version) {
            return;
        }
        self.lists.wrote(&key);
        self.put(key, object, Some(now));
    }

    /// We are about to ask for the deletion of an object, or could not.
    pub(super) fn set_deleting(&mut self, owner: &JobId, name: &str, uid: &str, deleting: bool) {
        let entry = self.objects.of_mut(owner, name);
        if let Some(entry) = entry.filter(|entry| entry.is(uid)) {
            entry.deleting = deleting;
            entry.asked |= deleting;
        }
    }

    /// Whether this very object goes because we asked for it.
    pub(super) fn is_deleting(&self, key: &NamespacedName, uid: &str) -> bool {
        let entry = self.objects.get(key);
        entry.is_some_and(|entry| entry.is(uid) && entry.deleting)
    }

    /// The version of this very object as it is kept, where versions are numbers.
    pub(super) fn version(&self, owner: &JobId, name: &str, uid: &str) -> Option<u64> {
        self.objects.of(owner, name).filter(|entry| entry.is(uid))?.version
    }

    /// The job of this very object, what is kept of it, and whether its deletion was ever asked for here.
    pub(super) fn known(&self, key: &NamespacedName, uid: &str) -> Option<(&JobId, &T, bool)> {
        let owner = self.objects.owner(key)?;
        let entry = self.objects.of(owner, &key.name)?;
        entry.is(uid).then_some((owner, &entry.fact, entry.asked))
    }

    /// This replica leads since the API server had this resourceVersion. Whoever led before may have asked for the
    /// deletions that are under way.
    pub(super) fn take_over(&mut self, version: u64) {
        self.led_from = version;
        self.lists.take_over();
        for entry in self.objects.all_mut() {
            entry.asked |= entry.fact.terminating();
            entry.answered = false;
        }
    }

    /// What is kept of one job from before this replica led, and was not read since. How late the watch is, nobody
    /// knows.
    pub(super) fn before_leading(&self, owner: &JobId) -> impl Iterator<Item = &T> {
        let before = |entry: &&Entry<T>| !entry.answered && is_newer(Some(self.led_from), entry.version);
        self.objects.owned_by(owner).filter(before).map(|entry| &entry.fact)
    }

    /// We asked for the deletion of an object; it is terminating until the watch shows it gone.
    pub(super) fn delete_asked(&mut self, owner: &JobId, name: &str, uid: &str, now: Instant) {
        let entry = self.objects.of_mut(owner, name);
        // Where the watch was faster than the answer, it has shown this already and will not show it again.
        if let Some(entry) = entry.filter(|entry| entry.is(uid) && !entry.fact.terminating()) {
            entry.fact.terminate();
            entry.unconfirmed = Some(now);
            self.lists.overtaken(&NamespacedName::new(&owner.namespace, name));
        }
    }

    /// The API server says that this very object does not exist.
    pub(super) fn found_gone(&mut self, owner: &JobId, name: &str, uid: &str) {
        let entry = self.objects.of(owner, name);
        if entry.is_some_and(|entry| entry.is(uid)) {
            let key = NamespacedName::new(&owner.namespace, name);
            self.lists.overtaken(&key);
            self.remove(&key);
        }
    }

    /// The watch shows an object gone. Returns the jobs concerned.
    fn deleted(&mut self, object: &Observed<T>) -> Vec<NamespacedName> {
        let key = object.key();
        let newer = self.has_newer(&key, object.version);
        let mut touched: Vec<NamespacedName> = object
            .owner
            .iter()
            .map(|owner| NamespacedName::new(&object.namespace, &owner.job))
            .collect();
        if !newer {
            touched.extend(self.remove(&key));
        }
        touched.dedup();
        touched
    }

    /// The list is complete: what it did not show, and what we did not write meanwhile, is gone. Returns the jobs
    /// concerned.
    fn list_ends(&mut self) -> Vec<NamespacedName> {
        let Some(listing) = self.lists.end() else {
            return Vec::new();
        };
        if !listing.is_of_before() {
            self.led_from = 0;
        }
        let gone: Vec<_> = self.objects.names().filter(|key| !listing.has(key)).collect();
        gone.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// The facts of one job, sorted by name, and whether the watch has yet to show one of our writes.
    pub(super) fn owned_by(&self, owner: &JobId) -> (Vec<T>, bool) {
        let objects = || self.objects.owned_by(owner);
        (
            objects().map(|entry| entry.fact.clone()).collect(),
            objects().any(|entry| entry.unconfirmed.is_some()),
        )
    }

    /// Name and UID of the objects of one job that have to be read, see [`CONFIRMED_WITHIN`].
    pub(super) fn overdue(&self, owner: &JobId, now: Instant) -> Vec<(String, String)> {
        let is_overdue = |since| now.duration_since(since) >= CONFIRMED_WITHIN;
        let objects = self.objects.owned_by(owner);
        objects
            .filter(|entry| entry.unconfirmed.is_some_and(is_overdue))
            .map(|entry| (entry.fact.name().to_owned(), entry.fact.uid().to_owned()))
            .collect()
    }

    /// Number of objects.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether a newer version than this is kept of what has this name.
    fn has_newer(&self, key: &NamespacedName, version: Option<u64>) -> bool {
        self.objects
            .get(key)
            .is_some_and(|kept| is_newer(kept.version, version))
    }

    /// Whether this is what was before what is known: older, not terminating yet, or gone by now. A kubelet may have
    /// written to it since a restore.
    fn is_earlier(&self, key: &NamespacedName, object: &Observed<T>) -> bool {
        match self.objects.get(key) {
            Some(kept) => {
                let revived = kept.is(object.fact.uid()) && kept.fact.terminating() && !object.fact.terminating();
                revived || is_newer(kept.version, object.version)
            }
            None => object.owner.is_some() && self.lists.has_told_of(object.version),
        }
    }

    /// Keeps an object of which nothing newer is kept.
    fn put(
        &mut self,
        key: NamespacedName,
        mut object: Observed<T>,
        unconfirmed: Option<Instant>,
    ) -> Vec<NamespacedName> {
        let old = self.objects.get(&key);
        let same = old.filter(|old| old.is(object.fact.uid()));
        object.fact.inherit(same.map(|old| &old.fact));
        // The watch may be faster than the answer to our own request, and shows no version of an object twice.
        let shown = |old: &Entry<T>| {
            let same = old.is(object.fact.uid());
            same && old.unconfirmed.is_none() && old.version.is_some() && old.version == object.version
        };
        let written = unconfirmed.is_some();
        let unconfirmed = unconfirmed.filter(|_| !old.is_some_and(shown));
        let mut touched: Vec<NamespacedName> = Vec::new();
        let moved = self
            .objects
            .owner(&key)
            .is_some_and(|old| object.owner.as_ref().is_none_or(|owner| owner.uid != old.uid));
        if moved {
            touched.extend(self.remove(&key));
        }
        let same = self.objects.get(&key).filter(|old| old.is(object.fact.uid()));
        let known = |what: fn(&Entry<T>) -> bool| same.is_some_and(what);
        let (deleting, asked) = (known(|old| old.deleting), known(|old| old.asked));
        let answered = written || known(|old| old.answered);
        if let Some(owner) = object.owner {
            touched.push(NamespacedName::new(&key.namespace, &owner.job));
            let entry = Entry {
                version: object.version,
                job: owner.job,
                fact: object.fact,
                unconfirmed,
                deleting,
                asked,
                answered,
            };
            let owner = JobId::new(&key.namespace, &owner.uid);
            self.objects.insert(key, owner, entry);
        }
        touched.dedup();
        touched
    }

    fn remove(&mut self, key: &NamespacedName) -> Option<NamespacedName> {
        let entry = self.objects.remove(key)?;
        Some(NamespacedName {
            namespace: key.namespace.clone(),
            name: entry.job,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::observed::Owner;
    use crate::planner::Pod;

    fn pod(name: &str, uid: &str, version: u64, owner: Option<&str>) -> Observed<Pod> {
        Observed {
            namespace: "ns".into(),
            version: Some(version),
            owner: owner.map(|uid| Owner {
                uid: uid.into(),
                job: format!("job-{uid}"),
            }),
            fact: Pod {
                name: name.into(),
                uid: uid.into(),
                ..Pod::default()
            },
        }
    }

    fn names(children: &mut Children<Pod>, owner: &str) -> Vec<String> {
        children
            .owned_by(&JobId::new("ns", owner))
            .0
            .into_iter()
            .map(|fact| format!("{}/{}", fact.name, fact.uid))
            .collect()
    }

    #[tokio::test]
    async fn an_own_write_is_known_before_the_watch_shows_it_and_an_older_event_does_not_undo_it() {
        let mut children = Children::default();
        children.written(pod("a", "2", 20, Some("j")), Instant::now());
        assert!(
            children.owned_by(&JobId::new("ns", "j")).1,
            "the watch has yet to show it"
        );
        assert!(
            children.applied(pod("a", "1", 10, Some("j"))).is_empty(),
            "an older object of that name"
        );
        assert!(
            children
                .deleted(&pod("a", "1", 15, Some("j")))
                .contains(&NamespacedName::new("ns", "job-j"))
        );
        assert_eq!(names(&mut children, "j"), ["a/2"]);
        children.applied(pod("a", "2", 20, Some("j")));
        assert!(!children.owned_by(&JobId::new("ns", "j")).1, "the watch has caught up");
    }

    #[tokio::test]
    async fn a_deletion_is_never_taken_back() {
        let mut children = Children::default();
        children.applied(pod("a", "1", 10, Some("j")));
        children.delete_asked(&JobId::new("ns", "j"), "a", "1", Instant::now());
        children.applied(pod("a", "1", 11, Some("j")));
        assert!(children.owned_by(&JobId::new("ns", "j")).0[0].terminating);
        children.applied(pod("a", "2", 12, Some("j")));
        assert!(
            !children.owned_by(&JobId::new("ns", "j")).0[0].terminating,
            "but its successor is another object"
        );
    }

    #[tokio::test]
    async fn a_deletion_that_names_another_uid_changes_nothing() {
        let mut children = Children::default();
        children.applied(pod("a", "2", 10, Some("j")));
        children.delete_asked(&JobId::new("ns", "j"), "a", "1", Instant::now());
        children.found_gone(&JobId::new("ns", "j"), "a", "1");
        let facts = children.owned_by(&JobId::new("ns", "j")).0;
        assert_eq!((facts.len(), facts[0].terminating), (1, false));
    }

    #[tokio::test]
    async fn a_list_removes_what_it_does_not_show_but_not_what_was_written_meanwhile() {
        let mut children = Children::default();
        children.applied(pod("gone", "1", 10, Some("j")));
        children.applied(pod("kept", "2", 11, Some("j")));
        children.lists.begin();
        children.applied(pod("kept", "2", 11, Some("j")));
        children.written(pod("new", "3", 12, Some("j")), Instant::now());
        assert_eq!(children.list_ends(), [NamespacedName::new("ns", "job-j")]);
        assert_eq!(names(&mut children, "j"), ["kept/2", "new/3"]);
        assert_eq!(children.len(), 2);
    }

    #[tokio::test]
    async fn an_object_that_loses_its_owner_leaves_the_job_and_both_hear_of_a_change_of_owner() {
        let mut children = Children::default();
        children.applied(pod("a", "1", 10, Some("j")));
        let touched = children.applied(pod("a", "1", 11, Some("k")));
        assert_eq!(
            touched,
            [NamespacedName::new("ns", "job-j"), NamespacedName::new("ns", "job-k")]
        );
        assert_eq!(
            children.applied(pod("a", "1", 12, None)),
            [NamespacedName::new("ns", "job-k")]
        );
        assert_eq!(
            (
                names(&mut children, "j").len(),
                names(&mut children, "k").len(),
                children.len()
            ),
            (0, 0, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_own_write_that_the_watch_has_shown_before_its_answer_came_is_not_forgotten() {
        let mut children = Children::default();
        children.applied(pod("made", "1", 10, Some("j")));
        children.written(pod("made", "1", 10, Some("j")), Instant::now());
        let mut terminating = pod("slow", "2", 12, Some("j"));
        terminating.fact.terminating = true;
        children.applied(pod("slow", "2", 11, Some("j")));
        children.applied(terminating);
        children.delete_asked(&JobId::new("ns", "j"), "slow", "2", Instant::now());
        assert!(
            !children.owned_by(&JobId::new("ns", "j")).1,
            "nothing is left to be shown"
        );
        tokio::time::advance(CONFIRMED_WITHIN * 2).await;
        assert_eq!(names(&mut children, "j"), ["made/1", "slow/2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_own_write_that_the_watch_does_not_show_is_kept_and_read() {
        let (mut children, job) = (Children::default(), JobId::new("ns", "j"));
        children.applied(pod("seen", "0", 9, Some("j")));
        children.written(pod("made", "1", 10, Some("j")), Instant::now());
        children.applied(pod("stopped", "2", 11, Some("j")));
        children.delete_asked(&job, "stopped", "2", Instant::now());
        let read = [
            ("made".to_owned(), "1".to_owned()),
            ("stopped".to_owned(), "2".to_owned()),
        ];
        tokio::time::advance(CONFIRMED_WITHIN.checked_sub(Duration::from_millis(1)).unwrap()).await;
        assert!(children.overdue(&job, Instant::now()).is_empty());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(children.overdue(&job, Instant::now()), read);
        assert_eq!(names(&mut children, "j"), ["made/1", "seen/0", "stopped/2"]);

        children.written(pod("made", "1", 10, Some("j")), Instant::now());
        assert_eq!(
            children.overdue(&job, Instant::now()),
            read[1..],
            "what was read is not read at once again"
        );
        children.found_gone(&job, "stopped", "2");
        assert!(children.overdue(&job, Instant::now()).is_empty());
        tokio::time::advance(CONFIRMED_WITHIN).await;
        assert_eq!(children.overdue(&job, Instant::now()), read[..1]);
    }

    type Step<'a> = &'a dyn Fn(&mut Children<Pod>);

    #[tokio::test]
    async fn a_list_that_shows_an_earlier_state_tells_of_a_restore_unless_we_wrote_since_it_began() {
        let job = JobId::new("ns", "j");
        let deleted = |children: &mut Children<_>| children.delete_asked(&job, "worker", "1", Instant::now());
        let begins = |children: &mut Children<_>| children.lists.begin();
        let written = |children: &mut Children<_>| children.written(pod("worker", "1", 53, Some("j")), Instant::now());
        let asks = |children: &mut Children<_>| children.watch_asks_again();
        let found_gone = |children: &mut Children<_>| children.found_gone(&job, "worker", "1");
        let shown_gone = |children: &mut Children<_>| {
            children.lists.watch_shows(Some(55));
            children.deleted(&pod("worker", "1", 55, Some("j")));
        };
        let cases: [(&str, &[Step<'_>], u64, bool); 14] = [
            ("as it was", &[&begins], 50, false),
            ("written before the watch failed", &[&written, &asks, &begins], 50, true),
            ("written since the watch failed", &[&asks, &written, &begins], 50, false),
            (
                "written before the watch asked for the last time",
                &[&asks, &written, &asks, &begins],
                50,
                true,
            ),
            (
                "written since a list began that broke off",
                &[&begins, &written, &begins],
                50,
                true,
            ),
            ("older", &[&begins], 49, true),
            ("written before", &[&written, &begins], 50, true),
            ("written since", &[&begins, &written], 50, false),
            (
                "deleted before, and a kubelet has written since",
                &[&deleted, &begins],
                60,
                true,
            ),
            ("deleted since", &[&begins, &deleted], 50, false),
            ("found gone before", &[&found_gone, &begins], 50, true),
            ("found gone since", &[&begins, &found_gone], 50, false),
            ("shown gone before", &[&shown_gone, &begins], 50, true),
            ("created since it was shown gone", &[&shown_gone, &begins], 56, false),
        ];
        for (case, steps, version, restored) in cases {
            let mut children = Children::default();
            children.lists.begin();
            children.applied(pod("worker", "1", 50, Some("j")));
            children.list_ends();
            for step in steps {
                step(&mut children);
            }
            children.applied(pod("worker", "1", version, Some("j")));
            assert_eq!(children.restored, restored, "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_own_write_whose_answer_comes_after_the_watch_has_shown_it_is_not_forgotten() {
        let mut children = Children::default();
        children.applied(pod("early", "1", 10, Some("j")));
        children.written(pod("early", "1", 10, Some("j")), Instant::now());
        tokio::time::advance(CONFIRMED_WITHIN).await;
        assert_eq!(names(&mut children, "j"), ["early/1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_whose_answer_comes_after_the_watch_has_shown_its_begin_leaves_the_object_until_it_is_gone() {
        let mut children = Children::default();
        let mut ending = pod("ending", "1", 10, Some("j"));
        ending.fact.terminating = true;
        children.applied(ending.clone());
        children.delete_asked(&JobId::new("ns", "j"), "ending", "1", Instant::now());
        tokio::time::advance(CONFIRMED_WITHIN).await;
        let (pods, unconfirmed) = children.owned_by(&JobId::new("ns", "j"));
        assert_eq!((pods.len(), unconfirmed), (1, false));
        assert!(pods[0].terminating);
    }

    #[tokio::test]
    async fn without_numeric_versions_the_latest_to_arrive_wins() {
        let mut children = Children::default();
        let unnumbered = |uid: &str| Observed {
            version: None,
            ..pod("a", uid, 0, Some("j"))
        };
        children.applied(unnumbered("1"));
        children.applied(unnumbered("2"));
        assert_eq!(names(&mut children, "j"), ["a/2"]);
    }

    #[tokio::test]
    async fn a_reference_to_a_job_of_another_namespace_touches_nothing_of_that_job() {
        let mut children = Children::default();
        children.applied(pod("a", "1", 10, Some("j")));
        let forged = Observed {
            namespace: "other".into(),
            ..pod("a", "2", 11, Some("j"))
        };
        assert_eq!(
            children.applied(forged.clone()),
            [NamespacedName::new("other", "job-j")],
            "a job of its own namespace, if any, is looked at"
        );
        assert_eq!(names(&mut children, "j"), ["a/1"]);
        children.deleted(&forged);
        assert_eq!(names(&mut children, "j"), ["a/1"]);
    }

    #[tokio::test]
    async fn the_first_time_at_which_a_deletion_was_asked_for_is_kept() {
        let at = |second| Some(k8s_openapi::jiff::Timestamp::from_second(second).unwrap());
        let mut children = Children::default();
        for (version, requested) in [(10, None), (11, at(100)), (12, at(105))] {
            let mut pod = pod("a", "1", version, Some("j"));
            pod.fact.deletion_requested = requested;
            children.applied(pod);
        }
        let seen = children.owned_by(&JobId::new("ns", "j")).0;
        assert_eq!(seen[0].deletion_requested, at(100));
    }

    #[tokio::test]
    async fn a_pod_seen_to_succeed_before_its_deletion_goes_on_to_count() {
        let mut children = Children::default();
        let mut pod = pod("a", "1", 10, Some("j"));
        pod.fact.phase = crate::planner::Phase::Succeeded;
        children.applied(pod.clone());
        pod.version = Some(11);
        pod.fact.terminating = true;
        pod.fact.deletion_requested = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        assert!(!pod.fact.succeeded());
        children.applied(pod);
        assert!(children.owned_by(&JobId::new("ns", "j")).0[0].succeeded());
    }
}
