//! What makes the training container of a pod one that can start again in it.

use serde_json::{Value, json};

use crate::api::names;
use crate::planner::amount::Amount;
use crate::planner::build::template::{self, object};
use crate::planner::in_place::{Mark, Resource, Restart};

/// What a container requests that would otherwise request no cpu: nothing is to be stepped there.
const SMALL: &str = "10m";

/// Lets the kubelet restart the container pytorch when the resource is changed that this returns; nothing where there
/// is no such container. A kubelet with the static CPU manager changes no cpu of a Guaranteed pod, so there it is
/// memory.
pub(super) fn prepare(spec: &mut Value) -> Option<Resource> {
    let container = template::named_container(spec)?;
    let resource = if guaranteed(&container["resources"]) {
        Resource::Memory
    } else {
        Resource::Cpu
    };
    let has_cpu = |list: &str| !container["resources"][list]["cpu"].is_null();
    if resource == Resource::Cpu && !has_cpu("limits") && !has_cpu("requests") {
        object(object(container, "resources"), "requests")["cpu"] = json!(SMALL);
    }
    let others = container["resizePolicy"].as_array().into_iter().flatten();
    let others = others.filter(|policy| policy["resourceName"] != resource.name());
    let policy = json!({ "resourceName": resource.name(), "restartPolicy": "RestartContainer" });
    container["resizePolicy"] = others.cloned().chain([policy]).collect();
    Some(resource)
}

/// Whether a pod of this container alone is Guaranteed.
fn guaranteed(resources: &Value) -> bool {
    [Resource::Cpu, Resource::Memory].into_iter().all(|resource| {
        let of = |list: &str| resources.get(list).and_then(|list| list.get(resource.name()));
        let limit = of("limits");
        limit.is_some()
            && of("requests").is_none_or(|request| count(resource, request) == limit.and_then(|l| count(resource, l)))
    })
}

fn count(resource: Resource, quantity: &Value) -> Option<i64> {
    resource.units(Amount::of(quantity)?)
}

/// The JSON patch that writes into the annotations of the pod with this UID what it is asked for.
#[must_use]
pub fn ask_again(restart: &Restart, uid: &str) -> Value {
    let add = |name: &str, value: String| {
        let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
        json!({ "op": "add", "path": path, "value": value })
    };
    json!([
        { "op": "test", "path": "/metadata/uid", "value": uid },
        add(names::ANNOTATION_ATTEMPT, restart.attempt.to_string()),
        add(names::ANNOTATION_IN_PLACE, restart.mark.to_string()),
    ])
}

/// The JSON patch that makes the step which asks the pod with this UID; nothing where it is asked for nothing.
#[must_use]
pub fn resize(restart: &Restart, uid: &str) -> Option<Value> {
    let Mark { resource, asked } = restart.mark;
    let (container, amount) = restart.container.zip(asked.map(|asked| asked.amount))?;
    let path = format!("/spec/containers/{container}");
    let set = |list: &str| {
        let path = format!("{path}/resources/{list}/{}", resource.name());
        json!({ "op": "replace", "path": path, "value": resource.quantity(amount) })
    };
    let mut operations = vec![
        json!({ "op": "test", "path": "/metadata/uid", "value": uid }),
        json!({ "op": "test", "path": format!("{path}/name"), "value": names::CONTAINER }),
        set("requests"),
    ];
    operations.extend(restart.limit.then(|| set("limits")));
    Some(Value::Array(operations))
}
