//! `elasticPolicy`: the environment that torchrun's elastic rendezvous reads.

use crate::api::names::env;
use crate::api::{ElasticPolicy, PyTorchJobSpec, Replica, ReplicaType};

/// Backend when none is named.
const DEFAULT_BACKEND: &str = "c10d";

/// Variables of an elastic job, in Kubeflow's order. `worker_port` is the rendezvous port of the worker template.
#[must_use]
pub(crate) fn variables(
    job: &str,
    spec: &PyTorchJobSpec,
    policy: &ElasticPolicy,
    worker_port: u64,
) -> Vec<(&'static str, String)> {
    let host = rendezvous_host(job, policy);
    let port = policy
        .rdzv_port
        .map_or_else(|| worker_port.to_string(), |port| port.to_string());
    let (min, max) = policy.bounds(spec.replicas(ReplicaType::Worker));
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

/// Where the replicas meet.
#[must_use]
pub(crate) fn rendezvous_host(job: &str, policy: &ElasticPolicy) -> String {
    let host = policy.rdzv_host.clone();
    host.unwrap_or_else(|| Replica::new(ReplicaType::Worker, 0).name(job))
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::planner::fixture::workers;

    fn lines(policy: Value) -> Vec<String> {
        let spec = workers(2).spec("/elasticPolicy", policy).build().spec;
        let policy = spec.elastic_policy.as_ref().expect("the job is elastic");
        let variables = variables("job", &spec, policy, 23456);
        variables
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn a_full_policy_gives_every_variable_in_kubeflows_order() {
        assert_eq!(
            lines(json!({
                "minReplicas": 1,
                "maxReplicas": 3,
                "rdzvBackend": "etcd-v2",
                "rdzvHost": "etcd",
                "rdzvPort": 2379,
                "rdzvId": "42",
                "rdzvConf": [{ "key": "timeout", "value": "900" }, { "key": "is_host", "value": "1" }],
                "maxRestarts": 5,
                "nProcPerNode": 4,
                "standalone": true,
            })),
            [
                "PET_RDZV_ENDPOINT=etcd:2379",
                "PET_RDZV_BACKEND=etcd-v2",
                "PET_NNODES=1:3",
                "PET_MAX_RESTARTS=5",
                "PET_NPROC_PER_NODE=4",
                "PET_RDZV_ID=42",
                "PET_RDZV_CONF=timeout=900,is_host=1",
                "PET_STANDALONE=1",
            ]
        );
    }

    #[test]
    fn an_empty_policy_meets_at_worker_0_over_c10d() {
        assert_eq!(
            lines(json!({})),
            [
                "PET_RDZV_ENDPOINT=job-worker-0:23456",
                "PET_RDZV_BACKEND=c10d",
                "PET_NNODES=2:2"
            ]
        );
    }

    #[test]
    fn host_and_port_of_the_rendezvous_default_each_for_itself() {
        assert_eq!(lines(json!({ "rdzvHost": "etcd" }))[0], "PET_RDZV_ENDPOINT=etcd:23456");
        assert_eq!(
            lines(json!({ "rdzvPort": 2379 }))[0],
            "PET_RDZV_ENDPOINT=job-worker-0:2379"
        );
    }

    #[test]
    fn a_missing_bound_equals_the_other_one_and_both_missing_equal_the_workers() {
        for (policy, expected) in [
            (json!({}), "2:2"),
            (json!({ "minReplicas": 1 }), "1:1"),
            (json!({ "maxReplicas": 7 }), "7:7"),
            (json!({ "minReplicas": 1, "maxReplicas": 7 }), "1:7"),
        ] {
            assert_eq!(lines(policy.clone())[2], format!("PET_NNODES={expected}"), "{policy}");
        }
    }

    #[test]
    fn w19_standalone_is_a_number_that_torchrun_can_read_and_absent_when_false() {
        let standalone = |value: bool| {
            let lines = lines(json!({ "standalone": value }));
            lines.into_iter().find(|line| line.starts_with("PET_STANDALONE"))
        };
        assert_eq!(standalone(true).as_deref(), Some("PET_STANDALONE=1"));
        assert_eq!(standalone(false), None);
    }

    #[test]
    fn w20_an_empty_rdzv_conf_is_no_variable() {
        assert!(
            !lines(json!({ "rdzvConf": [] }))
                .iter()
                .any(|line| line.starts_with("PET_RDZV_CONF"))
        );
    }
}
