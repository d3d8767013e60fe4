//! Deletions. Each names the UID of what was decided on, so it can never hit a successor of the same name.

use std::fmt::Debug;

use futures::{StreamExt, stream};
use kube::Resource;
use kube::api::{Api, DeleteParams, Preconditions};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::api::{ChildKind, PyTorchJob};
use crate::cache::ObjectView;
use crate::controller::applied::{Applied, Budget, JOB_CONCURRENCY};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::job_ref::Target;
use crate::planner::Action;
use crate::platform::metrics::JobStep;

/// Carries out the deletions among `actions`, also when one of them fails.
pub(super) async fn delete(
    context: &Context,
    target: &Target<'_>,
    actions: &[Action],
    budget: Budget,
    applied: &mut Applied,
) {
    let deletions: Vec<_> = actions
        .iter()
        .filter(|action| matches!(action, Action::Delete { .. } | Action::DeleteJob))
        .collect();
    let requests: Vec<_> = deletions
        .iter()
        .map(|action| budget.run(delete_one(context, target, action)))
        .collect();
    let results: Vec<_> = stream::iter(requests).buffered(JOB_CONCURRENCY).collect().await;
    for (action, result) in deletions.into_iter().zip(results) {
        if let (Some(()), Action::Delete { kind, name, .. }) = (applied.take(result), action) {
            applied.deleted.push((*kind, name.clone()));
        }
    }
}

async fn delete_one(context: &Context, target: &Target<'_>, action: &Action) -> Result<(), Error> {
    match action {
        Action::Delete { kind, name, uid } => delete_child(context, target, *kind, name, uid).await,
        Action::DeleteJob => delete_job(context, target).await,
        Action::Create(_) | Action::Update { .. } => Ok(()),
    }
}

/// The resourceVersion is a precondition too: an edit that came meanwhile, such as a longer TTL, must not be overrun.
async fn delete_job(context: &Context, target: &Target<'_>) -> Result<(), Error> {
    let api = Api::<PyTorchJob>::namespaced(context.client.clone(), target.namespace);
    let failed = |source| Error::DeleteJob {
        namespace: target.namespace.to_owned(),
        name: target.name.to_owned(),
        source,
    };
    delete_object(
        context,
        target,
        &api,
        target.name,
        target.uid,
        Some(target.version),
        failed,
    )
    .await?;
    context.metrics.job(JobStep::Deleted, target.namespace);
    Ok(())
}

/// Deletes an object of the job and records it, so that the next plan does not ask for it again.
async fn delete_child(
    context: &Context,
    target: &Target<'_>,
    kind: ChildKind,
    name: &str,
    uid: &str,
) -> Result<(), Error> {
    let api = Api::<ObjectView>::namespaced_with(context.client.clone(), target.namespace, &kind);
    let failed = |source| Error::Delete {
        kind,
        namespace: target.namespace.to_owned(),
        name: name.to_owned(),
        source,
    };
    if delete_object(context, target, &api, name, uid, None, failed).await? {
        context
            .index
            .deletion_requested(kind, &target.id(), name, uid, Instant::now());
    } else {
        context.index.not_found(kind, &target.id(), name, uid);
    }
    if kind == ChildKind::Pod {
        context.metrics.pod_deleted();
    }
    Ok(())
}

/// Deletes this very object. False when it is gone already.
async fn delete_object<K>(
    context: &Context,
    target: &Target<'_>,
    api: &Api<K>,
    name: &str,
    uid: &str,
    version: Option<&str>,
    failed: impl FnOnce(Box<kube::Error>) -> Error,
) -> Result<bool, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let preconditions = Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: version.map(ToOwned::to_owned),
    };
    let parameters = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::background()
    };
    let _permit = context.permit().await;
    match api.delete(name, &parameters).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(target.conflict()),
        Err(source) => Err(failed(Box::new(source))),
    }
}
