//! The horizontal pod autoscaler of an elastic job. Kubeflow's, by name and spec.

use serde_json::{Value, json};

use crate::api::{ElasticPolicy, PyTorchJob, ReplicaType, names};
use crate::planner::build::builder::{Builder, job_labels};

/// The autoscaler, named like the job; `None` for a job that asks for none.
#[must_use]
pub(super) fn build(builder: &Builder<'_>) -> Option<Value> {
    let policy = policy(builder.job)?;
    let (min, max) = policy.bounds(builder.job.spec.replicas(ReplicaType::Worker));
    let metrics: Value = policy.metrics.as_ref()?.parse().ok()?;
    Some(json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": builder.metadata(builder.name(), job_labels(builder.name())),
        "spec": {
            "scaleTargetRef": { "apiVersion": names::API_VERSION, "kind": names::KIND, "name": builder.name() },
            "minReplicas": min,
            "maxReplicas": max,
            "metrics": metrics,
        },
    }))
}

/// The elastic policy, if it has metrics to scale by. An empty list is none: the API server would refuse such an
/// autoscaler.
#[must_use]
pub(crate) fn policy(job: &PyTorchJob) -> Option<&ElasticPolicy> {
    let policy = job.spec.elastic_policy.as_ref()?;
    let metrics: Vec<Value> = policy.metrics.as_ref()?.parse().ok()?;
    (!metrics.is_empty()).then_some(policy)
}
