//! `get`: the jobs of a namespace, or of all, with what their pods are at.

mod board;
mod job_now;
mod objects;
mod read;
mod table;
mod watch;

use kube::Client;

use crate::cli::files::complain;
use crate::cli::kubectl::job_name::job_name;
use crate::cli::kubectl::terminal::Terminal;
use crate::cli::offline::Report;
use crate::platform::clock;

use self::job_now::Columns;
use self::objects::Format;
use self::read::Scope;

/// How jobs are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// The table, with the message of the state.
    Wide,
    /// A line with kind and name for each.
    Name,
    /// As they are stored.
    Json,
    /// As they are stored.
    Yaml,
}

/// What `get` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Get {
    /// Names of jobs; all jobs by default.
    #[arg(value_name = "JOB", value_parser = job_name)]
    jobs: Vec<String>,
    /// Jobs of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "jobs")]
    all_namespaces: bool,
    /// Label selector, such as `team=vision,stage!=test`.
    #[arg(short = 'l', long, conflicts_with = "jobs", value_name = "SELECTOR")]
    selector: Option<String>,
    /// Go on with what changes, until Ctrl-C: on a terminal the table is drawn again, elsewhere lines are added.
    #[arg(short, long)]
    watch: bool,
    /// Print something else than the table.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
    /// Leave out the headings of the table.
    #[arg(long)]
    no_headers: bool,
}

impl Get {
    /// Reads and prints; with `--watch` until nobody reads it.
    pub(super) async fn run(&self, client: &Client, namespace: &str) -> Result<Report, String> {
        let scope = Scope {
            client: client.clone(),
            namespace: (!self.all_namespaces).then(|| namespace.to_owned()),
            jobs: self.jobs.clone(),
            selector: self.selector.clone(),
        };
        let columns = Columns {
            namespace: self.all_namespaces,
            why: self.output == Some(Output::Wide),
        };
        if self.watch {
            // What is not there would be waited for without a word.
            let absent = scope.absent().await;
            if !absent.is_empty() && absent.len() == self.jobs.len() {
                return Ok(Report {
                    remarks: absent,
                    invalid: true,
                    ..Report::default()
                });
            }
            for remark in &absent {
                complain(remark);
            }
        }
        match (self.format(), self.watch) {
            (Some(format), false) => scope.objects(format).await,
            (Some(format), true) => watch::objects(&scope, format).await,
            (None, false) => scope.table(columns, !self.no_headers, clock::now()).await,
            (None, true) => watch::table(&scope, columns, !self.no_headers, Terminal::detect()).await,
        }
    }

    fn format(&self) -> Option<Format> {
        match self.output? {
            Output::Wide => None,
            Output::Name => Some(Format::Name),
            Output::Json => Some(Format::Json),
            Output::Yaml => Some(Format::Yaml),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::kubectl::tests::{client, not_found};

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_not_there_is_not_watched_for() {
        let client = client(|path| match path {
            path if path.ends_with("/nothing") => not_found("pytorchjobs \"nothing\" not found", "nothing"),
            _ => serde_json::json!({ "metadata": {}, "items": [] }),
        });
        for output in [None, Some(Output::Name)] {
            let get = Get {
                jobs: vec!["nothing".to_owned()],
                all_namespaces: false,
                selector: None,
                watch: true,
                output,
                no_headers: false,
            };
            let report = tokio::time::timeout(Duration::from_mins(1), get.run(&client, "team")).await;
            let report = report.expect("it ends").unwrap();
            let said = "cannot get PyTorchJob nothing: pytorchjobs \"nothing\" not found";
            assert_eq!((report.remarks, report.invalid), (vec![said.to_owned()], true));
        }
    }
}
