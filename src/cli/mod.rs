//! The command line. Without a subcommand the operator runs, as Kubeflow's does.

mod manifest;
mod offline;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api;

/// A Kubernetes operator for kubeflow.org/v1 PyTorchJob.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator; the default.
    Run(Box<run::Flags>),
    /// Print the CustomResourceDefinition.
    Crd,
    /// Print the pods and services that would be created for the jobs of a file. Needs no cluster.
    Plan(File),
    /// Say what is wrong with the jobs of a file. Needs no cluster; exits with 1 when something is.
    Validate(File),
}

#[derive(Debug, clap::Args)]
struct File {
    /// YAML or JSON file, one or more documents; `-` reads standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// What pods are built with.
    #[command(flatten)]
    settings: run::PodFlags,
}

impl Cli {
    /// Does what the command line says. Errors go to standard error.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let result = match self.command {
            None => run::run(self.run).map(|()| String::new()),
            Some(Command::Run(flags)) => run::run(*flags).map(|()| String::new()),
            Some(Command::Crd) => Ok(api::crd_yaml()),
            Some(Command::Plan(file)) => offline::plan(&file.filename, &file.settings.settings()),
            Some(Command::Validate(file)) => offline::validate(&file.filename),
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
