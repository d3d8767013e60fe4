//! Edits that a policy has nothing to do with: one that is refused, one for which the job is suspended, and a scale.

use serde_json::json;
use tokio::time::Instant;

use pytorchjob_operator::api::ConditionType;

use crate::Failure;
use crate::stage::{JOB, Stage};
use crate::story::{SOON, holds, names, ready};

/// The job of `examples/elastic.yaml`.
const ELASTIC: &str = "elastic";
/// Another image for the worker.
const IMAGE: &str = r#"--patch=[{"op":"replace","path":"/spec/pytorchReplicaSpecs/Worker/template/spec/containers/0/image","value":"pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime"}]"#;

pub async fn refusal(stage: &Stage) -> Result<(), Failure> {
    stage
        .terminal
        .heading("3  An edit that running pods could not follow: refused, with what to do instead");
    let begun = Instant::now();
    let said = stage
        .refused(&["patch", "pytorchjob", JOB, "--type=json", IMAGE])
        .await?;
    stage.terminal.output(&said);
    if !said.contains("suspend") {
        return Err("the refusal must say that the job can be suspended".into());
    }
    stage.terminal.done("refused", begun.elapsed());
    Ok(())
}

pub async fn suspension(stage: &Stage) -> Result<(), Failure> {
    stage
        .terminal
        .heading("4  The same edit while the job is suspended, and on it goes");
    let pods = stage.pods().await?;
    let begun = Instant::now();
    stage
        .patch(&json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await?;
    stage.until_cleaned_up(SOON).await?;
    stage.terminal.change("pods", &names(&pods), "none");
    stage
        .kubectl(&["patch", "pytorchjob", JOB, "--type=json", IMAGE])
        .await?;
    stage
        .patch(&json!({ "spec": { "runPolicy": { "suspend": false } } }))
        .await?;
    let runs = |job: &_| holds(job, ConditionType::Running) && ready(job) == "2/2";
    stage.until("waiting for the new pods to run", None, SOON, runs).await?;
    let columns = "custom-columns=POD:.metadata.name,IMAGE:.spec.containers[0].image";
    let images = stage.kubectl(&["get", "pods", "-o", columns]).await?;
    stage.terminal.output(&images);
    if !images.contains(":2.6.0-") {
        return Err("the worker must have the new image".into());
    }
    stage.terminal.done("suspended, edited and resumed", begun.elapsed());
    Ok(())
}

pub async fn scale(stage: &Stage) -> Result<(), Failure> {
    stage.terminal.heading("9  An elastic job: more workers while it runs");
    stage.kubectl(&["apply", "-f", "examples/elastic.yaml"]).await?;
    stage
        .until_of(ELASTIC, "waiting for three workers", SOON, |job| ready(job) == "3/3")
        .await?;
    let (before, begun) = (stage.pods_of(ELASTIC).await?, Instant::now());
    stage.kubectl(&["scale", "pytorchjob/elastic", "--replicas=4"]).await?;
    stage
        .until_of(ELASTIC, "waiting for the fourth worker", SOON, |job| {
            ready(job) == "4/4"
        })
        .await?;
    let after = stage.pods_of(ELASTIC).await?;
    if !before.iter().all(|pod| after.contains(pod)) {
        return Err("the workers that ran must go on: see `kubectl get pods`".into());
    }
    stage.terminal.change("pods", &names(&before), &names(&after));
    stage.terminal.done("scaled; the three that ran go on", begun.elapsed());
    let said = stage.refused(&["scale", "pytorchjob/elastic", "--replicas=9"]).await?;
    stage.terminal.output(&said);
    stage.kubectl(&["delete", "pytorchjob", ELASTIC]).await?;
    Ok(())
}
