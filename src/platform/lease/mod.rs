//! Leader election over one `Lease`, so that of several replicas exactly one writes.
//!
//! [`decide`](self::decide::decide) is the rule, a pure function. [`Elector`] asks the API server and obeys it.
//! [`Fence`] is what the rest of the program sees: every mutating request consults it just before it is sent, so that
//! a leader that was stopped and wakes up after its time cannot write. The lease, its timing and the form of the
//! record are those of client-go, with which it can share a `Lease` object during a migration; what differs is the
//! fence, and that a candidate looks more often than it would have to.

mod decide;
mod elector;
mod error;
mod fence;
mod identity;

pub(crate) use decide::Timing;
pub(crate) use elector::{Config, Elector};
pub(crate) use error::LeadershipLost;
pub(crate) use fence::{Fence, Fenced};
pub(crate) use identity::{NamespaceUnknown, identity, namespace};
