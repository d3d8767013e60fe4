//! Carries out the changes of a plan.
//!
//! Every request is safe to repeat and safe to send late: names are deterministic, deletions name the UID, and the deletion of a job
//! also the resourceVersion that was decided on.

use futures::StreamExt;
use futures::stream;
use kube::Resource;
use kube::api::{Api, DeleteParams, PostParams, Preconditions, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::Context;
use super::error::Error;
use super::target::Target;
use crate::api::{PyTorchJob, Role};
use crate::cache::{PodView, ServiceView};
use crate::planner::{Action, build_service, pod::Builder};
use crate::platform::metrics::JobStep;

/// Requests of one job under way at once.
const FAN_OUT: usize = 32;

/// What came of the changes of one plan.
#[derive(Debug, Default)]
pub struct Acted {
    /// Names of the pods that were created, in order.
    pub created: Vec<String>,
    /// Names of the pods that were deleted.
    pub deleted: Vec<String>,
    /// The first change that failed. Those that were under way with it were carried out, later ones were not.
    pub error: Option<Error>,
}

/// Carries out `actions`: deletions first, then creations.
pub async fn act(context: &Context, target: &Target<'_>, actions: &[Action]) -> Acted {
    let mut acted = Acted::default();
    delete(context, target, actions, &mut acted).await;
    if acted.error.is_none() {
        create(context, target, actions, &mut acted).await;
    }
    acted
}

async fn delete(context: &Context, target: &Target<'_>, actions: &[Action], acted: &mut Acted) {
    let deletions: Vec<&Action> = actions
        .iter()
        .filter(|action| !matches!(action, Action::CreatePod(..) | Action::CreateService(..)))
        .collect();
    let requests: Vec<_> = deletions
        .iter()
        .map(|action| delete_one(context, target, action))
        .collect();
    let results: Vec<_> = stream::iter(requests).buffered(FAN_OUT).collect().await;
    for (action, result) in deletions.into_iter().zip(results) {
        match (action, result) {
            (Action::DeletePod { name, .. }, Ok(())) => acted.deleted.push(name.clone()),
            (_, Ok(())) => {}
            (_, Err(error)) => {
                acted.error.get_or_insert(error);
            }
        }
    }
}

async fn delete_one(context: &Context, target: &Target<'_>, action: &Action) -> Result<(), Error> {
    let now = Instant::now();
    match action {
        Action::DeletePod { name, uid } => {
            if delete_object::<PodView>(context, target, "pod", name, uid, None).await? {
                context.index.pods().delete_asked(target.uid, name, uid, now);
            } else {
                context.index.pods().found_gone(target.namespace, target.uid, name, uid);
            }
            context.metrics.pod_deleted();
        }
        Action::DeleteService { name, uid } => {
            if delete_object::<ServiceView>(context, target, "service", name, uid, None).await? {
                context.index.services().delete_asked(target.uid, name, uid, now);
            } else {
                context
                    .index
                    .services()
                    .found_gone(target.namespace, target.uid, name, uid);
            }
        }
        Action::DeleteJob => {
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
        Action::CreatePod(..) | Action::CreateService(..) => {}
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
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
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

async fn create(context: &Context, target: &Target<'_>, actions: &[Action], acted: &mut Acted) {
    let replicas = |wanted: fn(&Action) -> Option<(Role, u32)>| actions.iter().filter_map(wanted).collect::<Vec<_>>();
    let pods = replicas(|action| {
        if let Action::CreatePod(role, index) = action {
            Some((*role, *index))
        } else {
            None
        }
    });
    let services = replicas(|action| {
        if let Action::CreateService(role, index) = action {
            Some((*role, *index))
        } else {
            None
        }
    });
    if pods.is_empty() && services.is_empty() {
        return;
    }
    let builder = Builder::new(target.job, &context.settings);
    let (pods, services) = tokio::join!(
        slow_start(&pods, |(role, index)| create_pod(
            context, target, &builder, role, index
        )),
        slow_start(&services, |(role, index)| create_service(
            context, target, &builder, role, index
        )),
    );
    acted.created = pods.0;
    acted.error = acted.error.take().or(pods.1).or(services.1);
}

/// Makes the changes in batches of 1, 2, 4 and so on, and stops after the batch in which one failed: a quota that is used up then
/// costs one refused request, not a thousand.
async fn slow_start<F, R>(replicas: &[(Role, u32)], make: impl Fn((Role, u32)) -> F) -> (Vec<R>, Option<Error>)
where
    F: Future<Output = Result<R, Error>>,
{
    let (mut results, mut batch, mut rest) = (Vec::with_capacity(replicas.len()), 1, replicas);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        let answers = futures::future::join_all(now.iter().map(|&replica| make(replica))).await;
        let mut first = None;
        for answer in answers {
            match answer {
                Ok(result) => results.push(result),
                Err(error) => first = first.or(Some(error)),
            }
        }
        if first.is_some() {
            return (results, first);
        }
        rest = later;
        batch = (batch * 2).min(FAN_OUT);
    }
    (results, None)
}

async fn create_pod(
    context: &Context,
    target: &Target<'_>,
    builder: &Builder<'_>,
    role: Role,
    index: u32,
) -> Result<String, Error> {
    let name = role.replica_name(target.name, index);
    let pod: PodView = create_object(context, target, "pod", &name, &builder.pod(role, index)).await?;
    context.index.pods().written(pod.observe(), Instant::now());
    context.metrics.pod_created();
    Ok(name)
}

async fn create_service(
    context: &Context,
    target: &Target<'_>,
    builder: &Builder<'_>,
    role: Role,
    index: u32,
) -> Result<(), Error> {
    let name = role.replica_name(target.name, index);
    let created =
        create_object::<ServiceView>(context, target, "service", &name, &build_service(builder, role, index)).await;
    if created.is_err() {
        context.metrics.service_creation_failed();
    }
    context.index.services().written(created?.observe(), Instant::now());
    context.metrics.service_created();
    Ok(())
}

/// Posts the object as it was built, and decodes only what is kept of it. One of that name that is the job's own counts as created: a
/// request whose answer was lost, or a watch that is late.
async fn create_object<K>(
    context: &Context,
    target: &Target<'_>,
    kind: &'static str,
    name: &str,
    object: &Value,
) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let failed = |source: kube::Error| Error::Create {
        kind,
        namespace: target.namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    };
    let body = serde_json::to_vec(object).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let url = K::url_path(&(), Some(target.namespace));
    let request = Request::new(url)
        .create(&PostParams::default(), body)
        .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    let _permit = context.permit().await;
    match context.client.request::<K>(request).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let existing = Api::<K>::namespaced(context.client.clone(), target.namespace)
                .get(name)
                .await
                .map_err(failed)?;
            if target.owns(existing.meta()) {
                Ok(existing)
            } else {
                Err(target.name_taken(kind, existing.meta()))
            }
        }
        Err(source) => Err(failed(source)),
    }
}
