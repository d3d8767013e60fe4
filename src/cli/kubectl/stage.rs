//! How far a pod has come.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use serde_json::Value;

use crate::api::names;
use crate::cache::ObjectView;
use crate::cli::kubectl::pod::{Pod, training};

/// What the kubelet says of a container that it has yet to start: its image is pulled in this time.
const CREATING: &str = "ContainerCreating";
/// What it says after an attempt to pull and until the next one.
const PULL_FAILED: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// A stretch of the life of a pod or of a job, in the order in which pods go through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has no node.
    Queued,
    /// It has a node, where volumes, network and containers are made.
    Scheduled,
    /// An image is pulled.
    Pulling,
    /// An init container runs.
    Initializing,
    /// The container that trains runs.
    Running,
    /// That container has ended, and the kubelet is about to start it again.
    Restarting,
    /// A job has no pods, because it is suspended.
    Suspended,
    /// Its deletion has begun.
    Terminating,
    /// All containers have ended well.
    Succeeded,
    /// It has ended otherwise.
    Failed,
}

impl Stage {
    /// All of them.
    pub(super) const ALL: [Self; 10] = [
        Self::Queued,
        Self::Scheduled,
        Self::Pulling,
        Self::Initializing,
        Self::Running,
        Self::Restarting,
        Self::Suspended,
        Self::Terminating,
        Self::Succeeded,
        Self::Failed,
    ];

    /// As people call it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Pulling => "pulling",
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Suspended => "suspended",
            Self::Terminating => "terminating",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Of a pod as it is now.
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let scheduled = pod.spec.node_name.is_some();
        match status.phase.as_deref() {
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            _ if pod.metadata.deletion_timestamp.is_some() => Self::Terminating,
            Some("Running") if trains(&status) => Self::Running,
            Some("Running") => Self::Restarting,
            _ if !scheduled => Self::Queued,
            _ if init_container_runs(&status) => Self::Initializing,
            _ if pulls(&status) => Self::Pulling,
            _ => Self::Scheduled,
        }
    }
}

/// A pod of a job as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodNow {
    /// Name of its job, as its label says.
    pub job: String,
    /// How far it has come.
    pub stage: Stage,
    /// Whether the kubelet calls it ready, or it has succeeded.
    pub ready: bool,
    /// What keeps it, in the scheduler's or the kubelet's word.
    pub trouble: Option<&'static str>,
}

impl PodNow {
    /// Reads a pod; nothing if it cannot be decoded.
    pub(super) fn of(pod: &Value) -> Option<Self> {
        let view: ObjectView = serde_json::from_value(pod.clone()).ok()?;
        let fact = view.observe_pod().fact;
        let pod: Pod = serde_json::from_value(pod.clone()).ok()?;
        let stage = Stage::of(&pod);
        let job = pod.metadata.labels.as_ref()?.get(names::LABEL_JOB_NAME)?.clone();
        Some(Self {
            job,
            stage,
            ready: matches!(stage, Stage::Running | Stage::Succeeded) && !fact.unready,
            trouble: fact.trouble.map(|trouble| trouble.reason),
        })
    }
}

/// Whether the container that trains runs, or has done its work while another one goes on.
fn trains(status: &PodStatus) -> bool {
    let state = training(status).and_then(|container| container.state.as_ref());
    state.is_none_or(|state| {
        let failed = state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
        state.waiting.is_none() && !failed
    })
}

fn init_container_runs(status: &PodStatus) -> bool {
    let containers = status.init_container_statuses.iter().flatten();
    containers
        .filter_map(|container| container.state.as_ref())
        .any(|state| state.running.is_some())
}

/// Whether an image is pulled, or will be after a failure. The kubelet has no word for it, but once the sandbox of a
/// pod is ready nothing else takes time before a container starts.
fn pulls(status: &PodStatus) -> bool {
    let conditions = status.conditions.iter().flatten();
    let mut sandbox = conditions.filter(|entry| entry.type_ == "PodReadyToStartContainers");
    let ready = sandbox.any(|entry| entry.status == "True");
    let init = status.init_container_statuses.iter().flatten();
    let mut reasons = init
        .chain(status.container_statuses.iter().flatten())
        .filter_map(waits_for);
    reasons.any(|reason| PULL_FAILED.contains(&reason) || (ready && reason == CREATING))
}

fn waits_for(container: &ContainerStatus) -> Option<&str> {
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &Value, node: Option<&str>, deleted: bool) -> Value {
        let deletion = deleted.then_some("2026-01-01T00:00:00Z");
        json!({
            "metadata": { "name": "train-worker-0", "deletionTimestamp": deletion,
                "labels": { names::LABEL_JOB_NAME: "train" } },
            "spec": { "nodeName": node, "containers": [{ "name": "pytorch" }] },
            "status": status,
        })
    }

    #[test]
    fn a_pod_is_as_far_as_scheduler_and_kubelet_say() {
        let waits = |reason: &str| {
            json!([{ "name": "pytorch", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": { "waiting": { "reason": reason } } }])
        };
        let runs = |name: &str| {
            json!([{ "name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }])
        };
        let ended = |code: i32| {
            json!([{ "name": "pytorch", "image": "i", "imageID": "", "ready": false,
            "restartCount": 1, "state": { "terminated": { "exitCode": code } } }])
        };
        let sandbox = json!([{ "type": "PodReadyToStartContainers", "status": "True" }]);
        let node = Some("node-0");
        for (status, node, deleted, stage, trouble) in [
            (json!({}), None, false, Stage::Queued, None),
            (
                json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }] }),
                None,
                false,
                Stage::Queued,
                Some("Unschedulable"),
            ),
            (json!({ "phase": "Pending" }), node, false, Stage::Scheduled, None),
            (
                json!({ "phase": "Pending", "containerStatuses": waits("ContainerCreating") }),
                node,
                false,
                Stage::Scheduled,
                None,
            ),
            (
                json!({ "phase": "Pending", "containerStatuses": waits("ContainerCreating"), "conditions": sandbox }),
                node,
                false,
                Stage::Pulling,
                None,
            ),
            (
                json!({ "phase": "Pending", "containerStatuses": waits("ErrImagePull") }),
                node,
                false,
                Stage::Pulling,
                Some("ImagePullBackOff"),
            ),
            (
                json!({ "phase": "Pending", "initContainerStatuses": runs("init-pytorch"), "conditions": sandbox,
                "containerStatuses": waits("PodInitializing") }),
                node,
                false,
                Stage::Initializing,
                None,
            ),
            (
                json!({ "phase": "Running", "containerStatuses": runs("pytorch") }),
                node,
                false,
                Stage::Running,
                None,
            ),
            (
                json!({ "phase": "Running", "containerStatuses": ended(0) }),
                node,
                false,
                Stage::Running,
                None,
            ),
            (
                json!({ "phase": "Running", "containerStatuses": ended(1) }),
                node,
                false,
                Stage::Restarting,
                Some("CrashLoopBackOff"),
            ),
            (
                json!({ "phase": "Running", "containerStatuses": runs("pytorch") }),
                node,
                true,
                Stage::Terminating,
                None,
            ),
            (json!({ "phase": "Succeeded" }), node, false, Stage::Succeeded, None),
            (json!({ "phase": "Failed" }), node, true, Stage::Failed, None),
        ] {
            let now = PodNow::of(&pod(&status, node, deleted)).unwrap();
            assert_eq!((now.stage, now.trouble), (stage, trouble), "{status}");
        }
        assert_eq!(
            PodNow::of(&json!({ "metadata": {}, "spec": { "containers": [] } })),
            None,
            "nobody's pod"
        );
    }
}
