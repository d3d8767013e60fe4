//! `elasticPolicy.metrics`: a horizontal pod autoscaler for the workers.
//!
//! Kubeflow leaves it behind when the job ends and creates it again for jobs that ended long ago; here it exists
//! exactly while the job may run. One whose target, bounds or metrics somebody has changed is set back; how fast it
//! scales is left to the user.

use crate::api::{ChildKind, ChildRef};
use crate::planner::build::autoscaler;
use crate::planner::plan::{Action, Contents};
use crate::planner::world::World;

const KIND: ChildKind = ChildKind::HorizontalPodAutoscaler;

/// Creates the autoscaler if the job asks for one, or writes into it what the job asks for now. Deletes the one of a
/// job that asks for none.
#[must_use]
pub(crate) fn reconcile(world: &World<'_>) -> Option<Action> {
    let Some(wanted) = autoscaler::spec(world.job) else {
        return delete(world).next();
    };
    let child = ChildRef::of_job(KIND);
    let Some(existing) = world.others(KIND).next() else {
        return Some(Action::Create(child));
    };
    let stored = existing.autoscaler.as_ref();
    let differs = stored.is_none_or(|stored| !autoscaler::has(stored, &wanted));
    (differs && !existing.terminating).then(|| Action::Update {
        child,
        uid: existing.uid.clone(),
        contents: Contents::Autoscaler(wanted),
    })
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
    use serde_json::{Value, json};

    use super::*;
    use crate::planner::child::AutoscalerSpec;
    use crate::planner::fixture::{JobBuilder, child, elastic_workers, workers};

    fn with_metrics(metrics: Value) -> JobBuilder {
        elastic_workers(1, 1, 3).spec("/elasticPolicy/metrics", metrics)
    }

    #[test]
    fn an_elastic_job_with_metrics_gets_one_autoscaler() {
        let create = Some(Action::Create(ChildRef::of_job(KIND)));
        for (job, expected) in [
            (with_metrics(cpu()), create),
            (with_metrics(json!([])), None),
            (elastic_workers(1, 1, 3), None),
        ] {
            let scene = job.scene();
            let elastic = &scene.job.spec.elastic_policy;
            assert_eq!(reconcile(&scene.world()), expected, "{elastic:?}");
        }
    }

    fn cpu() -> Value {
        let target = json!({ "type": "AverageValue", "averageValue": "0.5" });
        json!([{ "type": "Resource", "resource": { "name": "cpu", "target": target } }])
    }

    #[test]
    fn what_the_job_decides_about_its_autoscaler_is_set_back_and_nothing_else_is() {
        type Edit = fn(&mut AutoscalerSpec);
        let edits: [(&str, Edit, bool); 9] = [
            ("nothing", |_| {}, false),
            ("target", |spec| spec.target["name"] = json!("other"), true),
            ("target's subresource", |spec| spec.target["extra"] = json!("s"), false),
            ("fewest", |spec| spec.min = Some(2), true),
            ("fewest gone", |spec| spec.min = None, true),
            ("most", |spec| spec.max = Some(30), true),
            (
                "spelling",
                |spec| spec.metrics[0]["resource"]["target"]["averageValue"] = json!("500m"),
                false,
            ),
            (
                "value",
                |spec| spec.metrics[0]["resource"]["target"]["averageValue"] = json!("5"),
                true,
            ),
            (
                "another metric",
                |spec| spec.metrics = json!([cpu()[0], cpu()[0]]),
                true,
            ),
        ];
        for (name, edit, differs) in edits {
            let mut scene = with_metrics(cpu()).scene();
            scene.add(KIND, "job");
            let before = scene.others[0].autoscaler.clone().unwrap();
            edit(scene.others[0].autoscaler.as_mut().unwrap());
            let action = reconcile(&scene.world());
            assert_eq!(action.is_some(), differs, "{name}");
            if let Some(action) = action {
                scene.apply(&action);
                assert_eq!(scene.others[0].autoscaler.as_ref(), Some(&before), "{name}");
            }
            scene.others[0].terminating = true;
            assert_eq!(reconcile(&scene.world()), None, "{name}, terminating");
        }
    }

    #[test]
    fn an_autoscaler_that_nothing_asks_for_is_deleted_once() {
        for job in [with_metrics(json!([])), elastic_workers(1, 1, 3), workers(1)] {
            let mut scene = job.clone().scene();
            scene.others = vec![child(KIND, "job", "h")];
            let deletion = Action::delete(&scene.others[0]);
            assert_eq!(reconcile(&scene.world()), Some(deletion), "{job:?}");
            scene.others[0].terminating = true;
            assert_eq!(reconcile(&scene.world()), None, "{job:?}");
            assert_eq!(delete(&scene.world()).count(), 0, "{job:?}");
        }
    }
}
