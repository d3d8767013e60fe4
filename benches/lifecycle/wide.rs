//! One job of thousands of replicas: created, and suspended in the middle of that. Its pods are never scheduled, since
//! the node could not keep up.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use pytorchjob_operator::api::{PyTorchJob, names};
use serde_json::json;
use tokio::time::Instant;

use crate::jobs::Job;
use crate::rig::Rig;
use crate::table::{Table, milliseconds, seconds};
use crate::{Result, null_operator, parameter};

/// Longest time from the first pod to a status, and from a suspension to the last pod that is created in spite of it.
const PROMPT: Duration = Duration::from_secs(1);

/// Measures the operator first.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let replicas = parameter("WIDE_REPLICAS", 5_000)?;
    let operator = rig.operator().await?;
    let namespace = rig.cluster.namespace("wide").await?;
    let job = Job {
        workers: replicas - 1,
        unscheduled: true,
        ..Job::of_four(&namespace, "wide")
    };
    let (begun, _) = job.create(&rig.admin).await?;
    let ours = complete(rig, &job, begun).await?;
    let seen = rig.recorder.wait(&namespace, "wide", |seen| seen.is("Created")).await?;
    let first_pod = seen.first_pod.ok_or("a job without pods")?;
    let (status, _) = seen.conditions["Created"];
    suspend(rig, table, replicas).await?;
    operator.stop().await?;

    let null = null(rig, replicas).await?;
    let ratio = ours.as_secs_f64() / null.as_secs_f64();
    table
        .row("one job of 5,000 replicas, all pods and services created")
        .goal("≤ 1.15 of null", ratio <= 1.15)
        .measured(seconds(ours))
        .beside(format!("{}; ratio {ratio:.3}", seconds(null)));
    let late = status.saturating_duration_since(first_pod);
    table
        .row("its first status after its first pod")
        .goal("≤ 1 s", late <= PROMPT)
        .measured(milliseconds(late));
    Ok(())
}

/// From the creation of the job until its last pod and its last service are seen.
async fn complete(rig: &Rig, job: &Job<'_>, begun: Instant) -> Result<Duration> {
    let replicas = usize::try_from(job.workers + 1)?;
    let (pods, services) = tokio::try_join!(
        rig.recorder
            .wait(job.namespace, job.name, |seen| seen.pods.len() == replicas),
        services(rig, job, replicas),
    )?;
    let last = pods.pod_created.ok_or("a job without pods")?.max(services);
    Ok(last - begun)
}

/// When the last of so many services is seen.
async fn services(rig: &Rig, job: &Job<'_>, count: usize) -> Result<Instant> {
    let api = Api::<PartialObjectMeta<Service>>::namespaced(rig.admin.clone(), job.namespace);
    let config = watcher::Config::default().labels(&format!("{}={}", names::LABEL_JOB_NAME, job.name));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut seen = HashSet::new();
    while let Some(event) = events.try_next().await? {
        if let Event::Apply(service) | Event::InitApply(service) = event {
            seen.insert(service.name_any());
        }
        if seen.len() == count {
            break;
        }
    }
    Ok(Instant::now())
}

async fn null(rig: &Rig, replicas: u32) -> Result<Duration> {
    let namespace = rig.cluster.namespace("wide-null").await?;
    let client = rig.null_client().await?;
    let job = Job {
        workers: replicas - 1,
        unscheduled: true,
        ..Job::of_four(&namespace, "wide")
    };
    let (begun, stored) = job.create_bare(&rig.admin).await?;
    let (complete, ()) = tokio::try_join!(complete(rig, &job, begun), null_operator::start(&client, &stored))?;
    Ok(complete)
}

/// Suspends a job of which two fifths of the pods are there.
async fn suspend(rig: &Rig, table: &mut Table, replicas: u32) -> Result<()> {
    let namespace = rig.cluster.namespace("wide-suspended").await?;
    let job = Job {
        workers: replicas - 1,
        unscheduled: true,
        ..Job::of_four(&namespace, "wide")
    };
    job.create(&rig.admin).await?;
    let some = usize::try_from(replicas * 2 / 5)?;
    rig.recorder
        .wait(&namespace, "wide", |seen| seen.pods.len() >= some)
        .await?;
    let jobs = Api::<PyTorchJob>::namespaced(rig.admin.clone(), &namespace);
    let patch = Patch::Merge(json!({ "spec": { "runPolicy": { "suspend": true } } }));
    let asked = Instant::now();
    jobs.patch("wide", &PatchParams::default(), &patch).await?;
    let seen = rig
        .recorder
        .wait(&namespace, "wide", |seen| seen.is("Suspended") && seen.pods.is_empty())
        .await?;
    let told = seen.conditions["Suspended"].0 - asked;
    let last = seen.pod_created.ok_or("a job without pods")?;
    let last = last.saturating_duration_since(asked);
    table
        .row("suspended in the middle of that: told / last pod created, after the request")
        .goal("≤ 1 s", told <= PROMPT && last <= PROMPT)
        .measured(format!("{} / {}", milliseconds(told), milliseconds(last)));
    Ok(())
}
