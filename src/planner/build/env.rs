//! The environment of the training containers: how a process finds the others.

use crate::api::names::env;
use crate::api::{PyTorchJobSpec, Replica, ReplicaType};
use crate::planner::build::elastic_env;

/// `nprocPerNode` when unset.
pub(crate) const DEFAULT_NPROC_PER_NODE: &str = "auto";

/// Ports of the rendezvous, from the templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Of the Master.
    pub master: u64,
    /// Of the workers.
    pub worker: u64,
}

/// Variables of one replica, in Kubeflow's order. They stand after the user's own, so for a name that both set, ours
/// holds.
#[must_use]
pub(crate) fn variables(
    job: &str,
    spec: &PyTorchJobSpec,
    role: ReplicaType,
    index: u32,
    ports: Ports,
) -> Vec<(&'static str, String)> {
    let mut variables = vec![(env::PYTHONUNBUFFERED, "1".to_owned())];
    if spec.replica(ReplicaType::Master).is_some() {
        variables.extend(static_rendezvous(job, spec, role, index, ports.master));
    }
    if let Some(processes) = nproc_per_node(spec) {
        variables.push((env::PET_NPROC_PER_NODE, processes.to_owned()));
    }
    match &spec.elastic_policy {
        None => variables.push((env::PET_NNODES, spec.total_replicas().to_string())),
        Some(policy) => variables.extend(elastic_env::variables(job, spec, policy, ports.worker)),
    }
    variables
}

fn static_rendezvous(
    job: &str,
    spec: &PyTorchJobSpec,
    role: ReplicaType,
    index: u32,
    port: u64,
) -> [(&'static str, String); 7] {
    let address = Replica::new(ReplicaType::Master, 0).name(job);
    // Of the pod; torchrun multiplies by the processes itself.
    let rank = Replica::new(role, index).rank(true).to_string();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fixture::{JobBuilder, elastic_workers, master, master_and_workers, workers};

    const PORTS: Ports = Ports {
        master: 2222,
        worker: 3333,
    };

    fn lines(job: JobBuilder, role: ReplicaType, index: u32) -> Vec<String> {
        let variables = variables("job", &job.build().spec, role, index, PORTS);
        variables
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    fn value(job: JobBuilder, name: &str) -> Option<String> {
        let variables = variables("job", &job.build().spec, ReplicaType::Worker, 0, PORTS);
        variables
            .into_iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn master_and_workers_get_the_static_rendezvous_in_kubeflows_order() {
        assert_eq!(
            lines(master_and_workers(3), ReplicaType::Worker, 1),
            [
                "PYTHONUNBUFFERED=1",
                "MASTER_PORT=2222",
                "PET_MASTER_PORT=2222",
                "MASTER_ADDR=job-master-0",
                "PET_MASTER_ADDR=job-master-0",
                "WORLD_SIZE=4",
                "RANK=2",
                "PET_NODE_RANK=2",
                "PET_NPROC_PER_NODE=auto",
                "PET_NNODES=4",
            ]
        );
    }

    #[test]
    fn the_master_has_rank_zero_and_its_own_address() {
        assert_eq!(
            lines(master().spec("/nprocPerNode", "8".into()), ReplicaType::Master, 0),
            [
                "PYTHONUNBUFFERED=1",
                "MASTER_PORT=2222",
                "PET_MASTER_PORT=2222",
                "MASTER_ADDR=job-master-0",
                "PET_MASTER_ADDR=job-master-0",
                "WORLD_SIZE=8",
                "RANK=0",
                "PET_NODE_RANK=0",
                "PET_NPROC_PER_NODE=8",
                "PET_NNODES=1",
            ]
        );
    }

    #[test]
    fn workers_alone_get_no_rank_address_or_world_size() {
        assert_eq!(
            lines(workers(3), ReplicaType::Worker, 2),
            ["PYTHONUNBUFFERED=1", "PET_NPROC_PER_NODE=auto", "PET_NNODES=3"]
        );
    }

    #[test]
    fn elastic_workers_get_the_elastic_rendezvous() {
        assert_eq!(
            lines(elastic_workers(2, 1, 3), ReplicaType::Worker, 0),
            [
                "PYTHONUNBUFFERED=1",
                "PET_NPROC_PER_NODE=auto",
                "PET_RDZV_ENDPOINT=job-worker-0:3333",
                "PET_RDZV_BACKEND=c10d",
                "PET_NNODES=1:3",
            ]
        );
    }

    #[test]
    fn an_elastic_job_with_a_master_gets_both() {
        let job = master_and_workers(2).spec("/elasticPolicy/maxReplicas", 4.into());
        assert_eq!(
            lines(job, ReplicaType::Master, 0)[5..],
            [
                "WORLD_SIZE=3",
                "RANK=0",
                "PET_NODE_RANK=0",
                "PET_NPROC_PER_NODE=auto",
                "PET_RDZV_ENDPOINT=job-worker-0:3333",
                "PET_RDZV_BACKEND=c10d",
                "PET_NNODES=4:4",
            ]
        );
    }

    #[test]
    fn the_world_is_all_pods_times_their_processes_where_that_is_a_number() {
        for (processes, expected) in [
            ("auto", "3"),
            ("cpu", "3"),
            ("gpu", "3"),
            ("1", "3"),
            ("4", "12"),
            ("9999", "29997"),
        ] {
            let job = master_and_workers(2).spec("/nprocPerNode", processes.into());
            assert_eq!(
                value(job.clone(), "WORLD_SIZE").as_deref(),
                Some(expected),
                "{processes}"
            );
            assert_eq!(value(job, "PET_NPROC_PER_NODE").as_deref(), Some(processes));
        }
    }

    #[test]
    fn the_deprecated_number_of_processes_takes_the_place_of_the_default() {
        let job = elastic_workers(2, 1, 3).spec("/elasticPolicy/nProcPerNode", 6.into());
        let lines = lines(job, ReplicaType::Worker, 0);
        let processes: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with("PET_NPROC_PER_NODE"))
            .collect();
        assert_eq!(processes, ["PET_NPROC_PER_NODE=6"]);
    }
}
