//! Deletions. Each names the UID of what was decided on, so it can never hit a successor of the same name.

use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::{Api, DeleteParams, Preconditions};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Context;
use super::act::{Acted, FAN_OUT};
use super::error::Error;
use super::job_ref::Target;
use crate::api::PyTorchJob;
use crate::cache::Fact;
use crate::cache::watch::{AUTOSCALERS, Kind, PODS, SERVICES};
use crate::planner::Action;
use crate::platform::metrics::JobStep;

/// Carries out the deletions among `actions`, also when one of them fails.
pub async fn delete(context: &Context, target: &Target<'_>, actions: &[Action], acted: &mut Acted) {
    let requests: Vec<_> = actions
        .iter()
        .map(|action| delete_one(context, target, action))
        .collect();
    let results: Vec<_> = stream::iter(requests).buffered(FAN_OUT).collect().await;
    for (action, result) in actions.iter().zip(results) {
        match (action, result) {
            (Action::DeletePod { name, .. }, Ok(())) => acted.deleted.push(name.clone()),
            (_, Ok(())) => {}
            (_, Err(error)) => {
                acted.error = Error::gravest(acted.error.take().into_iter().chain([error]));
            }
        }
    }
}

async fn delete_one(context: &Context, target: &Target<'_>, action: &Action) -> Result<(), Error> {
    match action {
        Action::DeletePod { name, uid } => {
            delete_child(context, target, &PODS, name, uid).await?;
            context.metrics.pod_deleted();
        }
        Action::DeleteService { name, uid } => delete_child(context, target, &SERVICES, name, uid).await?,
        Action::DeleteAutoscaler { name, uid } => delete_child(context, target, &AUTOSCALERS, name, uid).await?,
        Action::DeleteJob => {
            // The resourceVersion too: an edit that came meanwhile, such as a longer TTL, must not be overrun.
            delete_object::<PyTorchJob>(
                context,
                target,
                "pytorchjob",
                target.name,
                target.uid,
                Some(target.version),
            )
            .await?;
            context.metrics.job(JobStep::Deleted, target.namespace);
        }
        Action::CreatePod(..) | Action::CreateService(..) | Action::CreateAutoscaler => {}
    }
    Ok(())
}

/// Deletes an object of the job and records it, so that the next plan does not ask for it again.
async fn delete_child<K, T>(
    context: &Context,
    target: &Target<'_>,
    kind: &Kind<K, T>,
    name: &str,
    uid: &str,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    T: Fact,
{
    let there = delete_object::<K>(context, target, kind.singular, name, uid, None).await?;
    let mut objects = (kind.objects)(&context.index);
    if there {
        objects.delete_asked(target.uid, name, uid, Instant::now());
    } else {
        objects.found_gone(target.namespace, target.uid, name, uid);
    }
    Ok(())
}

/// Deletes this very object. False when it is gone already.
async fn delete_object<K>(
    context: &Context,
    target: &Target<'_>,
    kind: &'static str,
    name: &str,
    uid: &str,
    version: Option<&str>,
) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
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
    match Api::<K>::namespaced(context.client.clone(), target.namespace)
        .delete(name, &parameters)
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(target.conflict()),
        Err(source) => Err(Error::Delete {
            kind,
            namespace: target.namespace.to_owned(),
            name: name.to_owned(),
            source: Box::new(source),
        }),
    }
}
