//! The environment of the training containers: how a process finds the others.

use super::elastic_policy;
use crate::api::names::env;
use crate::api::{PyTorchJobSpec, Role};

/// `nprocPerNode` when unset.
const DEFAULT_NPROC_PER_NODE: &str = "auto";

/// Ports of the rendezvous, from the templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Of the Master.
    pub master: u64,
    /// Of the workers.
    pub worker: u64,
}

/// Variables of one replica, in Kubeflow's order. They stand after the user's own, so for a name that both set, ours holds.
#[must_use]
pub fn variables(
    job: &str,
    spec: &PyTorchJobSpec,
    role: Role,
    index: u32,
    ports: Ports,
) -> Vec<(&'static str, String)> {
    let mut variables = vec![(env::PYTHONUNBUFFERED, "1".to_owned())];
    if spec.replica(Role::Master).is_some() {
        variables.extend(static_rendezvous(job, spec, role, index, ports.master));
    }
    if let Some(processes) = nproc_per_node(spec) {
        variables.push((env::PET_NPROC_PER_NODE, processes.to_owned()));
    }
    match &spec.elastic_policy {
        None => variables.push((env::PET_NNODES, spec.total_replicas().to_string())),
        Some(policy) => variables.extend(elastic_policy::variables(job, spec, policy, ports.worker)),
    }
    variables
}

fn static_rendezvous(
    job: &str,
    spec: &PyTorchJobSpec,
    role: Role,
    index: u32,
    port: u64,
) -> [(&'static str, String); 7] {
    let address = Role::Master.replica_name(job, 0);
    let rank = rank(role, index).to_string();
    let port = port.to_string();
    [
        (env::MASTER_PORT, port.clone()),
        (env::PET_MASTER_PORT, port),
        (env::MASTER_ADDR, address.clone()),
        (env::PET_MASTER_ADDR, address),
        (env::WORLD_SIZE, world_size(spec).to_string()),
        (env::RANK, rank.clone()),
        (env::PET_NODE_RANK, rank),
    ]
}

/// Rank of the pod among the pods; torchrun multiplies by the processes itself.
const fn rank(role: Role, index: u32) -> u32 {
    match role {
        Role::Master => index,
        Role::Worker => index + 1,
    }
}

/// All pods times the processes of each, where that is a number; auto, cpu and gpu count as one, as in Kubeflow.
fn world_size(spec: &PyTorchJobSpec) -> u64 {
    let processes = spec
        .nproc_per_node
        .as_deref()
        .and_then(|value| value.parse().ok())
        .unwrap_or(1);
    u64::from(spec.total_replicas()).saturating_mul(processes)
}

/// The value for torchrun, unless the elastic policy sets its own, deprecated one.
fn nproc_per_node(spec: &PyTorchJobSpec) -> Option<&str> {
    let elastic = spec
        .elastic_policy
        .as_ref()
        .is_some_and(|policy| policy.n_proc_per_node.is_some());
    spec.nproc_per_node
        .as_deref()
        .or_else(|| (!elastic).then_some(DEFAULT_NPROC_PER_NODE))
}
