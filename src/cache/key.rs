//! What jobs and objects are known by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::names;
use crate::defects::{Defect, back};

/// An object of a kind, by its name: what the queue knows a job by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NamespacedName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl NamespacedName {
    /// The object of this name in this namespace.
    #[must_use]
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// The owner of an object, as the API server enforces it: an owner reference never leaves its namespace. A reference
/// that carries the UID of a job in another namespace is anybody's to write, and means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobId {
    /// Namespace of the job and of everything it owns.
    pub namespace: String,
    /// UID of the job.
    pub uid: String,
}

impl JobId {
    /// The job with this UID in this namespace.
    #[must_use]
    pub(crate) fn new(namespace: &str, uid: &str) -> Self {
        let namespace = if back(Defect::ForgedChild) { "" } else { namespace };
        Self {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        }
    }
}

/// Whether what we have is newer than what comes. Without numbers, the latest to arrive wins.
pub(super) fn is_newer(have: Option<u64>, comes: Option<u64>) -> bool {
    have.zip(comes).is_some_and(|(have, comes)| have > comes)
}

/// Namespace, name and UID of the object, as the API server has given them.
#[must_use]
pub(crate) fn identity(object: &ObjectMeta) -> [&str; 3] {
    [&object.namespace, &object.name, &object.uid].map(|text| text.as_deref().unwrap_or_default())
}

/// The job that controls the object.
#[must_use]
pub(crate) fn job_of(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|owner| {
        owner.controller == Some(true) && owner.kind == names::KIND && owner.api_version == names::API_VERSION
    })
}
