//! `run`: the process around the operator.

use std::error::Error;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::flags::Flags;
use crate::controller;
use crate::platform::logs;

/// Runs the operator until SIGTERM or SIGINT.
pub(super) fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    let (format, level) = flags.log();
    let filter = std::env::var(logs::FILTER_ENV).ok().filter(|filter| !filter.is_empty());
    logs::init(format, Some(filter.as_deref().unwrap_or(level)))?;
    for warning in flags.warnings() {
        warn!("{warning}");
    }
    let options = flags.options()?;
    // One thread: a job takes some milliseconds of work and otherwise waits for the API server, which needs twenty
    // times as much for it. More threads would mostly wake each other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let asked = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            info!("shutting down");
            asked.cancel();
        });
        controller::run(options, shutdown).await.map_err(Box::<dyn Error>::from)
    });
    info!(error = result.as_ref().err().map(tracing::field::display), "stopped");
    result
}
