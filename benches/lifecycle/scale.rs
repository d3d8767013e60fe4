//! Thousands of jobs that run: how long the operator takes to lead and to plan, what it needs, how fast another replica
//! takes over, and whether it is silent.

use std::time::Duration;

use pytorchjob_test_cluster::Operator;
use tokio::time::Instant;

use crate::jobs::Job;
use crate::population::Population;
use crate::rig::{self, Rig};
use crate::table::{Table, mebibytes, seconds};
use crate::{Result, parameter};

/// After this the allocator has given back what it does not use.
const SETTLE: Duration = Duration::from_secs(15);
/// How long the operator has to be silent.
const SILENCE: Duration = Duration::from_secs(20);
/// How often the log is asked. Nothing else says when a replica leads.
const POLL: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_mins(2);
const MIB: u64 = 1024 * 1024;

/// What the log says of a replica that leads, and of one that could.
const LEADS: &str = "\"reconciling\"";
const WAITS: &str = "waiting for leadership";

/// Fills etcd, and starts two replicas after one another.
pub async fn measure(table: &mut Table) -> Result<()> {
    let jobs = parameter("SCALE_JOBS", 10_000)?;
    let rig = Rig::start_without_nodes().await?;
    let mut population = Population::connect(rig.cluster.directory()).await?;
    let namespace = rig.cluster.namespace("scale").await?;
    for index in 0..jobs {
        population
            .running(&Job::of_four(&namespace, &format!("job-{index}")))
            .await?;
    }
    eprintln!("scale: {jobs} jobs are there");
    let canaries = rig.cluster.namespace("canaries").await?;
    let (leader, started) = start(&rig, &mut population, &canaries, "first").await?;
    started.show(table);

    let standby = rig.replica().await?;
    said(&standby, WAITS).await?;
    leader.stop().await?;
    let released = Instant::now();
    Job::of_four(&canaries, "second").create(&rig.admin).await?;
    let leads = said(&standby, LEADS).await? - released;
    let planned = planned(&rig, &canaries, "second")
        .await?
        .saturating_duration_since(released);
    table
        .row("failover with the standby warm: leads / first plan, after the leader's end")
        .goal("≤ 2 s", leads <= Duration::from_secs(2))
        .measured(format!("{} / {}", seconds(leads), seconds(planned)));

    tokio::time::sleep(SETTLE).await;
    let audit = rig.audit()?;
    tokio::time::sleep(SILENCE).await;
    let mut requests = rig::requests(&audit)?;
    requests.retain(|request, _| !request.contains(" leases "));
    rig::print("scale", &requests, 1);
    let requests: u32 = requests.values().sum();
    table
        .row("its requests in 20 s, when settled")
        .goal("0, but for its Lease", requests == 0)
        .measured(requests.to_string());
    standby.stop().await?;
    Ok(())
}

/// What the start of a replica came to.
pub struct Started {
    /// From the start of the process.
    pub leads: Duration,
    /// To the first pod of a job that has none yet.
    pub planned: Duration,
    pub resident: u64,
    pub peak: u64,
    /// Processor time until it has settled.
    pub cpu: Duration,
}

impl Started {
    fn show(&self, table: &mut Table) {
        let fast = self.leads.max(self.planned) <= Duration::from_secs(5);
        table
            .row("10,000 jobs, 40,000 pods: start → leading / first plan")
            .goal("≤ 5 s", fast)
            .measured(format!("{} / {}", seconds(self.leads), seconds(self.planned)));
        table
            .row("resident memory with these / its peak")
            .goal("≤ 120 MiB", self.resident <= 120 * MIB)
            .measured(format!("{} / {}", mebibytes(self.resident), mebibytes(self.peak)));
        table
            .row("operator CPU until it has settled")
            .measured(seconds(self.cpu));
    }
}

/// Starts a replica, once the control plane is at rest, that finds one new job among the others.
pub async fn start(
    rig: &Rig,
    population: &mut Population,
    namespace: &str,
    canary: &str,
) -> Result<(Operator, Started)> {
    rig.settled().await?;
    population.new_job(&Job::of_four(namespace, canary)).await?;
    rig.recorder
        .wait(namespace, canary, |seen| seen.created.is_some())
        .await?;
    let begun = Instant::now();
    let operator = rig.replica().await?;
    let leads = said(&operator, LEADS).await? - begun;
    let planned = planned(rig, namespace, canary).await? - begun;
    tokio::time::sleep(SETTLE).await;
    let ended = "the operator has ended";
    let started = Started {
        leads,
        planned,
        resident: operator.rss_bytes().ok_or(ended)?,
        peak: operator.peak_rss_bytes().ok_or(ended)?,
        cpu: operator.cpu_time().ok_or(ended)?,
    };
    Ok((operator, started))
}

/// When the first pod of a job is seen.
async fn planned(rig: &Rig, namespace: &str, job: &str) -> Result<Instant> {
    let seen = rig.recorder.wait(namespace, job, |seen| !seen.pods.is_empty()).await?;
    Ok(seen.first_pod.ok_or("just waited for")?)
}

/// When the log of an operator has these words.
async fn said(operator: &Operator, words: &str) -> Result<Instant> {
    let poll = async {
        while !operator.log().contains(words) {
            tokio::time::sleep(POLL).await;
        }
        Instant::now()
    };
    let said = tokio::time::timeout(TIMEOUT, poll).await;
    Ok(said.map_err(|_| format!("no {words:?}; {}", operator.process().log_tail(20)))?)
}
