//! `run`: the process around the operator.

use std::error::Error;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cli::files::complain;
use crate::cli::flags::Flags;
use crate::controller;
use crate::platform::logs;

/// Runs the operator until SIGTERM or SIGINT. Why it ends otherwise is said once: in the log, or where there is none
/// yet on standard error.
pub(super) fn run(flags: Flags) -> ExitCode {
    let (format, level) = flags.log();
    let filter = std::env::var(logs::FILTER_ENV).ok().filter(|filter| !filter.is_empty());
    if let Err(error) = logs::init(format, Some(filter.as_deref().unwrap_or(level))) {
        complain(&error);
        return ExitCode::FAILURE;
    }
    match operate(flags) {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!("{}", logs::with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn operate(flags: Flags) -> Result<(), Box<dyn Error>> {
    for warning in flags.warnings() {
        warn!("{warning}");
    }
    let options = flags.options()?;
    // One thread: a job takes some milliseconds of work and otherwise waits for the API server, which needs twenty
    // times as much for it. More threads would mostly wake each other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(obey([terminate, interrupt], shutdown.clone()));
        controller::run(options, shutdown).await.map_err(Box::<dyn Error>::from)
    })
}

/// Ends the operator in order at the first signal, and the process at the second: whoever asks again does not want to
/// wait for an API server that does not answer.
async fn obey([mut terminate, mut interrupt]: [Signal; 2], shutdown: CancellationToken) {
    for asked in 1.. {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        if asked > 1 {
            warn!("asked a second time: stopping at once");
            std::process::exit(1);
        }
        info!("shutting down");
        shutdown.cancel();
    }
}
