//! What a request for a job costs the API server: under the definition that is shipped, under the same without its
//! rules, and under one that keeps anything. No operator runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use pytorchjob_operator::api::{PyTorchJob, crd};
use pytorchjob_test_cluster::{Cluster, Options, Process};
use serde_json::{Value, json};

use crate::Result;
use crate::jobs::Job;
use crate::table::{Table, milliseconds};

const JOBS: u32 = 250;
/// `/proc` counts in steps of 10 ms, and the API server works a little by itself.
const EDITS: u32 = 2;

/// Processor time of one request: a creation, a write of the status, a label.
struct Costs([Duration; 3]);

/// One row for each kind of request.
pub async fn measure(table: &mut Table) -> Result<()> {
    let shipped = serde_json::to_value(crd())?;
    let mut without_rules = shipped.clone();
    forget_rules(&mut without_rules);
    let mut bare = shipped.clone();
    bare["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let [ours, plain, bare] = [
        under("ours", &shipped).await?,
        under("ours without rules", &without_rules).await?,
        under("a bare schema", &bare).await?,
    ];
    let figures = [
        "API-server CPU per request, create: ours, ours without rules, a bare schema",
        "API-server CPU per request, status write: ours, ours without rules, a bare schema",
        "API-server CPU per request, label: ours, ours without rules, a bare schema",
    ];
    for (index, figure) in figures.into_iter().enumerate() {
        let all = [&ours, &plain, &bare].map(|costs| milliseconds(costs.0[index]));
        table.row(figure).measured(all.join(" / "));
    }
    Ok(())
}

async fn under(title: &str, definition: &Value) -> Result<Costs> {
    eprintln!("admission: {title}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("definition.json");
    fs::write(&file, definition.to_string())?;
    let options = Options {
        crds: vec![file],
        ..Options::default()
    };
    let cluster = Cluster::start(options).await?;
    let namespace = cluster.namespace("admission").await?;
    let client = cluster.admin();
    let jobs = Api::<PyTorchJob>::namespaced(client.clone(), &namespace);
    let names: Vec<String> = (0..JOBS).map(|index| format!("job-{index}")).collect();
    let params = PatchParams::default();

    let before = cpu(&cluster)?;
    for name in &names {
        Job::of_four(&namespace, name).create(&client).await?;
    }
    let created = cpu(&cluster)?;
    for round in 0..EDITS {
        for name in &names {
            let status =
                Patch::Merge(json!({ "status": { "ready": format!("{round}/4"), "conditions": conditions() } }));
            jobs.patch_status(name, &params, &status).await?;
        }
    }
    let stored = cpu(&cluster)?;
    for round in 0..EDITS {
        for name in &names {
            let label = Patch::Merge(json!({ "metadata": { "labels": { "round": round.to_string() } } }));
            jobs.patch(name, &params, &label).await?;
        }
    }
    let labelled = cpu(&cluster)?;
    Ok(Costs([
        created.saturating_sub(before) / JOBS,
        stored.saturating_sub(created) / (JOBS * EDITS),
        labelled.saturating_sub(stored) / (JOBS * EDITS),
    ]))
}

fn cpu(cluster: &Cluster) -> Result<Duration> {
    let server = cluster.process("kube-apiserver").and_then(Process::cpu_time);
    server.ok_or_else(|| "the API server has ended".into())
}

fn forget_rules(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("x-kubernetes-validations");
            object.values_mut().for_each(forget_rules);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_rules),
        _ => {}
    }
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
