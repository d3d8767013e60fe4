//! From the creation of a job to its four pods, one job after the other on an idle operator.

use std::time::Duration;

use crate::Result;
use crate::jobs::Job;
use crate::rig::Rig;
use crate::table::{Table, milliseconds, quantile};

/// Jobs to measure.
const JOBS: u32 = 120;
/// Jobs before, which open connections and fill caches.
const WARM_UP: u32 = 10;

/// Creates the jobs.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let namespace = rig.cluster.namespace("latency").await?;
    let mut spans = Vec::new();
    for index in 0..WARM_UP + JOBS {
        let name = format!("job-{index}");
        let (answered, _) = Job::of_four(&namespace, &name).create(&rig.admin).await?;
        // Until everything about the job is done, so that the next one finds an idle machine.
        let seen = rig
            .recorder
            .wait(&namespace, &name, |seen| {
                seen.count("Running") == 4 && seen.is("Running")
            })
            .await?;
        let (created, pods) = seen.created.zip(seen.pod_created).ok_or("a job without its creation")?;
        if index >= WARM_UP {
            spans.push(pods - created.min(answered));
        }
    }
    operator.stop().await?;
    spans.sort();
    let (middle, late) = (quantile(&spans, 50), quantile(&spans, 99));
    table
        .row("create → all 4 pods, p50 / p99")
        .go("596 / 847 ms", "38 / 68 ms")
        .goal(
            "≤ 20 / 50 ms",
            middle <= Duration::from_millis(20) && late <= Duration::from_millis(50),
        )
        .measured(format!("{} / {}", milliseconds(middle), milliseconds(late)));
    Ok(())
}
