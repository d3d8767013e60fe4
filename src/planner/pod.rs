//! The pods of a job, built from its templates.

use serde_json::{Map, Value, json};

use super::env::{self, Ports};
use super::template;
use super::world::Settings;
use super::{init_container, restart_policy};
use crate::api::{PyTorchJob, Role, names};

/// Builds the pods and services of one job. The templates are parsed once.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    job: &'a PyTorchJob,
    settings: &'a Settings,
    templates: [Option<Value>; 2],
}

impl<'a> Builder<'a> {
    /// Parses the templates.
    #[must_use]
    pub fn new(job: &'a PyTorchJob, settings: &'a Settings) -> Self {
        Self {
            job,
            settings,
            templates: Role::ALL.map(|role| job.spec.replica(role).map(template::parse)),
        }
    }

    /// The pod of a replica: labels, annotations, finalizers and spec of the template, and what makes it a member of the job. Whatever
    /// else the template holds, fields newer than our schema included, is carried over as it is.
    #[must_use]
    pub fn pod(&self, role: Role, index: u32) -> Value {
        let template = self.template(role);
        let mut spec = template.get("spec").cloned().unwrap_or_else(|| json!({}));
        spec["restartPolicy"] = json!(restart_policy::of_pod(restart_policy::effective(&self.job.spec, role)));
        add_default_port(&mut spec, template);
        self.add_environment(&mut spec, role, index);
        if role == Role::Worker
            && self.job.spec.replica(Role::Master).is_some()
            && let Some(container) = init_container::build(self.name(), self.settings)
        {
            push(&mut spec["initContainers"], container);
        }
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": self.pod_metadata(template, role, index), "spec": spec })
    }

    /// The template of a role; `null` for a role the job does not have.
    #[must_use]
    pub fn template(&self, role: Role) -> &Value {
        self.templates[role as usize].as_ref().unwrap_or(&Value::Null)
    }

    /// Labels that pods and services share.
    #[must_use]
    pub fn labels(&self, role: Role, index: u32) -> Map<String, Value> {
        let labels = [
            (names::LABEL_OPERATOR_NAME, names::CONTROLLER_NAME.to_owned()),
            (names::LABEL_JOB_NAME, self.name().to_owned()),
            (names::LABEL_REPLICA_TYPE, role.label().to_owned()),
            (names::LABEL_REPLICA_INDEX, index.to_string()),
        ];
        labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::String(value)))
            .collect()
    }

    /// The reference that makes an object the job's: garbage collection follows it, and so do our watches.
    #[must_use]
    pub fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": names::API_VERSION,
            "kind": names::KIND,
            "name": self.name(),
            "uid": self.job.metadata.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }

    /// Namespace of the job.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.job.metadata.namespace.as_deref()
    }

    /// Name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        self.job.metadata.name.as_deref().unwrap_or_default()
    }

    fn pod_metadata(&self, template: &Value, role: Role, index: u32) -> Value {
        let mut metadata = Map::new();
        for kept in ["annotations", "finalizers"] {
            if let Some(value) = template.pointer(&format!("/metadata/{kept}")) {
                metadata.insert(kept.into(), value.clone());
            }
        }
        let mut labels = template
            .pointer("/metadata/labels")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        labels.extend(self.labels(role, index));
        if role == Role::Master || (index == 0 && self.job.spec.replica(Role::Master).is_none()) {
            labels.insert(names::LABEL_JOB_ROLE.into(), json!(names::JOB_ROLE_MASTER));
        }
        metadata.insert("labels".into(), Value::Object(labels));
        metadata.insert("name".into(), json!(role.replica_name(self.name(), index)));
        metadata.insert("namespace".into(), json!(self.namespace()));
        metadata.insert("ownerReferences".into(), json!([self.owner_reference()]));
        Value::Object(metadata)
    }

    fn add_environment(&self, spec: &mut Value, role: Role, index: u32) {
        let ports = Ports {
            master: template::rendezvous_port(self.template(Role::Master)),
            worker: template::rendezvous_port(self.template(Role::Worker)),
        };
        let variables = env::variables(self.name(), &self.job.spec, role, index, ports);
        for container in spec["containers"].as_array_mut().into_iter().flatten() {
            for (name, value) in &variables {
                push(&mut container["env"], json!({ "name": name, "value": value }));
            }
        }
    }
}

fn add_default_port(spec: &mut Value, template: &Value) {
    if let Some(container) = template::training_container(template).filter(|_| template::needs_default_port(template)) {
        push(
            &mut spec["containers"][container]["ports"],
            json!({ "name": names::PORT_NAME, "containerPort": names::PORT, "protocol": "TCP" }),
        );
    }
}

/// Appends to a list that may be absent.
fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        absent => *absent = Value::Array(vec![item]),
    }
}
