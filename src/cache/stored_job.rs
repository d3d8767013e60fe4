//! A PyTorchJob as stored, whatever is in it.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::{JobStatus, PyTorchJob, PyTorchJobSpec, RawJson, shortened};
use crate::cache::key::NamespacedName;
use crate::cache::metadata;
use crate::planner::finished;

/// The most that is kept of what is wrong with an object, in bytes: it goes into a condition, an event and the log.
const CAUSE_BYTES: usize = 400;

/// A stored job, which is cheap to clone. One that cannot be decoded is kept with what can be told of it: decoding a
/// list fails as a whole, so without this one bad object would stop the watch for all.
#[derive(Clone, Debug)]
pub(crate) enum StoredJob {
    /// A job.
    Decoded(Arc<PyTorchJob>),
    /// Something else that was stored under this kind.
    Undecodable(Arc<Undecodable>),
}

/// What can be told of an object that is not a PyTorchJob.
#[derive(Clone, Debug)]
pub(crate) struct Undecodable {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Status, if that much can be decoded.
    pub status: Option<JobStatus>,
    /// What is wrong.
    pub cause: String,
}

impl StoredJob {
    /// UID.
    #[must_use]
    pub(crate) fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// resourceVersion, where it is a number.
    #[must_use]
    pub(crate) fn version(&self) -> Option<u64> {
        self.meta().resource_version.as_ref()?.parse().ok()
    }

    /// Namespace and name.
    #[must_use]
    pub(crate) fn key(&self) -> NamespacedName {
        let metadata = self.meta();
        NamespacedName {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Status, as far as it can be decoded.
    #[must_use]
    pub(crate) fn status(&self) -> Option<&JobStatus> {
        match self {
            Self::Decoded(job) => job.status.as_ref(),
            Self::Undecodable(object) => object.status.as_ref(),
        }
    }
}

impl<'de> Deserialize<'de> for StoredJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str::<Parts>(text.get()) {
            Ok(Parts {
                metadata,
                mut spec,
                status,
            }) => {
                if status.as_ref().is_some_and(finished) {
                    forget_templates(&mut spec);
                } else {
                    share_templates(&mut spec);
                }
                Ok(Self::Decoded(Arc::new(PyTorchJob { metadata, spec, status })))
            }
            Err(error) => {
                let metadata = serde_json::from_str::<OnlyMetadata>(text.get())
                    .map_err(serde::de::Error::custom)?
                    .metadata;
                let status = serde_json::from_str::<OnlyStatus>(text.get())
                    .map(|object| object.status)
                    .ok();
                Ok(Self::Undecodable(Arc::new(Undecodable {
                    metadata,
                    status,
                    cause: cause(text.get(), &error),
                })))
            }
        }
    }
}

/// A finished job builds no pods, and its templates are nearly all of its memory.
fn forget_templates(spec: &mut PyTorchJobSpec) {
    for replica in spec.pytorch_replica_specs.values_mut() {
        replica.template = RawJson::default();
    }
}

/// Most jobs have one template for all replicas, which is nearly all of their memory.
fn share_templates(spec: &mut PyTorchJobSpec) {
    let mut replicas = spec.pytorch_replica_specs.values_mut();
    let Some(first) = replicas.next() else { return };
    for replica in replicas.filter(|replica| replica.template == first.template) {
        replica.template = first.template.clone();
    }
}

/// Names the field: decoding again costs nothing that matters, since it is done for bad objects only.
fn cause(text: &str, error: &serde_json::Error) -> String {
    let mut json = serde_json::Deserializer::from_str(text);
    let cause = match serde_path_to_error::deserialize::<_, PyTorchJob>(&mut json) {
        Err(error) => format!("{}: {}", error.path(), error.inner()),
        Ok(_) => error.to_string(),
    };
    shortened(cause, CAUSE_BYTES)
}

/// A PyTorchJob.
#[derive(Deserialize)]
struct Parts {
    #[serde(deserialize_with = "metadata::deserialize")]
    metadata: ObjectMeta,
    spec: PyTorchJobSpec,
    status: Option<JobStatus>,
}

#[derive(Deserialize)]
struct OnlyMetadata {
    #[serde(deserialize_with = "metadata::deserialize")]
    metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct OnlyStatus {
    #[serde(default)]
    status: JobStatus,
}

impl Resource for StoredJob {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        PyTorchJob::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        PyTorchJob::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        PyTorchJob::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        PyTorchJob::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Decoded(job) => &job.metadata,
            Self::Undecodable(object) => &object.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Decoded(job) => &mut Arc::make_mut(job).metadata,
            Self::Undecodable(object) => &mut Arc::make_mut(object).metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(spec: &serde_json::Value) -> StoredJob {
        let object = serde_json::json!({
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
            "metadata": { "name": "job", "namespace": "ns", "uid": "u" },
            "spec": spec,
            "status": { "conditions": null, "replicaStatuses": null, "startTime": "2026-01-01T00:00:00Z" },
        });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn the_template_is_kept_to_the_letter() {
        let StoredJob::Decoded(job) = stored(&serde_json::json!({
            "pytorchReplicaSpecs": { "Master": { "template": { "spec": { "fieldOfTomorrow": [1, 2.50] } } } } }))
        else {
            panic!("decodes")
        };
        assert_eq!(
            job.spec.pytorch_replica_specs["Master"].template.get(),
            r#"{"spec":{"fieldOfTomorrow":[1,2.5]}}"#
        );
        assert!(
            job.status.as_ref().unwrap().conditions.is_empty(),
            "null is what Go writes for an empty list"
        );
    }

    #[test]
    fn a_finished_job_is_kept_without_its_templates() {
        let object = |outcome| {
            let object = serde_json::json!({
                "metadata": { "name": "job" },
                "spec": { "pytorchReplicaSpecs": { "Master": { "replicas": 1, "template": { "spec": {} } } } },
                "status": { "conditions": [{ "type": "Succeeded", "status": outcome }] },
            });
            serde_json::from_str::<StoredJob>(&object.to_string()).unwrap()
        };
        for (outcome, template) in [("True", "null"), ("False", r#"{"spec":{}}"#)] {
            let StoredJob::Decoded(job) = object(outcome) else {
                panic!("decodes")
            };
            let master = &job.spec.pytorch_replica_specs["Master"];
            assert_eq!((master.replicas, &*master.template.get()), (Some(1), template));
        }
    }

    #[test]
    fn a_template_that_all_replicas_have_is_kept_once() {
        let template = |image: &str| serde_json::json!({ "spec": { "containers": [{ "image": image }] } });
        for (worker, once) in [("a", true), ("b", false)] {
            let StoredJob::Decoded(job) = stored(&serde_json::json!({ "pytorchReplicaSpecs": {
                "Master": { "template": template("a") }, "Worker": { "template": template(worker) } } }))
            else {
                panic!("decodes")
            };
            let [master, other] =
                ["Master", "Worker"].map(|replica| job.spec.pytorch_replica_specs[replica].template.get());
            assert_eq!(
                (master.as_ptr() == other.as_ptr(), &*other),
                (once, &*template(worker).to_string())
            );
        }
    }

    #[test]
    fn status_fields_of_a_later_version_are_kept() {
        let status = serde_json::json!({ "restarts": 1, "fieldOfTomorrow": { "a": [1] } });
        let object = serde_json::json!({ "metadata": {}, "spec": { "pytorchReplicaSpecs": {} }, "status": status });
        let StoredJob::Decoded(job) = serde_json::from_str(&object.to_string()).unwrap() else {
            panic!("decodes")
        };
        assert_eq!(serde_json::to_value(&job.status).unwrap(), status);
    }

    #[test]
    fn a_bad_object_keeps_its_name_its_status_and_the_field_that_is_wrong() {
        for (spec, field) in [
            (
                serde_json::json!({ "pytorchReplicaSpecs": {}, "activeDeadlineSeconds": "abc" }),
                "spec.activeDeadlineSeconds",
            ),
            (
                serde_json::json!({ "pytorchReplicaSpecs": { "Master": null } }),
                "spec.pytorchReplicaSpecs.Master",
            ),
            (
                serde_json::json!({ "pytorchReplicaSpecs": { "Worker": { "restartPolicy": 5, "template": {} } } }),
                "spec.pytorchReplicaSpecs.Worker.restartPolicy",
            ),
            (serde_json::json!(null), "spec"),
        ] {
            let StoredJob::Undecodable(object) = stored(&spec) else {
                panic!("{spec} decodes")
            };
            assert_eq!(object.metadata.name.as_deref(), Some("job"));
            assert!(object.status.as_ref().is_some_and(|status| status.start_time.is_some()));
            assert!(object.cause.starts_with(field), "{}", object.cause);
        }
    }

    #[test]
    fn a_huge_value_in_a_bad_object_does_not_hide_the_field_nor_what_was_expected() {
        let spec = serde_json::json!({ "pytorchReplicaSpecs": {}, "activeDeadlineSeconds": "ä".repeat(500_000) });
        let StoredJob::Undecodable(object) = stored(&spec) else {
            panic!("decodes")
        };
        let cause = &object.cause;
        assert!(cause.len() <= CAUSE_BYTES, "{} bytes", cause.len());
        assert!(
            cause.starts_with("spec.activeDeadlineSeconds: invalid type: string"),
            "{cause}"
        );
        assert!(cause.contains("expected i64"), "{cause}");
    }

    #[test]
    fn an_empty_restart_policy_is_unset() {
        let spec = serde_json::json!({ "pytorchReplicaSpecs": { "Worker": { "restartPolicy": "", "template": {} } } });
        assert!(
            matches!(stored(&spec), StoredJob::Decoded(job) if job.spec.pytorch_replica_specs["Worker"].restart_policy.is_none())
        );
    }
}
