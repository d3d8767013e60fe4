//! `runPolicy.servicePolicy`: what the services of a large job cost.

use std::time::Duration;

use kube::Resource;
use kube::api::DeleteParams;
use pytorchjob_operator::api::PyTorchJob;

use crate::Result;
use crate::jobs::{Job, delete};
use crate::rig::{self, Rig};
use crate::table::{Table, seconds};

/// Pods of a job, and how often it is measured with each policy.
const SIZES: [(u32, u32, &str); 2] = [
    (
        257,
        3,
        "257 pods, servicePolicy All / Rendezvous: all running, API-server CPU, writes",
    ),
    (
        1_000,
        2,
        "1,000 pods, servicePolicy All / Rendezvous: all running, API-server CPU, writes",
    ),
];
/// For what follows the last pod: counts, events, `EndpointSlices`, lines of the audit log.
const SETTLE: Duration = Duration::from_secs(3);

/// What one job cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    running: Duration,
    api_server_cpu: Duration,
    writes: f64,
}

/// Creates jobs with both policies in turn.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let namespace = rig.cluster.namespace("services").await?;
    for (pods, rounds, figure) in SIZES {
        let mut sums = [Cost::default(); 2];
        for round in 0..rounds {
            for (few, sum) in [false, true].into_iter().zip(&mut sums) {
                let name = format!("job-of-{pods}-{few}-{round}");
                let job = Job {
                    workers: pods - 1,
                    few_services: few,
                    ..Job::of_four(&namespace, &name)
                };
                let cost = run(rig, &job, pods).await?;
                remove(rig, &job).await?;
                sum.running += cost.running / rounds;
                sum.api_server_cpu += cost.api_server_cpu / rounds;
                sum.writes += cost.writes / f64::from(rounds);
            }
        }
        let [all, few] = sums.map(|cost| {
            let (running, cpu) = (seconds(cost.running), seconds(cost.api_server_cpu));
            format!("{running}, {cpu}, {:.0}", cost.writes)
        });
        table.row(figure).measured(format!("{all} / {few}"));
    }
    operator.stop().await?;
    Ok(())
}

async fn run(rig: &Rig, job: &Job<'_>, pods: u32) -> Result<Cost> {
    let (audit, cpu) = (rig.audit()?, rig.api_server_cpu());
    let (begun, _) = job.create(&rig.admin).await?;
    let running = |seen: &crate::recorder::Seen| u32::try_from(seen.count("Running")) == Ok(pods);
    let seen = rig
        .recorder
        .wait(job.namespace, job.name, |seen| seen.is("Running") && running(seen))
        .await?;
    let running = begun.elapsed();
    drop(seen);
    tokio::time::sleep(SETTLE).await;
    Ok(Cost {
        running,
        api_server_cpu: rig.api_server_cpu().saturating_sub(cpu),
        writes: rig::per_job(&rig::requests(&audit)?, false, 1),
    })
}

/// Makes room for the next job: the node is not large enough for all of them, and what goes is not to be in its cost.
async fn remove(rig: &Rig, job: &Job<'_>) -> Result<()> {
    let url = PyTorchJob::url_path(&(), Some(job.namespace));
    delete(&rig.admin, &url, job.name, &DeleteParams::background()).await?;
    rig.recorder
        .wait(job.namespace, job.name, |seen| seen.pods.is_empty())
        .await?;
    rig.settled().await
}
