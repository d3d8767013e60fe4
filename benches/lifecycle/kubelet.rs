//! The kubelets of the pods of a namespace, which do what is asked at once and for as few requests as possible: one for
//! a container that starts, or starts again because its resources were changed, and one for a pod that was deleted.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use pytorchjob_operator::api::names;
use pytorchjob_operator::platform::clock;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::Result;
use crate::jobs::{IN_FLIGHT, delete, patch, post};

/// The node that the pods are bound to.
pub const NODE: &str = "played";

/// Registers the node, with room for any number of pods: the API server looks at it when it resizes one.
pub async fn register(client: &Client) -> Result<()> {
    let room = json!({ "cpu": "100k", "memory": "1Pi", "pods": "100k" });
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": NODE },
        "status": { "allocatable": room, "capacity": room },
    });
    post::<IgnoredAny>(client, &Node::url_path(&(), None), &node).await?;
    Ok(())
}

/// Dropping it ends them.
pub struct Kubelets {
    starts: watch::Receiver<u32>,
    _task: AbortOnDropHandle<()>,
}

impl Kubelets {
    /// Of pods that have one container and are bound to [`NODE`].
    pub fn start(client: &Client, namespace: &str) -> Self {
        let (count, starts) = watch::channel(0);
        let (client, namespace) = (client.clone(), namespace.to_owned());
        let task = async move {
            if let Err(error) = play(&client, &namespace, &count).await {
                eprintln!("the kubelets of {namespace} have stopped: {error}");
            }
        };
        Self {
            starts,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// Waits until they have started so many containers, from the beginning.
    pub async fn started(&self, count: u32) -> Result<()> {
        self.starts.clone().wait_for(|&starts| starts >= count).await?;
        Ok(())
    }
}

/// Lets the container of a pod fail. The pod fails with it unless it is restarted in its pod.
pub async fn fail(client: &Client, namespace: &str, pod: &str, pod_fails: bool) -> Result<()> {
    let now = Time(clock::now());
    let end = json!({ "exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now });
    let phase = if pod_fails { "Failed" } else { "Running" };
    let operations = json!([
        { "op": "replace", "path": "/status/phase", "value": phase },
        { "op": "replace", "path": "/status/containerStatuses/0/state", "value": { "terminated": end } },
    ]);
    let url = Pod::url_path(&(), Some(namespace));
    patch(client, &format!("{url}/{pod}/status"), &operations).await
}

async fn play(client: &Client, namespace: &str, starts: &watch::Sender<u32>) -> Result<()> {
    let url = Pod::url_path(&(), Some(namespace));
    let pods = Api::<PodView>::namespaced(client.clone(), namespace);
    let pods = watcher(pods, watcher::Config::default()).applied_objects();
    pods.map_err(Into::into)
        .try_for_each_concurrent(IN_FLIGHT, async |pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                // The API server shows it once more when it removes it.
                if pod.metadata.deletion_grace_period_seconds == Some(0) {
                    return Ok(());
                }
                let this = Preconditions {
                    uid: pod.metadata.uid.clone(),
                    resource_version: None,
                };
                let now = DeleteParams::background().grace_period(0).preconditions(this);
                return delete(client, &url, name, &now).await;
            }
            if let Some(start) = start(&pod) {
                patch(client, &format!("{url}/{name}/status"), &start).await?;
                starts.send_modify(|starts| *starts += 1);
            }
            Ok(())
        })
        .await
}

/// What is reported of a pod whose container starts now, if it does.
fn start(pod: &PodView) -> Option<Value> {
    let container = pod.spec.containers.first()?;
    let before = pod.status.container_statuses.first();
    let restarts = match (pod.status.phase.as_str(), before) {
        ("Pending", _) => 0,
        ("Running", Some(before)) if before.resources != container.resources => before.restart_count + 1,
        _ => return None,
    };
    let now = Time(clock::now());
    let last = before.map(|_| json!({ "terminated": { "exitCode": 143, "startedAt": now, "finishedAt": now } }));
    let status = json!({
        "name": names::CONTAINER,
        "image": "registry.example/gcs/pytorch-cpu:v1",
        "imageID": "",
        "ready": true,
        "started": true,
        "restartCount": restarts,
        "resources": container.resources,
        "state": { "running": { "startedAt": now } },
        "lastState": last.unwrap_or_else(|| json!({})),
    });
    let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": now });
    let set = |path: &str, value: Value| json!({ "op": "add", "path": path, "value": value });
    Some(json!([
        set("/status/phase", json!("Running")),
        set("/status/conditions", json!([ready])),
        set("/status/containerStatuses", json!([status])),
    ]))
}

/// The part of a pod that is read.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "Pod")]
struct PodView {
    metadata: ObjectMeta,
    spec: SpecView,
    status: StatusView,
}

#[derive(Clone, Debug, Deserialize)]
struct SpecView {
    containers: Vec<ContainerView>,
}

#[derive(Clone, Debug, Deserialize)]
struct ContainerView {
    resources: Value,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    phase: String,
    #[serde(default)]
    container_statuses: Vec<ContainerStatusView>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatusView {
    restart_count: i32,
    #[serde(default)]
    resources: Value,
}
