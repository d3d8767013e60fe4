//! Where logs are read.

use std::io;
use std::rc::Rc;

use futures::stream::{self, LocalBoxStream};
use futures::{AsyncBufRead, AsyncBufReadExt, Stream, StreamExt, TryFutureExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

use crate::api::{FirstFailure, PyTorchJob, names};
use crate::cli::kubectl::logs::run::Run;
use crate::cli::kubectl::pod::{self, Pod};
use crate::cli::kubectl::read::{said, said_of_jobs};
use crate::planner::finished;
use crate::platform::logs::with_causes;

/// What a run says.
pub(super) enum Said {
    /// A line, and when it was written, which is asked for where the rest may have to be asked for.
    Line(Option<Timestamp>, String),
    /// Its log cannot be read, or not to the end.
    Broken(Broken),
    /// No more comes of this answer.
    End,
}

/// Why a log cannot be read.
pub(super) struct Broken {
    /// What the API server or the connection says.
    pub why: String,
    /// Whether it may not be.
    pub refused: bool,
}

impl From<kube::Error> for Broken {
    fn from(error: kube::Error) -> Self {
        Self {
            refused: matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403)),
            why: said(&error),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self {
            why: with_causes(&error),
            refused: false,
        }
    }
}

/// The lines of runs.
pub(super) type Lines = LocalBoxStream<'static, (Rc<Run>, Said)>;

/// A run to be read.
pub(super) struct Reading {
    /// The run.
    pub run: Rc<Run>,
    /// How many lines to begin with; otherwise all.
    pub tail: Option<i64>,
    /// When the last line was written that was read before; those up to there are left out.
    pub after: Option<Timestamp>,
}

/// A job and its pods at one moment.
pub(super) struct Look {
    /// Whether no pod comes after these: the job has finished or is gone.
    pub over: bool,
    /// What the API server says of a job that is not there.
    pub gone: Option<String>,
    /// Whether these have ended, and nobody will say whether the job has.
    pub ended: bool,
    /// What failed first.
    pub failure: Option<FirstFailure>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Why the job cannot be read.
    pub trouble: Option<String>,
}

/// A namespace.
pub(super) struct Source {
    /// Its name.
    pub namespace: String,
    jobs: Api<PyTorchJob>,
    pods: Api<Pod>,
    logs: Api<v1::Pod>,
}

impl Source {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: pod::api(client.clone(), namespace),
            logs: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Reads the job, and then the pods: those of a job that has finished are all there. A job that cannot be read may
    /// go on.
    pub(super) async fn look(&self, name: &str) -> Result<Look, kube::Error> {
        let job = self.jobs.get(name).await;
        let error = job.as_ref().err();
        let unreadable = error.is_some_and(|error| is_refusal(error) || matches!(error, kube::Error::SerdeError(_)));
        let why = error.map(|error| {
            format!(
                "cannot get PyTorchJob {}/{name}: {}",
                self.namespace,
                said_of_jobs(error)
            )
        });
        let is_gone = matches!(error, Some(kube::Error::Api(status)) if status.code == 404);
        let (gone, trouble) = if is_gone { (why, None) } else { (None, why) };
        let status = job.ok().and_then(|job| job.status);
        let of_job = ListParams::default().labels(&format!("{}={name}", names::LABEL_JOB_NAME));
        let pods = self.pods.list(&of_job).await?.items;
        Ok(Look {
            over: is_gone || status.as_ref().is_some_and(finished),
            ended: unreadable && pods.iter().all(has_ended),
            gone,
            failure: status.and_then(|status| status.first_failure),
            pods,
            trouble,
        })
    }

    /// The lines of the runs of a pod, one run after the other; with `follow` those to come too, of the last. With
    /// `timed` it is known when each was written.
    pub(super) fn lines(&self, runs: Vec<Reading>, follow: bool, timed: bool) -> Lines {
        let logs = self.logs.clone();
        let lines_of = move |Reading { run, tail, after }: Reading| {
            let parameters = LogParams {
                container: Some(names::CONTAINER.to_owned()),
                follow: follow && !run.previous,
                previous: run.previous,
                // It is sent in whole seconds, rounded.
                since_time: after.map(|after| after.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(after)),
                tail_lines: tail,
                timestamps: timed,
                ..LogParams::default()
            };
            let (logs, pod) = (logs.clone(), run.pod.clone());
            let log = async move {
                let opened = logs.log_stream(&pod, &parameters).await;
                Ok::<_, Broken>(text_lines(Box::pin(opened?)).err_into())
            };
            let of_line = move |line| {
                if timed { with_time(line) } else { Said::Line(None, line) }
            };
            let lines = log.try_flatten_stream();
            let said = lines.map(move |line| line.map_or_else(Said::Broken, of_line));
            let said = said.filter(move |said| std::future::ready(!is_old(said, after)));
            let said = said.chain(stream::once(async { Said::End }));
            said.map(move |said| (Rc::clone(&run), said))
        };
        stream::iter(runs).flat_map(lines_of).boxed_local()
    }
}

/// Whether asking again would be answered so too.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && !matches!(status.code, 408 | 429))
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The line without the time that the kubelet puts before it.
fn with_time(line: String) -> Said {
    let parts = line.split_once(' ').unwrap_or((&line, ""));
    match parts.0.parse() {
        Ok(time) => Said::Line(Some(time), parts.1.to_owned()),
        Err(_) => Said::Line(None, line),
    }
}

fn is_old(said: &Said, after: Option<Timestamp>) -> bool {
    matches!((said, after), (Said::Line(Some(time), _), Some(after)) if *time <= after)
}

/// The lines of a log. What is no UTF-8 in them is replaced: programs print progress in any encoding.
pub(super) fn text_lines(log: impl AsyncBufRead + Unpin) -> impl Stream<Item = io::Result<String>> {
    stream::try_unfold(log, async |mut log| {
        let mut line = Vec::new();
        let read = log.read_until(b'\n', &mut line).await;
        let some = read? > 0;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        Ok(some.then_some((text, log)))
    })
}
