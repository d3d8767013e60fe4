//! Deletions. Each names the UID of what was decided on, so it can never hit a successor of the same name.

use std::fmt::Debug;

use futures::{StreamExt, stream};
use kube::Resource;
use kube::api::{Api, DeleteParams, Preconditions};
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
    budget: Budget,
    applied: &mut Applied,
) {
    let deletions: Vec<_> = actions
        .iter()
        .filter(|action| matches!(action, Action::Delete { .. } | Action::DeleteJob))
        .collect();
    let requests: Vec<_> = deletions
        .iter()
        .map(|action| budget.run(delete_one(context, job, action)))
        .collect();
    let results: Vec<_> = stream::iter(requests).buffered(JOB_CONCURRENCY).collect().await;
    for (action, result) in deletions.into_iter().zip(results) {
        if let (Some(()), Action::Delete { kind, name, .. }) = (applied.take(result), action) {
            applied.deleted.push((*kind, name.clone()));
        }
    }
}

async fn delete_one(context: &Context, job: &JobRef<'_>, action: &Action) -> Result<(), Error> {
    match action {
        Action::Delete { kind, name, uid } => delete_child(context, job, *kind, name, uid).await,
        Action::DeleteJob => delete_job(context, job).await,
        Action::Create(_) | Action::Update { .. } => Ok(()),
    }
}

/// The resourceVersion is a precondition too: an edit that came meanwhile, such as a longer TTL, must not be overrun.
async fn delete_job(context: &Context, job: &JobRef<'_>) -> Result<(), Error> {
    let api = Api::<PyTorchJob>::namespaced(context.client.clone(), job.namespace);
    let failed = |source| Error::DeleteJob {
        namespace: job.namespace.to_owned(),
        name: job.name.to_owned(),
        source,
    };
    delete_object(context, job, &api, job.name, job.uid, Some(job.version), failed).await?;
    context.metrics.job(JobStep::Deleted, job.namespace);
    Ok(())
}

/// Deletes an object of the job and records it, so that the next plan does not ask for it again.
async fn delete_child(
    context: &Context,
    job: &JobRef<'_>,
    kind: ChildKind,
    name: &str,
    uid: &str,
) -> Result<(), Error> {
    let api = Api::<ObjectView>::namespaced_with(context.client.clone(), job.namespace, &kind);
    let failed = |source| Error::Delete {
        kind,
        namespace: job.namespace.to_owned(),
        name: name.to_owned(),
        source,
    };
    let (index, owner) = (&context.index, job.id());
    // The watch may be faster than the answer.
    index.set_deleting(kind, &owner, name, uid, true);
    match delete_object(context, job, &api, name, uid, None, failed).await {
        Ok(true) => index.deletion_requested(kind, &owner, name, uid, Instant::now()),
        Ok(false) => index.not_found(kind, &owner, name, uid),
        Err(error) => {
            index.set_deleting(kind, &owner, name, uid, false);
            return Err(error);
        }
    }
    match kind {
        ChildKind::Pod => context.metrics.pod_deleted(),
        kind if kind.is_pod_group() => context.metrics.pod_group_deleted(),
        _ => {}
    }
    Ok(())
}

/// Deletes this very object. False when it is gone already.
async fn delete_object<K>(
    context: &Context,
    job: &JobRef<'_>,
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
        uid: (!back(Defect::DeletionByName)).then(|| uid.to_owned()),
        resource_version: version.map(ToOwned::to_owned),
    };
    let parameters = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::background()
    };
    let _permit = context.permit(job.namespace).await;
    match api.delete(name, &parameters).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(job.conflict()),
        Err(source) => Err(failed(Box::new(source))),
    }
}
