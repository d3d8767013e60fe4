//! The story: a job is created, and the fields that the seed's page lets a user edit are edited one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use pytorchjob_operator::api::{ConditionType, JobCondition, PyTorchJob};
use pytorchjob_operator::platform::clock;
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{JOB, Stage};
use crate::terminal::seconds;
use crate::{Failure, edits};

/// What needs no timer happens within this, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(30);
/// The operator's promise about deadlines and TTLs: never early, and at most so late.
const PUNCTUAL: Duration = Duration::from_secs(1);
/// How long to wait for what is late already, to be able to say how late.
const GRACE: Duration = Duration::from_secs(10);
/// Seconds from an edit to the deadline or TTL it sets, rounded up to the next whole second.
const AHEAD: i64 = 4;

/// Plays everything, from the installation to the end of the job.
pub async fn tell(stage: &mut Stage) -> Result<(), Failure> {
    stage.terminal.heading("Install");
    stage.install().await?;
    stage.terminal.heading("Run the operator");
    stage
        .terminal
        .say("With the arguments of the Deployment, and its ServiceAccount: not as admin.");
    stage.start_operator().await?;
    create(stage).await?;
    label(stage).await?;
    edits::refusal(stage).await?;
    edits::suspension(stage).await?;
    let failed = deadline(stage).await?;
    look(stage).await?;
    clean_up(stage).await?;
    expire(stage, &failed).await?;
    edits::scale(stage).await?;
    sum_up(stage)
}

async fn create(stage: &Stage) -> Result<(), Failure> {
    stage.terminal.heading("1  A job: one Master, one Worker");
    let begun = Instant::now();
    stage.kubectl(&["apply", "-f", "examples/seed.yaml"]).await?;
    stage.terminal.done(
        "Stored   The first object of a new kind waits in the API server, up to 2 s.",
        begun.elapsed(),
    );
    let stored = Instant::now();
    for (condition, what) in [
        (ConditionType::Created, "waiting for the condition Created"),
        (ConditionType::Running, "waiting for the condition Running"),
    ] {
        let job = stage.until(what, None, SOON, |job| holds(job, condition)).await?;
        let message = find(&job, condition).and_then(|entry| entry.message.clone());
        stage.terminal.done(
            &format!("{:<9}{}", condition.as_str(), message.unwrap_or_default()),
            stored.elapsed(),
        );
    }
    stage
        .until("waiting for both pods to run", None, SOON, |job| ready(job) == "2/2")
        .await?;
    for arguments in [&["get", "pytorchjobs", "-o", "wide"][..], &["get", "pods"]] {
        let table = stage.kubectl(arguments).await?;
        stage.terminal.output(&table);
    }
    Ok(())
}

async fn label(stage: &Stage) -> Result<(), Failure> {
    stage.terminal.heading("2  A label: nothing that runs is disturbed");
    let (before, pods) = (stage.job().await?, stage.pods().await?);
    let begun = Instant::now();
    stage
        .patch(&json!({ "metadata": { "labels": { "app": "test" } } }))
        .await?;
    let after = stage.job().await?;
    let took = begun.elapsed();
    stage
        .terminal
        .change("metadata.labels", &labels(&before), &labels(&after));
    stage
        .terminal
        .change("metadata.generation", &generation(&before), &generation(&after));
    let same = stage.pods().await? == pods;
    if labels(&after) != "app=test" || generation(&before) != generation(&after) || !same {
        return Err("the label did not change alone: see above, and `kubectl get pods`".into());
    }
    stage.terminal.change("pods", &names(&pods), &names(&pods));
    stage.terminal.done("labelled", took);
    Ok(())
}

/// Returns the job with its outcome.
async fn deadline(stage: &Stage) -> Result<PyTorchJob, Failure> {
    stage.terminal.heading("5  A deadline: the job fails on time");
    let before = stage.job().await?;
    let start = before.status.clone().unwrap_or_default().start_time;
    let start = start.ok_or("the running job has no status.startTime")?;
    let allowed = seconds_since(&start) + AHEAD;
    stage
        .terminal
        .say("It counts from status.startTime. cleanPodPolicy None keeps the pods for the next step;");
    stage
        .terminal
        .say("unset, those that still run would be stopped with the job.");
    stage
        .patch(&json!({ "spec": { "activeDeadlineSeconds": allowed, "cleanPodPolicy": "None" } }))
        .await?;
    let due = Due::new(&start, allowed);
    let failed = |job: &PyTorchJob| holds(job, ConditionType::Failed);
    let job = stage
        .until("waiting for the deadline,", Some(due.instant), GRACE, failed)
        .await?;
    let late = due.lateness("The job failed")?;
    let outcome = find(&job, ConditionType::Failed).ok_or("the Failed condition is gone")?;
    stage.terminal.change("state", "Running", "Failed");
    stage.terminal.change(
        "spec.activeDeadlineSeconds",
        "unset",
        &format!("{allowed} (from startTime)"),
    );
    stage.terminal.output(&format!(
        "{}\n{}",
        outcome.reason.as_deref().unwrap_or_default(),
        outcome.message.as_deref().unwrap_or_default()
    ));
    stage.terminal.done(
        &format!("failed {} after the deadline, never before it", seconds(late)),
        due.waited(),
    );
    Ok(job)
}

async fn look(stage: &Stage) -> Result<(), Failure> {
    stage
        .terminal
        .heading("6  kubectl pytorchjob: what became of it, and what comes next");
    for arguments in [["why", JOB], ["timeline", JOB]] {
        let said = stage.plugin(&arguments).await?;
        stage.terminal.output(&said);
    }
    Ok(())
}

async fn clean_up(stage: &Stage) -> Result<(), Failure> {
    stage
        .terminal
        .heading("7  cleanPodPolicy: the pods of the finished job go");
    let (pods, services) = (stage.pods().await?, stage.services().await?);
    if pods.len() != 2 {
        return Err(format!("cleanPodPolicy None must keep 2 pods, and there are {}", pods.len()).into());
    }
    let begun = Instant::now();
    stage.patch(&json!({ "spec": { "cleanPodPolicy": "All" } })).await?;
    stage.until_cleaned_up(SOON).await?;
    let took = begun.elapsed();
    stage.terminal.change("spec.cleanPodPolicy", "None", "All");
    stage.terminal.change("pods", &names(&pods), "none");
    stage.terminal.change("services", &services.to_string(), "none");
    stage.terminal.done("cleaned up", took);
    Ok(())
}

async fn expire(stage: &Stage, finished: &PyTorchJob) -> Result<(), Failure> {
    stage.terminal.heading("8  ttlSecondsAfterFinished: the job goes");
    let completion = finished.status.clone().unwrap_or_default().completion_time;
    let completion = completion.ok_or("the failed job has no status.completionTime")?;
    let kept = seconds_since(&completion) + AHEAD;
    stage
        .terminal
        .say("It counts from status.completionTime, not from the edit.");
    stage
        .patch(&json!({ "spec": { "ttlSecondsAfterFinished": kept } }))
        .await?;
    let due = Due::new(&completion, kept);
    stage
        .until_gone("waiting for the job to go,", due.instant, GRACE)
        .await?;
    let late = due.lateness("The job was deleted")?;
    stage
        .terminal
        .change("spec.ttlSecondsAfterFinished", "unset", &kept.to_string());
    stage.terminal.change("job", JOB, "gone");
    stage.terminal.done(
        &format!("deleted {} after its time, never before it", seconds(late)),
        due.waited(),
    );
    Ok(())
}

/// What the operator sent, as the API server recorded it.
fn sum_up(stage: &Stage) -> Result<(), Failure> {
    stage
        .terminal
        .heading("What the operator wrote, from the API server's audit log");
    let writes = stage.writes()?;
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (verb, resource, _) in &writes {
        *counts.entry((resource, verb)).or_default() += 1;
    }
    for ((resource, verb), count) in counts {
        stage.terminal.output(&format!("{count:>3}  {verb:<7} {resource}"));
    }
    let refused: Vec<_> = writes.iter().filter(|(_, _, code)| *code >= 400).collect();
    if refused.iter().any(|(_, _, code)| *code == 403) {
        return Err(format!("the shipped RBAC is not enough: {refused:?}").into());
    }
    stage.terminal.say(&format!(
        "{} writes over the whole life of both jobs, {} of them refused; lease renewals not counted.",
        writes.len(),
        refused.len()
    ));
    Ok(())
}

/// A moment at which the operator has to act.
struct Due {
    begun: Instant,
    instant: Instant,
    time: k8s_openapi::jiff::Timestamp,
}

impl Due {
    fn new(since: &Time, seconds: i64) -> Self {
        let time = since.0 + SignedDuration::from_secs(seconds);
        let left = Duration::try_from(time.duration_since(clock::now())).unwrap_or_default();
        let begun = Instant::now();
        Self {
            begun,
            instant: begun + left,
            time,
        }
    }

    /// How late it is now; an error when it is too early or too late.
    fn lateness(&self, what: &str) -> Result<Duration, Failure> {
        let late = clock::now().duration_since(self.time);
        let Ok(late) = Duration::try_from(late) else {
            return Err(format!("{what} {} too early", seconds(late.unsigned_abs())).into());
        };
        if late > PUNCTUAL {
            return Err(format!(
                "{what} {} late; the operator promises {}. Is the machine overloaded?",
                seconds(late),
                seconds(PUNCTUAL)
            )
            .into());
        }
        Ok(late)
    }

    fn waited(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Whole seconds since `time`, rounded up.
fn seconds_since(time: &Time) -> i64 {
    clock::now().duration_since(time.0).as_secs() + 1
}

pub fn holds(job: &PyTorchJob, condition: ConditionType) -> bool {
    find(job, condition).is_some_and(|entry| entry.status == "True")
}

fn find(job: &PyTorchJob, condition: ConditionType) -> Option<&JobCondition> {
    let conditions = &job.status.as_ref()?.conditions;
    conditions.iter().find(|entry| entry.type_ == condition.as_str())
}

pub fn ready(job: &PyTorchJob) -> &str {
    let status = job.status.as_ref();
    status.and_then(|status| status.ready.as_deref()).unwrap_or_default()
}

fn labels(job: &PyTorchJob) -> String {
    let labels = job.metadata.labels.iter().flatten();
    let list: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
    if list.is_empty() { "none".into() } else { list.join(",") }
}

fn generation(job: &PyTorchJob) -> String {
    job.metadata.generation.unwrap_or_default().to_string()
}

pub fn names(pods: &[(String, String)]) -> String {
    let names: Vec<&str> = pods.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}
