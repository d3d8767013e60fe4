//! `kubectl pytorchjob`: what a user wants to know of a job, read with the user's own kubeconfig and nothing more.

mod age;
mod get;
mod logs;
mod observation;
mod read;
mod stage;
mod terminal;
mod timeline;
mod why;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cli::kubectl::observation::Observation;
use crate::cli::offline::Report;
use crate::cli::{files, print};
use crate::platform::clock;

/// The name under which kubectl finds this program.
const PLUGIN: &str = "kubectl-pytorchjob";

/// Look at PyTorchJobs. Reads with your own kubeconfig and changes nothing.
#[derive(Debug, Parser)]
#[command(name = "kubectl pytorchjob", bin_name = "kubectl pytorchjob", version)]
pub(super) struct Plugin {
    /// Namespace of the jobs; the one of the context by default.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig; the current one by default.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Path of the kubeconfig; KUBECONFIG or ~/.kube/config by default.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a line for each job, with what its pods are at until all of them run.
    Get(get::Get),
    /// Say what a job is doing, what it waits for, what will happen to it next and when, and what to do about it.
    Why {
        /// Name of the job.
        job: String,
    },
    /// Show what a job and each of its ranks went through, and when, as far as the API server still knows.
    Timeline(timeline::Show),
    /// Print the logs of all pods of a job, each line with the replica before it.
    Logs {
        /// Name of the job.
        job: String,
        /// Go on with what comes, pods that are started again included, until the job has finished.
        #[arg(short, long)]
        follow: bool,
        /// Lines of each pod to begin with.
        #[arg(long, default_value_t = 50, value_name = "LINES")]
        tail: i64,
    },
    /// Print the job and everything that decisions about it are made from, for a bug report. Values of environment
    /// variables, arguments and annotations are blanked.
    Record {
        /// Name of the job.
        job: String,
    },
    /// Say `why` of a record. Needs no cluster.
    Replay {
        /// What `record` printed; `-` reads standard input.
        file: PathBuf,
    },
}

impl Plugin {
    /// Reads the command line if the process was called by the plugin's name; ends it after help or an error.
    pub(super) fn of_process() -> Option<Self> {
        let called = std::env::args_os().next()?;
        let name = Path::new(&called).file_stem()?;
        (name == PLUGIN).then(Self::parse)
    }

    /// Does what the command line says. Errors go to standard error.
    pub(super) fn execute(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime
            .map_err(Box::<dyn Error>::from)
            .and_then(|runtime| runtime.block_on(self.run()));
        result.and_then(|report| print(&report)).unwrap_or_else(|error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        })
    }

    async fn run(self) -> Result<Report, Box<dyn Error>> {
        let output = match &self.command {
            Command::Get(get) => {
                let (client, namespace) = self.connect().await?;
                return Ok(get.run(&client, &namespace).await?);
            }
            Command::Why { job } => explain(&self.observe(job).await?),
            Command::Record { job } => {
                let mut observation = self.observe(job).await?;
                observation.blank();
                Ok(format!("{:#}\n", serde_json::to_value(&observation)?))
            }
            Command::Replay { file } => explain(&recorded(file)?),
            Command::Timeline(show) => {
                let observation = match (&show.filename, &show.job) {
                    (Some(file), _) => recorded(file)?,
                    (None, job) => self.observe(job.as_deref().unwrap_or_default()).await?,
                };
                Ok(show.of(&observation)?)
            }
            Command::Logs { job, follow, tail } => {
                let (client, namespace) = self.connect().await?;
                logs::print(&client, &namespace, job, *follow, *tail).await?;
                Ok(String::new())
            }
        };
        Ok(Report {
            output: output?,
            ..Report::default()
        })
    }

    async fn observe(&self, job: &str) -> Result<Observation, Box<dyn Error>> {
        let (client, namespace) = self.connect().await?;
        Ok(read::observe(&client, &namespace, job, clock::now()).await?)
    }

    /// A client, and the namespace to look in.
    async fn connect(&self) -> Result<(Client, String), Box<dyn Error>> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
            None => Config::from_kubeconfig(&options).await?,
        };
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok((Client::try_from(config)?, namespace))
    }
}

fn recorded(file: &Path) -> Result<Observation, Box<dyn Error>> {
    let observation = serde_json::from_str(&files::text(file)?);
    Ok(observation.map_err(|error| format!("{} is not what `record` prints: {error}", file.display()))?)
}

fn explain(observation: &Observation) -> Result<String, Box<dyn Error>> {
    Ok(why::explain(&observation.facts()?))
}
