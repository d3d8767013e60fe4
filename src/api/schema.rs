//! The CustomResourceDefinition: the derived schema, made into what a user and the API server need.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::rules::{RULES, Scope};
use super::{PyTorchJob, names};

/// Lists of a pod spec that are maps, by the names of field and keys, as in Kubernetes' own schema. With them server-side
/// apply merges such a list entry by entry; without them it replaces the whole list.
const LIST_MAP_KEYS: &[(&str, &[&str])] = &[
    ("claims", &["name"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Metadata that a pod can take from its template, as in Kubeflow's CRD.
const TEMPLATE_METADATA: [&str; 5] = ["annotations", "finalizers", "labels", "name", "namespace"];

/// The CRD `pytorchjobs.kubeflow.org`.
///
/// Departs from the derived one in this: descriptions stand only on our own fields, so that it fits into the annotation of a
/// plain `kubectl apply`; nothing is nullable, so that `null` means "remove" everywhere; pod fields newer than the schema are
/// kept; lists merge under server-side apply; the rules of [`super::RULES`] are in it.
///
/// # Panics
/// When the derived schema lacks a field that is post-processed here, which a test would have shown.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = PyTorchJob::crd();
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let schema = schema.expect("the derive writes a schema");
        let mut json = serde_json::to_value(&*schema).expect("a schema is JSON");
        rewrite(&mut json);
        *schema = serde_json::from_value(json).expect("the rewritten schema is a schema");
    }
    crd
}

fn rewrite(root: &mut Value) {
    walk(root, &mut |schema| {
        schema.remove("nullable");
        schema.remove("default");
        schema.remove("title");
        unwrap_description(schema);
    });
    root["properties"]["spec"]["properties"]["runPolicy"]["default"] = json!({});
    root["properties"]["spec"]["properties"]["runPolicy"]["properties"]["suspend"]["default"] = json!(false);
    root["properties"]["spec"]["properties"]["runPolicy"]["properties"]["managedBy"]["enum"] =
        json!([names::MANAGED_BY_SELF, names::MANAGED_BY_MULTIKUEUE]);
    strip_descriptions(
        &mut root["properties"]["spec"]["properties"]["elasticPolicy"]["properties"]["metrics"]["items"],
    );

    let replicas = &mut root["properties"]["spec"]["properties"]["pytorchReplicaSpecs"];
    replicas["minProperties"] = json!(1);
    replicas["maxProperties"] = json!(2);
    rewrite_template(&mut replicas["additionalProperties"]["properties"]["template"]);
    add_rules(root);
}

fn rewrite_template(template: &mut Value) {
    let description = template["description"].take();
    strip_descriptions(template);
    template["description"] = description;
    template["required"] = json!(["spec"]);
    if let Some(metadata) = template["properties"]["metadata"]["properties"].as_object_mut() {
        metadata.retain(|name, _| TEMPLATE_METADATA.contains(&name.as_str()));
    }
    let spec = &mut template["properties"]["spec"];
    walk(spec, &mut |schema| {
        mark_lists(schema);
        if schema.contains_key("properties") {
            schema.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
        }
    });
}

/// Marks the lists of [`LIST_MAP_KEYS`] among the properties of `schema`. A key must be required or have a default.
fn mark_lists(schema: &mut Map<String, Value>) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, keys) in LIST_MAP_KEYS {
        let Some(list) = properties.get_mut(*field).filter(|list| list["type"] == "array") else {
            continue;
        };
        if !keys.iter().all(|key| list["items"]["properties"].get(key).is_some()) {
            continue;
        }
        list["x-kubernetes-list-type"] = json!("map");
        list["x-kubernetes-list-map-keys"] = json!(keys);
        for key in *keys {
            let required = list["items"]["required"]
                .as_array()
                .is_some_and(|required| required.iter().any(|name| name == key));
            if !required {
                let default = if *key == "protocol" { "TCP" } else { "" };
                list["items"]["properties"][key]["default"] = json!(default);
            }
        }
    }
}

fn add_rules(root: &mut Value) {
    for rule in RULES {
        let schema = match rule.scope {
            Scope::Root => &mut *root,
            Scope::Spec => &mut root["properties"]["spec"],
            Scope::Replica => {
                &mut root["properties"]["spec"]["properties"]["pytorchReplicaSpecs"]["additionalProperties"]
            }
        };
        let mut validation = json!({ "rule": rule.cel, "message": rule.message });
        if !rule.field.starts_with(".metadata") {
            validation["fieldPath"] = json!(rule.field);
        }
        let Some(schema) = schema.as_object_mut() else { continue };
        let validations = schema.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        validations
            .as_array_mut()
            .expect("only this function writes rules")
            .push(validation);
    }
}

fn strip_descriptions(schema: &mut Value) {
    walk(schema, &mut |schema| {
        schema.remove("description");
    });
}

/// Doc comments are wrapped for the reader of the source; `kubectl explain` wraps for its own terminal.
fn unwrap_description(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
}

/// Calls `visit` on `schema` and every schema below it.
fn walk(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Some(object) = schema.as_object_mut() else { return };
    visit(object);
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| walk(property, visit));
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = object.get_mut(nested) {
            walk(nested, visit);
        }
    }
}
