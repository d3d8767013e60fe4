//! The services of a job: one headless service a replica, which gives the pod its name in DNS.

use serde_json::{Value, json};

use super::pod::Builder;
use super::template;
use crate::api::Role;

/// The service of a replica. As in Kubeflow, and it publishes addresses that are not ready, since rendezvous has to happen before a pod
/// can be ready; and it keeps the protocol of each port.
#[must_use]
pub fn build(builder: &Builder<'_>, role: Role, index: u32) -> Value {
    let ports: Vec<Value> = template::ports(builder.template(role))
        .into_iter()
        .map(|port| json!({ "name": port.name, "port": port.number, "protocol": port.protocol }))
        .collect();
    let labels = builder.labels(role, index);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": role.replica_name(builder.name(), index),
            "namespace": builder.namespace(),
            "labels": labels,
            "ownerReferences": [builder.owner_reference()],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": labels,
            "ports": ports,
        },
    })
}
