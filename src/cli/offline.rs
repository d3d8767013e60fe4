//! `plan` and `validate`: the operator's own decisions and rules, without a cluster.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use crate::cli::manifest::{self, Document};
use crate::planner::build::pod::Builder;
use crate::planner::validate::problems;
use crate::planner::{Action, Settings, World, plan as decide};
use crate::platform::clock;

/// The pods and services that would be created for each job, as YAML documents.
pub fn plan(file: &Path, settings: &Settings) -> Result<String, Box<dyn Error>> {
    let documents = manifest::read(file)?;
    refuse(&documents)?;
    let mut output = String::new();
    for job in documents.into_iter().filter_map(|document| document.job.ok()) {
        let builder = Builder::new(&job, settings);
        let world = World {
            job: &job,
            pods: &[],
            others: &[],
            settings,
            now: clock::now(),
        };
        for action in decide(&world).actions {
            let Action::Create(child) = action else { continue };
            let Some(object) = builder.build(child) else { continue };
            write!(output, "---\n{}", serde_saphyr::to_string(&object)?)?;
        }
    }
    Ok(output)
}

/// A line for each job without a fault; otherwise all faults, as an error.
pub fn validate(file: &Path) -> Result<String, Box<dyn Error>> {
    let documents = manifest::read(file)?;
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
            let faults = match &document.job {
                Err(fault) => vec![fault.clone()],
                Ok(job) => problems(job).iter().map(ToString::to_string).collect(),
            };
            faults
                .into_iter()
                .map(|fault| format!("pytorchjob/{}: {fault}", document.title))
        })
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}
