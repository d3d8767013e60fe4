//! `kubectl pytorchjob`: what a user wants to know of a job, read with the user's own kubeconfig and nothing more.

mod age;
mod completion;
mod decision;
mod get;
mod job_name;
mod logs;
mod observation;
mod pod;
mod read;
mod replay;
mod stage;
mod target;
mod terminal;
#[cfg(test)]
mod tests;
mod timeline;
mod why;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::completion::Completion;
use crate::cli::kubectl::job_name::job_name;
use crate::cli::kubectl::observation::Observation;
use crate::cli::kubectl::target::Target;
use crate::cli::offline::{Format, Report};
use crate::cli::{self, files, print, yaml};
use crate::platform::clock;
use crate::platform::logs::with_causes;

/// The name under which kubectl finds this program.
const PLUGIN: &str = "kubectl-pytorchjob";

/// Look at PyTorchJobs. Reads with your own kubeconfig and changes nothing.
#[derive(Debug, Parser)]
#[command(name = "kubectl pytorchjob", bin_name = "kubectl pytorchjob", version)]
struct Plugin {
    #[command(flatten)]
    target: Target,
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
        #[arg(value_parser = job_name)]
        job: String,
    },
    /// Show what a job and each of its ranks went through, and when, as far as the API server still knows.
    Timeline(timeline::Show),
    /// Print the logs of all pods of a job, each line with the replica before it, and which replica failed first.
    Logs(logs::Logs),
    /// Print the job and everything that decisions about it are made from, for a bug report. Values of environment
    /// variables, arguments and annotations are blanked.
    Record {
        /// Name of the job.
        #[arg(value_parser = job_name)]
        job: String,
    },
    /// Say `why` of a record, and what an operator does about it, step by step, as long as nothing else happens. Needs
    /// no cluster.
    Replay {
        /// What `record` printed; `-` reads standard input.
        file: PathBuf,
        /// Print all that an operator would do about it now instead: requests, status, events, and when it looks again.
        #[arg(short, long, value_enum, value_name = "FORMAT")]
        output: Option<Format>,
    },
    /// Print the pods, services and PodGroups that would be created for the jobs in files. Needs no cluster. Exits with
    /// 1 when a job is invalid and 2 when a file cannot be read.
    Plan(cli::Plan),
    /// Check the jobs in files. Needs no cluster. Exits with 1 when a job is invalid and 2 when a file cannot be read.
    Validate(cli::Validate),
    /// Print the script by which a shell completes `kubectl-pytorchjob`. For `kubectl pytorchjob`, link this program as
    /// `kubectl_complete-pytorchjob` in a directory of PATH.
    Completion(Completion),
}

/// Does what the command line of the process says if that was called by the name of the plugin, or by the one under
/// which kubectl looks for its completions; ends it after help or an error.
pub(super) fn main() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let called = words.next()?;
    let name = Path::new(&called).file_stem()?;
    if name == completion::NAME {
        let output = completion::candidates(Plugin::command(), &words.collect::<Vec<_>>());
        return Some(
            print(&Report {
                output,
                ..Report::default()
            })
            .unwrap_or(ExitCode::FAILURE),
        );
    }
    (name == PLUGIN).then(|| Plugin::parse().execute())
}

impl Plugin {
    /// Does what the command line says. Errors go to standard error.
    fn execute(self) -> ExitCode {
        let failed = match &self.command {
            Command::Plan(_) | Command::Validate(_) => ExitCode::from(cli::UNREADABLE),
            _ => ExitCode::FAILURE,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime
            .map_err(Box::<dyn Error>::from)
            .and_then(|runtime| runtime.block_on(self.run()));
        result.and_then(|report| print(&report)).unwrap_or_else(|error| {
            files::complain(&with_causes(error.as_ref()));
            failed
        })
    }

    async fn run(self) -> Result<Report, Box<dyn Error>> {
        let output = match &self.command {
            Command::Get(get) => {
                let (client, namespace) = self.target.connect().await?;
                return Ok(get.run(&client, &namespace).await?);
            }
            Command::Why { job } => explain(&self.observe(job).await?),
            Command::Record { job } => {
                let mut observation = self.observe(job).await?;
                observation.blank();
                Ok(format!("{:#}\n", serde_json::to_value(&observation)?))
            }
            Command::Plan(arguments) => return cli::plan(arguments),
            Command::Validate(arguments) => return cli::validate(arguments),
            Command::Completion(completion) => Ok(completion.script(Self::command(), PLUGIN)),
            Command::Replay { file, output: None } => {
                let observation = recorded(file)?;
                Ok(explain(&observation)? + &replay::steps(&observation)?)
            }
            Command::Replay {
                file,
                output: Some(format),
            } => {
                let decision = decision::decision(&recorded(file)?.facts()?)?;
                Ok(match format {
                    Format::Json => format!("{decision:#}\n"),
                    Format::Yaml => yaml::printed(&decision)?,
                })
            }
            Command::Timeline(show) => {
                let observation = match (&show.filename, &show.job) {
                    (Some(file), _) => recorded(file)?,
                    (None, job) => self.observe(job.as_deref().unwrap_or_default()).await?,
                };
                Ok(show.of(&observation)?)
            }
            Command::Logs(logs) => {
                let (client, namespace) = self.target.connect().await?;
                logs.print(&client, &namespace).await?;
                Ok(String::new())
            }
        };
        Ok(Report {
            output: output?,
            ..Report::default()
        })
    }

    async fn observe(&self, job: &str) -> Result<Observation, Box<dyn Error>> {
        let (client, namespace) = self.target.connect().await?;
        Ok(read::observe(&client, &namespace, job, clock::now()).await?)
    }
}

fn recorded(file: &Path) -> Result<Observation, Box<dyn Error>> {
    let observation = serde_json::from_str(&files::text(file)?);
    Ok(observation.map_err(|error| format!("{} is not what `record` prints: {error}", file.display()))?)
}

fn explain(observation: &Observation) -> Result<String, Box<dyn Error>> {
    Ok(why::explain(&observation.facts()?))
}
