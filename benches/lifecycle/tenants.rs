//! A canary of one tenant, on an idle cluster and beside a thousand jobs that another tenant creates at once. Pods are
//! never scheduled: it is about the operator and the API server.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::definition::bare_jobs;
use crate::jobs::{IN_FLIGHT, Job};
use crate::rig::Rig;
use crate::table::{Table, milliseconds, quantile};
use crate::{Result, null_operator, parameter};

/// Canaries on the idle cluster.
const IDLE: usize = 100;
/// Between two canaries.
const PAUSE: Duration = Duration::from_millis(50);
/// Jobs of the burst that the null operator works on at once: 8 requests each, as many as the operator makes.
const NULL_JOBS: usize = 8;

/// From the creation of a canary to its four pods, idle and in the burst.
struct Latencies {
    idle: Vec<Duration>,
    burst: Vec<Duration>,
}

impl Latencies {
    fn show(&self) -> String {
        let both = |percent| {
            let of = |times: &[Duration]| milliseconds(quantile(times, percent));
            format!("{} / {}", of(&self.idle), of(&self.burst))
        };
        format!("p50 {}, p99 {}", both(50), both(99))
    }
}

/// Measures the operator first.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let ours = latencies(rig, None).await?;
    operator.stop().await?;
    let null = latencies(rig, Some(Null::start(rig).await?)).await?;
    let p99 = |times: &[Duration]| quantile(times, 99);
    let of_api_server = p99(&null.burst).saturating_sub(p99(&null.idle));
    let in_burst = p99(&ours.burst).saturating_sub(of_api_server);
    table
        .row("canary's four pods, idle / beside 1,000 new jobs of another tenant")
        .goal(
            "p99 ≤ 3 × idle, less what null's grows by",
            in_burst <= p99(&ours.idle) * 3,
        )
        .measured(ours.show())
        .beside(null.show());
    Ok(())
}

/// The null operator, which here learns of a canary as any operator does: by a watch of all jobs. What this takes while
/// the API server is busy is the API server's share.
struct Null {
    client: Client,
    seen: watch::Receiver<HashSet<String>>,
    _watch: AbortOnDropHandle<()>,
}

impl Null {
    async fn start(rig: &Rig) -> Result<Self> {
        let client = rig.null_client().await?;
        let jobs = Api::<DynamicObject>::all_with(client.clone(), &bare_jobs());
        let (names, seen) = watch::channel(HashSet::new());
        let watch = AbortOnDropHandle::new(tokio::spawn(async move {
            let events = watcher(jobs, watcher::Config::default()).default_backoff();
            let mut events = pin!(events);
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(job) | Event::InitApply(job)) = event {
                    names.send_if_modified(|names| names.insert(job.name_any()));
                }
            }
        }));
        Ok(Self {
            client,
            seen,
            _watch: watch,
        })
    }

    async fn start_canary(&self, job: &Job<'_>, rig: &Rig) -> Result<Instant> {
        let (created, stored) = job.create_bare(&rig.admin).await?;
        self.seen.clone().wait_for(|seen| seen.contains(job.name)).await?;
        null_operator::start(&self.client, &stored).await?;
        Ok(created)
    }
}

/// With the null operator it works, and otherwise whoever is there.
async fn latencies(rig: &Rig, null: Option<Null>) -> Result<Latencies> {
    let burst = parameter("TENANTS_JOBS", 1_000)?;
    let canaries = rig.cluster.namespace("canaries").await?;
    let tenant = rig.cluster.namespace("tenant").await?;
    let mut idle = Vec::new();
    for index in 0..IDLE {
        idle.push(canary(rig, &canaries, &format!("idle-{index}"), null.as_ref()).await?);
        tokio::time::sleep(PAUSE).await;
    }
    let mut others = pin!(burst_of(rig, &tenant, burst, null.as_ref()));
    let mut beside = Vec::new();
    loop {
        let name = format!("beside-{}", beside.len());
        let canary = canary(rig, &canaries, &name, null.as_ref());
        tokio::select! {
            biased;
            done = &mut others => {
                done?;
                break;
            }
            canary = canary => beside.push(canary?),
        }
        tokio::time::sleep(PAUSE).await;
    }
    eprintln!("tenants: {} canaries beside the burst", beside.len());
    idle.sort();
    beside.sort();
    Ok(Latencies { idle, burst: beside })
}

async fn canary(rig: &Rig, namespace: &str, name: &str, null: Option<&Null>) -> Result<Duration> {
    let job = job(namespace, name);
    let created = match null {
        None => job.create(&rig.admin).await?.0,
        Some(null) => null.start_canary(&job, rig).await?,
    };
    let seen = rig.recorder.wait(namespace, name, |seen| seen.pods.len() == 4).await?;
    let created = seen.created.map_or(created, |seen| seen.min(created));
    Ok(seen
        .pod_created
        .ok_or("a canary without pods")?
        .saturating_duration_since(created))
}

/// Creates the jobs of a tenant as fast as the API server takes them, and returns when all have their pods.
async fn burst_of(rig: &Rig, namespace: &str, jobs: u32, null: Option<&Null>) -> Result<()> {
    let working = Arc::new(Semaphore::new(NULL_JOBS));
    let mut started = tokio::task::JoinSet::new();
    let names: Vec<String> = (0..jobs).map(|index| format!("job-{index}")).collect();
    let stored = stream::iter(names.iter().map(|name| Ok(job(namespace, name))));
    let stored = stored.map_ok(async |job| match null {
        None => job.create(&rig.admin).await,
        Some(_) => job.create_bare(&rig.admin).await,
    });
    let mut stored = pin!(stored.try_buffer_unordered(IN_FLIGHT));
    while let Some((_, job)) = stored.try_next().await? {
        if let Some(client) = null.map(|null| null.client.clone()) {
            let working = working.clone();
            started.spawn(async move {
                let _turn = working.acquire().await?;
                null_operator::start(&client, &job).await
            });
        }
    }
    while let Some(ended) = started.join_next().await {
        ended??;
    }
    for name in &names {
        rig.recorder.wait(namespace, name, |seen| seen.pods.len() == 4).await?;
    }
    Ok(())
}

fn job<'a>(namespace: &'a str, name: &'a str) -> Job<'a> {
    Job {
        unscheduled: true,
        ..Job::of_four(namespace, name)
    }
}
