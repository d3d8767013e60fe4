//! Measures the operator, as it is shipped, against a real control plane: every figure of docs/performance.md in one
//! table.
//!
//! kube-apiserver, etcd, kube-scheduler and kube-controller-manager are real, KWOK plays the nodes. Requests are
//! counted in the audit log of the API server, processor time and memory in `/proc`, times by a watch of the bench's
//! own. Throughput stands beside that of a null operator ([`null_operator`]), because on a small machine the API server
//! is the limit and not what is measured.
//!
//! `cargo bench --bench lifecycle` runs everything, `cargo bench --bench lifecycle -- latency memory` only these
//! scenarios. A figure that misses its goal is marked in the table; the exit code is non-zero when a scenario could not
//! be carried out.

mod admission;
mod deadline;
mod definition;
mod growth;
mod jobs;
mod kubelet;
mod large;
mod latency;
mod memory;
mod null_operator;
#[path = "../../tests/support/plot.rs"]
mod plot;
mod population;
mod recorder;
mod restart;
mod rig;
mod scale;
mod services;
mod start;
mod table;
mod templates;
mod tenants;
mod throughput;
mod wide;
mod writes;

use std::error::Error;
use std::time::Duration;

use crate::rig::Rig;
use crate::table::Table;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// No scenario takes a quarter of this.
const SCENARIO_TIMEOUT: Duration = Duration::from_mins(10);

const SCENARIOS: [&str; 14] = [
    "admission",
    "templates",
    "start",
    "latency",
    "writes",
    "throughput",
    "large",
    "deadline",
    "memory",
    "services",
    "tenants",
    "wide",
    "restart",
    "scale",
];

/// Alone, and only when asked for: ten control planes, and a plot in place of the table.
const GROWTH: &str = "growth";

/// About our binary or our fields, or what takes Kubeflow's operator for ever.
const OURS_ALONE: [&str; 5] = ["start", "deadline", "services", "tenants", "wide"];

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo passes `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if wanted == [GROWTH] {
        return growth::measure().await;
    }
    if let Some(unknown) = wanted.iter().find(|name| !SCENARIOS.contains(&name.as_str())) {
        let all = SCENARIOS.join(", ");
        return Err(format!("no scenario {unknown}; there are {all}, and {GROWTH} by itself").into());
    }
    let mut table = Table::default();
    for name in SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            tokio::time::timeout(SCENARIO_TIMEOUT, Box::pin(scenario(name, &mut table)))
                .await
                .map_err(|_| format!("{name}: not done after {SCENARIO_TIMEOUT:?}"))?
                .map_err(|error| format!("{name}: {error}"))?;
        }
    }
    println!("{table}");
    Ok(())
}

/// Runs one scenario on a control plane of its own, and again on another one with Kubeflow's operator.
async fn scenario(name: &str, table: &mut Table) -> Result<()> {
    match name {
        "admission" => return admission::measure(table).await,
        "templates" => return templates::measure(table).await,
        "restart" => return restart::measure(table).await,
        "scale" => return scale::measure(table).await,
        _ => {}
    }
    eprintln!("{name}: starting a control plane");
    measure(name, &Rig::start().await?, table).await?;
    if !OURS_ALONE.contains(&name) {
        eprintln!("{name}: Kubeflow's operator");
        match Rig::start_kubeflows().await? {
            Some(rig) => measure(name, &rig, table).await?,
            None => eprintln!("{name}: it is not built, which tests/training-operator/build.sh does; left out"),
        }
    }
    Ok(())
}

async fn measure(name: &str, rig: &Rig, table: &mut Table) -> Result<()> {
    table.side(rig.side);
    match name {
        "start" => start::measure(rig, table).await,
        "latency" => latency::measure(rig, table).await,
        "writes" => writes::measure(rig, table).await,
        "throughput" => throughput::measure(rig, table).await,
        "large" => large::measure(rig, table).await,
        "deadline" => deadline::measure(rig, table).await,
        "services" => services::measure(rig, table).await,
        "tenants" => tenants::measure(rig, table).await,
        "wide" => wide::measure(rig, table).await,
        _ => memory::measure(rig, table).await,
    }
}

/// A size that the environment may set, for a short try or for what comes after.
fn parameter(name: &str, default: u32) -> Result<u32> {
    match std::env::var(name) {
        Ok(value) => Ok(value.parse().map_err(|error| format!("{name}={value}: {error}"))?),
        Err(_) => Ok(default),
    }
}
