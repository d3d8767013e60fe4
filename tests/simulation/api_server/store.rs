//! What is stored, and every change of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::resource::Resource;

/// A stored object.
pub(crate) type Object = Arc<Value>;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &'static Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Object>,
    /// What is stored now, or, of what is gone, as it was in the end.
    pub(crate) after: Object,
    pub(crate) gone: bool,
}

/// The objects, the counter of their versions, and the changes since the last compaction.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Object>,
    version: u64,
    compacted: u64,
    changes: Vec<Change>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            version: 1,
            compacted: 0,
            changes: Vec::new(),
        }
    }
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// The objects of a resource, in all namespaces if none is named.
    pub(crate) fn all<'a>(
        &'a self,
        resource: &'static Resource,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Object> {
        self.entries(resource, namespace).map(|(_, object)| object)
    }

    /// The same with their keys.
    pub(crate) fn entries<'a>(
        &'a self,
        resource: &'static Resource,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Object)> {
        let first = Key::new(resource, namespace, "");
        let within = move |key: &Key| key.resource == resource && (namespace.is_empty() || key.namespace == namespace);
        self.objects.range(first..).take_while(move |(key, _)| within(key))
    }

    /// Stores an object under the next version.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) -> Object {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        self.changes.push(Change {
            version: self.version,
            key,
            before,
            after: object.clone(),
            gone: false,
        });
        object
    }

    /// Removes an object, and returns it as it was in the end, which has a version of its own.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Object> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let mut last = before.as_ref().clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let last = Arc::new(last);
        self.changes.push(Change {
            version: self.version,
            key: key.clone(),
            before: Some(before),
            after: last.clone(),
            gone: true,
        });
        Some(last)
    }

    /// The changes after a version; nothing when they are compacted.
    pub(crate) fn since(&self, version: u64) -> Option<&[Change]> {
        (version >= self.compacted).then(|| {
            let from = self.changes.partition_point(|change| change.version <= version);
            &self.changes[from..]
        })
    }

    pub(crate) fn compact(&mut self) {
        self.compacted = self.version;
        self.changes.clear();
    }

    /// Takes back everything since `earlier`, as a restore of etcd with `--bump-revision` and `--mark-compacted` does:
    /// the objects are the old ones with their old versions, the counter goes on far above all that was ever given out.
    pub(crate) fn restore(&mut self, earlier: &Self) {
        self.objects.clone_from(&earlier.objects);
        self.version += 1_000_000;
        self.compact();
    }
}
