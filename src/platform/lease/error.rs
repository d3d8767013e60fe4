//! What can go wrong with the lease.

use std::time::Duration;

/// Why a leader leads no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeadershipLost {
    /// No renewal came through in time.
    #[error("the leader lease {lease} could not be renewed for {deadline:?}: {cause}")]
    Expired {
        /// Namespace and name of the lease.
        lease: String,
        /// [`Timing::renew_deadline`](super::Timing::renew_deadline).
        deadline: Duration,
        /// What went wrong last.
        cause: String,
    },
    /// The record names another holder, or none.
    #[error("the leader lease {lease} was taken away and is now held by {}", .holder.as_deref().unwrap_or("nobody"))]
    Taken {
        /// Namespace and name of the lease.
        lease: String,
        /// The new holder.
        holder: Option<String>,
    },
}

/// A request about the lease that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused it or could not be reached.
    #[error("cannot {verb} the leader lease {lease}: {source}")]
    Api {
        /// `read`, `create` or `update`.
        verb: &'static str,
        /// Namespace and name of the lease.
        lease: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// No answer within [`Timing::request_timeout`](super::Timing::request_timeout).
    #[error("cannot {verb} the leader lease {lease}: no answer from the API server within {after:?}")]
    Timeout {
        /// `read`, `create` or `update`.
        verb: &'static str,
        /// Namespace and name of the lease.
        lease: String,
        /// How long was waited.
        after: Duration,
    },
}

impl Error {
    /// Somebody else wrote, or created, the lease in between.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.is_conflict() || status.is_already_exists(),
                _ => false,
            },
            Self::Timeout { .. } => false,
        }
    }
}
