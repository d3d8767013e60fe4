//! The containers of a pod template, in both directions.

use serde_json::Value;

use crate::api::structural::Misfit;

/// Renames a container, and whatever refers to it. Another one of the new name is a fault.
pub(super) fn rename_container(template: &mut Value, path: &str, from: &str, to: &str) -> Result<(), Misfit> {
    for list in ["initContainers", "containers"] {
        let items = template["spec"][list].as_array().into_iter().flatten();
        for (index, container) in items.enumerate() {
            if container["name"] == to {
                return Err(Misfit {
                    field: format!("{path}.spec.{list}[{index}].name"),
                    message: format!("{to} will be the name of the training container: give this one another"),
                });
            }
        }
    }
    let containers = containers(template).into_iter().flatten();
    for container in containers.filter(|container| container["name"] == from) {
        container["name"] = to.into();
    }
    rename_references(template, from, to);
    Ok(())
}

/// `resourceFieldRef` names a container.
fn rename_references(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get_mut("containerName").filter(|name| *name == from) {
                *name = to.into();
            }
            fields.values_mut().for_each(|field| rename_references(field, from, to));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_references(item, from, to)),
        _ => {}
    }
}

/// The containers, if there are any.
pub(super) fn containers(template: &mut Value) -> Option<&mut Vec<Value>> {
    template.pointer_mut("/spec/containers")?.as_array_mut()
}

/// Whether there is a container of this name.
pub(super) fn has_container(template: &Value, name: &str) -> bool {
    let containers = template["spec"]["containers"].as_array();
    containers.is_some_and(|containers| containers.iter().any(|container| container["name"] == name))
}

/// The fault of a template without the container that trains.
pub(super) fn no_container(path: &str, name: &str) -> Misfit {
    Misfit {
        field: format!("{path}.spec.containers"),
        message: format!("none is called {name}, so nothing says which one trains"),
    }
}

/// Removes the container of this name from the template's list, to be put back by [`insert_container`].
pub(super) fn take_container(template: &mut Value, name: &str) -> Option<(usize, Value)> {
    let containers = containers(template)?;
    let index = containers.iter().position(|container| container["name"] == name)?;
    Some((index, containers.remove(index)))
}

/// Puts a container where it was.
pub(super) fn insert_container(template: &mut Value, index: usize, container: Value) {
    if let Some(containers) = containers(template) {
        containers.insert(index, container);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_training_container_is_renamed_wherever_it_is_referred_to() {
        let reference =
            |name: &str| json!([{ "name": "a", "valueFrom": { "resourceFieldRef": { "containerName": name } } }]);
        let template = |name: &str| {
            let containers = json!([{ "name": "side" }, { "name": name, "env": reference(name) }]);
            json!({ "spec": { "containers": containers } })
        };
        let mut renamed = template("pytorch");
        rename_container(&mut renamed, "t", "pytorch", "node").unwrap();
        assert_eq!(renamed, template("node"));
        let clash = rename_container(&mut template("node"), "t", "pytorch", "node").unwrap_err();
        assert_eq!(clash.field, "t.spec.containers[1].name");
        let (index, container) = take_container(&mut renamed, "node").unwrap();
        assert_eq!(renamed["spec"]["containers"], json!([{ "name": "side" }]));
        insert_container(&mut renamed, index, container);
        assert_eq!(renamed, template("node"));
    }
}
