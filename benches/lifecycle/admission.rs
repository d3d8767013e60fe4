//! What a request for a job costs the API server, by the definition of the job. No operator runs.

use std::path::PathBuf;
use std::time::Duration;

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use pytorchjob_operator::api::PyTorchJob;
use pytorchjob_test_cluster::{Cluster, Process};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::Result;
use crate::definition::{bare, cluster, kubeflows, shipped, without_rules};
use crate::jobs::{Job, post};
use crate::table::{Table, milliseconds};

/// `/proc` counts in steps of 10 ms, and the API server works a little by itself.
const JOBS: u32 = 250;
const EDITS: u32 = 2;

/// One row for each kind of request.
pub async fn measure(table: &mut Table) -> Result<()> {
    let mut costs = Vec::new();
    for definition in [Some(shipped()?), Some(without_rules()?), kubeflows(), Some(bare()?)] {
        costs.push(match definition {
            Some(definition) => Some(under(definition).await?),
            None => None,
        });
    }
    let figures = [
        "API-server CPU per request, create: ours / without its rules / Kubeflow's definition / a bare one",
        "API-server CPU per request, status write: ours / without its rules / Kubeflow's definition / a bare one",
        "API-server CPU per request, label: ours / without its rules / Kubeflow's definition / a bare one",
    ];
    for (index, figure) in figures.into_iter().enumerate() {
        table.row(figure).measured(beside(&costs, index));
    }
    Ok(())
}

/// The costs of one kind of request, side by side; a dash for what is not there to be measured.
pub fn beside(costs: &[Option<Costs>], kind: usize) -> String {
    let one = |costs: &Option<Costs>| {
        costs
            .as_ref()
            .map_or_else(|| "–".to_owned(), |costs| milliseconds(costs.0[kind]))
    };
    costs.iter().map(one).collect::<Vec<_>>().join(" / ")
}

async fn under(definition: PathBuf) -> Result<Costs> {
    eprintln!("admission: {}", definition.display());
    let cluster = cluster(definition).await?;
    let namespace = cluster.namespace("admission").await?;
    let jobs = ApiResource::erase::<PyTorchJob>(&());
    let manifest = |name: &str| Job::of_four(&namespace, name).manifest();
    requests(&cluster, &namespace, &jobs, JOBS, manifest).await
}

/// Processor time of one request: a creation, a write of the status, a label.
pub struct Costs(pub [Duration; 3]);

/// Makes the requests, one at a time.
pub async fn requests(
    cluster: &Cluster,
    namespace: &str,
    kind: &ApiResource,
    count: u32,
    manifest: impl Fn(&str) -> Value,
) -> Result<Costs> {
    let client = cluster.admin();
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, kind);
    let names: Vec<String> = (0..count).map(|index| format!("job-{index}")).collect();
    let params = PatchParams::default();

    let before = cpu(cluster)?;
    for name in &names {
        post::<IgnoredAny>(&client, api.resource_url(), &manifest(name)).await?;
    }
    let created = cpu(cluster)?;
    for round in 0..EDITS {
        for name in &names {
            api.patch_status(name, &params, &Patch::Merge(status(kind, round)))
                .await?;
        }
    }
    let stored = cpu(cluster)?;
    for round in 0..EDITS {
        for name in &names {
            let label = Patch::Merge(json!({ "metadata": { "labels": { "round": round.to_string() } } }));
            api.patch(name, &params, &label).await?;
        }
    }
    let labelled = cpu(cluster)?;
    Ok(Costs([
        created.saturating_sub(before) / count,
        stored.saturating_sub(created) / (count * EDITS),
        labelled.saturating_sub(stored) / (count * EDITS),
    ]))
}

fn cpu(cluster: &Cluster) -> Result<Duration> {
    let server = cluster.process("kube-apiserver").and_then(Process::cpu_time);
    server.ok_or_else(|| "the API server has ended".into())
}

/// A status that is new in each round.
fn status(kind: &ApiResource, round: u32) -> Value {
    if kind.group == "batch" {
        return json!({ "status": { "active": round + 1, "startTime": "2026-01-01T00:00:00Z" } });
    }
    json!({ "status": { "ready": format!("{round}/4"), "conditions": conditions() } })
}

/// What a job that runs has.
fn conditions() -> Value {
    let condition = |type_: &str| {
        json!({
            "type": type_,
            "status": "True",
            "reason": format!("PyTorchJob{type_}"),
            "message": format!("PyTorchJob job is {type_}."),
            "lastUpdateTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!([condition("Created"), condition("Running")])
}
