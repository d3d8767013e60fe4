//! What the objects of a job have in common: its templates, its labels, and its ownership of them.

use serde_json::{Map, Value, json};

use crate::api::{ChildRef, JobStatus, PyTorchJob, Replica, ReplicaType, RestartScope, names};
use crate::planner::build::{template, template_hash};
use crate::planner::world::Settings;

/// What the objects of one job are built from. The templates are parsed once.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    pub(super) job: &'a PyTorchJob,
    pub(super) settings: &'a Settings,
    templates: [Option<Value>; 2],
    pub(super) template_hash: u64,
    /// The number of the attempt that the pods are of, of a job that starts again as a whole.
    pub(super) attempt: Option<i32>,
}

impl<'a> Builder<'a> {
    /// Parses the templates.
    #[must_use]
    pub fn new(job: &'a PyTorchJob, settings: &'a Settings) -> Self {
        let templates = template::of_roles(&job.spec);
        Self {
            job,
            settings,
            template_hash: template_hash::of(&job.spec, &templates),
            templates,
            attempt: attempt(job),
        }
    }

    /// The template of a role; `null` for a role the job does not have.
    #[must_use]
    pub fn template(&self, role: ReplicaType) -> &Value {
        self.templates[role as usize].as_ref().unwrap_or(&Value::Null)
    }

    /// Labels that pods and services share.
    #[must_use]
    pub fn labels(&self, role: ReplicaType, index: u32) -> Map<String, Value> {
        replica_labels(self.name(), Replica::new(role, index))
    }

    /// Metadata of an object that the job owns. The owner reference is what garbage collection and our watches follow.
    /// A job that is not stored yet has no namespace and no UID, and so neither have its objects.
    #[must_use]
    pub fn metadata(&self, name: &str, labels: Map<String, Value>) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("name".into(), json!(name));
        metadata.insert("labels".into(), Value::Object(labels));
        if let Some(namespace) = &self.job.metadata.namespace {
            metadata.insert("namespace".into(), json!(namespace));
        }
        if let Some(uid) = &self.job.metadata.uid {
            let owner = json!({
                "apiVersion": names::API_VERSION,
                "kind": names::KIND,
                "name": self.name(),
                "uid": uid,
                "controller": true,
                "blockOwnerDeletion": true,
            });
            metadata.insert("ownerReferences".into(), json!([owner]));
        }
        metadata
    }

    /// Name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        self.job.metadata.name.as_deref().unwrap_or_default()
    }
}

/// A job that is not stored yet is about to make its first attempt.
fn attempt(job: &PyTorchJob) -> Option<i32> {
    let number = job.status.as_ref().map_or(0, JobStatus::attempt);
    (job.spec.restart_scope() == RestartScope::Job).then_some(number.max(1))
}

/// Labels of a child of any kind of the job of this name.
#[must_use]
pub fn child_labels(job: &str, child: ChildRef) -> Map<String, Value> {
    match child.replica {
        Some(replica) => replica_labels(job, replica),
        None => job_labels(job),
    }
}

fn replica_labels(job: &str, replica: Replica) -> Map<String, Value> {
    let mut labels = job_labels(job);
    labels.insert(names::LABEL_REPLICA_TYPE.into(), json!(replica.type_.label()));
    labels.insert(names::LABEL_REPLICA_INDEX.into(), json!(replica.index.to_string()));
    labels
}

/// Labels of everything that the job of this name owns; the watches select on them.
#[must_use]
pub(crate) fn job_labels(job: &str) -> Map<String, Value> {
    let labels = [
        (names::LABEL_OPERATOR_NAME, names::CONTROLLER_NAME),
        (names::LABEL_JOB_NAME, job),
    ];
    labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}
