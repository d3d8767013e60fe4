//! Deletions. Each names the UID of what was decided on, so it can never hit a successor of the same name.

use std::fmt::Debug;

use futures::{StreamExt, stream};
use kube::Resource;
use kube::api::{Api, DeleteParams, Preconditions};
use scopeguard::{ScopeGuard, guard};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::api::{ChildKind, JobStep, PyTorchJob};
use crate::cache::ObjectView;
use crate::controller::applied::{Applied, Budget, JOB_CONCURRENCY};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::job_ref::JobRef;
use crate::defects::{Defect, back};
use crate::planner::Action;

/// Carries out the deletions among `actions`, also when one of them fails.
pub(super) async fn delete(
    context: &Context,
    job: &JobRef<'_>,
    actions: &[Action],
    budget: Budget<'_>,
    applied: &mut Applied,
) {
    let deletions: Vec<_> = actions
        .iter()
        .filter(|action| {
            matches!(
                action,
                Action::Delete { .. } | Action::ForceDelete { .. } | Action::DeleteJob
            )
        })
        .collect();
    let requests: Vec<_> = deletions
        .iter()
        .map(|action| {
            budget.run(delete_one(context, job, action), |source| {
                not_deleted(job, action, source)
            })
        })
        .collect();
    let results: Vec<_> = stream::iter(requests).buffered(JOB_CONCURRENCY).collect().await;
    for (action, result) in deletions.into_iter().zip(results) {
        let found = applied.take(result);
        // Of a job that is gone its own watch tells.
        applied.gone |= found == Some(false) && !matches!(action, Action::DeleteJob);
        match (found, action) {
            (Some(_), Action::Delete { kind, name, .. }) => applied.deleted.push((*kind, name.clone())),
            (Some(true), Action::ForceDelete { told, .. }) => applied.forced.push(told.clone()),
            _ => {}
        }
    }
}

fn not_deleted(job: &JobRef<'_>, action: &Action, source: Box<kube::Error>) -> Error {
    match action {
        Action::Delete { kind, name, .. } => job.not_deleted(*kind, name, source),
        Action::ForceDelete { name, .. } => job.not_deleted(ChildKind::Pod, name, source),
        _ => job.not_deleted_itself(source),
    }
}

/// False when it was gone already.
async fn delete_one(context: &Context, job: &JobRef<'_>, action: &Action) -> Result<bool, Error> {
    match action {
        Action::Delete { kind, name, uid } => delete_child(context, job, *kind, name, uid).await,
        Action::ForceDelete { name, uid, .. } => force_delete(context, job, name, uid).await,
        Action::DeleteJob => delete_job(context, job).await,
        Action::Create(_) | Action::Update { .. } | Action::RestartInPlace { .. } | Action::Recreate { .. } => {
            Ok(false)
        }
    }
}

/// The resourceVersion is a precondition too: an edit that came meanwhile, such as a longer TTL, must not be overrun.
async fn delete_job(context: &Context, job: &JobRef<'_>) -> Result<bool, Error> {
    let api = Api::<PyTorchJob>::namespaced(context.client.clone(), job.namespace);
    let target = Target {
        name: job.name,
        uid: job.uid,
        version: Some(job.version),
        grace: None,
    };
    let deleted = delete_object(context, job, &api, target, |source| job.not_deleted_itself(source)).await?;
    if deleted {
        context.metrics.job(JobStep::Deleted, job.namespace);
    }
    Ok(deleted)
}

/// Deletes a pod that its node does not end. It is gone with the answer, unless a finalizer holds it; then the watch
/// shows it again.
pub(super) async fn force_delete(context: &Context, job: &JobRef<'_>, name: &str, uid: &str) -> Result<bool, Error> {
    let kind = ChildKind::Pod;
    let api = Api::<ObjectView>::namespaced_with(context.client.clone(), job.namespace, &kind);
    let target = Target {
        name,
        uid,
        version: None,
        grace: Some(0),
    };
    let failed = |source| job.not_deleted(kind, name, source);
    let counted = context.index.was_asked_to_end(&job.id(), name, uid);
    let deleted = delete_object(context, job, &api, target, failed).await?;
    context.index.not_found(kind, &job.id(), name, uid);
    if deleted && !counted {
        context.metrics.pod_deleted();
    }
    Ok(deleted)
}

/// Deletes an object of the job and records it, so that the next plan does not ask for it again.
pub(super) async fn delete_child(
    context: &Context,
    job: &JobRef<'_>,
    kind: ChildKind,
    name: &str,
    uid: &str,
) -> Result<bool, Error> {
    let api = Api::<ObjectView>::namespaced_with(context.client.clone(), job.namespace, &kind);
    let (index, owner) = (&context.index, job.id());
    // The watch may be faster than the answer. Whoever gives up leaves nothing behind.
    index.set_deleting(kind, &owner, name, uid, true);
    let unmark = guard((), |()| index.set_deleting(kind, &owner, name, uid, false));
    let target = Target {
        name,
        uid,
        version: None,
        grace: None,
    };
    let failed = |source| job.not_deleted(kind, name, source);
    let deleted = delete_object(context, job, &api, target, failed).await;
    match &deleted {
        Ok(true) => {
            ScopeGuard::into_inner(unmark);
            index.deletion_requested(kind, &owner, name, uid, Instant::now());
            count(context, kind);
        }
        // In a conflict another object has the name by now.
        Ok(false) | Err(Error::Conflict { .. }) => index.not_found(kind, &owner, name, uid),
        Err(_) => {}
    }
    deleted
}

fn count(context: &Context, kind: ChildKind) {
    match kind {
        ChildKind::Pod => context.metrics.pod_deleted(),
        kind if kind.is_pod_group() => context.metrics.pod_group_deleted(),
        _ => {}
    }
}

/// What a deletion is about.
#[derive(Clone, Copy)]
struct Target<'a> {
    name: &'a str,
    uid: &'a str,
    /// The resourceVersion that was decided on, if an edit since then counts.
    version: Option<&'a str>,
    /// Seconds of grace, if not those that the object has.
    grace: Option<u32>,
}

/// Deletes this very object. False when it is gone already.
async fn delete_object<K>(
    context: &Context,
    job: &JobRef<'_>,
    api: &Api<K>,
    target: Target<'_>,
    failed: impl FnOnce(Box<kube::Error>) -> Error,
) -> Result<bool, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let preconditions = Preconditions {
        uid: (!back(Defect::DeletionByName)).then(|| target.uid.to_owned()),
        resource_version: target.version.map(ToOwned::to_owned),
    };
    let parameters = DeleteParams {
        grace_period_seconds: target.grace,
        preconditions: Some(preconditions),
        ..DeleteParams::background()
    };
    let _permit = context.permit(job.namespace).await;
    match api.delete(target.name, &parameters).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(job.conflict()),
        Err(source) => Err(failed(Box::new(source))),
    }
}
