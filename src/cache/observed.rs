//! Objects as they are seen or written.

use crate::cache::by_owner::Fact;
use crate::cache::key::NamespacedName;
use crate::planner::{Child, Pod};
use crate::platform::clock;

/// The job that controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// UID of the job: a recreated job of the same name is another one.
    pub uid: String,
    /// Its name; the namespace is the object's.
    pub job: String,
}

/// An object as seen or written.
#[derive(Clone, Debug)]
pub(crate) struct Observed<T> {
    /// Namespace.
    pub namespace: String,
    /// resourceVersion, where it is a number.
    pub version: Option<u64>,
    /// The job that controls it.
    pub owner: Option<Owner>,
    /// What decisions need to know of it.
    pub fact: T,
}

impl<T: Fact> Observed<T> {
    /// Its namespace and name.
    pub(super) fn key(&self) -> NamespacedName {
        NamespacedName::new(&self.namespace, self.fact.name())
    }
}

impl Fact for Pod {
    fn name(&self) -> &str {
        &self.name
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn terminating(&self) -> bool {
        self.terminating
    }

    fn terminate(&mut self) {
        self.terminating = true;
    }

    // A request with no grace, as the kubelet makes once the containers have ended, hides the time of the first one.
    // Who saw the pod before knows better.
    fn inherit(&mut self, earlier: Option<&Self>) {
        if let Some(progress) = &mut self.progress {
            progress.inherit(earlier.and_then(|earlier| earlier.progress.as_deref()), clock::now());
        }
        let Some(earlier) = earlier else { return };
        self.terminating |= earlier.terminating;
        let ended_before = earlier.deletion_requested.is_none() && earlier.succeeded();
        self.deletion_requested = earlier
            .deletion_requested
            .or_else(|| self.deletion_requested.filter(|_| !ended_before));
    }
}

impl Fact for Child {
    fn name(&self) -> &str {
        &self.name
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn terminating(&self) -> bool {
        self.terminating
    }

    fn terminate(&mut self) {
        self.terminating = true;
    }

    fn inherit(&mut self, earlier: Option<&Self>) {
        self.terminating |= earlier.is_some_and(|earlier| earlier.terminating);
    }
}
