//! What Trainer has no words for, and what to do about it.

use serde_json::Value;

use crate::api::{PyTorchJob, RestartPolicy};
use crate::cli::convert::parts::Loss;

const NOTHING: &str = "nothing is to be done";

/// A field that no other rule knows.
pub(super) fn by_trainer(job: &PyTorchJob, field: String) -> Loss {
    let (parent, name) = field.rsplit_once('.').unwrap_or(("", &field));
    let (why, remedy) = match (parent, name) {
        ("metadata", _) => ("it belongs to the object in the cluster", NOTHING.to_owned()),
        (_, "cleanPodPolicy") => clean_pod_policy(job),
        (_, "ttlSecondsAfterFinished") => (
            "Trainer deletes no finished TrainJob, and starts a failed one again when its JobSet is deleted",
            "delete the TrainJob when it is not needed any more".into(),
        ),
        ("spec.elasticPolicy", setting) => elastic(job, setting),
        _ => (
            "Trainer has no such field",
            "see whether the job can do without it".into(),
        ),
    };
    Loss::new(field, why, remedy)
}

/// `elasticPolicy` itself, where it does not say how many workers there may be.
pub(super) fn elasticity(job: &PyTorchJob) -> Option<Loss> {
    job.spec.elastic_policy.as_ref().filter(|policy| !policy.is_bounded())?;
    let (why, remedy) = elastic(job, "maxReplicas");
    Some(Loss::new("spec.elasticPolicy", why, remedy))
}

/// A job without Master.
pub(super) fn no_master() -> Loss {
    let why = "Trainer tells all nodes the address and rank of a Master, which is node 0";
    Loss::new("spec.pytorchReplicaSpecs.Worker", why, NOTHING)
}

fn clean_pod_policy(job: &PyTorchJob) -> (&'static str, String) {
    use crate::api::CleanPodPolicy::{All, None as Nothing, Running};
    match job.spec.clean_pod_policy() {
        Some(All) => (
            "a Job keeps its finished pods",
            "delete the TrainJob for its pods to go".into(),
        ),
        Some(Nothing) => (
            "a Job stops what still runs when it has finished",
            "let all ranks end by themselves".into(),
        ),
        Some(Running) | None => ("it is what a Job does by itself", NOTHING.into()),
    }
}

fn elastic(job: &PyTorchJob, setting: &str) -> (&'static str, String) {
    let flag = match setting {
        "minReplicas" | "maxReplicas" => {
            let nodes = job.spec.total_replicas();
            let remedy = "set spec.trainer.numNodes to the number it shall have, or stay with the PyTorchJob";
            return (
                "Trainer has no elastic jobs: the number of nodes is fixed",
                format!("it is {nodes}: {remedy}"),
            );
        }
        "metrics" => {
            return (
                "Trainer scales no job",
                "stay with the PyTorchJob for an autoscaler".into(),
            );
        }
        "maxRestarts" => "--max-restarts",
        "rdzvBackend" => "--rdzv-backend",
        "rdzvConf" => "--rdzv-conf",
        "rdzvId" => "--rdzv-id",
        "standalone" => "--standalone",
        _ => "--rdzv-endpoint",
    };
    (
        "Trainer does not tell torchrun",
        format!("add {flag} to the arguments of torchrun"),
    )
}

/// A deadline that is over at once.
pub(super) fn deadline(job: &PyTorchJob) -> Loss {
    let flat = job.spec.active_deadline_seconds.is_some();
    let field = if flat {
        "spec.activeDeadlineSeconds"
    } else {
        "spec.runPolicy.activeDeadlineSeconds"
    };
    Loss::new(
        field,
        "a TrainJob has at least 1 second",
        "suspend the job if it shall not run",
    )
}

/// What is left of `schedulingPolicy`.
pub(super) fn scheduling(policy: &Value) -> Vec<Loss> {
    let fields = policy.as_object().into_iter().flatten();
    let losses = fields.map(|(name, _)| {
        let (why, remedy) = match name.as_str() {
            "minAvailable" => ("Trainer places all nodes together or none", NOTHING),
            "minResources" => ("Trainer asks for what the nodes request", NOTHING),
            "priorityClass" => (
                "Trainer takes it from the pods",
                "set priorityClassName in the template of the runtime",
            ),
            _ => ("with a queue the job is Volcano's, which has no such time-out", NOTHING),
        };
        Loss::new(format!("spec.runPolicy.schedulingPolicy.{name}"), why, remedy)
    });
    losses.collect()
}

/// A part of the Worker's template.
pub(super) fn second_template(field: String) -> Loss {
    Loss::new(
        field,
        "Trainer's nodes are all alike, and have the template of the Master",
        "see whether it suits all of them, or change the template of the runtime",
    )
}

/// Another restart policy than the Master's.
pub(super) fn second_restart_policy(field: String, first: RestartPolicy) -> Loss {
    Loss::new(
        field,
        format!("Trainer's nodes are all alike, and have the Master's: {first:?}"),
        NOTHING,
    )
}

/// `Always`.
pub(super) fn always(field: String) -> Loss {
    let remedy = "see that the program ends with another code than 0 if it shall run again";
    Loss::new(
        field,
        "the pods of a Job cannot have Always: it becomes OnFailure",
        remedy,
    )
}

/// What is said about restarts of a job that has none.
pub(super) fn without_restarts(field: &str) -> Loss {
    Loss::new(field, "it has no effect with restartPolicy Never", NOTHING)
}

/// A word in the place of the number of processes.
pub(super) fn processes(word: &str) -> Loss {
    Loss::new(
        "spec.nprocPerNode",
        format!("a TrainJob has a number or nothing, and not {word}"),
        "nothing is auto: a process for each GPU, or without GPUs for each CPU; set spec.trainer.numProcPerNode otherwise",
    )
}
