//! The command line. Without a subcommand the operator runs, as Kubeflow's does.
// It ends the program where standard error cannot be written. [`files::complain`] does not.
#![warn(clippy::print_stderr)]

mod completion;
mod convert;
mod files;
mod flags;
mod kubectl;
mod kubeflow;
mod manifest;
mod metadata;
mod offline;
mod place;
mod pod_flags;
mod run;
mod yaml;

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::api::{self, UnknownPodFields};
use crate::cli::offline::{Format, Report};

/// Exit code of `plan`, `convert` and `validate` when nothing could be said: no file, no YAML, no job in it, nowhere to
/// write. An invalid job is 1.
const UNREADABLE: u8 = 2;

/// A Kubernetes operator for kubeflow.org/v1 PyTorchJob.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: flags::Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator; the default.
    Run(Box<flags::Flags>),
    /// Print the CustomResourceDefinition.
    Crd(Definition),
    /// Print the pods, services and PodGroups that would be created for the jobs in files. Needs no cluster. Exits with
    /// 1 when a job is invalid and 2 when a file cannot be read.
    Plan(Plan),
    /// Print the jobs in files as Kubeflow Trainer v2 has them, or those of Trainer, beside their runtimes, as
    /// PyTorchJobs, and say on standard error what is lost. Needs no cluster. Exits with 1 when a job is invalid and 2
    /// when a file cannot be read.
    Convert(Convert),
    /// Check the jobs in files. Needs no cluster. Exits with 1 when a job is invalid and 2 when a file cannot be read.
    Validate(Validate),
    /// Print the script by which a shell completes the command line.
    Completion(completion::Completion),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Definition {
    /// Store pod fields that the definition does not know, which are refused otherwise: for a cluster that is newer
    /// than it.
    #[arg(long)]
    preserve_unknown_pod_fields: bool,
}

impl Definition {
    fn unknown(self) -> UnknownPodFields {
        if self.preserve_unknown_pod_fields {
            UnknownPodFields::Preserved
        } else {
            UnknownPodFields::Refused
        }
    }
}

#[derive(Debug, clap::Args)]
struct Files {
    /// YAML or JSON files, with one or more documents or lists, or directories of such files; `-` reads standard input.
    #[arg(value_name = "FILE", required_unless_present = "filename")]
    paths: Vec<PathBuf>,
    /// The same, as kubectl takes it; may be repeated.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// The definition that the jobs are for.
    #[command(flatten)]
    definition: Definition,
}

impl Files {
    fn paths(&self) -> Vec<PathBuf> {
        [self.filename.as_slice(), &self.paths].concat()
    }

    fn read(&self) -> Result<files::Contents, files::Error> {
        files::read(&self.paths(), self.definition.unknown())
    }
}

#[derive(Debug, clap::Args)]
struct Plan {
    #[command(flatten)]
    files: Files,
    /// yaml prints documents, json a list.
    #[arg(short, long, value_enum, default_value = "yaml", value_name = "FORMAT")]
    output: Format,
    /// Pod settings.
    #[command(flatten)]
    settings: pod_flags::PodFlags,
}

#[derive(Debug, clap::Args)]
struct Convert {
    #[command(flatten)]
    files: Files,
    /// yaml prints documents, json a list.
    #[arg(short, long, value_enum, default_value = "yaml", value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Validate {
    #[command(flatten)]
    files: Files,
    /// Print all that was found as yaml or json, instead of a line for each job and each fault.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Does what the command line of the process says, as the operator, or as the plugin `kubectl pytorchjob` when it is
/// called by its name, or by the name under which kubectl looks for completions.
#[must_use]
pub fn main() -> ExitCode {
    kubectl::main().unwrap_or_else(|| Cli::of_process().execute())
}

impl Cli {
    /// Reads the command line of the process; ends it after help, the version or an error.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(kubeflow::with_two_dashes(std::env::args_os(), &Self::command()))
    }

    /// Does what the command line says. Errors go to standard error.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let result = match self.command {
            None => return run::run(self.run),
            Some(Command::Run(flags)) => return run::run(*flags),
            Some(Command::Crd(definition)) => Ok(Report {
                output: api::crd_yaml(definition.unknown()),
                ..Report::default()
            }),
            Some(Command::Plan(arguments)) => plan(&arguments),
            Some(Command::Convert(arguments)) => convert(&arguments),
            Some(Command::Validate(arguments)) => validate(&arguments),
            Some(Command::Completion(completion)) => Ok(Report {
                output: completion.script(Self::command(), env!("CARGO_PKG_NAME")),
                ..Report::default()
            }),
        };
        match result.and_then(|report| print(&report)) {
            Ok(code) => code,
            Err(error) => {
                files::complain(&error);
                ExitCode::from(UNREADABLE)
            }
        }
    }
}

fn plan(arguments: &Plan) -> Result<Report, Box<dyn Error>> {
    let settings = arguments.settings.settings()?;
    Ok(offline::plan(&arguments.files.read()?, &settings, arguments.output)?)
}

fn convert(arguments: &Convert) -> Result<Report, Box<dyn Error>> {
    let paths = arguments.files.paths();
    let unknown = arguments.files.definition.unknown();
    convert::convert(&paths, &files::objects(&paths)?, unknown, arguments.output)
}

fn validate(arguments: &Validate) -> Result<Report, Box<dyn Error>> {
    Ok(offline::validate(&arguments.files.read()?, arguments.output)?)
}

/// Does with a text all that `plan` and `validate` do with a file.
#[cfg(fuzzing)]
pub(crate) fn read_any(text: &str, schema: &serde_json::Value) {
    let Ok(objects) = manifest::objects(text) else { return };
    let mut contents = files::Contents::default();
    for (place, value) in objects {
        let origin = None;
        contents.take(schema, files::Object { origin, place, value });
    }
    for format in [Format::Yaml, Format::Json] {
        offline::validate(&contents, Some(format)).expect("what is found is printed");
        offline::plan(&contents, &crate::planner::Settings::default(), format).expect("what is planned is printed");
    }
}

/// Prints a report. A reader that has seen enough, such as `head`, is no error.
fn print(report: &Report) -> Result<ExitCode, Box<dyn Error>> {
    for remark in &report.remarks {
        files::complain(remark);
    }
    let mut output = std::io::stdout().lock();
    let written = output.write_all(report.output.as_bytes()).and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write the output: {error}").into()),
        _ if report.invalid => Ok(ExitCode::FAILURE),
        _ => Ok(ExitCode::SUCCESS),
    }
}
