//! Stores the status of a job.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde_json::{Map, Value, json};
use tracing::warn;

use crate::api::names::reason;
use crate::api::{JobStatus, PyTorchJob};
use crate::cache::{NamespacedName, StoredJob};
use crate::controller::context::Context;
use crate::controller::error::{Error, is_answer};
use crate::defects::{Defect, back};
use crate::planner::Event;

/// Replaces the status, if the job is still the one that was decided on.
///
/// One JSON patch: it carries the status alone and not the templates, as a replacement of the object would, and the
/// resourceVersion in it makes the API server refuse it when the job has changed.
pub(super) async fn store_status(context: &Context, metadata: &ObjectMeta, status: JobStatus) -> Result<(), Error> {
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let failed = |source: kube::Error| Error::Status {
        namespace: namespace.clone(),
        name: name.clone(),
        source: Box::new(source),
    };
    let url = format!("{}/{name}/status", PyTorchJob::url_path(&(), Some(&namespace)));
    let request = request(url, metadata.resource_version.as_deref(), &status).map_err(failed)?;
    let _permit = context.permit(&namespace).await;
    let (jobs, key) = (context.index.jobs(), NamespacedName::new(&namespace, &name));
    // Should this never return, because of a deadline or a panic, nobody knows what is stored.
    let doubt = jobs.doubt(&key);
    match context.client.request::<StoredJob>(request).await {
        Ok(stored) => {
            jobs.answered(with_pruned(context, stored, status), doubt);
            Ok(())
        }
        // A list that was made in between may have ended the doubt: it is raised again.
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_not_found() => {
            if back(Defect::RefutedJob) {
                jobs.trust(&key, doubt);
            } else {
                jobs.doubt(&key);
            }
            Err(Error::Conflict { namespace, name })
        }
        Err(source) if is_answer(&source) => {
            jobs.trust(&key, doubt);
            Err(failed(source))
        }
        Err(source) => {
            jobs.doubt(&key);
            Err(failed(source))
        }
    }
}

/// The write of a status for this resourceVersion of the job.
fn request(url: String, version: Option<&str>, status: &JobStatus) -> Result<http::Request<Vec<u8>>, kube::Error> {
    let patch = json!([
        { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
        { "op": "add", "path": "/status", "value": status },
    ]);
    http::Request::patch(url)
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(serde_json::to_vec(&patch).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)
}

/// The job with the status that was sent, also where the definition in the cluster has pruned fields of it, at the top
/// or within. What comes back without them must not look as if it were yet to be written.
fn with_pruned(context: &Context, stored: StoredJob, sent: JobStatus) -> StoredJob {
    let StoredJob::Decoded(mut job) = stored else {
        return stored;
    };
    if job.status.as_ref() == Some(&sent) {
        return StoredJob::Decoded(job);
    }
    let fields = pruned(&sent, job.status.as_ref());
    if !fields.is_empty() {
        for field in &fields {
            context.metrics.status_pruned(field);
        }
        if context.pruned.set(()).is_ok() {
            let message = format!(
                "the CustomResourceDefinition in the cluster drops status fields of this operator: {}. Install the one that belongs to \
                 it: kubectl apply --server-side -k config/crd",
                fields.join(", ")
            );
            warn!(message);
            let event = Event {
                warning: true,
                reason: reason::STATUS_PRUNED,
                message,
            };
            context.publish(&job.object_ref(&()), event);
        }
    }
    Arc::make_mut(&mut job).status = Some(sent);
    StoredJob::Decoded(job)
}

/// Fields of a status that are not in what was stored of it.
fn pruned(sent: &JobStatus, stored: Option<&JobStatus>) -> Vec<String> {
    let fields = |status: Option<&JobStatus>| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let stored = fields(stored);
    let sent = fields(Some(sent)).into_iter().map(|(field, _)| field);
    sent.filter(|field| !stored.contains_key(field)).collect()
}
