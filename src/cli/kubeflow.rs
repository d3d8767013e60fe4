//! Flags of Kubeflow's training-operator 1.9 that mean something else here or nothing, so that its command line goes on
//! working with this program in its place.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{ArgAction, Args, Command, ValueEnum};

use crate::platform::logs;

/// The flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Flags of Kubeflow's training-operator, accepted for its command lines")]
pub(super) struct KubeflowFlags {
    /// Kinds to run. Only `PyTorchJob` is run here; without it the program ends.
    #[arg(long, value_enum, ignore_case = true, value_name = "KIND")]
    enable_scheme: Vec<Kind>,
    /// Port of the webhook. There is none: the rules are in the definition.
    #[arg(long, value_name = "PORT")]
    webhook_server_port: Option<u16>,
    /// Service of the webhook. There is none.
    #[arg(long, value_name = "NAME")]
    webhook_service_name: Option<String>,
    /// Secret with the webhook's certificate. There is none.
    #[arg(long, value_name = "NAME")]
    webhook_secret_name: Option<String>,
    /// Image for `MPIJob`, which is not run here.
    #[arg(long, value_name = "IMAGE")]
    mpi_kubectl_delivery_image: Option<String>,
    /// Text and debug messages in the log; false is JSON from info up.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = boolean)]
    zap_devel: Option<bool>,
    /// Format of the log.
    #[arg(long, value_enum, value_name = "FORMAT")]
    zap_encoder: Option<Encoder>,
    /// What is logged where `RUST_LOG` is unset: debug, info, error, panic, or a number, 1 for debug and more for more.
    #[arg(long, value_parser = level, value_name = "LEVEL")]
    zap_log_level: Option<Level>,
    /// From which level on stacks are logged. Errors here have a cause instead.
    #[arg(long, value_name = "LEVEL")]
    zap_stacktrace_level: Option<String>,
    /// Format of times in the log. Here it is RFC 3339.
    #[arg(long, value_name = "ENCODING")]
    zap_time_encoding: Option<String>,
}

/// Kinds that Kubeflow's operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    #[value(name = "TFJob")]
    TensorFlow,
    #[value(name = "PyTorchJob")]
    PyTorch,
    #[value(name = "XGBoostJob")]
    XgBoost,
    #[value(name = "MPIJob")]
    Mpi,
    #[value(name = "PaddleJob")]
    Paddle,
    #[value(name = "JAXJob")]
    Jax,
}

/// Formats of Kubeflow's log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Encoder {
    Json,
    Console,
}

/// A level of our log, as `RUST_LOG` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level(&'static str);

/// `--enable-scheme` asks for other kinds alone.
#[derive(Debug, thiserror::Error)]
#[error(
    "--enable-scheme does not name PyTorchJob, the only kind that this operator runs: add it, or let Kubeflow's \
     training-operator run the others"
)]
pub(super) struct NoPyTorchJob;

impl KubeflowFlags {
    /// Refuses a choice of kinds without ours.
    pub(super) fn check(&self) -> Result<(), NoPyTorchJob> {
        let all = self.enable_scheme.is_empty();
        (all || self.enable_scheme.contains(&Kind::PyTorch))
            .then_some(())
            .ok_or(NoPyTorchJob)
    }

    /// Format of the log, for which our own flag comes first, and what is logged where `RUST_LOG` is unset.
    pub(super) fn log(&self, own: Option<logs::Format>) -> (logs::Format, &'static str) {
        let development = self.zap_devel == Some(true);
        let format = match self.zap_encoder {
            Some(Encoder::Console) => logs::Format::Text,
            None if development => logs::Format::Text,
            _ => logs::Format::Json,
        };
        let level = self
            .zap_log_level
            .map_or(if development { "debug" } else { "info" }, |level| level.0);
        (own.unwrap_or(format), level)
    }

    /// What was accepted and does nothing, and why; a line each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let no_webhook = "there is no webhook: the rules are in the definition";
        let ignored = [
            ("webhook-server-port", self.webhook_server_port.is_some(), no_webhook),
            ("webhook-service-name", self.webhook_service_name.is_some(), no_webhook),
            ("webhook-secret-name", self.webhook_secret_name.is_some(), no_webhook),
            (
                "mpi-kubectl-delivery-image",
                self.mpi_kubectl_delivery_image.is_some(),
                "MPIJob is not run here",
            ),
            (
                "zap-stacktrace-level",
                self.zap_stacktrace_level.is_some(),
                "errors are logged with their cause and without a stack",
            ),
            (
                "zap-time-encoding",
                self.zap_time_encoding.is_some(),
                "times are RFC 3339",
            ),
        ];
        let ignored = ignored
            .into_iter()
            .filter(|(_, set, _)| *set)
            .map(|(flag, _, why)| format!("--{flag} has no effect: {why}"));
        let others: BTreeSet<Kind> = self.enable_scheme.iter().copied().collect();
        let others = others
            .into_iter()
            .filter(|kind| *kind != Kind::PyTorch)
            .filter_map(|kind| kind.to_possible_value())
            .map(|kind| {
                let kind = kind.get_name();
                format!("--enable-scheme {kind} has no effect: only PyTorchJob is run here")
            });
        ignored.chain(others).collect()
    }
}

/// The arguments with two dashes before every flag of ours: Go's flags may have one.
pub(super) fn with_two_dashes(arguments: impl Iterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let known = |text: &str| {
        let name = text.strip_prefix('-').and_then(|flag| flag.split('=').next());
        name.is_some() && command.get_arguments().any(|flag| flag.get_long() == name)
    };
    arguments
        .map(|argument| match argument.to_str() {
            Some(text) if known(text) => format!("-{text}").into(),
            _ => argument,
        })
        .collect()
}

/// A boolean as Go's flags have it.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn level(text: &str) -> Result<Level, String> {
    let name = match text.to_ascii_lowercase().as_str() {
        "debug" | "1" => "debug",
        "info" => "info",
        "error" | "panic" => "error",
        number if number.parse::<u8>().is_ok_and(|verbosity| verbosity > 1) => "trace",
        _ => return Err("must be debug, info, error, panic or a number above 0".to_owned()),
    };
    Ok(Level(name))
}
