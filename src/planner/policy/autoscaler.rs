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
pub(crate) fn create(world: &World<'_>) -> Option<Action> {
    let missing = autoscaler::policy(world.job).is_some() && world.others(KIND).next().is_none();
    missing.then_some(Action::Create(ChildRef::of_job(KIND)))
}

/// Deletes the autoscaler: of a job that is suspended or has finished, or that asks for none.
pub(crate) fn delete<'a>(world: &World<'a>) -> impl Iterator<Item = Action> + use<'a> {
    let living = world
        .others
        .iter()
        .filter(|child| child.kind == KIND && !child.terminating);
    living.map(Action::delete)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::planner::fixture::{JobBuilder, child, elastic_workers};

    fn with_metrics(metrics: serde_json::Value) -> JobBuilder {
        elastic_workers(1, 1, 3).spec("/elasticPolicy/metrics", metrics)
    }

    #[test]
    fn an_elastic_job_with_metrics_gets_one_autoscaler() {
        let metrics = json!([{ "type": "Resource", "resource": { "name": "cpu" } }]);
        let existing = [child(KIND, "job", "h")];
        for (job, there, expected) in [
            (
                with_metrics(metrics.clone()),
                &[][..],
                Some(Action::Create(ChildRef::of_job(KIND))),
            ),
            (with_metrics(metrics), &existing, None),
            (with_metrics(json!([])), &[], None),
            (elastic_workers(1, 1, 3), &[], None),
        ] {
            let mut scene = job.scene();
            scene.others = there.to_vec();
            assert_eq!(create(&scene.world()), expected, "{:?}", scene.job.spec.elastic_policy);
        }
    }

    #[test]
    fn a_terminating_autoscaler_is_not_deleted_again() {
        let mut scene = elastic_workers(1, 1, 3).scene();
        scene.others = vec![child(KIND, "job", "h")];
        scene.others[0].terminating = true;
        assert_eq!(delete(&scene.world()).count(), 0);
    }
}
