//! What the operator knows: the jobs, and the pods and services they own, as last seen or as last written by ourselves.
//!
//! Each kind has one watch, in a task of its own with its own back-off (`watch`), so that trouble with one does not
//! stop the others. Pods and services are kept as the few facts that decisions need (`view`), indexed by the UID of the
//! owning job (`index`): a whole pod takes a hundred times the memory, and a scan of all pods for each decision a
//! hundred times the time.

mod by_owner;
mod by_state;
mod children;
mod departures;
mod failure;
mod in_place;
mod index;
mod jobs;
mod key;
mod listing;
mod metadata;
mod observed;
mod parts;
mod stored_job;
mod trouble;
mod view;
pub(crate) mod watch;

pub(crate) use children::CONFIRMED_WITHIN;
pub(crate) use index::{Index, Snapshot};
pub(crate) use jobs::Jobs;
pub(crate) use key::{JobId, NamespacedName, identity, job_of};
pub(crate) use stored_job::{StoredJob, Undecodable};
pub(crate) use view::ObjectView;
