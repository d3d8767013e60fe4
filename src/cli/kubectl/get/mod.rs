//! `get`: the jobs of a namespace, or of all, with what their pods are at.

mod board;
mod job_now;
mod objects;
mod read;
mod table;
mod watch;

use kube::Client;

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
    #[arg(value_name = "JOB")]
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
