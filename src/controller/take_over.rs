//! What is done once, when this replica begins to lead.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::api::{ChildKind, ChildRef, Replica, names};
use crate::cache::{Jobs, NamespacedName, ObjectView, job_of};
use crate::controller::context::Context;
use crate::controller::options::Options;
use crate::planner::{child_labels, finished};
use crate::platform::logs::with_causes;

/// Autoscalers of one page of a list.
const PAGE: u32 = 500;
/// How long to wait for the present resourceVersion. The Lease is not renewed meanwhile.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// Said without an answer.
const UNKNOWN: &str = "cannot ask for the present resourceVersion; jobs are read before they are worked on";
/// Pause before what failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The watch of a standby may be late, and the replica that led before may have finished or suspended what it still
/// shows running: jobs that are older than this moment are read before anything is done about them, and pods that ended
/// before they are counted. Without an answer that is all of them.
pub(crate) async fn doubt_what_is_older(options: &Options, context: &Context) {
    let now = ListParams::default().limit(1);
    let version = match timeout(KNOWN_WITHIN, options.jobs(&context.client).list_metadata(&now)).await {
        Ok(Ok(list)) => list.metadata.resource_version.and_then(|version| version.parse().ok()),
        Ok(Err(error)) => {
            warn!(error = with_causes(&error), "{UNKNOWN}");
            None
        }
        Err(_) => {
            warn!(seconds = KNOWN_WITHIN.as_secs(), "{UNKNOWN}");
            None
        }
    };
    context.index.take_over(version.unwrap_or(u64::MAX));
}

/// Gives our labels to what the operators before this one made for jobs and did not label so: without them our watches
/// do not show it. What a job that runs is to have is met when it is to be created; an autoscaler of a job that is
/// suspended or has finished would stay, and so would the pods of a job whose deadline is over when it is taken over.
pub(crate) async fn label_children(options: &Options, context: &Context) {
    let jobs = context.index.jobs();
    while let Err(error) = label_all(&context.client, options.namespace.as_deref(), jobs).await {
        warn!(
            error = with_causes(&error),
            "cannot look for what operators before this one made; trying again"
        );
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// What was made without our labels: Kubeflow's autoscalers, which have none, and pods and services of the legacy
/// pytorch-operator, by the one label that all its versions gave.
const MADE_BEFORE: [(ChildKind, &str); 3] = [
    (ChildKind::HorizontalPodAutoscaler, ""),
    (ChildKind::Pod, "pytorch-job-name,"),
    (ChildKind::Service, "pytorch-job-name,"),
];

async fn label_all(client: &Client, namespace: Option<&str>, jobs: &Jobs) -> kube::Result<()> {
    for (kind, bearing) in MADE_BEFORE {
        let api: Api<ObjectView> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        let not_ours = format!("{bearing}{}!={}", names::LABEL_OPERATOR_NAME, names::CONTROLLER_NAME);
        let mut page = ListParams::default().labels(&not_ours).limit(PAGE);
        loop {
            let list = api.list_metadata(&page).await?;
            for object in &list.items {
                label(client, kind, &object.metadata, jobs).await?;
            }
            match list.metadata.continue_ {
                Some(next) if !next.is_empty() => page = page.continue_token(&next),
                _ => break,
            }
        }
    }
    Ok(())
}

/// Labels one of them. That it is gone, replaced or refused must not keep the others from their labels; an API server
/// that is in trouble or busy is an error.
async fn label(client: &Client, kind: ChildKind, object: &ObjectMeta, jobs: &Jobs) -> kube::Result<()> {
    let Some(labels) = labels(kind, object, jobs) else {
        return Ok(());
    };
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let name = object.name.as_deref().unwrap_or_default();
    let patch = Patch::Merge(json!({ "metadata": { "uid": object.uid, "labels": labels } }));
    let api = Api::<ObjectView>::namespaced_with(client.clone(), namespace, &kind);
    match api.patch_metadata(name, &PatchParams::default(), &patch).await {
        Ok(_) => info!(%kind, namespace, name, "labelled what an operator before this one made"),
        Err(error) if is_final(&error) => warn!(%kind, namespace, name, error = with_causes(&error), "cannot label"),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The labels of an object that a job controls. Pods and services that the legacy operator left to a job when it ended
/// stay as they are: it decided about them.
fn labels(kind: ChildKind, object: &ObjectMeta, jobs: &Jobs) -> Option<Map<String, Value>> {
    let owner = job_of(object)?;
    if kind == ChildKind::HorizontalPodAutoscaler {
        return Some(child_labels(&owner.name, ChildRef::of_job(kind)));
    }
    let replica = Replica::parse(&owner.name, object.name.as_deref()?)?;
    let job = jobs.get(&NamespacedName::new(object.namespace.as_deref()?, &owner.name))?;
    let ended_before = job
        .status()
        .is_some_and(|status| finished(status) && status.observed_generation.is_none());
    (!ended_before && job.uid() == owner.uid).then(|| child_labels(&owner.name, ChildRef::of_replica(kind, replica)))
}

/// Whether the same request would be answered in the same way.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;

    use super::*;

    /// Two autoscalers of Kubeflow's operator.
    fn autoscalers() -> Value {
        let autoscaler = |name: &str| {
            let owner = json!({
                "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": name, "uid": name, "controller": true,
            });
            json!({ "metadata": { "name": name, "namespace": "ns", "uid": name, "ownerReferences": [owner] } })
        };
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
            "items": [autoscaler("one"), autoscaler("other")],
        })
    }

    /// Labels them on an API server that answers the attempts with these codes, and says which were tried.
    async fn label(codes: &[u16]) -> (kube::Result<()>, Vec<String>) {
        let left = Arc::new(Mutex::new(codes.iter().rev().copied().collect::<Vec<_>>()));
        let tried = Arc::<Mutex<Vec<String>>>::default();
        let server = (left, tried.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (left, tried) = server.clone();
            async move {
                let (code, answer) = if *request.method() == Method::GET {
                    (200, autoscalers())
                } else {
                    let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
                    tried.lock().unwrap().push(name);
                    let code = left.lock().unwrap().pop().unwrap();
                    let failure = kube::core::Status::failure("no", "No").with_code(code);
                    let stored =
                        json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {} });
                    (
                        code,
                        if code == 200 {
                            stored
                        } else {
                            serde_json::to_value(failure).unwrap()
                        },
                    )
                };
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let result = label_all(&Client::new(service, "default"), None, &Jobs::default()).await;
        let names = tried.lock().unwrap().clone();
        (result, names)
    }

    #[tokio::test]
    async fn what_is_refused_is_passed_over_and_an_api_server_in_trouble_is_asked_again() {
        for refused in [404, 409, 422] {
            let (result, tried) = label(&[refused, 200]).await;
            assert!(result.is_ok(), "{refused}: {result:?}");
            assert_eq!(tried, ["one", "other"], "{refused}");
        }
        for trouble in [429, 500, 503] {
            let (result, _) = label(&[trouble, 200]).await;
            assert!(result.is_err(), "{trouble}");
        }
    }
}
