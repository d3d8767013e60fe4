//! `plan` and `validate`: the operator's own decisions and rules, without a cluster.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use crate::api::ChildRef;
use crate::api::PyTorchJob;
use crate::api::UnknownPodFields;
use crate::cli::manifest::{self, Document};
use crate::planner::Child;
use crate::planner::Gang;
use crate::planner::PodGroup;
use crate::planner::build::Builder;
use crate::planner::build::pod_group;
use crate::planner::validate::problems;
use crate::planner::{Action, Settings, World, plan as decide};
use crate::platform::clock;

/// The pods and services that would be created for each job, as YAML documents.
pub(super) fn plan(file: &Path, unknown: UnknownPodFields, settings: &Settings) -> Result<String, Box<dyn Error>> {
    let documents = manifest::read(file, unknown)?;
    refuse(&documents)?;
    let mut output = String::new();
    for job in documents.into_iter().filter_map(|document| document.job) {
        let now = clock::now();
        let builder = Builder::new(&job, settings);
        let group = settings
            .gang
            .as_ref()
            .map(|gang| (gang, ChildRef::of_job(gang.scheduler.kind())));
        // The scheduler admits it, and then pods are created.
        let others: Vec<Child> = group.iter().map(|(gang, child)| admitted(&job, gang, *child)).collect();
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
        started.status = decided(&job).status.map(|write| write.status);
        let created = decided(&started).actions.into_iter().filter_map(|action| match action {
            Action::Create(child) => Some(child),
            _ => None,
        });
        let mut created = created.peekable();
        let group = group.filter(|_| created.peek().is_some());
        for child in group.map(|(_, child)| child).into_iter().chain(created) {
            let Some(object) = builder.build(child) else { continue };
            write!(output, "---\n{}", serde_saphyr::to_string(&object)?)?;
        }
    }
    Ok(output)
}

/// The PodGroup of a job, about to be scheduled.
fn admitted(job: &PyTorchJob, gang: &Gang, child: ChildRef) -> Child {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let group = PodGroup {
        spec: pod_group::spec(job, &gang.scheduler),
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

/// A line for each job without a fault; otherwise all faults, as an error.
pub(super) fn validate(file: &Path, unknown: UnknownPodFields) -> Result<String, Box<dyn Error>> {
    let documents = manifest::read(file, unknown)?;
    refuse(&documents)?;
    Ok(documents.iter().fold(String::new(), |output, document| {
        output + "pytorchjob/" + &document.title + " is valid\n"
    }))
}

/// All faults of all jobs, one a line.
fn refuse(documents: &[Document]) -> Result<(), String> {
    let faults: Vec<String> = documents
        .iter()
        .flat_map(|document| {
            let faults = faults(document).into_iter();
            faults.map(|fault| format!("pytorchjob/{}: {fault}", document.title))
        })
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// What the planner says of a field says more than that it does not fit.
fn faults(document: &Document) -> Vec<String> {
    let problems = document.job.as_ref().map_or_else(Vec::new, |job| problems(job));
    let path = |field: &str| field.replace(['.', '[', ']'], "");
    let said: Vec<String> = problems.iter().map(|problem| path(&problem.field)).collect();
    let misfits = document
        .misfits
        .iter()
        .filter(|misfit| !said.contains(&path(&misfit.field)));
    problems
        .iter()
        .map(ToString::to_string)
        .chain(misfits.map(ToString::to_string))
        .collect()
}
