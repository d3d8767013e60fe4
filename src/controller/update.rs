//! Updates of objects that differ from what their job asks for.

use futures::future::join_all;
use http::header::CONTENT_TYPE;
use kube::Resource;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::ChildRef;
use crate::cache::ObjectView;
use crate::controller::applied::{Applied, Budget};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::job_ref::JobRef;
use crate::controller::observe::read_child;
use crate::planner::{Action, patch};

/// Carries out the updates among `actions`.
pub(super) async fn update(
    context: &Context,
    job: &JobRef<'_>,
    actions: &[Action],
    budget: Budget<'_>,
    applied: &mut Applied,
) {
    let updates = actions.iter().filter_map(|action| match action {
        Action::Update { child, uid, contents } => {
            let patch = patch(contents, child.kind, uid);
            let failed = |source| job.not_updated(*child, source);
            Some(budget.run(update_child(context, job, *child, uid, patch), failed))
        }
        _ => None,
    });
    for result in join_all(updates).await {
        applied.gone |= applied.take(result) == Some(false);
    }
}

/// Patches an object of the job and records it, so that the next plan does not ask for it again. False when it is gone,
/// or is not as the plan had it.
async fn update_child(
    context: &Context,
    job: &JobRef<'_>,
    child: ChildRef,
    uid: &str,
    patch: Value,
) -> Result<bool, Error> {
    let failed = |source| job.not_updated(child, Box::new(source));
    let name = child.name(job.name);
    match patch_child(context, job, child, "", &patch).await {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            context.index.not_found(child.kind, &job.id(), &name, uid);
            Ok(false)
        }
        // The UID is compared by the patch itself, and the answer is that of a change that is not valid.
        Err(refused) if matches!(&refused, kube::Error::Api(status) if status.is_invalid()) => {
            let found = read_child(context, job, child.kind, &name, uid).await.map_err(failed)?;
            if found.is_some() {
                Err(failed(refused))
            } else {
                Ok(false)
            }
        }
        Err(source) => Err(failed(source)),
    }
}

/// Sends a JSON patch to an object of the job, or to a subresource of it such as `/resize`, and records the answer.
pub(super) async fn patch_child(
    context: &Context,
    job: &JobRef<'_>,
    child: ChildRef,
    subresource: &str,
    patch: &Value,
) -> Result<(), kube::Error> {
    let body = serde_json::to_vec(patch).map_err(kube::Error::SerdeError)?;
    let url = ObjectView::url_path(&child.kind, Some(job.namespace));
    let name = child.name(job.name);
    let request = http::Request::patch(format!("{url}/{name}{subresource}"))
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    let _permit = context.permit(job.namespace).await;
    let object = context.client.request::<ObjectView>(request).await?;
    context.index.created(child.kind, object, Instant::now());
    Ok(())
}
