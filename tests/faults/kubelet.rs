//! Everybody else in the namespace of a plan: scheduler, kubelet and gang scheduler. They look at what is stored and do
//! what is to be done, whatever happened before.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use pytorchjob_operator::api::names;
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{PodPhase, bind_pod, set_pod_phase};
use serde_json::{Value, json};

use crate::observer::{Kind, Space, State};
use crate::policies::{LOST, PENDING};
use crate::stage::{JOB, restarts, uid};

/// What is to be done with an object, once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// Bind a pod.
    Bind(String),
    /// Let a pod run.
    Run(String),
    /// Start the container of a pod, which has been started again so often, with these resources.
    Start(String, i32, String),
    /// The containers of a pod have been stopped.
    Remove(String),
    /// Volcano lets a group's pods be created.
    Admit(String),
}

/// Acts until it is dropped.
pub async fn act(space: Arc<Space>, client: Client, namespace: String) {
    let mut done = HashSet::new();
    let mut changes = space.changes();
    loop {
        changes.borrow_and_update();
        let state = space.state();
        for (uid, task) in tasks(&state) {
            if done.contains(&(uid.clone(), task.clone())) {
                continue;
            }
            // What fails was overtaken by a change, which is looked at next.
            if carry_out(&client, &namespace, &uid, &task).await {
                done.insert((uid, task));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn tasks(state: &State) -> Vec<(String, Task)> {
    let job = state.get(Kind::Job, JOB);
    let told = |annotation: &str, what: &str| job.is_some_and(|job| job["metadata"]["annotations"][annotation] == what);
    let pods = state.all(Kind::Pod).filter_map(|(name, pod)| {
        if told(LOST, &uid(pod)) {
            return None;
        }
        let pending = told(PENDING, name);
        let name = name.to_owned();
        let bound = pod["spec"]["nodeName"].is_string();
        let task = if pod["metadata"]["deletionTimestamp"].is_string() {
            Task::Remove(name)
        } else if !bound {
            Task::Bind(name)
        } else if pending {
            return None;
        } else if pod["status"]["phase"] == "Pending" {
            Task::Run(name)
        } else {
            Task::Start(name, restarts(pod), changed(pod)?.to_string())
        };
        Some((uid(pod), task))
    });
    let groups = state.all(Kind::Group).filter_map(|(name, group)| {
        let waits = group["status"]["phase"].as_str().is_none_or(|phase| phase == "Pending");
        waits.then(|| (uid(group), Task::Admit(name.to_owned())))
    });
    pods.chain(groups).collect()
}

/// What the container of a running pod is to run with and does not, if the pod may start again in place.
fn changed(pod: &Value) -> Option<&Value> {
    let wanted = &pod["spec"]["containers"][0]["resources"];
    let has = &pod["status"]["containerStatuses"][0]["resources"];
    let running = pod["status"]["phase"] == "Running";
    (running && !pod["metadata"]["annotations"][names::ANNOTATION_IN_PLACE].is_null() && has != wanted)
        .then_some(wanted)
}

/// Starts the container of a pod again, with what it is to have.
async fn start(client: &Client, namespace: &str, pod: &str) -> Result<(), kube::Error> {
    let pods = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &Kind::Pod.resource());
    let now = serde_json::to_value(pods.get(pod).await?).map_err(kube::Error::SerdeError)?;
    let Some(resources) = changed(&now) else { return Ok(()) };
    let time = Time(clock::now());
    let mut container = now["status"]["containerStatuses"][0].clone();
    let failed = Some(&container["state"]).filter(|state| !state["terminated"].is_null());
    let stopped = || json!({ "terminated": { "exitCode": 143, "startedAt": time, "finishedAt": time } });
    container["lastState"] = failed.cloned().unwrap_or_else(stopped);
    container["state"] = json!({ "running": { "startedAt": time } });
    container["restartCount"] = json!(restarts(&now) + 1);
    container["ready"] = json!(true);
    container["resources"] = resources.clone();
    let status = json!({
        "metadata": { "uid": now["metadata"]["uid"], "resourceVersion": now["metadata"]["resourceVersion"] },
        "status": { "containerStatuses": [container] },
    });
    pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    Ok(())
}

async fn carry_out(client: &Client, namespace: &str, uid: &str, task: &Task) -> bool {
    match task {
        Task::Bind(pod) => bind_pod(client, namespace, pod, "node").await.is_ok(),
        Task::Run(pod) => set_pod_phase(client, namespace, pod, &PodPhase::Running, 0)
            .await
            .is_ok(),
        Task::Start(pod, ..) => start(client, namespace, pod).await.is_ok(),
        Task::Remove(pod) => {
            let this = Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            };
            let now = DeleteParams::default().grace_period(0).preconditions(this);
            Api::<Pod>::namespaced(client.clone(), namespace)
                .delete(pod, &now)
                .await
                .is_ok()
        }
        Task::Admit(group) => {
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &Kind::Group.resource());
            let status = json!({ "metadata": { "uid": uid }, "status": { "phase": "Inqueue" } });
            let parameters = PatchParams::default();
            api.patch_status(group, &parameters, &Patch::Merge(&status))
                .await
                .is_ok()
        }
    }
}
