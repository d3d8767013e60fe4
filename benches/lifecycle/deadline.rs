//! `activeDeadlineSeconds` of jobs about which nothing else happens.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::jiff::SignedDuration;

use crate::Result;
use crate::jobs::Job;
use crate::rig::Rig;
use crate::table::{Table, quantile};

const JOBS: u32 = 10;
const SECONDS: u32 = 5;

/// Creates the jobs and waits for their end.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let namespace = rig.cluster.namespace("deadline").await?;
    let mut lateness: Vec<SignedDuration> = stream::iter(0..JOBS)
        .map(|index| run(rig, &namespace, index))
        .buffer_unordered(usize::try_from(JOBS)?)
        .try_collect()
        .await?;
    operator.stop().await?;
    lateness.sort();
    let (first, last) = (lateness[0], lateness[lateness.len() - 1]);
    let in_time = lateness
        .iter()
        .filter(|late| !late.is_negative() && late.as_millis() <= 1000)
        .count();
    table
        .row("activeDeadlineSeconds 5, ten quiet jobs stopped within 6 s")
        .go("5 (40 s)", "0 (30 s)")
        .goal("10 of 10", in_time == lateness.len())
        .measured(format!("{in_time} of {JOBS}"));
    table
        .row("lateness of these, p50 / max")
        .goal("≤ 1 s, never early", !first.is_negative() && last.as_millis() <= 1000)
        .measured(format!(
            "{} / {} ms",
            quantile(&lateness, 50).as_millis(),
            last.as_millis()
        ));
    Ok(())
}

/// How much later than `startTime` plus the deadline the outcome arrives.
async fn run(rig: &Rig, namespace: &str, index: u32) -> Result<SignedDuration> {
    let name = format!("job-{index}");
    // Not all within the same part of a second.
    tokio::time::sleep(Duration::from_millis(130) * index).await;
    let job = Job {
        active_deadline_seconds: Some(SECONDS),
        ..Job::of_four(namespace, &name)
    };
    job.create(&rig.admin).await?;
    let seen = rig.recorder.wait(namespace, &name, |seen| seen.is("Failed")).await?;
    let start = seen.start_time.ok_or("a failed job without startTime")?;
    let (_, failed) = seen.conditions.get("Failed").ok_or("just waited for")?;
    Ok(failed.duration_since(start.0) - SignedDuration::from_secs(SECONDS.into()))
}
