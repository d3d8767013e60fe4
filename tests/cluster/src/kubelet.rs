//! Playing the kubelet: pod status by the hand of a test, on a cluster without nodes, or on an existing one for pods
//! whose `schedulerName` is nobody's.
//!
//! A pod that is not bound to a node, or that has ended, vanishes at once when it is deleted. One that is bound
//! ([`bind_pod`]) stays, terminating, until [`remove_pod`].

use k8s_openapi::api::core::v1::{
    Binding, Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStatus,
    ObjectReference, Pod, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::Error;

/// What a kubelet reports of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPhase {
    /// All containers run and are ready.
    Running,
    /// All containers have ended with 0.
    Succeeded,
    /// All containers have ended with `exit_code`.
    Failed {
        /// Exit code of every container.
        exit_code: i32,
        /// Reason of the termination, for example `Error` or `OOMKilled`.
        reason: String,
        /// Termination message; may be empty.
        message: String,
    },
    /// The pod has failed as a whole, and no container tells why: evicted, preempted, node gone.
    Evicted {
        /// Reason of the pod, for example `Evicted` or `NodeLost`.
        reason: String,
        /// Message of the pod.
        message: String,
    },
}

/// Writes the status of a pod: its phase, and a status for each of its containers. The first one has the restarts.
pub async fn set_pod_phase(
    client: &Client,
    namespace: &str,
    name: &str,
    phase: &PodPhase,
    restart_count: i32,
) -> Result<Pod, Error> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let attempt = format!("set the status of Pod {namespace}/{name}");
    let pod = api.get(name).await.map_err(Error::kube(attempt.as_str()))?;
    let status = status(&pod, phase, restart_count);
    let patch = json!({ "status": status });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(Error::kube(attempt))
}

/// Binds a pod to a node, as a scheduler does. No such node has to exist.
///
/// Returns when the cache of the API server has it too. A deletion begins with the pod as that cache has it: of one
/// without a node it takes the grace period away, and keeps to that when it finds the node on its second look.
pub async fn bind_pod(client: &Client, namespace: &str, name: &str, node: &str) -> Result<(), Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let attempt = format!("bind Pod {namespace}/{name} to {node}");
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let bound = async {
        api.create_subresource::<_, Value>("binding", name, &PostParams::default(), &binding)
            .await?;
        let version = api.get_metadata(name).await?.resource_version().unwrap_or_default();
        api.get_metadata_with(name, &GetParams::at(&version)).await
    };
    bound.await.map(drop).map_err(Error::kube(attempt))
}

/// Removes a pod at once, as a kubelet does when the containers of a deleted pod have ended.
pub async fn remove_pod(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let now = DeleteParams::default().grace_period(0);
    api.delete(name, &now)
        .await
        .map(drop)
        .map_err(Error::kube(format!("remove Pod {namespace}/{name}")))
}

fn status(pod: &Pod, phase: &PodPhase, restart_count: i32) -> PodStatus {
    let name = match phase {
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed { .. } | PodPhase::Evicted { .. } => "Failed",
    };
    let ready = *phase == PodPhase::Running;
    let (reason, message) = match phase {
        PodPhase::Evicted { reason, message } => (Some(reason.clone()), Some(message.clone())),
        _ => (None, None),
    };
    let conditions = ["Initialized", "Ready", "ContainersReady"].map(|type_| PodCondition {
        type_: type_.to_owned(),
        status: if ready || type_ == "Initialized" {
            "True"
        } else {
            "False"
        }
        .to_owned(),
        last_transition_time: Some(now()),
        ..PodCondition::default()
    });
    PodStatus {
        phase: Some(name.to_owned()),
        reason,
        message,
        start_time: pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.clone())
            .or_else(|| Some(now())),
        conditions: Some(conditions.to_vec()),
        container_statuses: container_statuses(pod, phase, restart_count),
        ..PodStatus::default()
    }
}

fn container_statuses(pod: &Pod, phase: &PodPhase, restart_count: i32) -> Option<Vec<ContainerStatus>> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
    let status = |(index, container): (usize, &Container)| {
        let state = container_state(phase, started(pod, &container.name))?;
        let running = state.running.is_some();
        Some(ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            ready: running,
            started: Some(running),
            restart_count: if index == 0 { restart_count } else { 0 },
            state: Some(state),
            resources: container.resources.clone(),
            ..ContainerStatus::default()
        })
    };
    containers.unwrap_or_default().iter().enumerate().map(status).collect()
}

/// When a container that runs was started.
fn started(pod: &Pod, container: &str) -> Option<Time> {
    let mut containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    let status = containers.find(|status| status.name == container)?;
    status.state.as_ref()?.running.as_ref()?.started_at.clone()
}

fn container_state(phase: &PodPhase, started: Option<Time>) -> Option<ContainerState> {
    let terminated = |exit_code, reason: &str, message: Option<&str>| ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code,
            reason: Some(reason.to_owned()),
            message: message.filter(|message| !message.is_empty()).map(str::to_owned),
            started_at: started.clone().or_else(|| Some(now())),
            finished_at: Some(now()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    };
    match phase {
        PodPhase::Running => Some(ContainerState {
            running: Some(ContainerStateRunning {
                started_at: started.or_else(|| Some(now())),
            }),
            ..ContainerState::default()
        }),
        PodPhase::Succeeded => Some(terminated(0, "Completed", None)),
        PodPhase::Failed {
            exit_code,
            reason,
            message,
        } => Some(terminated(*exit_code, reason, Some(message))),
        PodPhase::Evicted { .. } => None,
    }
}

#[expect(clippy::disallowed_methods, reason = "a kubelet reports what its own clock says")]
fn now() -> Time {
    Time(Timestamp::now())
}
