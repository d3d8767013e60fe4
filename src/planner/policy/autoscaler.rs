//! `elasticPolicy.metrics`: a horizontal pod autoscaler for the workers.
//!
//! Kubeflow leaves it behind when the job ends and creates it again for jobs that ended long ago; here it exists
//! exactly while the job may run.

use crate::api::{ChildKind, ChildRef};
use crate::planner::build::autoscaler;
use crate::planner::plan::Action;
use crate::planner::world::World;

const KIND: ChildKind = ChildKind::HorizontalPodAutoscaler;

/// Creates the autoscaler if it is missing and the job asks for one.
#[must_use]
pub fn create(world: &World<'_>) -> Option<Action> {
    let missing = autoscaler::policy(world.job).is_some() && world.others(KIND).next().is_none();
    missing.then_some(Action::Create(ChildRef::of_job(KIND)))
}

/// Deletes the autoscaler: of a job that is suspended or has finished, or that asks for none.
pub fn delete<'a>(world: &World<'a>) -> impl Iterator<Item = Action> + use<'a> {
    let living = world
        .others
        .iter()
        .filter(|child| child.kind == KIND && !child.terminating);
    living.map(Action::delete)
}
