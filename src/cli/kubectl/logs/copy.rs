//! Copies the logs of a job, and asks again for what broke off.

use std::collections::HashMap;
use std::io::{self, Write};
use std::rc::Rc;

use futures::StreamExt;
use futures::stream::SelectAll;
use k8s_openapi::jiff::Timestamp;

use crate::cli::kubectl::logs::printer::Printer;
use crate::cli::kubectl::logs::run::{Key, Run};
use crate::cli::kubectl::logs::source::{Lines, Look, Reading, Said, Source};

/// How far the log of a run has been read.
#[derive(Debug, Default)]
struct Progress {
    state: State,
    /// When the last line was written.
    until: Option<Timestamp>,
    /// Why it last could not be read.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It is being read.
    #[default]
    Open,
    /// The answer has ended, as it does with the run, and as it does when a proxy in between has waited long enough.
    Ended,
    /// The answer broke off, or there was none.
    Broken,
}

/// Logs on their way to the output.
pub(super) struct Copy<'a, W> {
    pub source: &'a Source,
    pub printer: Printer<W>,
    pub follow: bool,
    /// Lines of each run to begin with.
    pub tail: Option<i64>,
    pub known: Known,
    pub lines: SelectAll<Lines>,
}

/// The runs that were seen.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Key, Progress>);

impl Known {
    /// Whether no run was ever seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are logs and none of them could be read.
    pub(super) fn is_silent(&self) -> bool {
        let silent = |progress: &Progress| progress.state == State::Broken && progress.until.is_none();
        !self.is_empty() && self.0.values().all(silent)
    }

    /// How to read a run that is not being read and may have more to say.
    fn reading(&mut self, run: Run, tail: Option<i64>) -> Option<Reading> {
        let known = self.0.get(&run.key());
        let after = known.and_then(|progress| progress.until);
        let wanted = known.is_none_or(|progress| match progress.state {
            State::Open => false,
            State::Ended => run.goes_on(),
            State::Broken => true,
        });
        if wanted {
            self.0.entry(run.key()).or_default().state = State::Open;
        }
        wanted.then(|| Reading {
            run: Rc::new(run),
            tail: tail.filter(|_| after.is_none()),
            after,
        })
    }
}

impl<W: Write> Copy<'_, W> {
    /// Begins to read what the pods have that is not being read.
    pub(super) fn open(&mut self, look: &Look) {
        for pod in &look.pods {
            let runs = Run::of(pod, look.failure.as_ref()).into_iter();
            let readings = runs.filter_map(|run| self.known.reading(run, self.tail));
            let readings: Vec<_> = readings.collect();
            for reading in &readings {
                self.printer.begin(&reading.run);
            }
            self.lines.push(self.source.lines(readings, self.follow));
        }
    }

    /// Prints all lines that come.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        while let Some((run, said)) = self.lines.next().await {
            let progress = self.known.0.entry(run.key()).or_default();
            match said {
                Said::Line(time, line) => {
                    progress.until = time.or(progress.until);
                    self.printer.line(&run, &line)?;
                }
                Said::Broken(why) => {
                    progress.state = State::Broken;
                    // Once, however often it is tried.
                    if progress.trouble.as_ref() != Some(&why) {
                        self.printer.silent(&run, &why);
                    }
                    progress.trouble = Some(why);
                }
                Said::End => {
                    if progress.state == State::Open {
                        progress.state = State::Ended;
                    }
                    self.printer.end(&run)?;
                }
            }
        }
        Ok(())
    }
}
