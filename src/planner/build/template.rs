//! The pod template of a replica type, parsed.
//!
//! It stays a JSON tree: a typed template would drop every field that is newer than our Kubernetes schema.

use serde_json::{Value, json};

use crate::api::{PyTorchJobSpec, ReplicaSpec, ReplicaType, names};

/// A port of the training container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Name; unnamed ports are called after their number, because a service with several ports needs names.
    pub name: String,
    /// Number.
    pub number: u64,
    /// TCP, UDP or SCTP.
    pub protocol: String,
}

/// Parses the template. Text that is no JSON object, which no API server stores, gives an empty template.
#[must_use]
pub(crate) fn parse(spec: &ReplicaSpec) -> Value {
    spec.template.parse().unwrap_or(Value::Null)
}

/// The templates of both roles, Master first.
#[must_use]
pub(crate) fn of_roles(spec: &PyTorchJobSpec) -> [Option<Value>; 2] {
    ReplicaType::ALL.map(|role| spec.replica(role).map(parse))
}

/// Position of the container that trains: the one named pytorch, or as in Kubeflow the first. What is no container
/// does not train.
#[must_use]
pub(crate) fn training_container(template: &Value) -> Option<usize> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    let named = containers
        .iter()
        .position(|container| container["name"] == names::CONTAINER);
    named.or_else(|| containers.first()?.is_object().then_some(0))
}

/// Whether the training container lacks the default port and gets it. A port of that number under another name is the
/// user's way of naming it; a second one would make the service invalid.
#[must_use]
pub(crate) fn needs_default_port(template: &Value) -> bool {
    !declared(template)
        .iter()
        .any(|port| port.name == names::PORT_NAME || port.number == u64::from(names::PORT))
}

/// The ports of the training container, as they stand in the pod. A service refuses two ports with the same number and
/// protocol or with the same name, a pod does not: the first one stays.
#[must_use]
pub(crate) fn ports(template: &Value) -> Vec<Port> {
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
pub(crate) fn rendezvous_port(template: &Value) -> u64 {
    let named = declared(template)
        .into_iter()
        .find(|port| port.name == names::PORT_NAME);
    named.map_or_else(|| u64::from(names::PORT), |port| port.number)
}

/// The scheduler that a pod or a template names.
#[must_use]
pub(crate) fn scheduler_name(pod: &Value) -> Option<&str> {
    let name = pod.pointer("/spec/schedulerName")?.as_str()?;
    (!name.is_empty()).then_some(name)
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

/// The containers of a pod. What is no container stays as it is, for the API server to refuse: a job that has started
/// goes on, whatever an edit under another definition made of it.
pub(super) fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let containers = spec["containers"].as_array_mut().into_iter().flatten();
    containers.filter(|container| container.is_object())
}

/// The container named pytorch, of a pod that has one.
pub(super) fn named_container(spec: &mut Value) -> Option<&mut Value> {
    containers(spec).find(|container| container["name"] == names::CONTAINER)
}

/// The object in this field, which may be absent.
pub(super) fn object<'a>(parent: &'a mut Value, field: &str) -> &'a mut Value {
    if !parent[field].is_object() {
        parent[field] = json!({});
    }
    &mut parent[field]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_ports(ports: &Value) -> Value {
        json!({ "spec": { "containers": [{ "name": "pytorch", "ports": ports }] } })
    }

    fn lines(template: &Value) -> Vec<String> {
        ports(template)
            .iter()
            .map(|port| format!("{}/{}/{}", port.name, port.number, port.protocol))
            .collect()
    }

    #[test]
    fn the_training_container_is_the_one_named_pytorch_or_the_first() {
        for (names, expected) in [
            (&["pytorch"][..], Some(0)),
            (&["sidecar", "pytorch"], Some(1)),
            (&["a", "b"], Some(0)),
            (&[], None),
        ] {
            let containers: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
            let template = json!({ "spec": { "containers": containers } });
            assert_eq!(training_container(&template), expected, "{names:?}");
        }
        assert_eq!(training_container(&Value::Null), None);
    }

    #[test]
    fn the_default_port_is_added_unless_its_name_or_number_is_taken() {
        for (declared, expected) in [
            (json!([]), &["pytorchjob-port/23456/TCP"][..]),
            (Value::Null, &["pytorchjob-port/23456/TCP"]),
            (
                json!([{ "name": "http", "containerPort": 80 }]),
                &["http/80/TCP", "pytorchjob-port/23456/TCP"],
            ),
            (
                json!([{ "name": "pytorchjob-port", "containerPort": 8080 }]),
                &["pytorchjob-port/8080/TCP"],
            ),
            (json!([{ "name": "nccl", "containerPort": 23456 }]), &["nccl/23456/TCP"]),
        ] {
            assert_eq!(lines(&with_ports(&declared)), expected, "{declared}");
        }
    }

    #[test]
    fn w25_unnamed_ports_get_a_name_and_protocols_stay() {
        let declared = json!([
            { "containerPort": 8080 },
            { "name": "", "containerPort": 8081 },
            { "name": "dns", "containerPort": 53, "protocol": "UDP" },
            { "name": "pytorchjob-port", "containerPort": 23456 },
        ]);
        assert_eq!(
            lines(&with_ports(&declared)),
            [
                "port-8080/8080/TCP",
                "port-8081/8081/TCP",
                "dns/53/UDP",
                "pytorchjob-port/23456/TCP"
            ]
        );
    }

    #[test]
    fn w25_of_ports_that_a_service_cannot_hold_both_the_first_stays() {
        let declared = json!([
            { "name": "a", "containerPort": 1 },
            { "name": "b", "containerPort": 1 },
            { "name": "a", "containerPort": 2 },
            { "name": "c", "containerPort": 1, "protocol": "UDP" },
            { "name": "pytorchjob-port", "containerPort": 3 },
        ]);
        assert_eq!(
            lines(&with_ports(&declared)),
            ["a/1/TCP", "c/1/UDP", "pytorchjob-port/3/TCP"]
        );
    }

    #[test]
    fn the_rendezvous_uses_the_port_of_that_name_or_the_default() {
        for (declared, expected) in [
            (Value::Null, 23456),
            (json!([{ "name": "http", "containerPort": 80 }]), 23456),
            (
                json!([{ "name": "http", "containerPort": 80 }, { "name": "pytorchjob-port", "containerPort": 29500 }]),
                29500,
            ),
        ] {
            assert_eq!(rendezvous_port(&with_ports(&declared)), expected, "{declared}");
        }
    }

    #[test]
    fn only_the_training_containers_ports_count() {
        let template = json!({ "spec": { "containers": [
            { "name": "sidecar", "ports": [{ "name": "pytorchjob-port", "containerPort": 1 }] },
            { "name": "pytorch" },
        ] } });
        assert_eq!(lines(&template), ["pytorchjob-port/23456/TCP"]);
        assert_eq!(rendezvous_port(&template), 23456);
    }
}
