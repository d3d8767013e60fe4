//! The logs of all pods of a job, each line with the replica before it, and what failed first.

mod copy;
mod mark;
mod printer;
mod run;
mod source;

use std::io::{self, Write};
use std::time::Duration;

use futures::stream::SelectAll;
use kube::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::files::complain;
use crate::cli::kubectl::job_name::job_name;
use crate::cli::kubectl::logs::copy::{Asks, Copy, Known};
use crate::cli::kubectl::logs::printer::Printer;
use crate::cli::kubectl::logs::source::{Look, Source, is_refusal};
use crate::cli::kubectl::read::said;
use crate::cli::kubectl::terminal::Terminal;

/// How often pods are looked for that were started meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What `logs` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// Name of the job.
    #[arg(value_parser = job_name)]
    job: String,
    /// Go on with what comes, pods that are started again included, until the job has finished. A log that breaks off
    /// is read on from there.
    #[arg(short, long)]
    follow: bool,
    /// Lines of each pod to begin with; -1 is all of them.
    #[arg(long, default_value_t = 50, value_name = "LINES", allow_negative_numbers = true)]
    tail: i64,
}

impl Logs {
    /// Prints them: what there is, or with `--follow` what comes until no pod of the job is left to come.
    pub(super) async fn print(&self, client: &Client, namespace: &str) -> Result<(), String> {
        if self.follow {
            allow_connections();
        }
        let printer = Printer::new(&self.job, Terminal::detect().colours, io::stdout());
        match self.copy(&Source::new(client, namespace), printer).await {
            Ok(()) | Err(Stop::Closed) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// How many lines the API server is asked for; of all it is told nothing.
    fn first_lines(&self) -> Option<i64> {
        Some(self.tail).filter(|tail| *tail >= 0)
    }

    fn begin<'a, W: Write>(&self, source: &'a Source, printer: Printer<W>) -> Copy<'a, W> {
        Copy {
            source,
            printer,
            follow: self.follow,
            tail: self.first_lines(),
            known: Known::default(),
            lines: SelectAll::new(),
        }
    }

    async fn copy<W: Write>(&self, source: &Source, printer: Printer<W>) -> Result<(), Stop> {
        let mut copy = self.begin(source, printer);
        let (mut trouble, mut silence) = (Trouble::default(), Trouble::default());
        loop {
            match source.look(&self.job).await {
                Ok(look) => {
                    trouble.tell(look.trouble.clone());
                    let over = self.seen(&mut copy, &look).await?;
                    silence.tell(self.nothing_yet(&copy.known, &look, &source.namespace));
                    if over {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let name = format!("{}/{}", source.namespace, self.job);
                    let why = format!("cannot list the pods of PyTorchJob {name}: {}", said(&error));
                    if copy.known.is_empty() || is_refusal(&error) {
                        return Err(Stop::Failed(why));
                    }
                    // What is being read goes on.
                    trouble.tell(Some(why));
                }
            }
            // Silence is no reason to wait longer.
            let drained = async {
                copy.drain().await?;
                std::future::pending().await
            };
            if let Ok(stopped) = tokio::time::timeout(LOOK_AGAIN, drained).await {
                return stopped;
            }
        }
    }

    /// Why nothing is printed of a job whose pods have not started.
    fn nothing_yet(&self, known: &Known, look: &Look, namespace: &str) -> Option<String> {
        let job = &self.job;
        (known.is_empty() && !look.over).then(|| {
            format!(
                "no container of PyTorchJob {namespace}/{job} has started yet: \
                 see kubectl pytorchjob why {job} -n {namespace}"
            )
        })
    }

    /// Reads what was seen. Returns whether that was all.
    async fn seen<W: Write>(&self, copy: &mut Copy<'_, W>, look: &Look) -> Result<bool, Stop> {
        let first = copy.known.is_empty();
        let ended = look.ended && (first || !look.pods.is_empty());
        let last = !self.follow || look.over || ended;
        copy.printer.learn(look.failure.clone());
        let failed = |what: &str| {
            let name = format!("{}/{}", copy.source.namespace, self.job);
            Err(Stop::Failed(format!("PyTorchJob {name} has {what}")))
        };
        if look.pods.is_empty() && first && last {
            copy.printer.tell()?;
            let gone = look.gone.clone().map(|why| Err(Stop::Failed(why)));
            return gone.unwrap_or_else(|| failed("no pods"));
        }
        if last {
            copy.finish(look).await?;
        } else {
            copy.open(look, Asks::Follow);
        }
        copy.printer.tell()?;
        if copy.known.is_silent(!last) {
            return failed("no log that can be read");
        }
        if last && copy.known.is_broken(look) {
            return failed("a log that cannot be read to its end");
        }
        Ok(last)
    }
}

/// Who follows has a connection to every pod, and a shell allows 1024 files unless it is asked for more. Where no more
/// are to be had, it is said of each log that cannot be read.
fn allow_connections() {
    let limit = getrlimit(Resource::Nofile);
    // The most that macOS takes where it says that there is no limit.
    let most = [limit.maximum, Some(10_240)];
    let _raised = most.into_iter().any(|current| {
        let raised = Rlimit { current, ..limit };
        setrlimit(Resource::Nofile, raised).is_ok()
    });
}

/// What stands in the way of looking at the job.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    /// Says it once.
    fn tell(&mut self, trouble: Option<String>) {
        if let Some(trouble) = &trouble
            && self.0.as_ref() != Some(trouble)
        {
            complain(trouble);
        }
        self.0 = trouble;
    }
}

/// Why no more is printed.
enum Stop {
    /// Whoever reads it has seen enough, as `head` has.
    Closed,
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
