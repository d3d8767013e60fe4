//! The horizontal pod autoscaler of an elastic job. Kubeflow's, by name and spec.

use serde_json::{Value, json};

use crate::api::{ElasticPolicy, PyTorchJob, ReplicaType, names};
use crate::planner::amount::Amount;
use crate::planner::build::builder::{Builder, job_labels};
use crate::planner::child::AutoscalerSpec;

/// The autoscaler, named like the job; `None` for a job that asks for none.
#[must_use]
pub(super) fn build(builder: &Builder<'_>) -> Option<Value> {
    let spec = spec(builder.job)?;
    Some(json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": builder.metadata(builder.name(), job_labels(builder.name())),
        "spec": {
            "scaleTargetRef": spec.target,
            "minReplicas": spec.min,
            "maxReplicas": spec.max,
            "metrics": spec.metrics,
        },
    }))
}

/// What is in the autoscaler of the job; `None` for a job that asks for none.
#[must_use]
pub(crate) fn spec(job: &PyTorchJob) -> Option<AutoscalerSpec> {
    let policy = policy(job)?;
    let (min, max) = policy.bounds(job.spec.replicas(ReplicaType::Worker));
    let name = job.metadata.name.as_deref().unwrap_or_default();
    Some(AutoscalerSpec {
        target: json!({ "apiVersion": names::API_VERSION, "kind": names::KIND, "name": name }),
        min: Some(min),
        max: Some(max),
        metrics: policy.metrics.as_ref()?.parse().ok()?,
    })
}

/// Whether `stored` has all of `wanted`. The API server gives defaults and writes a quantity in its own way.
#[must_use]
pub(crate) fn has(stored: &AutoscalerSpec, wanted: &AutoscalerSpec) -> bool {
    (stored.min, stored.max) == (wanted.min, wanted.max)
        && includes(&stored.target, &wanted.target)
        && includes(&stored.metrics, &wanted.metrics)
}

fn includes(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            let stored = stored.get(name).unwrap_or(&Value::Null);
            includes(stored, wanted)
        }),
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len()
                && stored
                    .iter()
                    .zip(wanted)
                    .all(|(stored, wanted)| includes(stored, wanted))
        }
        _ => stored == wanted || Amount::of(stored).is_some_and(|amount| Amount::of(wanted) == Some(amount)),
    }
}

/// What writes `spec` into the autoscaler, as operations of a JSON patch.
#[must_use]
pub(super) fn patch(spec: &AutoscalerSpec) -> Vec<Value> {
    let fields = [
        ("scaleTargetRef", json!(spec.target)),
        ("minReplicas", json!(spec.min)),
        ("maxReplicas", json!(spec.max)),
        ("metrics", json!(spec.metrics)),
    ];
    let operation = |(field, value)| json!({ "op": "add", "path": format!("/spec/{field}"), "value": value });
    fields.into_iter().map(operation).collect()
}

/// The elastic policy, if it has metrics to scale by. An empty list is none: the API server would refuse such an
/// autoscaler.
#[must_use]
fn policy(job: &PyTorchJob) -> Option<&ElasticPolicy> {
    let policy = job.spec.elastic_policy.as_ref()?;
    let metrics: Vec<Value> = policy.metrics.as_ref()?.parse().ok()?;
    (!metrics.is_empty()).then_some(policy)
}
