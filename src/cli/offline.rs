//! `plan` and `validate`: the operator's own decisions and rules, without a cluster.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use crate::api::PyTorchJob;
use crate::api::UnknownPodFields;
use crate::cli::manifest::{self, Document};
use crate::planner::build::pod::Builder;
use crate::planner::validate::problems;
use crate::planner::{Action, Settings, World, plan as decide};
use crate::platform::clock;

/// The pods and services that would be created for each job, as YAML documents.
pub fn plan(file: &Path, unknown: UnknownPodFields, settings: &Settings) -> Result<String, Box<dyn Error>> {
    let documents = manifest::read(file, unknown)?;
    refuse(&documents)?;
    let mut output = String::new();
    for job in documents.into_iter().filter_map(|document| document.job) {
        let now = clock::now();
        let decided = |job: &PyTorchJob| {
            decide(&World {
                job,
                pods: &[],
                others: &[],
                refusal: None,
                settings,
                now,
            })
        };
        // Pods are created once the status that counts them is stored.
        let mut started = job.clone();
        started.status = decided(&job).status.map(|write| write.status);
        let builder = Builder::new(&job, settings);
        for action in decided(&started).actions {
            let Action::Create(child) = action else { continue };
            let Some(object) = builder.build(child) else { continue };
            write!(output, "---\n{}", serde_saphyr::to_string(&object)?)?;
        }
    }
    Ok(output)
}

/// A line for each job without a fault; otherwise all faults, as an error.
pub fn validate(file: &Path, unknown: UnknownPodFields) -> Result<String, Box<dyn Error>> {
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
