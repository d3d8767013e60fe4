//! `timeline`: what a job and each of its ranks went through, and when.

mod build;
mod html;
mod job;
mod model;
mod pod;
mod replica;
mod text;
mod told;

use std::fs;
use std::path::PathBuf;

use crate::cli::kubectl::job_name::job_name;
use crate::cli::kubectl::observation::Observation;
use crate::cli::kubectl::terminal::Terminal;

use self::model::Timeline;

/// What `timeline` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Name of the job.
    #[arg(required_unless_present = "filename", conflicts_with = "filename", value_parser = job_name)]
    pub job: Option<String>,
    /// Show what `record` printed, in the place of a job in the cluster; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// Write a page for a browser, which needs nothing else, into this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Show {
    /// The timeline for the terminal; of a page, where it is.
    pub(super) fn of(&self, observation: &Observation) -> Result<String, String> {
        let timeline = Timeline::of(observation)?;
        let Some(file) = &self.html else {
            let terminal = Terminal::detect();
            return Ok(text::draw(&timeline, terminal.columns, terminal.colours));
        };
        let written = fs::write(file, html::page(&timeline));
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        Ok(format!("The timeline of {} is in {}\n", timeline.job, file.display()))
    }
}
