//! Prints the lines of all replicas, and which of them failed first.

use std::io::{self, Write};
use std::rc::Rc;

use crate::api::FirstFailure;
use crate::cli::files::complain;
use crate::cli::kubectl::logs::mark::{heading, painted, prefix, tells};
use crate::cli::kubectl::logs::run::Run;

/// What has been printed, and where.
pub(super) struct Printer<W> {
    job: String,
    colours: bool,
    output: W,
    failure: Option<FirstFailure>,
    /// The failure whose heading has been printed: when another turns out to have caused it, that has one too.
    told: Option<FirstFailure>,
    /// The runs that have more to say.
    open: Vec<Rc<Run>>,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(job: &str, colours: bool, output: W) -> Self {
        Self {
            job: job.to_owned(),
            colours,
            output,
            failure: None,
            told: None,
            open: Vec::new(),
        }
    }

    /// The job says now that it failed so. Nothing takes back what it said before.
    pub(super) fn learn(&mut self, failure: Option<FirstFailure>) {
        if failure.is_some() {
            self.failure = failure;
        }
    }

    /// The lines of a run are about to come.
    pub(super) fn begin(&mut self, run: &Rc<Run>) {
        self.open.push(Rc::clone(run));
    }

    /// The runs of which lines may come.
    pub(super) fn open(&self) -> impl Iterator<Item = &Run> {
        self.open.iter().map(Rc::as_ref)
    }

    /// A line of a run.
    pub(super) fn line(&mut self, run: &Run, line: &str) -> io::Result<()> {
        let prefix = prefix(&self.job, &run.pod);
        let failure = self.failure.as_ref().filter(|failure| run.failed_as(failure));
        match failure.filter(|_| self.colours) {
            Some(failure) if tells(failure, line) => {
                writeln!(self.output, "{}", painted(&format!("{prefix} {line}")))
            }
            Some(_) => writeln!(self.output, "{} {line}", painted(&prefix)),
            None => writeln!(self.output, "{prefix} {line}"),
        }
    }

    /// The log of a run cannot be read, or not to the end.
    pub(super) fn silent(&self, run: &Run, why: &str) {
        let prefix = prefix(&self.job, &run.pod);
        complain(&format_args!(
            "{prefix} cannot read the log of pod {} to its end: {why}",
            run.pod
        ));
    }

    /// No line of this run comes any more.
    pub(super) fn end(&mut self, run: &Run) -> io::Result<()> {
        self.open.retain(|other| other.key() != run.key());
        match &self.failure {
            Some(failure) if run.failed_as(failure) => self.tell(),
            _ => Ok(()),
        }
    }

    /// Prints the heading of a failure, unless lines of the run that failed are still to come.
    pub(super) fn tell(&mut self) -> io::Result<()> {
        let fresh = self
            .failure
            .as_ref()
            .filter(|failure| self.told.as_ref() != Some(failure));
        let Some(failure) = fresh.filter(|failure| !self.open.iter().any(|run| run.failed_as(failure))) else {
            return Ok(());
        };
        let line = heading(&self.job, failure);
        self.told = Some(failure.clone());
        let line = if self.colours { painted(&line) } else { line };
        writeln!(self.output, "{line}")
    }
}
