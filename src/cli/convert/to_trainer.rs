//! A PyTorchJob as a `TrainJob` and the runtime that it refers to.
//!
//! The runtime is a `TrainingRuntime`, in the namespace of the job, and no `ClusterTrainingRuntime`: the template
//! speaks of volumes, secrets and service accounts of that namespace, and whoever may create a job there need not be
//! allowed to create objects for all namespaces.

use serde_json::{Map, Value, json};

use crate::api::names::{MANAGED_BY_MULTIKUEUE, MANAGED_BY_SELF};
use crate::api::structural::Misfit;
use crate::api::{PyTorchJob, ReplicaType};
use crate::cli::convert::names::{
    API_VERSION, FRAMEWORK, GROUP, MANAGED_BY, NODE, RUNTIME, STEP, TORCH, TRAIN_JOB, TRAINER,
};
use crate::cli::convert::nodes::{self, Nodes};
use crate::cli::convert::parts::{Converted, Loss, Parts};
use crate::cli::convert::{gang, identity, unsupported};

/// Converts a job that `validate` has nothing against; `written` is the object as it was written.
pub(super) fn convert(job: &PyTorchJob, written: Value) -> Result<Converted, Vec<Misfit>> {
    let mut parts = Parts::new(written);
    let mut losses = Vec::new();
    let metadata = identity::taken(&mut parts, &mut losses);
    let nodes = nodes::taken(job, &mut parts, &mut losses)?;
    let beside = identity::beside(&metadata);
    let spec = train_job(job, &mut parts, &nodes, &beside["name"], &mut losses);
    let mut runtime = json!({
        "apiVersion": API_VERSION,
        "kind": RUNTIME,
        "metadata": beside,
        "spec": { "mlPolicy": { "numNodes": nodes.number, TORCH: {} }, "template": job_set(job, nodes) },
    });
    runtime["metadata"]["labels"] = json!({ FRAMEWORK: TORCH });
    losses.extend(gang::written(job, &mut parts, &mut runtime));
    losses.extend(unsupported::name(job));
    losses.extend(unsupported::elasticity(job));
    losses.extend(
        job.spec
            .replica(ReplicaType::Master)
            .is_none()
            .then(unsupported::no_master),
    );
    losses.extend(
        parts
            .left()
            .into_iter()
            .map(|field| unsupported::by_trainer(job, field)),
    );
    let job = json!({ "apiVersion": API_VERSION, "kind": TRAIN_JOB, "metadata": metadata, "spec": spec });
    // Trainer looks the runtime up when the job is created.
    Ok(Converted {
        objects: vec![runtime, job],
        losses,
    })
}

fn train_job(
    job: &PyTorchJob,
    parts: &mut Parts,
    nodes: &Nodes,
    runtime: &Value,
    losses: &mut Vec<Loss>,
) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert(
        "runtimeRef".into(),
        json!({ "apiGroup": GROUP, "kind": RUNTIME, "name": runtime }),
    );
    spec.insert("trainer".into(), Value::Object(nodes.trainer.clone()));
    if let Some(suspend) = parts.take("spec.runPolicy.suspend") {
        spec.insert("suspend".into(), suspend);
    }
    let manager = job.spec.run_policy.managed_by.as_deref();
    if let Some(manager) = manager.and_then(|manager| match manager {
        MANAGED_BY_SELF => Some(MANAGED_BY),
        MANAGED_BY_MULTIKUEUE => Some(MANAGED_BY_MULTIKUEUE),
        _ => None,
    }) {
        parts.take("spec.runPolicy.managedBy");
        spec.insert("managedBy".into(), manager.into());
    }
    let spellings = ["spec.activeDeadlineSeconds", "spec.runPolicy.activeDeadlineSeconds"];
    if spellings.map(|field| parts.take(field)).iter().any(Option::is_some) {
        match job.spec.active_deadline_seconds() {
            Some(seconds) if seconds > 0 => drop(spec.insert("activeDeadlineSeconds".into(), seconds.into())),
            _ => losses.push(unsupported::deadline(job)),
        }
    }
    spec
}

/// The template of the `JobSet`: one Job, the pods of which are the nodes.
fn job_set(job: &PyTorchJob, nodes: Nodes) -> Value {
    let restarts = nodes.restarts.written();
    let mut template = nodes.template;
    template["spec"]["restartPolicy"] = restarts.pods.into();
    let mut spec = json!({ "backoffLimit": restarts.backoff_limit, "template": template });
    if let Some(policy) = restarts.pod_failure_policy {
        spec["podFailurePolicy"] = policy;
    }
    if let Some(rule) = success(job) {
        spec["successPolicy"] = json!({ "rules": [rule] });
    }
    let node = json!({ "name": NODE, "template": { "metadata": { "labels": { STEP: TRAINER } }, "spec": spec } });
    let mut set = json!({ "replicatedJobs": [node] });
    if let Some(policy) = restarts.failure_policy {
        set["failurePolicy"] = policy;
    }
    json!({ "spec": set })
}

/// Which nodes have to succeed: the Master, which is node 0; any worker of an elastic job; all workers of another, as
/// in a Job that says nothing of it.
fn success(job: &PyTorchJob) -> Option<Value> {
    if job.spec.replica(ReplicaType::Master).is_some() {
        Some(json!({ "succeededIndexes": "0" }))
    } else {
        job.spec.elastic_policy.as_ref().map(|_| json!({ "succeededCount": 1 }))
    }
}
