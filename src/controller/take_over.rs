//! What is done once, when this replica begins to lead.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tracing::{info, warn};

use crate::api::{ChildKind, names};
use crate::cache::ObjectView;
use crate::controller::context::Context;
use crate::controller::options::Options;
use crate::planner::build::job_labels;

/// Autoscalers of one page of a list.
const PAGE: u32 = 500;
/// Pause before what failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The watch of a standby may be late, and the replica that led before may have finished or suspended what it still
/// shows running: what is older than this moment is read before anything is done about it. Without an answer that is
/// everything.
pub(crate) async fn doubt_what_is_older(options: &Options, context: &Context) {
    let now = ListParams::default().limit(1);
    let version = match options.jobs(&context.client).list_metadata(&now).await {
        Ok(list) => list.metadata.resource_version.and_then(|version| version.parse().ok()),
        Err(error) => {
            warn!(%error, "cannot ask for the present resourceVersion; jobs are read before they are worked on");
            None
        }
    };
    context.index.jobs().led_from(version.unwrap_or(u64::MAX));
}

/// Gives our labels to the autoscalers that Kubeflow's operator made for jobs. They bear none, so our watch does not
/// show them. That of a running job is met when its own is to be created; that of a job which is suspended or has
/// finished would stay.
pub(crate) async fn label_autoscalers(options: &Options, context: &Context) {
    while let Err(error) = label_all(options, context).await {
        warn!(%error, "cannot look for autoscalers of Kubeflow's operator; trying again");
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

async fn label_all(options: &Options, context: &Context) -> kube::Result<()> {
    const KIND: ChildKind = ChildKind::HorizontalPodAutoscaler;
    let api: Api<ObjectView> = match &options.namespace {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &KIND),
        None => Api::all_with(context.client.clone(), &KIND),
    };
    let not_ours = format!("{}!={}", names::LABEL_OPERATOR_NAME, names::CONTROLLER_NAME);
    let mut page = ListParams::default().labels(&not_ours).limit(PAGE);
    loop {
        let list = api.list_metadata(&page).await?;
        for object in &list.items {
            let Some(job) = job_of(&object.metadata) else { continue };
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let labels = json!({ "metadata": { "uid": object.metadata.uid, "labels": job_labels(&job.name) } });
            let api = Api::<ObjectView>::namespaced_with(context.client.clone(), namespace, &KIND);
            match api
                .patch_metadata(name, &PatchParams::default(), &Patch::Merge(labels))
                .await
            {
                Ok(_) => info!(namespace, name, "labelled an autoscaler of Kubeflow's operator"),
                // It is gone, replaced or refused: that must not keep the others from their labels.
                Err(error @ kube::Error::Api(_)) => warn!(namespace, name, %error, "cannot label an autoscaler"),
                Err(error) => return Err(error),
            }
        }
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(()),
        }
    }
}

/// The job that controls the object.
fn job_of(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|owner| {
        owner.controller == Some(true) && owner.kind == names::KIND && owner.api_version == names::API_VERSION
    })
}
