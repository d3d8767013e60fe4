//! Size of the binary, and how long it takes to be ready on an empty cluster.

use tokio::time::Instant;

use crate::Result;
use crate::rig::{Rig, binary};
use crate::table::{Table, mebibytes, milliseconds, quantile};

const STARTS: usize = 9;

/// Starts the operator several times.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let size = std::fs::metadata(binary())?.len();
    table
        .row("binary")
        .goal("≤ 12 MiB", size <= 12 * 1024 * 1024)
        .measured(mebibytes(size));
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let operator = rig.operator().await?;
        times.push(started.elapsed());
        operator.stop().await?;
    }
    times.sort();
    let middle = quantile(&times, 50);
    table
        .row("exec → ready, p50")
        .goal("≤ 200 ms", middle.as_millis() <= 200)
        .measured(milliseconds(middle));
    Ok(())
}
