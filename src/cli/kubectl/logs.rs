//! The logs of all pods of a job, each line with the replica before it.

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};

use crate::api::{PyTorchJob, names};
use crate::cli::kubectl::pod::{self, Pod, training};
use crate::planner::finished;

/// How often pods are looked for that were started meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Prints them: what there is, or with `follow` what comes until no pod of the job is left to come.
pub(super) async fn print(client: &Client, namespace: &str, job: &str, follow: bool, tail: i64) -> Result<(), String> {
    let pods = pod::api(client.clone(), namespace);
    let logs: Api<v1::Pod> = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().labels(&format!("{}={job}", names::LABEL_JOB_NAME));
    let mut seen = HashSet::new();
    let mut streams = FuturesUnordered::new();
    loop {
        let list = pods
            .list(&of_job)
            .await
            .map_err(|error| format!("cannot list the pods of {job}: {error}"))?;
        let none = list.items.is_empty() && seen.is_empty();
        if none && (!follow || ended(client, namespace, job).await) {
            return Err(format!("PyTorchJob {namespace}/{job} has no pods"));
        }
        for pod in list.items.into_iter().filter(has_started) {
            if seen.insert(run_of(&pod)) {
                let replica = pod.name_any().strip_prefix(&format!("{job}-")).map(str::to_owned);
                let replica = replica.unwrap_or_else(|| pod.name_any());
                streams.push(one(logs.clone(), pod.name_any(), replica, follow, tail));
            }
        }
        if !follow {
            while streams.next().await == Some(Reader::Open) {}
            return Ok(());
        }
        let look_again = tokio::time::sleep(LOOK_AGAIN);
        tokio::pin!(look_again);
        while tokio::select! {
            () = &mut look_again => false,
            Some(reader) = streams.next() => match reader {
                Reader::Open => true,
                Reader::Closed => return Ok(()),
            },
        } {}
        if streams.is_empty() && !seen.is_empty() && ended(client, namespace, job).await {
            return Ok(());
        }
    }
}

/// Whoever reads what is printed.
#[derive(Debug, PartialEq, Eq)]
enum Reader {
    Open,
    /// It has seen enough, as `head` has.
    Closed,
}

/// Prints the log of one container until it ends.
async fn one(logs: Api<v1::Pod>, pod: String, replica: String, follow: bool, tail: i64) -> Reader {
    let parameters = LogParams {
        container: Some(names::CONTAINER.to_owned()),
        follow,
        tail_lines: Some(tail),
        ..LogParams::default()
    };
    let printed = async {
        let mut lines = logs.log_stream(&pod, &parameters).await?.lines();
        while let Some(line) = lines.try_next().await? {
            writeln!(io::stdout(), "[{replica}] {line}")?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let Err(error) = printed.await else { return Reader::Open };
    let closed = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if closed {
        return Reader::Closed;
    }
    eprintln!("[{replica}] no log: {error}");
    Reader::Open
}

/// A pod whose container has been started again has another log.
fn run_of(pod: &Pod) -> (String, i32) {
    let restarts = pod
        .status
        .as_ref()
        .and_then(training)
        .map_or(0, |container| container.restart_count);
    (pod.uid().unwrap_or_default(), restarts)
}

fn has_started(pod: &Pod) -> bool {
    let state = pod
        .status
        .as_ref()
        .and_then(training)
        .and_then(|container| container.state.as_ref());
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// Whether the job has finished or is gone.
async fn ended(client: &Client, namespace: &str, job: &str) -> bool {
    let jobs: Api<PyTorchJob> = Api::namespaced(client.clone(), namespace);
    match jobs.get_opt(job).await {
        Ok(job) => job.is_none_or(|job| job.status.as_ref().is_some_and(finished)),
        Err(_) => false,
    }
}
