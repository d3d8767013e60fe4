//! Jobs of every fate, for pictures of what metrics tell. Nodes are played, the operator is not.

use std::time::Duration;

use futures::future::join_all;
use pytorchjob_test_cluster::PodPhase;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::job::{job_with_policy, suspend, with};
use crate::rig::{Rig, failed};
use crate::support::dice::Dice;

/// A job comes every so often.
const PACE: Duration = Duration::from_millis(700);
/// Between two steps of a job: at least, and the most that chance adds, in milliseconds.
const STEP: u64 = 400;
const CHANCE: usize = 4_000;

/// So many jobs come one after the other. Ends when all have ended.
pub async fn jobs(rig: &Rig, count: u32) {
    join_all((0..count).map(async |index| {
        sleep(PACE * index).await;
        Load::new(rig, index).live().await;
    }))
    .await;
}

struct Load<'a> {
    rig: &'a Rig,
    index: u32,
    name: String,
    dice: Dice,
}

impl<'a> Load<'a> {
    fn new(rig: &'a Rig, index: u32) -> Self {
        Self {
            rig,
            index,
            name: format!("job-{index}"),
            dice: Dice::new(u64::from(index)),
        }
    }

    async fn live(&mut self) {
        let job = job_with_policy(&self.name, self.workers(), "ExitCode");
        match self.index % 6 {
            0 => self.meet_its_deadline(&job).await,
            1 => self.wait_suspended(&job).await,
            2 => self.restart(&job).await,
            3 => self.end(&job, &failed(1)).await,
            _ => self.end(&job, &PodPhase::Succeeded).await,
        }
        self.rig.wait_finished(&self.name).await;
    }

    const fn workers(&self) -> u32 {
        1 + self.index % 3
    }

    async fn step(&mut self) {
        let chance = u64::try_from(self.dice.below(CHANCE)).unwrap();
        sleep(Duration::from_millis(STEP + chance)).await;
    }

    async fn run(&mut self, job: &Value) {
        self.rig.create_with_pods(job).await;
        self.start().await;
    }

    async fn start(&mut self) {
        self.step().await;
        let pods = self.rig.pod_names(&self.name).await;
        self.rig.set_phases(pods, &PodPhase::Running).await;
        self.rig.wait(&self.name, |job| job.is("Running")).await;
        self.step().await;
    }

    async fn end(&mut self, job: &Value, how: &PodPhase) {
        self.run(job).await;
        self.finish(how).await;
    }

    async fn finish(&mut self, how: &PodPhase) {
        self.step().await;
        let master = format!("{}-master-0", self.name);
        self.rig.set_phase(&master, how).await;
    }

    async fn meet_its_deadline(&mut self, job: &Value) {
        let deadline = json!({ "spec": { "runPolicy": { "activeDeadlineSeconds": 10 } } });
        self.run(&with(job.clone(), &deadline)).await;
    }

    async fn wait_suspended(&mut self, job: &Value) {
        self.rig.create(&with(job.clone(), &suspend(true))).await;
        self.rig.wait(&self.name, |job| job.is("Suspended")).await;
        self.step().await;
        self.rig.patch(&self.name, &suspend(false)).await;
        let all = self.workers() as usize + 1;
        self.rig.wait_pods(&self.name, |pods| pods.len() == all).await;
        self.start().await;
        self.finish(&PodPhase::Succeeded).await;
    }

    async fn restart(&mut self, job: &Value) {
        self.run(job).await;
        let worker = format!("{}-worker-0", self.name);
        let old = self.rig.set_phase(&worker, &failed(137)).await;
        self.rig.wait_replaced(&old).await;
        self.start().await;
        self.finish(&PodPhase::Succeeded).await;
    }
}
