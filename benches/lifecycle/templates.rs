//! What a very large template costs the API server: in a job under our definition, under Kubeflow's and under one that
//! keeps anything, and as a plain Job. No operator runs.

use std::path::PathBuf;

use k8s_openapi::api::batch::v1::Job;
use kube::core::ApiResource;
use pytorchjob_operator::api::PyTorchJob;
use serde_json::{Value, json};

use crate::Result;
use crate::admission::{Costs, beside, requests};
use crate::definition::{bare, cluster, kubeflows, shipped};
use crate::table::Table;

const OBJECTS: u32 = 30;
/// Variables, mounts and ports, of each so many.
const ENTRIES: u32 = 2_000;

const FIGURES: [&str; 3] = [
    "API-server CPU per request, template of 2,000 variables, mounts and ports, create: ours / Kubeflow's definition / a plain Job / a bare definition",
    "the same, status write",
    "the same, label",
];

/// One row for each kind of request.
pub async fn measure(table: &mut Table) -> Result<()> {
    let [ours, plain] = ours_and_plain().await?;
    let kubeflows = match kubeflows() {
        Some(definition) => Some(under(definition).await?),
        None => None,
    };
    let costs = [Some(ours), kubeflows, Some(plain), Some(under(bare()?).await?)];
    for (kind, figure) in FIGURES.into_iter().enumerate() {
        let reached = reached(&costs, kind);
        table
            .row(figure)
            .goal("≤ Kubeflow's, ≤ 2 × plain", reached)
            .measured(beside(&costs, kind));
    }
    Ok(())
}

async fn ours_and_plain() -> Result<[Costs; 2]> {
    eprintln!("templates: ours and a plain Job");
    let cluster = cluster(shipped()?).await?;
    let namespace = cluster.namespace("templates").await?;
    let jobs = ApiResource::erase::<PyTorchJob>(&());
    let plain = ApiResource::erase::<Job>(&());
    Ok([
        requests(&cluster, &namespace, &jobs, OBJECTS, pytorch_job).await?,
        requests(&cluster, &namespace, &plain, OBJECTS, plain_job).await?,
    ])
}

async fn under(definition: PathBuf) -> Result<Costs> {
    eprintln!("templates: {}", definition.display());
    let cluster = cluster(definition).await?;
    let namespace = cluster.namespace("templates").await?;
    let jobs = ApiResource::erase::<PyTorchJob>(&());
    requests(&cluster, &namespace, &jobs, OBJECTS, pytorch_job).await
}

fn reached(costs: &[Option<Costs>; 4], kind: usize) -> bool {
    let [ours, kubeflows, plain, _] = costs.each_ref().map(|costs| costs.as_ref().map(|costs| costs.0[kind]));
    kubeflows.is_none_or(|kubeflows| ours <= Some(kubeflows)) && ours <= plain.map(|plain| plain * 2)
}

fn pytorch_job(name: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": { "name": name },
        "spec": {
            "pytorchReplicaSpecs": { "Master": { "replicas": 1, "restartPolicy": "Never", "template": template() } },
        },
    })
}

fn plain_job(name: &str) -> Value {
    let mut template = template();
    template["spec"]["restartPolicy"] = json!("Never");
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name }, "spec": { "template": template } })
}

fn template() -> Value {
    let entries = |entry: fn(u32) -> Value| (0..ENTRIES).map(entry).collect::<Vec<_>>();
    json!({
        "spec": {
            "containers": [{
                "name": "pytorch",
                "image": "registry.example/gcs/pytorch-cpu:v1",
                "env": entries(|index| json!({ "name": format!("VARIABLE_{index}"), "value": format!("value-{index}") })),
                "volumeMounts": entries(|index| json!({
                    "name": "data", "mountPath": format!("/mnt/{index}"), "subPath": format!("directory-{index}"),
                })),
                "ports": entries(|index| json!({ "name": format!("port-{index}"), "containerPort": 10_000 + index })),
            }],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    })
}
