//! The rules of the CRD once more, for objects that were stored without them: by an older CRD, or by somebody else's.
//!
//! A test feeds the same objects to this module and to a real API server.

mod numbers;
mod template;
mod words;

use std::fmt;

use crate::api::bounds::{MAX_NAME, MAX_REPLICAS, MAX_SECONDS};
use crate::api::{LOST_BY_MULTIKUEUE, PyTorchJob, Replica, ReplicaType, names};

/// Something wrong with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether a stored job with it cannot be run. The API server refuses the others too, but a job that another
    /// operator has accepted and started goes on.
    pub fatal: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything wrong with the job, in the order of its fields.
#[must_use]
pub fn problems(job: &PyTorchJob) -> Vec<Problem> {
    let mut found = Found::default();
    check_name(job, &mut found);
    check_replica_types(job, &mut found);
    check_elastic(job, &mut found);
    words::check(job, &mut found);
    check_numbers(job, &mut found);
    numbers::check(job, &mut found);
    check_processes(job, &mut found);
    check_manager(job, &mut found);
    check_spellings(job, &mut found);
    found.0
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn fatal(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(field.into(), message.into(), true);
    }

    fn tolerable(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(field.into(), message.into(), false);
    }

    fn push(&mut self, field: String, message: String, fatal: bool) {
        self.0.push(Problem { field, message, fatal });
    }
}

fn check_name(job: &PyTorchJob, found: &mut Found) {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let mut letters = name.bytes();
    let starts = letters.next().is_some_and(|first| first.is_ascii_lowercase());
    let goes_on = letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-');
    if !starts || !goes_on || name.ends_with('-') {
        found.fatal(
            "metadata.name",
            "must start with a letter, consist of lower-case letters, digits and '-', and not end with '-': services are named after the job",
        );
    }
    let types = ReplicaType::ALL.into_iter().filter(|&role| job.spec.replicas(role) > 0);
    let lengths = types.map(|role| Replica::new(role, job.spec.replicas(role) - 1).name(name).len());
    if lengths.max().is_some_and(|longest| longest > MAX_NAME) {
        found.fatal(
            "metadata.name",
            format!("is too long: with role and index, as in NAME-worker-0, it must fit in {MAX_NAME} characters, the limit of service names"),
        );
    }
}

fn check_replica_types(job: &PyTorchJob, found: &mut Found) {
    let specs = &job.spec.pytorch_replica_specs;
    if specs.is_empty() {
        found.fatal(
            "spec.pytorchReplicaSpecs",
            "must have at least one of Master and Worker",
        );
    }
    for (key, spec) in specs {
        let field = format!("spec.pytorchReplicaSpecs[{key}]");
        let Some(role) = ReplicaType::from_key(key) else {
            let message = "unknown replica type: use Master or Worker (case-sensitive)";
            found.fatal(field, message);
            continue;
        };
        match spec.replicas {
            Some(replicas) if role == ReplicaType::Master && replicas != 1 => {
                found.fatal(
                    format!("{field}.replicas"),
                    "must be 1: put additional pods in Worker.replicas",
                );
            }
            Some(replicas) if !(1..=MAX_REPLICAS).contains(&replicas) => {
                found.fatal(
                    format!("{field}.replicas"),
                    format!("must be between 1 and {MAX_REPLICAS}"),
                );
            }
            _ => {}
        }
        template::check(&format!("{field}.template"), spec, found);
        if job.spec.run_policy.progress_policy.is_some() {
            template::check_probe(&format!("{field}.template"), spec, found);
        }
    }
}

fn check_elastic(job: &PyTorchJob, found: &mut Found) {
    let Some(policy) = &job.spec.elastic_policy else { return };
    if job.spec.replica(ReplicaType::Worker).is_none() {
        return found.fatal(
            "spec.pytorchReplicaSpecs[Worker]",
            "is required by elasticPolicy: only workers scale",
        );
    }
    let workers = job.spec.replicas(ReplicaType::Worker);
    let (min, max) = policy.bounds(workers);
    if min > max {
        found.tolerable(
            "spec.elasticPolicy.minReplicas",
            "must not exceed elasticPolicy.maxReplicas",
        );
    } else if !(min..=max).contains(&i64::from(workers)) {
        found.tolerable(
            "spec.pytorchReplicaSpecs[Worker].replicas",
            "must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas",
        );
    }
    if policy.n_proc_per_node.is_some() && job.spec.nproc_per_node.is_some() {
        found.tolerable(
            "spec.elasticPolicy.nProcPerNode",
            "must not be used together with nprocPerNode: keep nprocPerNode, the other is deprecated",
        );
    }
}

fn check_numbers(job: &PyTorchJob, found: &mut Found) {
    let (spec, run) = (&job.spec, &job.spec.run_policy);
    for (field, value) in [
        ("spec.activeDeadlineSeconds", spec.active_deadline_seconds),
        ("spec.backoffLimit", spec.backoff_limit.map(i64::from)),
        (
            "spec.ttlSecondsAfterFinished",
            spec.ttl_seconds_after_finished.map(i64::from),
        ),
        ("spec.runPolicy.activeDeadlineSeconds", run.active_deadline_seconds),
        ("spec.runPolicy.backoffLimit", run.backoff_limit.map(i64::from)),
        (
            "spec.runPolicy.ttlSecondsAfterFinished",
            run.ttl_seconds_after_finished.map(i64::from),
        ),
    ] {
        match value {
            Some(value) if value < 0 => found.fatal(field, format!("is {value} and must not be negative")),
            Some(value) if value > i64::from(MAX_SECONDS) => {
                found.tolerable(field, format!("must not exceed {MAX_SECONDS}"));
            }
            _ => {}
        }
    }
}

/// torchrun knows auto, cpu, gpu and the names of devices, and a device of tomorrow is a word too.
fn check_processes(job: &PyTorchJob, found: &mut Found) {
    let number = |value: &str| {
        (1..=4).contains(&value.len()) && !value.starts_with('0') && value.bytes().all(|letter| letter.is_ascii_digit())
    };
    let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    let word = |value: &str| {
        value.len() <= MAX_NAME
            && value.starts_with(|first: char| first.is_ascii_lowercase())
            && value.bytes().all(inner)
    };
    let value = job.spec.nproc_per_node.as_deref();
    if value.is_some_and(|value| !number(value) && !word(value)) {
        found.fatal(
            "spec.nprocPerNode",
            "must be a number from 1 to 9999, auto, cpu, gpu or another kind of device in one lower-case word",
        );
    }
}

/// No job with this problem is ever planned for: whoever else is named there has to know it.
fn check_manager(job: &PyTorchJob, found: &mut Found) {
    let known = [names::MANAGED_BY_SELF, names::MANAGED_BY_MULTIKUEUE];
    if job
        .spec
        .run_policy
        .managed_by
        .as_deref()
        .is_some_and(|manager| !known.contains(&manager))
    {
        found.tolerable(
            "spec.runPolicy.managedBy",
            format!("must be {} or {}", known[0], known[1]),
        );
    }
    let spec = &job.spec;
    let flat = spec.active_deadline_seconds.is_some()
        || spec.backoff_limit.is_some()
        || spec.clean_pod_policy.is_some()
        || spec.ttl_seconds_after_finished.is_some();
    if flat && spec.run_policy.managed_by.as_deref() == Some(names::MANAGED_BY_MULTIKUEUE) {
        found.tolerable("spec.runPolicy.managedBy", LOST_BY_MULTIKUEUE);
    }
}

fn check_spellings(job: &PyTorchJob, found: &mut Found) {
    let (spec, run) = (&job.spec, &job.spec.run_policy);
    let differ = [
        (
            "activeDeadlineSeconds",
            differ(spec.active_deadline_seconds, run.active_deadline_seconds),
        ),
        ("backoffLimit", differ(spec.backoff_limit, run.backoff_limit)),
        (
            "cleanPodPolicy",
            differ(spec.clean_pod_policy.as_ref(), run.clean_pod_policy.as_ref()),
        ),
        (
            "ttlSecondsAfterFinished",
            differ(spec.ttl_seconds_after_finished, run.ttl_seconds_after_finished),
        ),
    ];
    for (policy, _) in differ.into_iter().filter(|(_, differ)| *differ) {
        found.tolerable(
            format!("spec.{policy}"),
            format!("{policy} and runPolicy.{policy} are the same setting and must not differ: remove one or set both to the same value; until then the flat value wins"),
        );
    }
}

fn differ<T: PartialEq>(flat: Option<T>, nested: Option<T>) -> bool {
    flat.zip(nested).is_some_and(|(flat, nested)| flat != nested)
}
