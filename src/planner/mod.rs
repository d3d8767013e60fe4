//! The decisions, pure: a snapshot and the time go in, a plan comes out.
//!
//! Nothing here waits, fails, logs, counts or reads a clock, and a test keeps it so. The laws:
//!
//! * Same input, same plan. Master comes before Worker, then the index.
//! * Status is derived from what was observed, never from what this plan is about to do. One count is not: `active` has
//!   the pods that are about to be created, and is stored before they are, because others give quota away by it.
//! * An outcome is stored before anything is deleted because of it, and a failure is counted before its pod is deleted;
//!   so a crash between any two writes loses nothing. That is why such a plan has a status and no actions: the next one
//!   has the actions.
//! * An outcome comes with its reason, message and completion time in one status, and never changes again.
//! * On an unchanged world, the plan after the last one is empty.
//!
//! One file a policy, named after the API field.

mod amount;
pub(crate) mod build;
mod child;
mod classify;
mod decision;
mod failure;
mod finished;
#[cfg(test)]
#[path = "../../tests/support/fixture.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with tests/plan, which uses the rest")]
mod fixture;
mod gang;
mod in_place;
mod init_container;
mod plan;
pub(crate) mod policy;
mod refusal;
mod replaced_pods;
pub(crate) mod status;
mod unfinished;
pub(crate) mod validate;
mod waiting;
mod wanted;
mod world;

pub use amount::Amount;
pub use build::pod_group::spec as pod_group_spec;
pub use build::{Builder, ask_again, child_labels, patch, resize, template_hash};
pub use child::{AutoscalerSpec, Child, Deletion, Phase, Pod, PodGroup, PodGroupSpec, Progress, Trouble};
pub use classify::{Cause, End, classify};
pub use failure::{EarlierFailure, FailedContainer, Failure};
pub use gang::{Gang, GangScheduler};
pub use in_place::{Asked, Doing, InPlace, Mark, Resource, Restart};
pub use init_container::InitContainer;
pub use plan::{Action, Contents, Count, Event, Plan, StatusWrite, Timer, Urgency, Use};
pub use policy::backoff_limit::in_place as restarts_in_place;
pub use policy::graceful_stop_seconds::{Stopped, scales_down, stops};
pub use refusal::undecodable;
pub use status::accounting::goodput;
pub use status::conditions::{finished, is_true, state};
pub use validate::{Problem, problems};
pub use wanted::{managed_elsewhere, wants_pods};
pub use world::{Settings, World};

/// Decides what to do about one job.
#[must_use]
pub fn plan(world: &World<'_>) -> Plan {
    let status = world.status();
    if managed_elsewhere(world.job) || world.job.metadata.deletion_timestamp.is_some() {
        Plan::default()
    } else if finished(&status) {
        finished::plan(world, &status)
    } else {
        unfinished::plan(world, &status)
    }
}
