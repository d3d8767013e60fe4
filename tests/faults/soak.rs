//! Jobs that come and go for a long time, with faults at random: what the operator uses when all are gone is what it
//! used before.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use pytorchjob_test_cluster::Operator;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::aim::Aim;
use crate::campaign::Campaign;
use crate::dice::Dice;
use crate::fault::Fault;
use crate::kubelet;
use crate::laws;
use crate::meddler::Meddler;
use crate::observer::Kind;
use crate::replica::Replica;
use crate::scenarios::{self, Scenario, empty};
use crate::stage::{JOB, Stage, Stuck};

/// Jobs that live at once.
const LANES: usize = 6;
/// A request in so many meets a fault.
const ONE_IN: usize = 20;
/// Time with jobs between two looks.
const ROUND: Duration = Duration::from_mins(3);
/// Connections that are not used are kept for a minute and a half, and watches end after one minute: by then only what
/// leaks is left.
const REST: Duration = Duration::from_secs(110);
/// How often the figures are read while the operator rests. Nothing announces them.
const LOOK: Duration = Duration::from_secs(5);
/// Longest pause between two jobs, in milliseconds.
const PAUSE: usize = 3000;

/// Faults that the process survives: one that is started again would forget what it leaked.
const FAULTS: &[Fault] = &[
    Fault::Refused,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::TimedOut,
    Fault::Unavailable,
    Fault::Throttled,
    Fault::Slow,
    Fault::Late,
    Fault::Twice,
    Fault::JobsHeld,
    Fault::PodsHeld,
    Fault::AllHeld,
    Fault::Gone,
    Fault::Conflict,
];

/// What a replica uses while there is nothing to do.
#[derive(Clone, Copy, Debug)]
struct Usage {
    resident: u64,
    files: u64,
    tasks: u64,
    /// Objects of all kinds in memory.
    cached: u64,
}

impl fmt::Display for Usage {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.resident as f64 / f64::from(1 << 20);
        let Self {
            files, tasks, cached, ..
        } = self;
        write!(f, "{mib:.1} MiB, {files} files, {tasks} tasks, {cached} objects")
    }
}

impl Usage {
    async fn of(operator: &Operator) -> Self {
        let metrics = operator.metrics().await.unwrap();
        let sum = |name: &str| {
            let values = metrics.lines().filter(|line| line.starts_with(name));
            let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            let values: Vec<f64> = values.collect();
            assert!(!values.is_empty(), "there is no series {name}");
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counts, written as floats"
            )]
            let sum = values.iter().sum::<f64>() as u64;
            sum
        };
        let usage = Self {
            resident: sum("process_resident_memory_bytes"),
            files: sum("process_open_fds"),
            tasks: sum("pytorchjob_operator_tasks"),
            cached: sum("pytorchjob_operator_cached_objects"),
        };
        let [resident, files, tasks] = [usage.resident, usage.files, usage.tasks];
        assert!(resident > 0 && files > 0 && tasks > 0, "{usage}");
        usage
    }

    /// The least that a replica uses while it rests.
    async fn at_rest(replica: &Replica) -> Self {
        let operator = replica.operator().unwrap();
        let end = Instant::now() + REST;
        let mut least = Self::of(&operator).await;
        while Instant::now() < end {
            sleep(LOOK).await;
            let now = Self::of(&operator).await;
            least = Self {
                resident: least.resident.min(now.resident),
                files: least.files.min(now.files),
                tasks: least.tasks.min(now.tasks),
                cached: least.cached.min(now.cached),
            };
        }
        least
    }

    /// What has grown since.
    fn drift(self, before: Self) -> Option<String> {
        // A tenth and 2 MiB is what the allocator keeps; two connections may just be about to be replaced.
        let grown = self.resident > before.resident + before.resident / 10 + (2 << 20)
            || self.files > before.files + 2
            || self.tasks > before.tasks + 2
            || self.cached > before.cached;
        grown.then(|| format!("{before} before, {self} now"))
    }
}

/// How long: `SOAK_MINUTES`, or half an hour.
fn time() -> Duration {
    let minutes = env::var("SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    Duration::from_mins(minutes.unwrap_or(30))
}

fn seed() -> u64 {
    env::var("SOAK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1)
}

/// The lives that an operator without a gang scheduler can serve, alone.
fn lives() -> Vec<Scenario> {
    let served = |scenario: &&Scenario| scenario.flags.is_empty() && scenario.replicas == 1;
    scenarios::ALL.iter().filter(served).copied().collect()
}

/// A namespace in which one job comes after the other.
struct Lane {
    stage: Stage,
    dice: Dice,
    lived: usize,
    _kubelet: AbortOnDropHandle<()>,
}

impl Lane {
    async fn new(campaign: &Campaign, seed: u64) -> Self {
        let namespace = campaign.cluster.namespace("soak").await.unwrap().name().to_owned();
        let (space, client) = (campaign.observer.observe(&namespace), campaign.cluster.admin());
        let kubelet = kubelet::act(space.clone(), client.clone(), namespace.clone());
        Self {
            stage: Stage {
                space,
                client,
                namespace,
                replicas: Vec::new(),
            },
            dice: Dice::new(seed),
            lived: 0,
            _kubelet: AbortOnDropHandle::new(tokio::spawn(kubelet)),
        }
    }

    async fn live_until(&mut self, end: Instant, lives: &[Scenario]) -> Vec<String> {
        let mut violations = Vec::new();
        while Instant::now() < end {
            let scenario = self.dice.pick(lives);
            if let Err(Stuck(what)) = self.live(scenario).await {
                violations.push(format!("{}: {what}", scenario.name));
                return violations;
            }
            let broken = laws::violations(&self.stage.space.history(), &BTreeSet::new());
            violations.extend(broken.into_iter().map(|law| format!("{}: {law}", scenario.name)));
            self.stage.space.begin_again();
            self.lived += 1;
            let pause = u64::try_from(self.dice.below(PAUSE)).unwrap();
            sleep(Duration::from_millis(pause)).await;
        }
        violations
    }

    async fn live(&self, scenario: Scenario) -> Result<(), Stuck> {
        (scenario.script)(&self.stage).await?;
        if self.stage.space.state().get(Kind::Job, JOB).is_some() {
            self.stage.delete().await;
        }
        let gone = "the job and all it owned to be gone";
        self.stage
            .wait(gone, |state| state.get(Kind::Job, JOB).is_none() && empty(state))
            .await
    }
}

/// Two replicas that serve all namespaces, as shipped.
async fn replicas(campaign: &Campaign, meddler: &Arc<Meddler>) -> Vec<Arc<Replica>> {
    let mut replicas = Vec::new();
    for index in 0..2 {
        let name = format!("soak-{index}");
        let flags = [
            "--leader-elect",
            "--leader-election-namespace=kubeflow",
            &format!("--pod-name={name}"),
        ];
        let flags = flags.map(str::to_owned).to_vec();
        let (client, handler) = (campaign.operator.clone(), meddler.handler(index));
        replicas.push(Replica::new(client, handler, campaign.cluster.directory(), &name, flags).await);
    }
    meddler.attach(replicas.clone());
    replicas[0].start();
    assert!(meddler.leads(0).await, "{}", replicas[0].log_tail());
    replicas[1].start();
    replicas
}

/// Soaks, and tells of what it finds.
pub async fn soak() {
    let (time, seed) = (time(), seed());
    println!("{time:?} with seed {seed}");
    let campaign = Campaign::start().await;
    let aim = Aim::at_random(seed, ONE_IN, FAULTS.to_vec());
    let meddler = Meddler::new(campaign.cluster.admin(), None, aim, None);
    let replicas = replicas(&campaign, &meddler).await;
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        lanes.push(Lane::new(&campaign, seed + 1 + u64::try_from(lane).unwrap()).await);
    }
    let (lives, end) = (lives(), Instant::now() + time);
    let mut first: Option<Vec<Usage>> = None;
    let mut looks = 0;
    while Instant::now() + REST < end || first.is_none() {
        let round = Instant::now() + ROUND.min(end.saturating_duration_since(Instant::now()));
        let broken = join_all(lanes.iter_mut().map(|lane| lane.live_until(round, &lives))).await;
        let violations: Vec<String> = broken.into_iter().flatten().collect();
        let logs = || replicas.iter().map(|replica| replica.log_tail()).collect::<String>();
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}\n{}", logs());
        let usage = join_all(replicas.iter().map(|replica| Usage::at_rest(replica))).await;
        let jobs: usize = lanes.iter().map(|lane| lane.lived).sum();
        println!(
            "{jobs} jobs, {} faults; leader {}; standby {}",
            meddler.aimed(),
            usage[0],
            usage[1]
        );
        for replica in &replicas {
            assert!(replica.ends().is_empty(), "{:#?}", replica.ends());
        }
        looks += 1;
        // What the first round has left is what a process keeps that has been warm.
        let before = first.get_or_insert_with(|| usage.clone());
        let drift: Vec<String> = usage
            .iter()
            .zip(before.iter())
            .filter_map(|(now, then)| now.drift(*then))
            .collect();
        assert!(drift.is_empty(), "seed {seed}: {drift:#?}");
    }
    assert!(looks > 1, "{time:?} is too short to compare two looks");
    for replica in &replicas {
        replica.end().await;
    }
}
