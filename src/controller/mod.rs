//! The shell around the decisions: watches in, requests out.
//!
//! [`run`](run::run) puts it together. Standby replicas keep their caches warm and do nothing else; the queue is filled
//! only once this replica leads. Everything a request needs is bound to what was decided on, so that even two leaders
//! at once would only waste requests.
//!
//! Every file imports only files that stand below it: `run`, `queue`, `reconcile`, `act`, and the requests that `act`
//! makes, in this order.

mod act;
mod applied;
mod context;
mod create;
mod delete;
mod error;
mod events;
mod job_ref;
mod observe;
mod options;
mod pacing;
mod passes;
mod permits;
mod priorities;
mod queue;
mod reconcile;
mod restart;
mod run;
mod settings;
mod store_status;
mod take_over;
mod tell;
mod update;

pub(crate) use options::{Election, Options};
#[cfg(test)]
pub(crate) use run::operate;
pub(crate) use run::run;
