//! One job of a thousand replicas, one of which fails: all start again, in new pods and in place. The kubelets are played
//! at the least cost, so that it is about the operator and the API server.

use std::time::Duration;

use kube::Api;
use kube::runtime::wait::await_condition;
use pytorchjob_operator::api::{ConditionType, PyTorchJob, Replica, ReplicaType};
use pytorchjob_operator::planner::is_true;
use tokio::time::Instant;

use crate::jobs::Job;
use crate::kubelet::{Kubelets, NODE, fail, register};
use crate::null_operator::Restarting;
use crate::rig::{self, Rig};
use crate::table::{Table, quantile, seconds};
use crate::{Result, parameter};

/// How often all start again. The operator and the null operator take turns.
const ROUNDS: i32 = 3;
/// For what the operator does when it has started, and for the counts and events after the last replica.
const SETTLE: Duration = Duration::from_secs(2);

const IN_PLACE: &str = "InPlace";

const STRATEGIES: [Strategy; 2] = [
    Strategy {
        name: "Recreate",
        time: "one of 1,000 replicas fails, restartStrategy Recreate: all run again",
        cpu: "API server CPU of that",
        writes: "its writes to pods, first to last / for each pod",
    },
    Strategy {
        name: IN_PLACE,
        time: "one of 1,000 replicas fails, restartStrategy InPlace: all run again",
        cpu: "API server CPU of this",
        writes: "its writes to these, first to last / for each pod",
    },
];

/// A value of `restartStrategy`, and its rows.
struct Strategy {
    name: &'static str,
    time: &'static str,
    cpu: &'static str,
    writes: &'static str,
}

/// What restarts came to.
#[derive(Default)]
struct Restarts {
    /// From the failure until all run again.
    took: Vec<Duration>,
    /// Processor time of the API server meanwhile.
    cpu: Vec<Duration>,
    /// From the arrival of the first write to a pod to the answer to the last.
    writes: Vec<Duration>,
    /// Writes to pods.
    count: u32,
}

impl Restarts {
    fn show(&self, replicas: u32) -> String {
        let each = f64::from(self.count) / f64::from(replicas) / f64::from(ROUNDS);
        format!("{} / {each:.2}", seconds(median(&self.writes)))
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    quantile(&times, 50)
}

/// Measures both strategies, each on a control plane of its own.
pub async fn measure(table: &mut Table) -> Result<()> {
    let replicas = parameter("RESTART_REPLICAS", 1_000)?;
    for strategy in &STRATEGIES {
        eprintln!("restart: {}: starting a control plane", strategy.name);
        let rig = Rig::start_without_nodes().await?;
        register(&rig.admin).await?;
        let [ours, null] = restarts(&rig, strategy.name, replicas).await?;
        let (ours_took, null_took) = (median(&ours.took), median(&null.took));
        let ratio = ours_took.as_secs_f64() / null_took.as_secs_f64();
        table
            .row(strategy.time)
            .goal("≤ 1.3 of null", ratio <= 1.3)
            .measured(seconds(ours_took))
            .beside(format!("{}; ratio {ratio:.3}", seconds(null_took)));
        table
            .row(strategy.cpu)
            .measured(seconds(median(&ours.cpu)))
            .beside(seconds(median(&null.cpu)));
        table
            .row(strategy.writes)
            .measured(ours.show(replicas))
            .beside(null.show(replicas));
    }
    Ok(())
}

/// Those of the operator, and those of the null operator.
async fn restarts(rig: &Rig, strategy: &str, replicas: u32) -> Result<[Restarts; 2]> {
    let (with, without) = (
        rig.cluster.namespace("restart").await?,
        rig.cluster.namespace("restart-null").await?,
    );
    let (ours, null) = (job(&with, strategy, replicas), job(&without, strategy, replicas));
    let (kubelets, kubelets_of_null) = (
        Kubelets::start(&rig.admin, &with),
        Kubelets::start(&rig.admin, &without),
    );
    create(rig, &ours, &kubelets).await?;
    let client = rig.null_client().await?;
    let (_, stored) = null.create_bare(&rig.admin).await?;
    let restarting = Restarting::begin(&client, &stored).await?;
    kubelets_of_null.started(replicas).await?;

    let mut all = [Restarts::default(), Restarts::default()];
    for round in 1..=ROUNDS {
        let starts = replicas * (u32::try_from(round)? + 1);
        let [of_ours, of_null] = &mut all;
        let operator = rig.operator().await?;
        restart(rig, &ours, rig::OPERATOR, of_ours, async || {
            kubelets.started(starts).await
        })
        .await?;
        runs(rig, &ours, Some(round)).await?;
        operator.stop().await?;
        restart(rig, &null, rig::NULL_OPERATOR, of_null, async || {
            match strategy {
                IN_PLACE => restarting.in_place(round).await?,
                _ => restarting.in_new_pods(&rig.recorder).await?,
            }
            kubelets_of_null.started(starts).await
        })
        .await?;
    }
    let seen = rig.recorder.wait(&with, ours.name, |_| true).await?;
    if strategy == IN_PLACE && seen.pod_gone.is_some() {
        return Err("the operator has created pods again that can restart in place".into());
    }
    Ok(all)
}

/// Lets the operator create the job, and waits until it runs.
async fn create(rig: &Rig, job: &Job<'_>, kubelets: &Kubelets) -> Result<()> {
    let operator = rig.operator().await?;
    job.create(&rig.admin).await?;
    kubelets.started(job.workers + 1).await?;
    runs(rig, job, None).await?;
    operator.stop().await?;
    Ok(())
}

fn job<'a>(namespace: &'a str, strategy: &'a str, replicas: u32) -> Job<'a> {
    Job {
        workers: replicas - 1,
        few_services: true,
        restart_strategy: Some(strategy),
        node: Some(NODE),
        ..Job::of_four(namespace, "restart")
    }
}

/// Waits until the status says that the job runs, after so many restarts.
async fn runs(rig: &Rig, job: &Job<'_>, restarts: Option<i32>) -> Result<()> {
    let jobs = Api::<PyTorchJob>::namespaced(rig.admin.clone(), job.namespace);
    let runs = |job: Option<&PyTorchJob>| {
        let status = job.and_then(|job| job.status.as_ref());
        status.is_some_and(|status| is_true(status, ConditionType::Running) && status.restarts == restarts)
    };
    await_condition(jobs, job.name, runs).await?;
    Ok(())
}

/// Lets one replica fail, and waits until all run again.
async fn restart(
    rig: &Rig,
    job: &Job<'_>,
    account: &'static str,
    restarts: &mut Restarts,
    all_run: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    let audit = rig.audit()?;
    let pod = Replica::new(ReplicaType::Worker, 0).name(job.name);
    let (failed, cpu) = (Instant::now(), rig.api_server_cpu());
    fail(&rig.admin, job.namespace, &pod, job.restart_strategy != Some(IN_PLACE)).await?;
    all_run().await?;
    let (took, cpu) = (failed.elapsed(), rig.api_server_cpu().saturating_sub(cpu));
    tokio::time::sleep(SETTLE).await;
    let (count, writes) = rig::writes_to_pods(&audit, account)?;
    eprintln!("restart: {account}: {took:?}, API server {cpu:?}, {count} writes to pods in {writes:?}");
    restarts.took.push(took);
    restarts.cpu.push(cpu);
    restarts.writes.push(writes);
    restarts.count += count;
    Ok(())
}
