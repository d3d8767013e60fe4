//! Resident memory: idle, with many jobs, and with many pods of others.

use std::time::Duration;

use futures::{TryStreamExt, stream};
use pytorchjob_test_cluster::Operator;
use tokio::time::Instant;

use crate::Result;
use crate::jobs::{IN_FLIGHT, Job, create_foreign_pods};
use crate::rig::Rig;
use crate::table::{Table, mebibytes, milliseconds};

const JOBS: u32 = 500;
const FOREIGN_PODS: u32 = 2000;
/// After this the allocator has given back what it does not use.
const SETTLE: Duration = Duration::from_secs(15);

const MIB: u64 = 1024 * 1024;

/// Fills the cluster step by step.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let idle = resident(&operator).await?;
    table
        .row("resident memory, idle")
        .go("44 MiB", "45 MiB")
        .goal("≤ 12 MiB", idle <= 12 * MIB)
        .measured(mebibytes(idle));

    let namespace = rig.cluster.namespace("memory").await?;
    stream::iter((0..JOBS).map(Ok))
        .try_for_each_concurrent(IN_FLIGHT, async |index| run(rig, &namespace, index).await)
        .await?;
    let full = resident(&operator).await?;
    table
        .row("resident memory, 500 jobs and 2,000 pods")
        .go("–", "131 MiB")
        .goal("≤ 25 MiB", full <= 25 * MIB)
        .measured(mebibytes(full));

    create_foreign_pods(&rig.admin, &namespace, FOREIGN_PODS).await?;
    let foreign = resident(&operator).await?.saturating_sub(full);
    table
        .row("and 2,000 foreign pods")
        .go("–", "+ 15 MiB")
        .goal("≤ + 1 MiB", foreign <= MIB)
        .measured(format!("+ {}", mebibytes(foreign)));
    operator.stop().await?;

    let started = Instant::now();
    let restarted = rig.operator().await?;
    let ready = started.elapsed();
    table
        .row("restarted with these: ready after / resident")
        .measured(format!(
            "{} / {}",
            milliseconds(ready),
            mebibytes(resident(&restarted).await?)
        ));
    restarted.stop().await?;
    Ok(())
}

async fn run(rig: &Rig, namespace: &str, index: u32) -> Result<()> {
    let name = format!("job-{index}");
    Job::of_four(namespace, &name).create(&rig.admin).await?;
    rig.recorder
        .wait(namespace, &name, |seen| {
            seen.count("Running") == 4 && seen.is("Running")
        })
        .await
        .map(drop)
}

async fn resident(operator: &Operator) -> Result<u64> {
    tokio::time::sleep(SETTLE).await;
    Ok(operator.rss_bytes().ok_or("the operator has ended")?)
}
