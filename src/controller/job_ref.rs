//! The job that requests are about.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{ChildKind, ChildRef, PyTorchJob};
use crate::cache::{JobId, NamespacedName};
use crate::controller::error::Error;

/// A job and its coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobRef<'a> {
    /// The job as the plan was made for it.
    pub object: &'a PyTorchJob,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// UID.
    pub uid: &'a str,
    /// resourceVersion that the plan was made for.
    pub version: &'a str,
}

impl<'a> JobRef<'a> {
    /// The coordinates of a job from the API server, which has them all.
    #[must_use]
    pub(super) fn of(job: &'a PyTorchJob) -> Self {
        let text = |value: &'a Option<String>| value.as_deref().unwrap_or_default();
        let metadata = &job.metadata;
        Self {
            object: job,
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            version: text(&metadata.resource_version),
        }
    }

    /// The job as the owner of its objects.
    #[must_use]
    pub(super) fn id(&self) -> JobId {
        JobId::new(self.namespace, self.uid)
    }

    /// The job as the cache knows it.
    #[must_use]
    pub(super) fn key(&self) -> NamespacedName {
        NamespacedName::new(self.namespace, self.name)
    }

    /// Whether this very job controls the object.
    #[must_use]
    pub(super) fn owns(&self, object: &ObjectMeta) -> bool {
        controller(object).is_some_and(|owner| owner.uid == self.uid)
    }

    /// The error of a job that changed meanwhile.
    #[must_use]
    pub(super) fn conflict(&self) -> Error {
        Error::Conflict {
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
        }
    }

    /// The error of an object of the job that could not be created.
    #[must_use]
    pub(super) fn not_created(&self, child: ChildRef, source: Box<kube::Error>) -> Error {
        Error::Create {
            kind: child.kind,
            namespace: self.namespace.to_owned(),
            name: child.name(self.name),
            source,
        }
    }

    /// The error of an object of the job that could not be changed.
    #[must_use]
    pub(super) fn not_updated(&self, child: ChildRef, source: Box<kube::Error>) -> Error {
        Error::Update {
            kind: child.kind,
            namespace: self.namespace.to_owned(),
            name: child.name(self.name),
            source,
        }
    }

    /// The error of an object of the job that could not be deleted.
    #[must_use]
    pub(super) fn not_deleted(&self, kind: ChildKind, name: &str, source: Box<kube::Error>) -> Error {
        Error::Delete {
            kind,
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
            source,
        }
    }

    /// The error of the job itself when it could not be deleted.
    #[must_use]
    pub(super) fn not_deleted_itself(&self, source: Box<kube::Error>) -> Error {
        Error::DeleteJob {
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
            source,
        }
    }

    /// The error of a job that is not there any more.
    #[must_use]
    pub(super) fn gone(&self) -> Error {
        Error::Gone {
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
        }
    }

    /// The error of a name that somebody else's object has.
    #[must_use]
    pub(super) fn name_taken(&self, kind: ChildKind, object: &ObjectMeta) -> Error {
        Error::NameTaken {
            kind,
            namespace: self.namespace.to_owned(),
            name: object.name.clone().unwrap_or_default(),
            owner: controller(object).map_or_else(
                || "nobody".into(),
                |owner| format!("{} {}, UID {}", owner.kind, owner.name, owner.uid),
            ),
            terminating: object.deletion_timestamp.is_some(),
        }
    }
}

fn controller(object: &ObjectMeta) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> {
    object
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}
