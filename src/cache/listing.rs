//! The lists of one kind.

use std::collections::HashSet;

use crate::cache::key::NamespacedName;
use crate::defects::{Defect, back};

/// The list that is under way, and the one that may come next.
///
/// A list shows what was stored when it was asked for, and begins to arrive later. So what we write counts from when it
/// is asked for.
#[derive(Debug)]
pub(super) struct Lists {
    current: Option<Listing>,
    next: Option<Listing>,
    /// Up to which version everything was shown.
    complete_to: u64,
}

impl Default for Lists {
    /// The first list may have been asked for already.
    fn default() -> Self {
        Self {
            current: None,
            next: Some(Listing::default()),
            complete_to: 0,
        }
    }
}

/// What is known of one list.
#[derive(Debug, Default)]
pub(super) struct Listing {
    shown: HashSet<NamespacedName>,
    /// The newest version that it has shown.
    newest: u64,
    written: HashSet<NamespacedName>,
    /// What is kept of them may be newer than the list.
    overtaken: HashSet<NamespacedName>,
    /// The list may be older than the doubt.
    doubted: HashSet<NamespacedName>,
    /// Whether it may have been made before this replica led.
    of_before: bool,
}

impl Lists {
    /// The watch is about to ask again after an error, and a list may answer it.
    pub(super) fn watch_asks_again(&mut self) {
        self.next = (!back(Defect::LateList)).then(Listing::default);
    }

    /// The watch goes on where it was, and shows a change of this version.
    pub(super) fn watch_shows(&mut self, version: Option<u64>) {
        self.next = None;
        self.complete_to = self.complete_to.max(version.unwrap_or(0));
    }

    /// Whether earlier lists and the watch have shown all that was written up to this version. Of what is not kept at
    /// such a version, they have shown that it is gone.
    pub(super) fn has_told_of(&self, version: Option<u64>) -> bool {
        version.is_some_and(|version| version <= self.complete_to)
    }

    /// This replica begins to lead.
    pub(super) fn take_over(&mut self) {
        self.open().for_each(|listing| listing.of_before = true);
    }

    /// A list begins. One that broke off before its end, without an error, is followed by one that goes by pages, which
    /// is asked for after this.
    pub(super) fn begin(&mut self) {
        self.current = Some(self.next.take().unwrap_or_default());
    }

    /// The list is complete.
    pub(super) fn end(&mut self) -> Option<Listing> {
        self.next = None;
        let listing = self.current.take()?;
        self.complete_to = self.complete_to.max(listing.newest);
        Some(listing)
    }

    /// A list shows an object, if one is under way. Whether it knows best of it: what was kept of it before is no
    /// newer, unless etcd was restored.
    pub(super) fn shows(&mut self, key: &NamespacedName, version: Option<u64>) -> bool {
        let Some(listing) = &mut self.current else { return false };
        listing.shown.insert(key.clone());
        listing.newest = listing.newest.max(version.unwrap_or(0));
        !listing.overtaken.contains(key) && !back(Defect::Ghosts)
    }

    /// We wrote an object.
    pub(super) fn wrote(&mut self, key: &NamespacedName) {
        for listing in self.open() {
            listing.written.insert(key.clone());
        }
        self.overtaken(key);
    }

    /// An answer has told of an object.
    pub(super) fn overtaken(&mut self, key: &NamespacedName) {
        for listing in self.open() {
            listing.overtaken.insert(key.clone());
        }
    }

    /// What is kept of an object is doubted.
    pub(super) fn doubted(&mut self, key: &NamespacedName) {
        for listing in self.open() {
            listing.doubted.insert(key.clone());
        }
    }

    /// Whether the list that is under way was asked for after the last doubt of an object, and since this replica
    /// leads: to begin to lead is a doubt of all objects, also of those that are not kept.
    pub(super) fn ends_doubt(&self, key: &NamespacedName) -> bool {
        let listing = self.current.as_ref();
        listing.is_some_and(|listing| !listing.of_before && !listing.doubted.contains(key))
    }

    fn open(&mut self) -> impl Iterator<Item = &mut Listing> {
        self.current.iter_mut().chain(&mut self.next)
    }
}

impl Listing {
    /// Whether the list may have been made before this replica led.
    pub(super) fn is_of_before(&self) -> bool {
        self.of_before
    }

    /// Whether the list has shown an object.
    pub(super) fn has_shown(&self, key: &NamespacedName) -> bool {
        self.shown.contains(key)
    }

    /// Whether an object exists, as far as it is known: the list has shown it, or we wrote it since.
    pub(super) fn has(&self, key: &NamespacedName) -> bool {
        self.has_shown(key) || self.written.contains(key)
    }
}
