//! Copies the logs of a job, and asks again for what broke off.

use std::collections::HashMap;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, SelectAll};
use k8s_openapi::jiff::Timestamp;
use tokio::time::timeout;

use crate::cli::kubectl::logs::printer::Printer;
use crate::cli::kubectl::logs::run::{Key, Run};
use crate::cli::kubectl::logs::source::{Broken, Lines, Look, Reading, Said, Source};

/// A log that cannot be read is asked for again after one look at the pods, then two, four, and so on up to this power.
const PAUSES: u32 = 5;

/// How often what broke off is asked for again at once, when nothing comes after it.
const TRIES: u32 = 3;

/// How long what goes on is still printed once the job has finished.
const MOMENT: Duration = Duration::from_secs(2);

/// How many pods are asked at once for what comes to an end: each costs a connection.
const AT_ONCE: usize = 100;

/// How logs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// With what comes, where that is followed.
    Follow,
    /// For what there is when nothing is to come after it.
    Last,
    /// The same once more, and at once, where that was not all.
    Again,
}

/// How far the log of a run has been read.
#[derive(Debug, Default)]
struct Progress {
    state: State,
    /// Lines to begin with, where nothing has been read yet.
    tail: Option<i64>,
    /// Whether a line came.
    read: bool,
    /// When the last line was written, if that was asked for.
    until: Option<Timestamp>,
    /// Looks until it is asked for again, and how often it was in vain.
    pause: u32,
    tries: u32,
    /// Why it last could not be read.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nobody has asked for it yet.
    #[default]
    New,
    /// It is being read.
    Open,
    /// It is being read and goes on, and nobody waits for its end.
    Left,
    /// The answer has ended: a proxy in between may have waited long enough.
    Ended,
    /// The answer has ended that was asked for after the run had: there is no more.
    Whole,
    /// The answer broke off, or there was none.
    Broken,
    /// It may not be read.
    Refused,
}

/// Logs on their way to the output.
pub(super) struct Copy<'a, W> {
    pub source: &'a Source,
    pub printer: Printer<W>,
    pub follow: bool,
    /// Lines to begin with of what is there at the first look. Of what starts while we follow everything is printed.
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

    /// Whether there are logs and none of them can be read: `for_good` if that will not change.
    pub(super) fn is_silent(&self, for_good: bool) -> bool {
        let silent = |progress: &Progress| match progress.state {
            State::Refused => true,
            State::Broken => !for_good && !progress.read,
            _ => false,
        };
        !self.is_empty() && self.0.values().all(silent)
    }

    /// Whether the log of a pod that is there broke off and was not read on, or may not be read.
    pub(super) fn is_broken(&self, look: &Look) -> bool {
        let runs = look.pods.iter().flat_map(|pod| Run::of(pod, look.failure.as_ref()));
        let mut known = runs.filter_map(|run| self.0.get(&run.key()));
        known.any(|progress| matches!(progress.state, State::Broken | State::Refused))
    }

    /// Whether the end of a run that is being read is not waited for.
    fn is_left(&self, run: &Run) -> bool {
        let progress = self.0.get(&run.key());
        progress.is_some_and(|progress| progress.state == State::Left)
    }

    /// Does not wait for the ends of runs that are being read and go on.
    fn leave(&mut self, look: &Look) {
        let runs = look.pods.iter().flat_map(|pod| Run::of(pod, look.failure.as_ref()));
        for run in runs.filter(Run::goes_on) {
            if let Some(progress) = self.0.get_mut(&run.key())
                && progress.state == State::Open
            {
                progress.state = State::Left;
            }
        }
    }

    /// How to read a run that is not being read and may have more to say. `tail` is for runs that are new.
    fn reading(&mut self, run: Run, tail: Option<i64>, asks: Asks) -> Option<Reading> {
        let progress = self.0.entry(run.key()).or_insert_with(|| Progress {
            tail,
            ..Progress::default()
        });
        let wanted = match progress.state {
            State::New => true,
            // What a run has written since it was last asked is not waited for.
            State::Ended => asks != Asks::Again || !run.goes_on(),
            State::Open | State::Left | State::Whole | State::Refused => false,
            State::Broken => {
                progress.pause = progress.pause.saturating_sub(1);
                asks == Asks::Again || progress.pause == 0
            }
        };
        wanted.then(|| {
            progress.state = State::Open;
            Reading {
                run: Rc::new(run),
                tail: progress.tail.filter(|_| progress.until.is_none()),
                after: progress.until,
            }
        })
    }
}

impl<W: Write> Copy<'_, W> {
    /// Begins to read what the pods have that is not being read. Returns whether there was anything.
    pub(super) fn open(&mut self, look: &Look, asks: Asks) -> bool {
        let (tail, follow) = (self.tail.take(), self.follow && asks == Asks::Follow);
        let (mut any, mut opened) = (false, Vec::new());
        for pod in &look.pods {
            let runs = Run::of(pod, look.failure.as_ref()).into_iter();
            let readings = runs.filter_map(|run| self.known.reading(run, tail, asks));
            let readings: Vec<_> = readings.collect();
            for reading in &readings {
                self.printer.begin(&reading.run);
                any = true;
            }
            opened.push(self.source.lines(readings, follow, self.follow));
        }
        if follow {
            self.lines.extend(opened);
        } else {
            self.lines
                .push(stream::iter(opened).flatten_unordered(AT_ONCE).boxed_local());
        }
        any
    }

    /// Prints all lines that come.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        while let Some((run, said)) = self.lines.next().await {
            self.take(&run, said)?;
        }
        Ok(())
    }

    /// Prints what is left when nothing more is to come: all of the runs that have ended, and of those that go on what
    /// they have by now.
    pub(super) async fn finish(&mut self, look: &Look) -> io::Result<()> {
        self.known.leave(look);
        self.open(look, Asks::Last);
        self.drain_open().await?;
        // What broke off, or ended before its run had, is read on.
        for _ in 0..if self.follow { TRIES } else { 0 } {
            if !self.open(look, Asks::Again) {
                break;
            }
            self.drain_open().await?;
        }
        Ok(())
    }

    /// Prints all lines that come of what is waited for. The ranks of a job end a moment after each other, so the rest
    /// has a moment too.
    async fn drain_open(&mut self) -> io::Result<()> {
        if let Ok(drained) = timeout(MOMENT, self.drain()).await {
            return drained;
        }
        while self.printer.open().any(|run| !self.known.is_left(run))
            && let Some((run, said)) = self.lines.next().await
        {
            self.take(&run, said)?;
        }
        Ok(())
    }

    fn take(&mut self, run: &Run, said: Said) -> io::Result<()> {
        let progress = self.known.0.entry(run.key()).or_default();
        match said {
            Said::Line(time, line) => {
                (progress.read, progress.tries) = (true, 0);
                progress.until = time.or(progress.until);
                self.printer.line(run, &line)
            }
            Said::Broken(broken) => {
                if progress.breaks(&broken) {
                    self.printer.silent(run, &broken.why);
                }
                Ok(())
            }
            Said::End => {
                if progress.state == State::Open {
                    progress.state = if run.goes_on() { State::Ended } else { State::Whole };
                }
                self.printer.end(run)
            }
        }
    }
}

impl Progress {
    /// The log broke off. Returns whether that is news, however often it is tried.
    fn breaks(&mut self, Broken { why, refused }: &Broken) -> bool {
        self.state = if *refused { State::Refused } else { State::Broken };
        self.pause = 1 << self.tries.min(PAUSES);
        self.tries += 1;
        let news = self.trouble.as_ref() != Some(why);
        self.trouble = Some(why.clone());
        news
    }
}
