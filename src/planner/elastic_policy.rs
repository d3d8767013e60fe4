//! `elasticPolicy`: the environment that torchrun's elastic rendezvous reads.

use crate::api::names::env;
use crate::api::{ElasticPolicy, PyTorchJobSpec, Role};

/// Backend when none is named.
const DEFAULT_BACKEND: &str = "c10d";

/// Variables of an elastic job, in Kubeflow's order. `worker_port` is the rendezvous port of the worker template.
#[must_use]
pub fn variables(
    job: &str,
    spec: &PyTorchJobSpec,
    policy: &ElasticPolicy,
    worker_port: u64,
) -> Vec<(&'static str, String)> {
    let host = policy
        .rdzv_host
        .clone()
        .unwrap_or_else(|| Role::Worker.replica_name(job, 0));
    let port = policy
        .rdzv_port
        .map_or_else(|| worker_port.to_string(), |port| port.to_string());
    let (min, max) = bounds(spec, policy);
    let mut variables = vec![
        (env::PET_RDZV_ENDPOINT, format!("{host}:{port}")),
        (
            env::PET_RDZV_BACKEND,
            policy.rdzv_backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.into()),
        ),
        (env::PET_NNODES, format!("{min}:{max}")),
    ];
    let optional = [
        (
            env::PET_MAX_RESTARTS,
            policy.max_restarts.map(|restarts| restarts.to_string()),
        ),
        (
            env::PET_NPROC_PER_NODE,
            policy.n_proc_per_node.map(|processes| processes.to_string()),
        ),
        (env::PET_RDZV_ID, policy.rdzv_id.clone()),
        (env::PET_RDZV_CONF, configuration(policy)),
        // Kubeflow sets an empty value, which torchrun cannot read as a number and stops.
        (
            env::PET_STANDALONE,
            (policy.standalone == Some(true)).then(|| "1".into()),
        ),
    ];
    variables.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    variables
}

/// Fewest and most workers: a missing bound equals the other one, and both missing equal the number of workers.
#[must_use]
pub fn bounds(spec: &PyTorchJobSpec, policy: &ElasticPolicy) -> (i64, i64) {
    let min = policy.min_replicas.or(policy.max_replicas).map(i64::from);
    let max = policy.max_replicas.or(policy.min_replicas).map(i64::from);
    let workers = i64::from(spec.replicas(Role::Worker));
    (min.unwrap_or(workers), max.unwrap_or(workers))
}

fn configuration(policy: &ElasticPolicy) -> Option<String> {
    let settings = policy.rdzv_conf.as_deref().filter(|settings| !settings.is_empty())?;
    Some(
        settings
            .iter()
            .map(|setting| format!("{}={}", setting.key, setting.value))
            .collect::<Vec<_>>()
            .join(","),
    )
}
