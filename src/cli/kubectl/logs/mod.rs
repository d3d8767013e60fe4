//! The logs of all pods of a job, each line with the replica before it, and what failed first.

mod mark;
mod printer;
mod run;

use std::collections::HashSet;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use futures::stream::{self, LocalBoxStream, SelectAll};
use futures::{AsyncBufRead, AsyncBufReadExt, Stream, StreamExt, TryFutureExt};
use k8s_openapi::api::core::v1;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

use crate::api::{FirstFailure, PyTorchJob, names};
use crate::cli::kubectl::logs::printer::Printer;
use crate::cli::kubectl::logs::run::Run;
use crate::cli::kubectl::pod::{self, Pod};
use crate::cli::kubectl::terminal::Terminal;
use crate::planner::finished;

/// How often pods are looked for that were started meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What `logs` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// Name of the job.
    job: String,
    /// Go on with what comes, pods that are started again included, until the job has finished.
    #[arg(short, long)]
    follow: bool,
    /// Lines of each pod to begin with; -1 is all of them.
    #[arg(long, default_value_t = 50, value_name = "LINES", allow_negative_numbers = true)]
    tail: i64,
}

impl Logs {
    /// Prints them: what there is, or with `--follow` what comes until no pod of the job is left to come.
    pub(super) async fn print(&self, client: &Client, namespace: &str) -> Result<(), String> {
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

    async fn copy<W: Write>(&self, source: &Source, mut printer: Printer<W>) -> Result<(), Stop> {
        let (mut seen, mut lines, mut tail) = (HashSet::new(), SelectAll::new(), self.first_lines());
        loop {
            let look = source.look(&self.job).await?;
            let last = !self.follow || look.over;
            printer.learn(look.failure.clone());
            if look.pods.is_empty() && seen.is_empty() && last {
                printer.tell()?;
                let name = format!("{}/{}", source.namespace, self.job);
                return Err(Stop::Failed(format!("PyTorchJob {name} has no pods")));
            }
            for pod in &look.pods {
                let mut runs = Run::of(pod, look.failure.as_ref());
                runs.retain(|run| seen.insert(run.key()));
                let runs: Vec<Rc<Run>> = runs.into_iter().map(Rc::new).collect();
                for run in &runs {
                    printer.begin(run);
                }
                lines.push(source.lines(runs, self.follow, tail));
            }
            // Of what starts while we follow, everything is printed.
            tail = None;
            if last {
                drain(&mut lines, &mut printer).await?;
                return Ok(printer.tell()?);
            }
            printer.tell()?;
            // Silence is no reason to wait longer.
            let drained = async {
                drain(&mut lines, &mut printer).await?;
                std::future::pending().await
            };
            if let Ok(stopped) = tokio::time::timeout(LOOK_AGAIN, drained).await {
                return stopped;
            }
        }
    }
}

/// Prints all lines that come.
async fn drain<W: Write>(lines: &mut SelectAll<Lines>, printer: &mut Printer<W>) -> Result<(), Stop> {
    while let Some((run, said)) = lines.next().await {
        match said {
            Said::Line(line) => printer.line(&run, &line)?,
            Said::Nothing(why) => printer.silent(&run, &why),
            Said::End => printer.end(&run)?,
        }
    }
    Ok(())
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

/// What a run says.
enum Said {
    Line(String),
    /// Its log cannot be read, or not to the end.
    Nothing(String),
    End,
}

type Lines = LocalBoxStream<'static, (Rc<Run>, Said)>;

/// Where logs are read.
struct Source {
    namespace: String,
    jobs: Api<PyTorchJob>,
    pods: Api<Pod>,
    logs: Api<v1::Pod>,
}

/// A job and its pods at one moment.
struct Look {
    /// Whether the job has finished or is gone, so that no pod comes after these.
    over: bool,
    failure: Option<FirstFailure>,
    pods: Vec<Pod>,
}

impl Source {
    fn new(client: &Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: pod::api(client.clone(), namespace),
            logs: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Reads the job, and then the pods: those of a job that has finished are all there. A job that cannot be read may
    /// go on.
    async fn look(&self, name: &str) -> Result<Look, Stop> {
        let job = self.jobs.get_opt(name).await;
        let gone = matches!(job, Ok(None));
        let status = job.ok().flatten().and_then(|job| job.status);
        let of_job = ListParams::default().labels(&format!("{}={name}", names::LABEL_JOB_NAME));
        let pods = self.pods.list(&of_job).await;
        Ok(Look {
            over: gone || status.as_ref().is_some_and(finished),
            failure: status.and_then(|status| status.first_failure),
            pods: pods
                .map_err(|error| Stop::Failed(format!("cannot list the pods of {name}: {error}")))?
                .items,
        })
    }

    /// The lines of the runs of a pod, one run after the other.
    fn lines(&self, runs: Vec<Rc<Run>>, follow: bool, tail: Option<i64>) -> Lines {
        let logs = self.logs.clone();
        let lines_of = move |run: Rc<Run>| {
            let parameters = LogParams {
                container: Some(names::CONTAINER.to_owned()),
                follow: follow && !run.previous,
                previous: run.previous,
                tail_lines: tail,
                ..LogParams::default()
            };
            let (logs, pod) = (logs.clone(), run.pod.clone());
            let log = async move {
                let opened = logs.log_stream(&pod, &parameters).await;
                let opened = opened.map_err(|error| error.to_string())?;
                Ok::<_, String>(text_lines(Box::pin(opened)))
            };
            let lines = log.try_flatten_stream();
            let said = lines.map(|line| line.map_or_else(Said::Nothing, Said::Line));
            let said = said.chain(stream::once(async { Said::End }));
            said.map(move |said| (Rc::clone(&run), said))
        };
        stream::iter(runs).flat_map(lines_of).boxed_local()
    }
}

/// The lines of a log. What is no UTF-8 in them is replaced: programs print progress in any encoding.
fn text_lines(log: impl AsyncBufRead + Unpin) -> impl Stream<Item = Result<String, String>> {
    stream::try_unfold(log, async |mut log| {
        let mut line = Vec::new();
        let read = log.read_until(b'\n', &mut line).await;
        let some = read.map_err(|error| error.to_string())? > 0;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        Ok(some.then_some((text, log)))
    })
}

#[cfg(test)]
mod tests;
