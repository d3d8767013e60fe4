//! A list that is under way.

use std::collections::HashSet;

use crate::cache::key::NamespacedName;
use crate::defects::{Defect, back};

/// What is known of a list that has begun and is not complete.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// What exists, as far as it is known: shown by the list, or written by us since it began.
    exists: HashSet<NamespacedName>,
    /// What we wrote or deleted since it began. Of everything else the list knows best.
    written: HashSet<NamespacedName>,
}

impl Listing {
    /// The list shows an object. Whether the list knows best of it: what was kept of it before is no newer, unless etcd
    /// was restored.
    pub(super) fn shows(&mut self, key: &NamespacedName) -> bool {
        self.exists.insert(key.clone());
        !self.written.contains(key) && !back(Defect::Ghosts)
    }

    /// We wrote an object.
    pub(super) fn wrote(&mut self, key: &NamespacedName) {
        self.exists.insert(key.clone());
        self.written.insert(key.clone());
    }

    /// We asked for the deletion of an object.
    pub(super) fn delete_asked(&mut self, key: NamespacedName) {
        self.written.insert(key);
    }

    /// Whether an object exists, now that the list is complete.
    pub(super) fn has(&self, key: &NamespacedName) -> bool {
        self.exists.contains(key)
    }
}
