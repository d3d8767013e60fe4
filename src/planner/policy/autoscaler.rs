//! `elasticPolicy.metrics`: a horizontal pod autoscaler for the workers.
//!
//! Kubeflow's, by name and spec. Kubeflow leaves it behind when the job ends and makes it anew for jobs that ended long ago; here it is
//! there exactly while the job may run.

use serde_json::{Value, json};

use crate::api::{ElasticPolicy, PyTorchJob, ReplicaType, names};
use crate::planner::build::pod::Builder;
use crate::planner::plan::Action;
use crate::planner::world::World;

/// Creates the autoscaler if it is missing and the job asks for one.
#[must_use]
pub fn create(world: &World<'_>) -> Option<Action> {
    (policy(world.job).is_some() && world.autoscalers.is_empty()).then_some(Action::CreateAutoscaler)
}

/// Deletes the autoscaler: of a job that is suspended or has its verdict, or that asks for none.
pub fn delete<'a>(world: &World<'a>) -> impl Iterator<Item = Action> + use<'a> {
    let living = world.autoscalers.iter().filter(|autoscaler| !autoscaler.terminating);
    living.map(|autoscaler| Action::DeleteAutoscaler {
        name: autoscaler.name.clone(),
        uid: autoscaler.uid.clone(),
    })
}

/// The autoscaler, named like the job; `None` for a job that asks for none.
#[must_use]
pub fn build(job: &PyTorchJob, builder: &Builder<'_>) -> Option<Value> {
    let policy = policy(job)?;
    let (min, max) = policy.bounds(job.spec.replicas(ReplicaType::Worker));
    let metrics: Value = policy.metrics.as_ref()?.parse().ok()?;
    Some(json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": builder.metadata(builder.name(), builder.job_labels()),
        "spec": {
            "scaleTargetRef": { "apiVersion": names::API_VERSION, "kind": names::KIND, "name": builder.name() },
            "minReplicas": min,
            "maxReplicas": max,
            "metrics": metrics,
        },
    }))
}

/// The elastic policy, if it has metrics to scale by. An empty list is none: the API server would refuse such an autoscaler.
fn policy(job: &PyTorchJob) -> Option<&ElasticPolicy> {
    let policy = job.spec.elastic_policy.as_ref()?;
    let metrics: Vec<Value> = policy.metrics.as_ref()?.parse().ok()?;
    (!metrics.is_empty()).then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{ServiceFact, Settings};

    fn job(metrics: &str) -> PyTorchJob {
        let text = format!(
            r#"{{"apiVersion":"kubeflow.org/v1","kind":"PyTorchJob","metadata":{{"name":"job","namespace":"ns","uid":"u","generation":1}},
            "spec":{{"elasticPolicy":{{"minReplicas":1,"maxReplicas":3{metrics}}},
            "pytorchReplicaSpecs":{{"Worker":{{"template":{{"spec":{{"containers":[{{"name":"pytorch","image":"i"}}]}}}}}}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    const METRICS: &str = r#","metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]"#;

    fn world<'a>(job: &'a PyTorchJob, autoscalers: &'a [ServiceFact], settings: &'a Settings) -> World<'a> {
        World {
            job,
            pods: &[],
            services: &[],
            autoscalers,
            settings,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn an_elastic_job_with_metrics_gets_one_autoscaler() {
        let settings = Settings::default();
        let existing = [ServiceFact {
            name: "job".into(),
            uid: "h".into(),
            terminating: false,
        }];
        for (metrics, there, expected) in [
            (METRICS, &[][..], Some(Action::CreateAutoscaler)),
            (METRICS, &existing, None),
            (r#","metrics":[]"#, &[], None),
            ("", &[], None),
        ] {
            assert_eq!(create(&world(&job(metrics), there, &settings)), expected, "{metrics}");
        }
    }

    #[test]
    fn the_autoscaler_scales_the_job_between_its_bounds_by_its_metrics() {
        let (job, settings) = (job(METRICS), Settings::default());
        let built = build(&job, &Builder::new(&job, &settings)).unwrap();
        assert_eq!(
            built["spec"]["scaleTargetRef"],
            json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job" })
        );
        assert_eq!(
            (&built["spec"]["minReplicas"], &built["spec"]["maxReplicas"]),
            (&json!(1), &json!(3))
        );
        assert_eq!(
            built["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            80
        );
        assert_eq!(built["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn an_autoscaler_that_is_on_its_way_out_is_not_deleted_again() {
        let (job, settings) = (job(METRICS), Settings::default());
        let there = [ServiceFact {
            name: "job".into(),
            uid: "h".into(),
            terminating: true,
        }];
        assert_eq!(delete(&world(&job, &there, &settings)).count(), 0);
    }

    #[test]
    fn the_autoscaler_is_there_exactly_while_the_job_may_run() {
        let mut scene = crate::planner::fixture::master().scene();
        scene.job = job(METRICS);
        scene.settle();
        assert_eq!(scene.autoscalers.len(), 1, "running");
        scene.job.spec.run_policy.suspend = Some(true);
        scene.settle();
        assert_eq!(scene.autoscalers.len(), 0, "suspended");
        scene.job.spec.run_policy.suspend = Some(false);
        scene.settle();
        assert_eq!(scene.autoscalers.len(), 1, "resumed");
        scene.job.spec.active_deadline_seconds = Some(0);
        scene.settle();
        assert_eq!(scene.autoscalers.len(), 0, "failed");
    }
}
