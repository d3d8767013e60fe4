//! What one of the two APIs has no words for, and what to do about it.

use crate::api::bounds::MAX_NAME;
use crate::api::{PyTorchJob, ReplicaType, RestartPolicy};
use crate::cli::convert::names::NODE;
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
        _ => no_such_field(),
    };
    Loss::new(field, why, remedy)
}

/// `elasticPolicy` itself, where it does not say how many workers there may be.
pub(super) fn elasticity(job: &PyTorchJob) -> Option<Loss> {
    job.spec.elastic_policy.as_ref().filter(|policy| !policy.is_bounded())?;
    let (why, remedy) = elastic(job, "maxReplicas");
    Some(Loss::new("spec.elasticPolicy", why, remedy))
}

/// A name of which the pods of a `JobSet` have names that are too long.
pub(super) fn name(job: &PyTorchJob) -> Option<Loss> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let last = job.spec.total_replicas().saturating_sub(1);
    // The API server appends five letters and a hyphen.
    let of_pod = format!("{name}-{NODE}-0-{last}-xxxxx").len();
    let room = (MAX_NAME + name.len()).saturating_sub(of_pod);
    let why = format!("a JobSet refuses it, whose pods would have names of more than {MAX_NAME} letters");
    let remedy = format!("give the TrainJob one of at most {room}");
    (of_pod > MAX_NAME).then(|| Loss::new("metadata.name", why, remedy))
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

/// A field of `schedulingPolicy`, which stands at this path, of a gang of as many nodes.
pub(super) fn scheduling(policy: &str, field: &str, nodes: u32) -> Loss {
    let (why, remedy) = match field {
        "minAvailable" => (
            "Trainer places all nodes together or none",
            format!("see that there is room for all {nodes}"),
        ),
        "minResources" => ("Trainer asks for what the nodes request", NOTHING.into()),
        "priorityClass" => (
            "Trainer takes it from the pods",
            "set priorityClassName in the template of the runtime".into(),
        ),
        "scheduleTimeoutSeconds" => ("the gang is Volcano's, which has no such time-out", NOTHING.into()),
        _ => no_such_field(),
    };
    Loss::new(format!("{policy}.{field}"), why, remedy)
}

/// The scheduler of a gang, where neither the job nor Volcano says which one it is.
pub(super) fn scheduler(job: &PyTorchJob) -> Loss {
    let first = ReplicaType::ALL
        .into_iter()
        .find(|role| job.spec.replica(*role).is_some());
    let role = first.map_or("", ReplicaType::key);
    Loss::new(
        format!("spec.pytorchReplicaSpecs.{role}.template.spec.schedulerName"),
        "the operator names its gang scheduler there, and Trainer none",
        "name the one with the coscheduling plugin in the template of the runtime, unless it is the default scheduler; \
         for Volcano, name that, and in podGroupPolicy too",
    )
}

fn no_such_field() -> (&'static str, String) {
    (
        "Trainer has no such field",
        "see whether the job can do without it".into(),
    )
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

/// A field that nothing of a PyTorchJob corresponds to.
pub(super) fn by_kubeflow(field: String) -> Loss {
    let (why, remedy) = if field.starts_with("spec.initializer.") {
        (
            "a PyTorchJob has no initializers",
            "fetch model and data in an init container of the template",
        )
    } else if ["spec.runtimePatches", "spec.podTemplateOverrides"].contains(&field.as_str()) {
        ("a PyTorchJob has no patches", "make the changes in its template")
    } else if field.starts_with("metadata.") {
        ("it belongs to the object in the cluster", NOTHING)
    } else {
        (
            "a PyTorchJob has no such field",
            "see whether the job can do without it",
        )
    };
    Loss::new(field, why, remedy)
}
