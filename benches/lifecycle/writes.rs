//! The requests of a job from its creation to its success, one job at a time.

use std::time::Duration;

use crate::Result;
use crate::jobs::Job;
use crate::rig::{self, Rig};
use crate::table::Table;

const JOBS: u32 = 20;
/// How long pods run.
const RUNS: Duration = Duration::from_millis(500);
/// For what comes after the success: the count of the last pods, events, lines of the audit log.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs the jobs.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let namespace = rig.cluster.namespace("writes").await?;
    tokio::time::sleep(SETTLE).await;
    let audit = rig.audit()?;
    for index in 0..JOBS {
        let name = format!("job-{index}");
        let job = Job {
            runs: Some(RUNS),
            ..Job::of_four(&namespace, &name)
        };
        job.create(&rig.admin).await?;
        rig.recorder
            .wait(&namespace, &name, |seen| {
                seen.count("Succeeded") == 4 && seen.is("Succeeded")
            })
            .await?;
    }
    tokio::time::sleep(SETTLE).await;
    let requests = rig::requests(&audit)?;
    operator.stop().await?;
    rig::print("writes", &requests, JOBS);
    let (writes, reads) = (
        rig::per_job(&requests, false, JOBS),
        rig::per_job(&requests, true, JOBS),
    );
    table
        .row("writes per job, created → Succeeded")
        .go("22–23", "14–22")
        .goal("≤ 13", writes <= 13.0)
        .measured(format!("{writes:.2}"))
        .beside("13".to_owned());
    table
        .row("GET and LIST per job")
        .goal("0", reads <= 0.0)
        .measured(format!("{reads:.2}"))
        .beside("0".to_owned());
    Ok(())
}
