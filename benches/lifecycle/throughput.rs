//! Jobs per second from creation to success, beside the null operator, and what the operator spends on each.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use crate::jobs::{IN_FLIGHT, Job};
use crate::rig::{self, Rig, Side};
use crate::table::{Table, milliseconds};
use crate::{Result, null_operator};

/// Who works, in turn. A drift of the machine, and of an API server that fills up, meets both alike.
const TURNS: [Turn; 8] = {
    use Turn::{Null, Operator};
    [Operator, Null, Null, Operator, Operator, Null, Null, Operator]
};
/// Jobs of one turn. The first and the last [`IN_FLIGHT`] to finish are not counted: meanwhile fewer are in flight.
const JOBS: u32 = 150;
/// For the events that follow the last job, and the lines of the audit log.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Operator,
    Null,
}

/// The sums over the turns of one operator.
#[derive(Default)]
struct Sums {
    jobs: u32,
    counted: u32,
    elapsed: Duration,
    api_server_cpu: Duration,
    operator_cpu: Duration,
    requests: BTreeMap<String, u32>,
}

impl Sums {
    fn add(&mut self, turn: Self) {
        self.jobs += turn.jobs;
        self.counted += turn.counted;
        self.elapsed += turn.elapsed;
        self.api_server_cpu += turn.api_server_cpu;
        self.operator_cpu += turn.operator_cpu;
        for (request, count) in turn.requests {
            *self.requests.entry(request).or_default() += count;
        }
    }

    fn rate(&self) -> f64 {
        f64::from(self.counted) / self.elapsed.as_secs_f64()
    }

    fn per_job(&self, time: Duration) -> Duration {
        time / self.jobs.max(1)
    }
}

/// Takes turns. Kubeflow's operator has its own alone: the null operator writes what ours would.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let (mut operator, mut null) = (Sums::default(), None);
    let turns: Vec<_> = TURNS
        .into_iter()
        .filter(|&turn| rig.side == Side::Ours || turn == Turn::Operator)
        .collect();
    for (index, turn) in turns.iter().enumerate() {
        let namespace = rig.cluster.namespace("turn").await?;
        eprint!("throughput: turn {} of {}, ", index + 1, turns.len());
        match turn {
            Turn::Operator => operator.add(operators_turn(rig, &namespace).await?),
            Turn::Null => null
                .get_or_insert_with(Sums::default)
                .add(null_turn(rig, &namespace).await?),
        }
    }
    rig::print("throughput", &operator.requests, operator.jobs);
    rows(&operator, table);
    if let Some(null) = null {
        rows_of_null(&operator, &null, table);
    }
    Ok(())
}

fn rows(operator: &Sums, table: &mut Table) {
    table
        .row("writes per job, 32 jobs at once")
        .measured(format!("{:.2}", rig::per_job(&operator.requests, false, operator.jobs)));
    table
        .row("jobs per second, created → Succeeded")
        .go("1.08", "13.9")
        .measured(format!("{:.2}", operator.rate()));
    let cpu = operator.per_job(operator.operator_cpu);
    table
        .row("operator CPU per job")
        .go("37 ms", "19 ms")
        .goal("≤ 6 ms", cpu <= Duration::from_millis(6))
        .measured(milliseconds(cpu));
    table
        .row("API server CPU per job")
        .measured(milliseconds(operator.per_job(operator.api_server_cpu)));
}

fn rows_of_null(operator: &Sums, null: &Sums, table: &mut Table) {
    table.row("writes per job, 32 jobs at once").beside("13".to_owned());
    let ratio = operator.rate() / null.rate();
    table
        .row("jobs per second, created → Succeeded")
        .goal("≥ 0.9 of null", ratio >= 0.9)
        .beside(format!("{:.2}; ratio {ratio:.3}", null.rate()));
    table
        .row("API server CPU per job")
        .beside(milliseconds(null.per_job(null.api_server_cpu)));
}

/// A turn of a fresh operator: what it does about the jobs of earlier turns is done before the clock starts.
async fn operators_turn(rig: &Rig, namespace: &str) -> Result<Sums> {
    let operator = rig.operator().await?;
    tokio::time::sleep(SETTLE).await;
    let audit = rig.audit()?;
    let cpu = || operator.cpu_time().ok_or("the operator has ended");
    let before = cpu()?;
    let mut sums = turn(rig, "operator", async |index, runs| {
        let name = format!("job-{index}");
        let job = Job {
            runs: Some(runs),
            ..Job::of_four(namespace, &name)
        };
        job.create(&rig.admin).await?;
        rig.recorder.wait(namespace, &name, |seen| seen.is("Succeeded")).await?;
        Ok(Instant::now())
    })
    .await?;
    tokio::time::sleep(SETTLE).await;
    sums.operator_cpu = cpu()?.saturating_sub(before);
    sums.requests = rig::requests(&audit)?;
    operator.stop().await?;
    Ok(sums)
}

async fn null_turn(rig: &Rig, namespace: &str) -> Result<Sums> {
    let client = rig.null_client().await?;
    tokio::time::sleep(SETTLE).await;
    turn(rig, "null operator", async |index, runs| {
        let name = format!("null-{index}");
        let job = Job {
            runs: Some(runs),
            ..Job::of_four(namespace, &name)
        };
        let (_, job) = job.create_bare(&rig.admin).await?;
        null_operator::run(&client, &rig.recorder, &job).await?;
        Ok(Instant::now())
    })
    .await
}

/// Runs the jobs of a turn, so that as one finishes the next one begins.
async fn turn(rig: &Rig, operator: &str, run: impl AsyncFn(u32, Duration) -> Result<Instant>) -> Result<Sums> {
    let cpu = rig.api_server_cpu();
    let mut finished: Vec<Instant> = stream::iter(0..JOBS)
        .map(|index| run(index, runs(index)))
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    finished.sort();
    let steady = &finished[IN_FLIGHT - 1..finished.len() - IN_FLIGHT];
    let sums = Sums {
        jobs: JOBS,
        counted: u32::try_from(steady.len() - 1)?,
        elapsed: steady[steady.len() - 1] - steady[0],
        api_server_cpu: rig.api_server_cpu().saturating_sub(cpu),
        ..Sums::default()
    };
    eprintln!("{operator}: {:.2} jobs/s", sums.rate());
    Ok(sums)
}

/// How long the pods of a job run: long enough for the job to be seen running, and not all alike, or the jobs would
/// march in step.
fn runs(index: u32) -> Duration {
    Duration::from_millis(500) + Duration::from_millis(100) * (index * 7 % 10)
}
