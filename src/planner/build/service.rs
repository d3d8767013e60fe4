//! The services of a job: one headless service a replica, which gives the pod its name in DNS.

use serde_json::{Value, json};

use crate::api::{Replica, ReplicaType};
use crate::planner::build::builder::Builder;
use crate::planner::build::template;

/// The service of a replica. As in Kubeflow, and it publishes addresses that are not ready, since rendezvous has to
/// happen before a pod can be ready; and it keeps the protocol of each port.
#[must_use]
pub(super) fn build(builder: &Builder<'_>, role: ReplicaType, index: u32) -> Value {
    let ports: Vec<Value> = template::ports(builder.template(role))
        .into_iter()
        .map(|port| json!({ "name": port.name, "port": port.number, "protocol": port.protocol }))
        .collect();
    let labels = builder.labels(role, index);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": builder.metadata(&Replica::new(role, index).name(builder.name()), labels.clone()),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": labels,
            "ports": ports,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names;
    use crate::planner::fixture::{master, master_and_workers, owner_references};

    #[test]
    fn a_service_is_headless_selects_its_replica_and_publishes_addresses_that_are_not_ready() {
        let service = master_and_workers(2).scene().build_service(ReplicaType::Worker, 1);
        let labels = json!({
            "training.kubeflow.org/operator-name": "pytorchjob-controller",
            "training.kubeflow.org/job-name": "job",
            "training.kubeflow.org/replica-type": "worker",
            "training.kubeflow.org/replica-index": "1",
        });
        assert_eq!(
            service,
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": "job-worker-1",
                    "namespace": "ns",
                    "labels": labels,
                    "ownerReferences": owner_references(),
                },
                "spec": {
                    "clusterIP": "None",
                    "publishNotReadyAddresses": true,
                    "selector": labels,
                    "ports": [{ "name": "pytorchjob-port", "port": 23456, "protocol": "TCP" }],
                },
            })
        );
    }

    #[test]
    fn the_job_role_is_no_part_of_the_selector() {
        let service = master().scene().build_service(ReplicaType::Master, 0);
        assert_eq!(service["spec"]["selector"][names::LABEL_JOB_ROLE], Value::Null);
        assert_eq!(service["metadata"]["labels"][names::LABEL_JOB_ROLE], Value::Null);
    }

    #[test]
    fn w25_every_port_has_a_name_and_its_protocol_in_the_order_of_the_template() {
        let ports = json!([{ "containerPort": 8080 }, { "name": "dns", "containerPort": 53, "protocol": "UDP" }]);
        let service = master()
            .container(ReplicaType::Master, "/ports", ports)
            .scene()
            .build_service(ReplicaType::Master, 0);
        assert_eq!(
            service["spec"]["ports"],
            json!([
                { "name": "port-8080", "port": 8080, "protocol": "TCP" },
                { "name": "dns", "port": 53, "protocol": "UDP" },
                { "name": "pytorchjob-port", "port": 23456, "protocol": "TCP" },
            ])
        );
    }

    #[test]
    fn the_service_selects_the_pod_it_is_named_after() {
        let scene = master_and_workers(2).scene();
        for Replica { type_: role, index } in scene.world().desired() {
            let (service, pod) = (scene.build_service(role, index), scene.build_pod(role, index));
            let selector = service["spec"]["selector"].as_object().cloned().unwrap_or_default();
            assert_eq!(service["metadata"]["name"], pod["metadata"]["name"]);
            assert!(
                selector
                    .iter()
                    .all(|(key, value)| pod["metadata"]["labels"][key] == *value),
                "{role} {index}"
            );
        }
    }
}
