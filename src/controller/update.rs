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
            Some(budget.run(update_child(context, job, *child, patch)))
        }
        _ => None,
    });
    for result in join_all(updates).await {
        applied.take(result);
    }
}

/// Patches an object of the job and records it, so that the next plan does not ask for it again.
async fn update_child(context: &Context, job: &JobRef<'_>, child: ChildRef, patch: Value) -> Result<(), Error> {
    let name = child.name(job.name);
    let failed = |source: kube::Error| Error::Update {
        kind: child.kind,
        namespace: job.namespace.to_owned(),
        name: name.clone(),
        source: Box::new(source),
    };
    let body = serde_json::to_vec(&patch).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let url = ObjectView::url_path(&child.kind, Some(job.namespace));
    let request = http::Request::patch(format!("{url}/{name}"))
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(body)
        .map_err(|error| failed(kube::Error::HttpError(error)))?;
    let _permit = context.permit(job.namespace).await;
    let object = context.client.request::<ObjectView>(request).await.map_err(failed)?;
    context.index.created(child.kind, object, Instant::now());
    Ok(())
}
