//! What can go wrong while a plan is carried out.

use std::time::Duration;

use kube::core::response::{StatusCause, StatusDetails};

use crate::api::{ChildKind, shortened};
use crate::controller::pacing::Refusal;
use crate::platform::client::{Unanswered, is_fenced};
use crate::platform::logs::with_causes;

/// The most that a status says of a refusal.
const REFUSAL_BYTES: usize = 1024;

/// A reconcile that failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct ReconcileError {
    /// What went wrong.
    pub error: Error,
    /// When the job has to be looked at whatever the back-off says: a deadline does not wait for a quota.
    pub retry_by: Option<Duration>,
    /// The pause that the API server has asked for.
    pub asked: Duration,
}

impl From<Error> for ReconcileError {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry_by: None,
            asked: Duration::ZERO,
        }
    }
}

/// A change that could not be made. Every variant says what was attempted and on what.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// An object of the job could not be created.
    #[error("cannot create {kind} {namespace}/{name}: {}", api_message(source))]
    Create {
        /// What it is.
        kind: ChildKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// An object of that name exists already and belongs to somebody else.
    #[error(
        "cannot create {kind} {namespace}/{name}: one of that name exists and is controlled by {owner}; the job waits until it is gone"
    )]
    NameTaken {
        /// What it is.
        kind: ChildKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Who controls it.
        owner: String,
        /// Whether it is terminating, as the pods of a deleted job of the same name.
        terminating: bool,
    },
    /// An object of the job could not be deleted.
    #[error("cannot delete {kind} {namespace}/{name}: {}", api_message(source))]
    Delete {
        /// What it is.
        kind: ChildKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// What the job asks for could not be written into an object of it.
    #[error("cannot update {kind} {namespace}/{name}: {}", api_message(source))]
    Update {
        /// What it is.
        kind: ChildKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// The job itself could not be deleted when its time had come.
    #[error("cannot delete pytorchjob {namespace}/{name}: {}", api_message(source))]
    DeleteJob {
        /// Namespace of the job.
        namespace: String,
        /// Name of the job.
        name: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// The job, or a pod of it, could not be read, which is done only when what is kept of it is uncertain.
    #[error("cannot read {kind} {namespace}/{name}: {}", api_message(source))]
    Read {
        /// What it is.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// The status could not be stored.
    #[error("cannot store the status of pytorchjob {namespace}/{name}: {}", api_message(source))]
    Status {
        /// Namespace of the job.
        namespace: String,
        /// Name of the job.
        name: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// The job changed while the plan was carried out. Not a fault: the change itself brings the next reconcile.
    #[error("pytorchjob {namespace}/{name} has changed in the meantime")]
    Conflict {
        /// Namespace of the job.
        namespace: String,
        /// Name of the job.
        name: String,
    },
    /// The job is gone, or another one has its name. The watch is about to show it.
    #[error("pytorchjob {namespace}/{name} is gone")]
    Gone {
        /// Namespace of the job.
        namespace: String,
        /// Name of the job.
        name: String,
    },
    /// A reconcile took too long and was given up.
    #[error("reconcile not done after {0:?}")]
    Deadline(Duration),
    /// A reconcile panicked. Only its own job is affected.
    #[error("reconcile panicked: {0}")]
    Panicked(String),
}

impl Error {
    /// Whether it is part of normal life and neither logged as an error nor backed off from.
    #[must_use]
    pub(super) fn is_benign(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Gone { .. } => true,
            Self::NameTaken { terminating, .. } => *terminating,
            Self::Create { source, .. } => is_fenced(source) || is_of_ending_namespace(source),
            Self::Delete { source, .. }
            | Self::Update { source, .. }
            | Self::DeleteJob { source, .. }
            | Self::Status { source, .. } => is_fenced(source),
            Self::Read { .. } | Self::Deadline(_) | Self::Panicked(_) => false,
        }
    }

    /// Whether the namespace is being deleted, and the job with it. No other attempt is worth making.
    #[must_use]
    pub(super) fn is_end_of_namespace(&self) -> bool {
        matches!(self, Self::Create { source, .. } if is_of_ending_namespace(source))
    }

    /// Whether the job, its namespace or its neighbours are the cause, and not the operator or the cluster: a pod that
    /// is invalid or that a quota or an admission plugin refuses, a name that is taken.
    #[must_use]
    pub(super) fn is_of_user(&self) -> bool {
        match self {
            Self::Create { source, .. } | Self::Update { source, .. } => is_refusal(source),
            Self::NameTaken { .. } => true,
            Self::Status { .. } => self.is_invalid(),
            _ => false,
        }
    }

    /// What the job's owner has to know while a creation is refused, in at most [`REFUSAL_BYTES`].
    #[must_use]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let kind = match self {
            Self::Create { source, .. } if is_awaited(source) => Refusal::Awaited,
            Self::Create { source, .. } if is_told(source) && !self.is_benign() => Refusal::Answered,
            Self::NameTaken { .. } => Refusal::Answered,
            _ => return None,
        };
        Some(kind(shortened(self.to_string(), REFUSAL_BYTES)))
    }

    /// Whether the API server did not answer, or could not because of a fault or the load of its own.
    #[must_use]
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Create { source, .. }
            | Self::Delete { source, .. }
            | Self::Update { source, .. }
            | Self::DeleteJob { source, .. }
            | Self::Read { source, .. }
            | Self::Status { source, .. } => !is_answer(source) || is_throttled(source),
            Self::Deadline(_) => true,
            Self::Conflict { .. } | Self::Gone { .. } | Self::NameTaken { .. } | Self::Panicked(_) => false,
        }
    }

    /// Whether what was asked for may have been done all the same.
    #[must_use]
    pub(super) fn may_be_done(&self) -> bool {
        matches!(self, Self::Status { source, .. } if !is_answer(source))
    }

    /// The one of several to tell of and to back off from: the first that is not benign, or else the first.
    #[must_use]
    pub(super) fn most_severe(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        // Of equals, the first.
        errors.into_iter().min_by_key(Self::is_benign)
    }

    /// Whether the API server refused a status because of what else is in the object: an edit can help, another attempt
    /// cannot.
    #[must_use]
    pub(super) fn is_invalid(&self) -> bool {
        matches!(self, Self::Status { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.is_invalid()))
    }
}

/// Whether the API server refused the request, so that nothing was changed. After a server error, or none at all, it
/// may have been.
pub(super) fn is_answer(error: &kube::Error) -> bool {
    is_fenced(error) || matches!(error, kube::Error::Api(status) if status.code < 500)
}

/// Whether the API server has too much to do, or too many who use the same quota at once.
fn is_throttled(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 429 || status.is_conflict())
}

/// Whether the owner of a job is told why something is not there: somebody is against it, or an admission webhook says
/// nothing. The API server then answers with a fault of its own, or not yet.
fn is_told(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.message.contains("failed calling webhook") => true,
        other => is_answer(other) && !is_throttled(other),
    }
}

fn is_awaited(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(cause) if cause.is::<Unanswered>())
}

/// Whether the API server refuses to create anything more in the namespace, or has none of that name any more.
fn is_of_ending_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let details = status.details.as_ref();
    let terminating = |cause: &StatusCause| cause.reason == "NamespaceTerminating";
    (status.is_forbidden() && details.is_some_and(|details| details.causes.iter().any(terminating)))
        || (status.is_not_found() && details.is_some_and(|details| details.kind == "namespaces"))
}

/// Whether the API server refused a change because of the object: by validation, a quota or an admission plugin. A
/// missing right of the operator is another matter: it is found before the object is read, so the answer to a creation
/// names the resource alone, and any answer the user who lacks it.
fn is_refusal(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let names_resource_alone = |details: &StatusDetails| details.name.is_empty() && !details.kind.is_empty();
    let of_right = status.message.contains(" is forbidden: User \"");
    match status.code {
        403 => !of_right && !status.details.as_ref().is_some_and(names_resource_alone),
        code => matches!(code, 400 | 413 | 422),
    }
}

/// What the API server said, or why it did not. kube's own text repeats it as the dump of a structure, or names the
/// first of several causes alone, and events are read by people.
pub(super) fn api_message(source: &kube::Error) -> String {
    match source {
        kube::Error::Api(status) => status.message.clone(),
        kube::Error::Service(cause) => with_causes(cause.as_ref()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_namesake_that_goes_does_not_hide_a_refusal() {
        let waits = || Error::NameTaken {
            kind: ChildKind::Pod,
            namespace: "ns".into(),
            name: "job-master-0".into(),
            owner: "PyTorchJob job".into(),
            terminating: true,
        };
        let refused = |seconds| Error::Deadline(Duration::from_secs(seconds));
        let told = |errors: Vec<Error>| Error::most_severe(errors).map(|error| error.to_string());
        assert_eq!(told(vec![]), None);
        assert_eq!(told(vec![waits()]), Some(waits().to_string()));
        assert_eq!(
            told(vec![waits(), refused(1), refused(2)]),
            Some(refused(1).to_string())
        );
        assert_eq!(told(vec![refused(1), waits()]), Some(refused(1).to_string()));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_api_server() {
        let quota = "pods \"job-master-0\" is forbidden: exceeded quota: none";
        let error = Error::Create {
            kind: ChildKind::Pod,
            namespace: "ns".into(),
            name: "job-master-0".into(),
            source: Box::new(kube::Error::Api(
                Status::failure(quota, "Forbidden").with_code(403).boxed(),
            )),
        };
        assert_eq!(error.to_string(), format!("cannot create pod ns/job-master-0: {quota}"));
    }

    fn not_created(source: kube::Error) -> Error {
        Error::Create {
            kind: ChildKind::Pod,
            namespace: "ns".into(),
            name: "job-master-0".into(),
            source: Box::new(source),
        }
    }

    fn answer(code: u16, message: &str) -> kube::Error {
        let details = serde_json::json!({ "name": "job-master-0", "kind": "pods" });
        let details = serde_json::from_value(details).unwrap();
        let status = Status::failure(message, "").with_code(code).with_details(details);
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn the_owner_is_told_what_is_against_a_pod_and_not_that_the_api_server_is_busy() {
        let quota = "pods \"job-master-0\" is forbidden: exceeded quota: none";
        let right = "pods \"job-master-0\" is forbidden: User \"operator\" cannot patch resource \"pods\"";
        let webhook = "Internal error occurred: failed calling webhook \"policy.example\": context deadline exceeded";
        let others = "Operation cannot be fulfilled on resourcequotas \"compute\": the object has been modified";
        let others_use_the_quota = kube::Error::Api(Status::failure(others, "Conflict").with_code(409).boxed());
        let silence = kube::Error::Service(Unanswered.into());
        for (source, told, of_user, outage) in [
            (answer(403, quota), true, true, false),
            (answer(403, right), true, false, false),
            (answer(422, "Pod \"job-master-0\" is invalid"), true, true, false),
            (answer(429, "Too many requests"), false, false, true),
            (others_use_the_quota, false, false, true),
            (answer(500, webhook), true, false, true),
            (answer(503, "the server is currently unable"), false, false, true),
            (silence, true, false, true),
            (kube::Error::Service("connection refused".into()), false, false, true),
        ] {
            let error = not_created(source);
            let is = (error.refusal().is_some(), error.is_of_user(), error.is_outage());
            assert_eq!(is, (told, of_user, outage), "told, of the user, outage: {error}");
        }
    }

    #[test]
    fn what_stands_behind_an_error_of_the_connection_is_named() {
        #[derive(Debug, thiserror::Error)]
        #[error("client error (Connect)")]
        struct Connect(#[source] std::io::Error);
        let error = not_created(kube::Error::Service(
            Connect(std::io::Error::other("connection refused")).into(),
        ));
        let expected = "cannot create pod ns/job-master-0: client error (Connect): connection refused";
        assert_eq!(error.to_string(), expected);
    }
}
