//! The pod template of a replica type, parsed.
//!
//! It stays a JSON tree: a typed template would drop every field that is newer than our Kubernetes schema.

use serde_json::Value;

use super::decision::Note;
use crate::api::names::{self, reason};
use crate::api::{PyTorchJob, ReplicaSpec, Role};

/// A port of the training container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name; unnamed ports are called after their number, because a service with several ports needs names.
    pub name: String,
    /// Number.
    pub number: u64,
    /// TCP, UDP or SCTP.
    pub protocol: String,
}

/// Parses the template. Text that is no JSON object, which no API server stores, gives an empty template.
#[must_use]
pub fn parse(spec: &ReplicaSpec) -> Value {
    spec.template.parse().unwrap_or(Value::Null)
}

/// Position of the container that trains: the one named pytorch, or as in Kubeflow the first.
#[must_use]
pub fn training_container(template: &Value) -> Option<usize> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    let named = containers
        .iter()
        .position(|container| container["name"] == names::CONTAINER);
    named.or_else(|| (!containers.is_empty()).then_some(0))
}

/// Whether the training container lacks the default port and gets it. A port of that number under another name is the user's way of
/// naming it; a second one would make the service invalid.
#[must_use]
pub fn needs_default_port(template: &Value) -> bool {
    !declared(template)
        .iter()
        .any(|port| port.name == names::PORT_NAME || port.number == u64::from(names::PORT))
}

/// The ports of the training container, as they stand in the pod. A service refuses two ports with the same number and protocol or
/// with the same name, a pod does not: the first one stays.
#[must_use]
pub fn ports(template: &Value) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for port in declared(template) {
        let clash =
            |other: &Port| other.name == port.name || (other.number == port.number && other.protocol == port.protocol);
        if !ports.iter().any(clash) {
            ports.push(port);
        }
    }
    if needs_default_port(template) {
        ports.push(Port {
            name: names::PORT_NAME.into(),
            number: u64::from(names::PORT),
            protocol: "TCP".into(),
        });
    }
    ports
}

/// Number of the port that the rendezvous uses.
#[must_use]
pub fn rendezvous_port(template: &Value) -> u64 {
    let named = declared(template)
        .into_iter()
        .find(|port| port.name == names::PORT_NAME);
    named.map_or_else(|| u64::from(names::PORT), |port| port.number)
}

/// Tells the user that the template's own restart policy has no effect.
#[must_use]
pub fn restart_policy_note(job: &PyTorchJob) -> Option<Note> {
    let sets_policy = |role| {
        let template = parse(job.spec.replica(role)?);
        template
            .pointer("/spec/restartPolicy")?
            .as_str()
            .filter(|policy| !policy.is_empty())
            .map(|_| ())
    };
    Role::ALL.into_iter().find_map(sets_policy).map(|()| Note {
        warning: true,
        reason: reason::TEMPLATE_RESTART_POLICY,
        message: "Restart policy in pod template will be overwritten by restart policy in replica spec".into(),
    })
}

fn declared(template: &Value) -> Vec<Port> {
    let ports = training_container(template)
        .and_then(|container| template.pointer(&format!("/spec/containers/{container}/ports")))
        .and_then(Value::as_array);
    ports
        .into_iter()
        .flatten()
        .filter_map(|port| {
            let number = port["containerPort"].as_u64()?;
            let name = port["name"].as_str().filter(|name| !name.is_empty());
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            Some(Port {
                name: name.map_or_else(|| format!("port-{number}"), Into::into),
                number,
                protocol: protocol.into(),
            })
        })
        .collect()
}
