//! The command line. Without a subcommand the operator runs, as Kubeflow's does.

mod flags;
mod kubeflow;
mod manifest;
mod metadata;
mod offline;
mod pod_flags;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::api;
use crate::api::UnknownPodFields;

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
    /// Print the pods and services that would be created for the jobs of a file. Needs no cluster.
    Plan(File),
    /// Check the jobs in a file. Needs no cluster; exits with 1 when something is wrong.
    Validate(File),
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
struct File {
    /// YAML or JSON file, one or more documents; `-` reads standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// The definition that the jobs are for.
    #[command(flatten)]
    definition: Definition,
    /// Pod settings.
    #[command(flatten)]
    settings: pod_flags::PodFlags,
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
            None => run::run(self.run).map(|()| String::new()),
            Some(Command::Run(flags)) => run::run(*flags).map(|()| String::new()),
            Some(Command::Crd(definition)) => Ok(api::crd_yaml(definition.unknown())),
            Some(Command::Plan(file)) => file
                .settings
                .settings()
                .map_err(Into::into)
                .and_then(|settings| offline::plan(&file.filename, file.definition.unknown(), &settings)),
            Some(Command::Validate(file)) => offline::validate(&file.filename, file.definition.unknown()),
        };
        match result {
            Ok(output) => {
                print!("{output}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}
