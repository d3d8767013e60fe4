//! Creations. Names are deterministic, so a repeated request meets its own success and not a second object.

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams, PostParams, Request};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Context;
use super::act::{Acted, FAN_OUT};
use super::error::Error;
use super::job_ref::Target;
use crate::api::ReplicaType;
use crate::cache::Fact;
use crate::cache::watch::{AUTOSCALERS, Kind, PODS, SERVICES};
use crate::planner::Action;
use crate::planner::build::build_service;
use crate::planner::build::pod::Builder;
use crate::planner::policy::autoscaler::build as build_autoscaler;

/// Objects of a kind that a job asks for at once. Most jobs are small and wait for one answer; of a quota that is used up few refusals
/// are taken.
const FIRST_BATCH: usize = 4;

/// Carries out the creations among `actions`: first the pods, whose start takes the longest, and beside them the service of the first
/// replica, which the others look up to find each other; then the other services. Each kind has a slow start, the slower when the last
/// pass has failed.
pub async fn create(context: &Context, target: &Target<'_>, actions: &[Action], acted: &mut Acted) {
    let (mut pods, mut services, mut wants_autoscaler) = (Vec::new(), Vec::new(), false);
    for action in actions {
        match action {
            Action::CreatePod(role, index) => pods.push((*role, *index)),
            Action::CreateService(role, index) => services.push((*role, *index)),
            Action::CreateAutoscaler => wants_autoscaler = true,
            _ => {}
        }
    }
    if pods.is_empty() && services.is_empty() && !wants_autoscaler {
        return;
    }
    let builder = Builder::new(target.job, &context.settings);
    let batch = if context.memory.failing(target.uid) {
        1
    } else {
        FIRST_BATCH
    };
    let (first, others) = services.split_at(services.len().min(1));
    let pod = |(role, index)| create_pod(context, target, &builder, role, index);
    let service = |(role, index)| create_service(context, target, &builder, role, index);
    let (pods, first, autoscaler) = tokio::join!(
        slow_start(batch, &pods, pod),
        slow_start(batch, first, service),
        async {
            if wants_autoscaler {
                create_autoscaler(context, target, &builder).await
            } else {
                Ok(())
            }
        }
    );
    let others = slow_start(batch, others, service).await;
    acted.created = pods.0;
    let errors = [pods.1, first.1, others.1, autoscaler.err()];
    acted.error = Error::gravest(acted.error.take().into_iter().chain(errors.into_iter().flatten()));
}

/// Makes the changes in batches, each twice as large as the one before, and stops after the batch in which one failed: a quota that is
/// used up then costs a few refused requests, not a thousand.
async fn slow_start<F, R>(
    mut batch: usize,
    replicas: &[(ReplicaType, u32)],
    make: impl Fn((ReplicaType, u32)) -> F,
) -> (Vec<R>, Option<Error>)
where
    F: Future<Output = Result<R, Error>>,
{
    let (mut results, mut rest) = (Vec::with_capacity(replicas.len()), replicas);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        let answers = futures::future::join_all(now.iter().map(|&replica| make(replica))).await;
        let mut errors = Vec::new();
        for answer in answers {
            match answer {
                Ok(result) => results.push(result),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = Error::gravest(errors) {
            return (results, Some(error));
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
    role: ReplicaType,
    index: u32,
) -> Result<String, Error> {
    let name = role.replica_name(target.name, index);
    create_child(context, target, &PODS, &name, &builder.pod(role, index)).await?;
    context.metrics.pod_created();
    Ok(name)
}

async fn create_service(
    context: &Context,
    target: &Target<'_>,
    builder: &Builder<'_>,
    role: ReplicaType,
    index: u32,
) -> Result<(), Error> {
    let name = role.replica_name(target.name, index);
    let created = create_child(context, target, &SERVICES, &name, &build_service(builder, role, index)).await;
    match &created {
        Ok(_) => context.metrics.service_created(),
        Err(_) => context.metrics.service_creation_failed(),
    }
    created.map(|_existed| ())
}

/// Creates the autoscaler. One that Kubeflow's operator made for this job bears no label and would stay unseen: it gets ours.
async fn create_autoscaler(context: &Context, target: &Target<'_>, builder: &Builder<'_>) -> Result<(), Error> {
    let Some(autoscaler) = build_autoscaler(target.job, builder) else {
        return Ok(());
    };
    let existed = create_child(context, target, &AUTOSCALERS, target.name, &autoscaler).await?;
    if existed {
        let failed = |source: kube::Error| create_error(target, AUTOSCALERS.singular, target.name, source);
        let labels = Patch::Merge(json!({ "metadata": { "labels": builder.job_labels() } }));
        let api = Api::<crate::cache::AutoscalerView>::namespaced(context.client.clone(), target.namespace);
        let _permit = context.permit().await;
        api.patch(target.name, &PatchParams::default(), &labels)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Posts an object of the job as it was built, decodes only what is kept of it, and records it, so that the next plan knows it. True when
/// the job's own object of that name existed already: a request whose answer was lost, or a watch that is late.
async fn create_child<K, T>(
    context: &Context,
    target: &Target<'_>,
    kind: &Kind<K, T>,
    name: &str,
    object: &Value,
) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    T: Fact,
{
    let failed = |source: kube::Error| create_error(target, kind.singular, name, source);
    let body = serde_json::to_vec(object).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let url = K::url_path(&(), Some(target.namespace));
    let request = Request::new(url)
        .create(&PostParams::default(), body)
        .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    let _permit = context.permit().await;
    let (object, existed) = match context.client.request::<K>(request).await {
        Ok(created) => (created, false),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let existing = Api::<K>::namespaced(context.client.clone(), target.namespace)
                .get(name)
                .await
                .map_err(failed)?;
            if !target.owns(existing.meta()) {
                return Err(target.name_taken(kind.singular, existing.meta()));
            }
            (existing, true)
        }
        Err(source) => return Err(failed(source)),
    };
    (kind.objects)(&context.index).written((kind.observe)(object), Instant::now());
    Ok(existed)
}

fn create_error(target: &Target<'_>, kind: &'static str, name: &str, source: kube::Error) -> Error {
    Error::Create {
        kind,
        namespace: target.namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> Error {
        Error::Conflict {
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    #[tokio::test]
    async fn creations_start_slowly_and_stop_at_the_first_refusal() {
        let replicas: Vec<(ReplicaType, u32)> = (0..100).map(|index| (ReplicaType::Worker, index)).collect();
        for (batch, refused_from, asked, made) in [
            (1, 0, 1, 0),
            (1, 1, 3, 1),
            (1, 2, 3, 2),
            (1, 3, 7, 3),
            (1, 100, 100, 100),
            (4, 0, 4, 0),
            (4, 3, 4, 3),
            (4, 5, 12, 5),
        ] {
            let asks = std::cell::Cell::new(0);
            let (results, failure) = slow_start(batch, &replicas, |(_, index)| {
                asks.set(asks.get() + 1);
                async move {
                    if index < refused_from {
                        Ok(index)
                    } else {
                        Err(error("full"))
                    }
                }
            })
            .await;
            assert_eq!(
                (asks.get(), results.len()),
                (asked, made),
                "batch {batch}, refused from {refused_from}"
            );
            assert_eq!(failure.is_some(), refused_from < 100);
        }
    }
}
