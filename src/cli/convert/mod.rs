//! `convert`: PyTorchJobs for Kubeflow Trainer v2, and back.
//!
//! Both directions take the object apart and report every field that is left, so that nothing is lost without being
//! said: see [`parts`].

mod environment;
mod from_trainer;
mod gang;
mod identity;
mod names;
mod nodes;
mod parts;
mod references;
mod restarts;
mod template;
#[cfg(test)]
mod tests;
mod to_trainer;
mod unsupported;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use crate::api::structural::{Misfit, schema_of_jobs};
use crate::api::{ConditionType, UnknownPodFields, names as kubeflow};
use crate::cli::convert::names::{API_VERSION, CLUSTER_RUNTIME, COMPLETE, FAILED, RUNTIME, TRAIN_JOB};
use crate::cli::convert::parts::Converted;
use crate::cli::files::{self, Contents, Object};
use crate::cli::manifest::{Document, decode, is_job, title, without_nulls};
use crate::cli::offline::{Format, Report, printed, validate};
use crate::cli::place::Place;

/// Converts every PyTorchJob and every `TrainJob` that has not finished; these need their runtimes beside them. Nothing
/// is printed on standard output if a job is invalid.
pub(super) fn convert(
    paths: &[PathBuf],
    objects: &[Object],
    unknown: UnknownPodFields,
    format: Format,
) -> Result<Report, Box<dyn Error>> {
    let schema = schema_of_jobs(unknown);
    let mut report = Report::default();
    let mut converted = Vec::new();
    let mut found = false;
    for object in objects {
        let result = if let Some(remark) = finished(object) {
            report.remarks.push(remark);
            Vec::new()
        } else if is_job(&object.value) {
            from_kubeflow(&schema, object, &mut report)?
        } else if is(object, TRAIN_JOB) {
            to_kubeflow(&schema, object, objects, &mut report)?
        } else {
            let used = objects
                .iter()
                .filter(|job| is(job, TRAIN_JOB))
                .any(|job| is_runtime_of(object, job));
            report.remarks.extend((!used).then(|| object.passed_over()));
            continue;
        };
        found = true;
        converted.extend(result);
    }
    if !found {
        let kinds = "PyTorchJob of kubeflow.org/v1 and no TrainJob of trainer.kubeflow.org/v1alpha1";
        let paths = paths.to_vec();
        return Err(files::Error::NoJob { kinds, paths }.into());
    }
    let clashes = clashes(&converted);
    report.invalid |= !clashes.is_empty();
    report.remarks.extend(clashes);
    if !report.invalid {
        report.output = printed(&converted, format)?;
    }
    Ok(report)
}

/// The objects that a PyTorchJob becomes. Faults and losses go into the report.
fn from_kubeflow(schema: &Value, object: &Object, report: &mut Report) -> Result<Vec<Value>, Box<dyn Error>> {
    let document = decode(schema, object.origin.as_deref(), &object.place, object.value.clone());
    let (title, started) = (document.title.clone(), document.started);
    let job = document.job.clone();
    if !is_valid(document, report)? {
        return Ok(Vec::new());
    }
    let Some(job) = job else {
        report.remarks.push(not_converted(&title, "it cannot be read"));
        return Ok(Vec::new());
    };
    match to_trainer::convert(&job, without_nulls(&object.value)) {
        // It goes on whatever is wrong with it.
        Err(faults) if started => {
            let faults = faults.iter().map(|fault| not_converted(&title, fault));
            report.remarks.extend(faults);
            Ok(Vec::new())
        }
        result => Ok(said(&title, result, report)),
    }
}

/// The PyTorchJob that a `TrainJob` becomes.
fn to_kubeflow(
    schema: &Value,
    object: &Object,
    objects: &[Object],
    report: &mut Report,
) -> Result<Vec<Value>, Box<dyn Error>> {
    let title = object.title(TRAIN_JOB);
    let runtime = objects.iter().find(|runtime| is_runtime_of(runtime, object));
    let result = runtime.ok_or_else(|| vec![no_runtime(object)]).and_then(|runtime| {
        let of_runtime = runtime.title(runtime.value["kind"].as_str().unwrap_or_default());
        from_trainer::convert(without_nulls(&object.value), &of_runtime, without_nulls(&runtime.value))
    });
    let converted = said(&title, result, report);
    for job in &converted {
        let document = decode(
            schema,
            object.origin.as_deref(),
            &object.place.without_lines(),
            job.clone(),
        );
        if !is_valid(document, report)? {
            return Ok(Vec::new());
        }
    }
    Ok(converted)
}

/// Whether `validate` has nothing against the job. What it has goes into the report.
fn is_valid(document: Document, report: &mut Report) -> Result<bool, Box<dyn Error>> {
    let contents = Contents {
        jobs: vec![document],
        ..Contents::default()
    };
    let verdict = validate(&contents, None)?;
    report.remarks.extend(verdict.remarks);
    report.invalid |= verdict.invalid;
    Ok(!verdict.invalid)
}

/// The objects, once everything about them stands in the report.
fn said(title: &str, result: Result<Converted, Vec<Misfit>>, report: &mut Report) -> Vec<Value> {
    match result {
        Ok(converted) => {
            let losses = converted.losses.iter();
            report.remarks.extend(losses.map(|loss| format!("{title}: {loss}")));
            converted.objects
        }
        Err(faults) => {
            report.invalid = true;
            report
                .remarks
                .extend(faults.iter().map(|fault| format!("{title}: {fault}")));
            Vec::new()
        }
    }
}

/// What is said of a job that has finished: what it becomes would run again.
fn finished(object: &Object) -> Option<String> {
    let (kind, outcomes) = if is_job(&object.value) {
        (
            kubeflow::KIND,
            [ConditionType::Succeeded, ConditionType::Failed].map(ConditionType::as_str),
        )
    } else if is(object, TRAIN_JOB) {
        (TRAIN_JOB, [COMPLETE, FAILED])
    } else {
        return None;
    };
    let conditions = object.value["status"]["conditions"].as_array()?;
    let is_outcome = |condition: &Value| {
        condition["status"] == "True" && outcomes.iter().any(|outcome| condition["type"] == *outcome)
    };
    let why = "it has finished, and would run again; remove its status to convert it nonetheless";
    let finished = conditions.iter().any(is_outcome);
    finished.then(|| not_converted(&object.title(kind), why))
}

fn not_converted(title: &str, why: impl fmt::Display) -> String {
    format!("{title}: not converted: {why}")
}

fn is(object: &Object, kind: &str) -> bool {
    object.value["kind"] == kind && object.value["apiVersion"] == API_VERSION
}

/// Says which runtimes would overwrite each other: those of a job and of one whose generated name begins with its name.
fn clashes(converted: &[Value]) -> Vec<String> {
    let mut seen: BTreeMap<String, &Value> = BTreeMap::new();
    let mut clashes = Vec::new();
    for runtime in converted.iter().filter(|object| object["kind"] == RUNTIME) {
        let title = title(None, &Place::default(), &RUNTIME.to_lowercase(), &runtime["metadata"]);
        let spec = &runtime["spec"];
        if seen.insert(title.clone(), spec).is_some_and(|other| other != spec) {
            let why = "jobs that differ would have it: give one of them another name or prefix";
            clashes.push(format!("{title}: {why}"));
        }
    }
    clashes
}

/// Whether a `TrainJob` refers to this object. One of the two may be written without its namespace.
fn is_runtime_of(object: &Object, job: &Object) -> bool {
    let wanted = &job.value["spec"]["runtimeRef"];
    let kind = wanted["kind"].as_str().unwrap_or(CLUSTER_RUNTIME);
    let (own, other) = (&object.value["metadata"], &job.value["metadata"]);
    let namespaces = [own, other].map(|metadata| metadata["namespace"].as_str());
    let apart = kind == RUNTIME && matches!(namespaces, [Some(own), Some(other)] if own != other);
    is(object, kind) && kind.ends_with(RUNTIME) && own["name"] == wanted["name"] && !apart
}

fn no_runtime(job: &Object) -> Misfit {
    let wanted = &job.value["spec"]["runtimeRef"];
    let kind = wanted["kind"].as_str().unwrap_or(CLUSTER_RUNTIME);
    let name = wanted["name"].as_str().unwrap_or_default();
    let namespace = job.value["metadata"]["namespace"].as_str().filter(|_| kind == RUNTIME);
    let namespace = namespace
        .map(|namespace| format!(" -n {namespace}"))
        .unwrap_or_default();
    let get = format!("kubectl get {} {name}{namespace} -o yaml", kind.to_lowercase());
    Misfit {
        field: "spec.runtimeRef".into(),
        message: format!("there is no {kind} {name} in these files: add what `{get}` prints"),
    }
}
