//! The lives of jobs that plans disturb.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use pytorchjob_operator::platform::clock;
use serde_json::{Value, json};

use crate::job::{job, job_with_policy, suspend, with};
use crate::observer::{Kind, State};
use crate::policies;
use crate::stage::{JOB, Stage, Stuck, is, is_deleted, restarts, second};

type Script = for<'a> fn(&'a Stage) -> BoxFuture<'a, Result<(), Stuck>>;

/// The life of a job, and what an operator needs for it.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub flags: &'static [&'static str],
    /// Replicas of the operator; two elect a leader.
    pub replicas: usize,
    pub script: Script,
}

macro_rules! scenarios {
    ($($name:literal, $flags:expr, $replicas:literal, $script:path;)*) => {
        /// All of them.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: $name,
            flags: &$flags,
            replicas: $replicas,
            script: |stage| $script(stage).boxed(),
        }),*];
    };
}

scenarios! {
    "life", [], 1, life;
    "ttl", [], 1, ttl;
    "restart", [], 1, restart;
    "backoff", [], 1, backoff;
    "suspend", [], 1, suspended;
    "deadline", [], 1, deadline;
    "scale", [], 1, scale;
    "recreate", [], 1, recreate;
    "gang", ["--gang-scheduler-name=volcano"], 1, gang;
    "whole", [], 1, whole;
    "in-place", [], 1, in_place;
    "take-over", [], 2, take_over;
    "twice", [], 1, policies::twice;
    "window", [], 1, policies::window;
    "rules", [], 1, policies::rules;
    "stall", [], 1, policies::stall;
    "startup", [], 1, policies::startup;
    "exclusion", [], 1, policies::exclusion;
    "lost", [], 1, policies::lost;
}

/// A job's policies.
pub fn policy(policy: &Value) -> Value {
    json!({ "spec": { "runPolicy": policy } })
}

/// Both pods end well, the worker first.
pub async fn succeed(stage: &Stage) -> Result<(), Stuck> {
    stage.exit("worker-0", 0).await;
    stage.exit("master-0", 0).await;
    stage.finished().await
}

/// A retryable failure.
pub const KILLED: i32 = 137;

async fn life(stage: &Stage) -> Result<(), Stuck> {
    stage.create(&job(JOB, 1)).await;
    stage.running(2, &[]).await?;
    succeed(stage).await
}

/// Everything goes.
async fn ttl(stage: &Stage) -> Result<(), Stuck> {
    let clean = policy(&json!({ "ttlSecondsAfterFinished": 1, "cleanPodPolicy": "All" }));
    stage.create(&with(job(JOB, 1), &clean)).await;
    stage.running(2, &[]).await?;
    stage.exit("worker-0", 0).await;
    stage.exit("master-0", 0).await;
    stage
        .wait("the job to be deleted", |state| state.get(Kind::Job, JOB).is_none())
        .await?;
    stage.wait("everything to be gone", empty).await
}

/// Whether no job has left anything.
pub fn empty(state: &State) -> bool {
    state.all(Kind::Pod).chain(state.all(Kind::Service)).next().is_none()
}

async fn restart(stage: &Stage) -> Result<(), Stuck> {
    restarted(stage).await?;
    succeed(stage).await
}

/// A worker has failed once, which is as often as it may, and runs again.
async fn restarted(stage: &Stage) -> Result<(), Stuck> {
    let limit = policy(&json!({ "backoffLimit": 1 }));
    stage.create(&with(job_with_policy(JOB, 1, "ExitCode"), &limit)).await;
    stage.running(2, &[]).await?;
    let old = stage.pod("worker-0");
    stage.exit("worker-0", KILLED).await;
    stage.running(2, &old).await
}

/// One failure more than is allowed.
async fn backoff(stage: &Stage) -> Result<(), Stuck> {
    restarted(stage).await?;
    stage.exit("worker-0", KILLED).await;
    stage.finished().await
}

async fn suspended(stage: &Stage) -> Result<(), Stuck> {
    stage.create(&job(JOB, 1)).await;
    stage.running(2, &[]).await?;
    let old = stage.pods();
    stage.edit(&suspend(true)).await;
    stage
        .wait("the job to be suspended", |state| {
            is(state, "Suspended") && state.all(Kind::Pod).next().is_none()
        })
        .await?;
    stage.edit(&suspend(false)).await;
    stage.running(2, &old).await?;
    succeed(stage).await
}

/// The deadline is set while the job runs, so that it is ahead however long a fault has taken before.
async fn deadline(stage: &Stage) -> Result<(), Stuck> {
    stage.create(&job(JOB, 1)).await;
    stage.running(2, &[]).await?;
    let start = stage
        .space
        .state()
        .get(Kind::Job, JOB)
        .and_then(|job| second(&job["status"]["startTime"]));
    let deadline = clock::now().as_second() - start.unwrap_or_default() + 2;
    stage.edit(&policy(&json!({ "activeDeadlineSeconds": deadline }))).await;
    stage.finished().await
}

async fn scale(stage: &Stage) -> Result<(), Stuck> {
    let elastic = json!({ "spec": { "elasticPolicy": { "minReplicas": 1, "maxReplicas": 3 } } });
    let workers = |replicas: u32| json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": replicas } } } });
    stage.create(&with(job(JOB, 1), &elastic)).await;
    stage.running(2, &[]).await?;
    stage.edit(&workers(2)).await;
    stage.running(3, &[]).await?;
    stage.edit(&workers(1)).await;
    stage.running(2, &[]).await?;
    succeed(stage).await
}

/// Another job of the same name, while the pods of the first still are there.
async fn recreate(stage: &Stage) -> Result<(), Stuck> {
    stage.create(&job(JOB, 1)).await;
    stage.running(2, &[]).await?;
    let old = stage.pods();
    stage.delete().await;
    stage.create(&job(JOB, 1)).await;
    stage.running(2, &old).await?;
    succeed(stage).await
}

/// Volcano admits the pods before they exist.
async fn gang(stage: &Stage) -> Result<(), Stuck> {
    let mut gang = job(JOB, 1);
    for replica in gang["spec"]["pytorchReplicaSpecs"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        replica["template"]["spec"]["schedulerName"] = json!("volcano");
    }
    stage.create(&gang).await;
    stage.running(2, &[]).await?;
    succeed(stage).await
}

/// One failure, and all pods start again.
async fn whole(stage: &Stage) -> Result<(), Stuck> {
    let whole = policy(&json!({ "restartScope": "Job", "backoffLimit": 1 }));
    stage.create(&with(job(JOB, 1), &whole)).await;
    stage.running(2, &[]).await?;
    let old = stage.pods();
    stage.exit("worker-0", 1).await;
    stage.running(2, &old).await?;
    succeed(stage).await
}

/// The same in the pods that are there.
async fn in_place(stage: &Stage) -> Result<(), Stuck> {
    let whole = policy(&json!({ "restartScope": "Job", "restartStrategy": "InPlace", "backoffLimit": 1 }));
    stage.create(&with(job(JOB, 1), &whole)).await;
    stage.running(2, &[]).await?;
    stage.fail_in_place("worker-0").await;
    stage
        .wait("all containers to have started again", |state| {
            state.all(Kind::Pod).all(|(_, pod)| restarts(pod) == 1)
        })
        .await?;
    stage.running(2, &[]).await?;
    succeed(stage).await
}

/// The leader is told to go in the middle of a restart, and the other replica goes on.
async fn take_over(stage: &Stage) -> Result<(), Stuck> {
    stage.create(&job_with_policy(JOB, 1, "ExitCode")).await;
    stage.running(2, &[]).await?;
    let old = stage.pod("worker-0");
    stage.exit("worker-0", KILLED).await;
    // As a rolling update does: it comes back as the one that waits.
    stage.replicas[0].stop().await;
    stage.replicas[0].start();
    stage.running(2, &old).await?;
    succeed(stage).await
}

/// Whether nothing is on its way out any more, and the job counts nothing as at work that is not.
pub fn at_rest(state: &State) -> bool {
    let job = state.get(Kind::Job, JOB);
    let unfinished = |(_, pod): (&str, &Value)| {
        is_deleted(pod) || !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    };
    let claims = |job: &Value| {
        let counts = job["status"]["replicaStatuses"].as_object();
        counts
            .into_iter()
            .flatten()
            .any(|(_, counts)| counts["active"].is_i64())
    };
    !job.is_some_and(claims) && !state.all(Kind::Pod).any(unfinished)
}
