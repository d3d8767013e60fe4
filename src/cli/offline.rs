//! `plan` and `validate`: the operator's own decisions and rules, without a cluster.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::api::structural::Misfit;
use crate::api::{ChildRef, PyTorchJob};
use crate::cli::files::Contents;
use crate::cli::manifest::Document;
use crate::cli::yaml;
use crate::planner::{
    Action, Builder, Child, Gang, PodGroup, Problem, Settings, World, finished, managed_elsewhere, plan as decide,
    pod_group_spec, problems,
};
use crate::platform::clock;

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// YAML documents.
    #[default]
    Yaml,
    /// One JSON object: a list, as `kubectl get -o json` prints it.
    Json,
}

/// What a subcommand found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What was asked for, for standard output.
    pub output: String,
    /// What else is to be known, a line each, for standard error.
    pub remarks: Vec<String>,
    /// Whether a job is invalid.
    pub invalid: bool,
}

/// The pods, services and PodGroups that would be created for each job, unless one of the jobs is invalid.
pub(super) fn plan(
    contents: &Contents,
    settings: &Settings,
    format: Format,
) -> Result<Report, serde_saphyr::ser::Error> {
    let mut report = validate(contents, None)?;
    report.output.clear();
    if report.invalid {
        return Ok(report);
    }
    let mut objects = Vec::new();
    for document in &contents.jobs {
        let Some(job) = &document.job else { continue };
        let created = created(job, settings);
        if created.is_empty() {
            report
                .remarks
                .push(format!("{}: nothing is created: {}", document.title, why_nothing(job)));
        }
        objects.extend(created);
    }
    report.output = printed(&objects, format)?;
    Ok(report)
}

/// The objects in a format.
pub(super) fn printed(objects: &[Value], format: Format) -> Result<String, serde_saphyr::ser::Error> {
    match format {
        Format::Json => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
            Ok(format!("{list:#}\n"))
        }
        Format::Yaml => objects.iter().try_fold(String::new(), |mut output, object| {
            write!(output, "---\n{}", yaml::printed(object)?)?;
            Ok(output)
        }),
    }
}

/// What the planner creates for a job that has nothing yet.
fn created(job: &PyTorchJob, settings: &Settings) -> Vec<Value> {
    let now = clock::now();
    let builder = Builder::new(job, settings);
    let gang = settings.gang.as_ref();
    let group = gang.map(|gang| (gang, ChildRef::of_job(gang.scheduler.kind())));
    // The scheduler admits it, and then pods are created.
    let others: Vec<Child> = group.iter().map(|(gang, child)| admitted(job, gang, *child)).collect();
    let decided = |job: &PyTorchJob| {
        decide(&World {
            job,
            pods: &[],
            others: &others,
            refusal: None,
            definition_may_differ: false,
            compared_generation: None,
            settings,
            now,
        })
    };
    // Pods are created once the status that counts them is stored.
    let mut started = job.clone();
    started.status = decided(job).status.map(|write| write.status).or(started.status);
    let created = decided(&started).actions.into_iter().filter_map(|action| match action {
        Action::Create(child) => Some(child),
        _ => None,
    });
    let mut created = created.peekable();
    let group = group.filter(|_| created.peek().is_some());
    let children = group.map(|(_, child)| child).into_iter().chain(created);
    children.filter_map(|child| builder.build(child)).collect()
}

fn why_nothing(job: &PyTorchJob) -> String {
    let policy = &job.spec.run_policy;
    match &policy.managed_by {
        Some(manager) if managed_elsewhere(job) => format!("it is managed by {manager}"),
        _ if job.status.as_ref().is_some_and(finished) => "it has finished".into(),
        _ if job.spec.suspended() => "it is suspended".into(),
        _ => "it has no replicas".into(),
    }
}

/// The PodGroup of a job, about to be scheduled.
fn admitted(job: &PyTorchJob, gang: &Gang, child: ChildRef) -> Child {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let group = PodGroup {
        // Offline nobody knows the priority classes.
        spec: pod_group_spec(job, &gang.scheduler, &BTreeMap::new()),
        ..PodGroup::default()
    };
    Child {
        kind: child.kind,
        name: child.name(name),
        uid: String::new(),
        terminating: false,
        pod_group: Some(Box::new(group)),
        autoscaler: None,
    }
}

/// What is said of one job.
#[derive(Debug, serde::Serialize)]
struct Verdict<'a> {
    job: &'a str,
    /// Why the faults are warnings only.
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerated: Option<&'static str>,
    faults: Vec<Fault>,
}

#[derive(Debug, serde::Serialize)]
struct Fault {
    field: String,
    message: String,
    /// Where the field stands in the file, or what it is missing in.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

impl Verdict<'_> {
    fn of(document: &Document) -> Verdict<'_> {
        let status = document.job.as_ref().and_then(|job| job.status.as_ref());
        let tolerated = match document.started {
            _ if status.is_some_and(finished) => Some("it has finished and is left alone"),
            true => Some("it has started and goes on"),
            false => None,
        };
        Verdict {
            job: &document.title,
            tolerated,
            faults: faults(document),
        }
    }

    fn is_invalid(&self) -> bool {
        self.tolerated.is_none() && !self.faults.is_empty()
    }

    /// A line for each fault.
    fn lines(&self) -> impl Iterator<Item = String> {
        let tolerated = self
            .tolerated
            .map(|why| format!("warning: {why}: "))
            .unwrap_or_default();
        let start = format!("{}: {tolerated}", self.job);
        self.faults.iter().map(move |Fault { field, message, line }| {
            let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
            format!("{start}{field}: {message}{line}")
        })
    }
}

/// Says of each job whether it is valid. Without a format that is a line on standard output for each that is, and one
/// on standard error for each fault. The faults of a job that an operator has started are warnings: it goes on.
pub(super) fn validate(contents: &Contents, format: Option<Format>) -> Result<Report, serde_saphyr::ser::Error> {
    let verdicts: Vec<Verdict<'_>> = contents.jobs.iter().map(Verdict::of).collect();
    let mut report = Report {
        invalid: verdicts.iter().any(Verdict::is_invalid),
        remarks: contents.passed_over.clone(),
        ..Report::default()
    };
    match format {
        Some(Format::Json) => report.output = format!("{:#}\n", json!(verdicts)),
        Some(Format::Yaml) => report.output = yaml::printed(&json!(verdicts))?,
        None => {
            let valid = verdicts.iter().filter(|verdict| verdict.faults.is_empty());
            report.output = valid.fold(String::new(), |output, verdict| output + verdict.job + " is valid\n");
            report.remarks.extend(verdicts.iter().flat_map(Verdict::lines));
        }
    }
    Ok(report)
}

/// In the order of the file. What the planner says of a field says more than that it does not fit; what it says of a
/// template that cannot be decoded says less.
fn faults(document: &Document) -> Vec<Fault> {
    let mut problems = document.job.as_ref().map_or_else(Vec::new, |job| problems(job));
    let misfits_in = |field: &str| {
        let within = segments(field);
        let mut all = document.misfits.iter().map(|misfit| segments(&misfit.field));
        all.any(|misfit| misfit.len() > within.len() && misfit.starts_with(&within))
    };
    problems.retain(|problem| !(problem.field.ends_with(".template") && misfits_in(&problem.field)));
    let said: Vec<Vec<&str>> = problems.iter().map(|problem| segments(&problem.field)).collect();
    let misfits = document.misfits.iter().cloned();
    let misfits = misfits.filter(|misfit| !said.contains(&segments(&misfit.field)));
    let misfits = misfits.map(|Misfit { field, message }| (field, message));
    let problems = problems.iter().cloned();
    let problems = problems.map(|Problem { field, message, .. }| (field, message));
    let fault = |(field, message): (String, String)| Fault {
        line: document.place.line(&field),
        field,
        message,
    };
    let mut faults: Vec<_> = problems.chain(misfits).map(fault).collect();
    faults.sort_by_key(|fault| fault.line);
    faults
}

/// The parts of a path, which the planner and the schema spell differently.
fn segments(field: &str) -> Vec<&str> {
    field.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect()
}
