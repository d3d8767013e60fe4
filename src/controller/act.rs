//! Carries out the changes of a plan.
//!
//! Every request is safe to repeat and safe to send late: names are deterministic, deletions name the UID, and the deletion of a job
//! also the resourceVersion that was decided on.

use super::Context;
use super::create::create;
use super::delete::delete;
use super::error::Error;
use super::job_ref::Target;
use crate::planner::Action;

/// Requests of one job under way at once.
pub const FAN_OUT: usize = 32;

/// What came of the changes of one plan.
#[derive(Debug, Default)]
pub struct Acted {
    /// Names of the pods that were created, in order.
    pub created: Vec<String>,
    /// Names of the pods that were deleted.
    pub deleted: Vec<String>,
    /// The first change that failed. Those that were under way with it were carried out, later ones were not.
    pub error: Option<Error>,
}

/// Carries out `actions`: deletions first, then creations.
pub async fn act(context: &Context, target: &Target<'_>, actions: &[Action]) -> Acted {
    let mut acted = Acted::default();
    delete(context, target, actions, &mut acted).await;
    if acted.error.is_none() {
        create(context, target, actions, &mut acted).await;
    }
    acted
}
