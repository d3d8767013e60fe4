//! Stores the status of a job.

use http::header::CONTENT_TYPE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::error::Error;
use super::error::is_answer;
use crate::api::{JobStatus, PyTorchJob};
use crate::cache::Own;

/// Replaces the status, if the job is still the one that was decided on, and remembers it until the watch shows it.
///
/// One JSON patch: it carries the status alone and not the templates, as a replacement of the object would, and the resourceVersion in it
/// makes the API server refuse it when the job has changed.
pub async fn store_status(context: &Context, metadata: &ObjectMeta, status: JobStatus) -> Result<(), Error> {
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let failed = |source: kube::Error| Error::Status {
        namespace: namespace.clone(),
        name: name.clone(),
        source: Box::new(source),
    };
    let patch = json!([
        { "op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version },
        { "op": "add", "path": "/status", "value": status },
    ]);
    let body = serde_json::to_vec(&patch).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let request = http::Request::patch(format!("{}/{name}/status", PyTorchJob::url_path(&(), Some(&namespace))))
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(body)
        .map_err(|error| failed(kube::Error::HttpError(error)))?;
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let _permit = context.permit().await;
    // Should this never return, because of a deadline or a panic, nobody knows what is stored either.
    context.memory.asked(uid);
    let answer = context.client.request::<Stored>(request).await;
    if answer.as_ref().map_or_else(is_answer, |_| true) {
        context.memory.answered(uid);
    }
    match answer {
        Ok(stored) => {
            let version = stored.metadata.resource_version.unwrap_or_default();
            context.index.status_written(uid, Own { version, status });
            Ok(())
        }
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_not_found() => {
            Err(Error::Conflict { namespace, name })
        }
        Err(source) => Err(failed(source)),
    }
}

/// The part of the answer that is read.
#[derive(Deserialize)]
struct Stored {
    metadata: ObjectMeta,
}
