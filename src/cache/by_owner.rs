//! Where the objects of one kind are kept: by the job that owns them, and by name.
//!
//! A cluster has thousands of jobs, and most of them own a handful of objects of a kind: what these share is stored
//! once, and a job takes no more room than its objects need, or nearly so.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cache::key::{JobId, NamespacedName};

/// What is kept of an object.
pub(crate) trait Fact: Clone {
    /// Its name, which is unique among the objects of its kind in the namespace.
    fn name(&self) -> &str;
    /// Its UID.
    fn uid(&self) -> &str;
    /// Whether deletion has begun.
    fn terminating(&self) -> bool;
    /// Records that deletion has begun.
    fn terminate(&mut self);
    /// Takes over what stays true of the same object, whatever a later view of it says. Nothing was seen of it before,
    /// or nothing that counts, where there is no earlier view.
    fn inherit(&mut self, earlier: Option<&Self>);
}

/// An object, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    /// resourceVersion, where it is a number.
    pub version: Option<u64>,
    /// Name of the job that owns it.
    pub job: String,
    /// What decisions need to know of it.
    pub fact: T,
    /// Since when we know of an own write that the watch has not shown.
    pub unconfirmed: Option<Instant>,
    /// Whether its deletion was asked for here.
    pub deleting: bool,
    /// Whether it was ever: a request that was not answered may have been carried out.
    pub asked: bool,
    /// Whether the API server has answered with it since this replica leads.
    pub answered: bool,
}

impl<T: Fact> Entry<T> {
    /// Whether it is the very object with this UID.
    pub(super) fn is(&self, uid: &str) -> bool {
        self.fact.uid() == uid
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct ByOwner<T> {
    /// Those of each job, sorted by name. They are boxed, or one more among thousands would move half of them.
    jobs: HashMap<Arc<JobId>, Vec<Box<Entry<T>>>>,
    /// The owner of each object, by namespace and name.
    owners: HashMap<String, HashMap<Box<str>, Arc<JobId>>>,
    count: usize,
}

impl<T> Default for ByOwner<T> {
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            owners: HashMap::new(),
            count: 0,
        }
    }
}

impl<T: Fact> ByOwner<T> {
    /// Number of objects.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The names of all objects, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = NamespacedName> + '_ {
        self.owners.iter().flat_map(|(namespace, owners)| {
            let names = owners.keys();
            names.map(move |name| NamespacedName::new(namespace, name))
        })
    }

    /// The job that owns the object of this name.
    pub(super) fn owner(&self, key: &NamespacedName) -> Option<&JobId> {
        self.owners.get(&key.namespace)?.get(&*key.name).map(Arc::as_ref)
    }

    /// The object of this name.
    pub(super) fn get(&self, key: &NamespacedName) -> Option<&Entry<T>> {
        self.of(self.owner(key)?, &key.name)
    }

    /// The object of this name that the job owns.
    pub(super) fn of(&self, owner: &JobId, name: &str) -> Option<&Entry<T>> {
        let objects = self.jobs.get(owner)?;
        Some(&objects[position(objects, name).ok()?])
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, owner: &JobId, name: &str) -> Option<&mut Entry<T>> {
        let objects = self.jobs.get_mut(owner)?;
        let position = position(objects, name).ok()?;
        Some(&mut objects[position])
    }

    /// All that the job owns, sorted by name.
    pub(super) fn owned_by(&self, owner: &JobId) -> impl Iterator<Item = &Entry<T>> {
        self.jobs.get(owner).into_iter().flatten().map(Box::as_ref)
    }

    /// All of all jobs, to be changed.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry<T>> {
        self.jobs.values_mut().flatten().map(Box::as_mut)
    }

    /// Keeps an object that the job owns, in the place of the one of its name that the job owned. One that another job
    /// owned has to be removed first.
    pub(super) fn insert(&mut self, key: NamespacedName, owner: JobId, entry: Entry<T>) {
        let job = self.jobs.entry(Arc::new(owner));
        let owner = Arc::clone(job.key());
        let objects = job.or_default();
        match position(objects, &key.name) {
            Ok(at) => *objects[at] = entry,
            Err(at) => objects.insert(at, Box::new(entry)),
        }
        let owners = self.owners.entry(key.namespace).or_default();
        if owners.insert(key.name.into(), owner).is_none() {
            self.count += 1;
        }
    }

    /// Forgets the object of this name.
    pub(super) fn remove(&mut self, key: &NamespacedName) -> Option<Entry<T>> {
        let owners = self.owners.get_mut(&key.namespace)?;
        let owner = owners.remove(&*key.name)?;
        self.count -= 1;
        if owners.is_empty() {
            self.owners.remove(&key.namespace);
        }
        let objects = self.jobs.get_mut(&*owner)?;
        let at = position(objects, &key.name).ok()?;
        let entry = objects.remove(at);
        if objects.is_empty() {
            self.jobs.remove(&*owner);
        }
        Some(*entry)
    }
}

fn position<T: Fact>(objects: &[Box<Entry<T>>], name: &str) -> Result<usize, usize> {
    objects.binary_search_by(|entry| entry.fact.name().cmp(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::Pod;

    fn entry(name: &str, uid: &str) -> Entry<Pod> {
        Entry {
            version: None,
            job: "job".into(),
            fact: Pod {
                name: name.into(),
                uid: uid.into(),
                ..Pod::default()
            },
            unconfirmed: None,
            deleting: false,
            asked: false,
            answered: false,
        }
    }

    #[test]
    fn objects_are_found_by_name_and_by_owner_sorted_and_what_is_removed_leaves_nothing_behind() {
        let (mut objects, job) = (ByOwner::default(), JobId::new("ns", "u"));
        for (name, uid) in [("b", "1"), ("c", "2"), ("a", "3"), ("b", "4")] {
            objects.insert(NamespacedName::new("ns", name), job.clone(), entry(name, uid));
        }
        let other = NamespacedName::new("other", "b");
        objects.insert(other.clone(), JobId::new("other", "v"), entry("b", "5"));
        let owned = |objects: &ByOwner<Pod>| {
            let owned = objects.owned_by(&job).map(|entry| entry.fact.uid.clone());
            owned.collect::<Vec<_>>()
        };
        assert_eq!(
            (objects.len(), owned(&objects)),
            (4, ["3", "4", "2"].map(Into::into).into())
        );
        let key = |name| NamespacedName::new("ns", name);
        assert!(objects.get(&key("c")).unwrap().is("2"));
        assert_eq!(objects.owner(&key("c")), Some(&job));
        assert!(objects.of_mut(&job, "d").is_none() && objects.get(&key("d")).is_none());

        for name in ["a", "b", "c"] {
            assert_eq!(objects.remove(&key(name)).unwrap().fact.name, name);
            assert!(objects.remove(&key(name)).is_none());
        }
        assert!(owned(&objects).is_empty());
        assert_eq!(objects.names().collect::<Vec<_>>(), [other]);
        assert_eq!((objects.len(), objects.jobs.len(), objects.owners.len()), (1, 1, 1));
    }
}
