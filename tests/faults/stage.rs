//! What a scenario can do and see.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{PodPhase, set_pod_phase};
use serde_json::{Value, json};

use crate::job::Job;
use crate::observer::{Kind, Space, State};
use crate::replica::Replica;
use crate::rig::{create, failed};

/// The name of the job of every plan.
pub const JOB: &str = "job";
/// Longest wait for one step of a scenario: back-off, the end of a lease, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A scenario waited in vain.
#[derive(Debug)]
pub struct Stuck(pub String);

/// A namespace with its replicas of the operator.
pub struct Stage {
    pub space: Arc<Space>,
    pub client: Client,
    pub namespace: String,
    pub replicas: Vec<Arc<Replica>>,
}

impl Stage {
    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create(&self, job: &Value) {
        create(&self.client, &self.namespace, job).await.unwrap();
    }

    /// An edit by a user.
    pub async fn edit(&self, patch: &Value) -> i64 {
        let parameters = PatchParams::default();
        let edited = self.jobs().patch(JOB, &parameters, &Patch::Merge(patch)).await.unwrap();
        edited.metadata.generation.unwrap()
    }

    pub async fn delete(&self) {
        // It may have been deleted already.
        let _deleted = self.jobs().delete(JOB, &DeleteParams::background()).await;
    }

    /// Waits until something holds of what is stored.
    pub async fn wait(&self, what: &str, holds: impl Fn(&State) -> bool) -> Result<(), Stuck> {
        if self.space.wait(PATIENCE, holds).await {
            return Ok(());
        }
        Err(Stuck(format!(
            "L1: waited for {what} in vain\n{}",
            describe(&self.space.state())
        )))
    }

    /// Waits until the job runs with so many pods, all of which run and none of which is one of `old`, and a service of
    /// each.
    pub async fn running(&self, pods: usize, old: &[String]) -> Result<(), Stuck> {
        let what = format!("the job to run with {pods} pods");
        self.wait(&what, |state| {
            let running =
                |pod: &Value| pod["status"]["phase"] == "Running" && !is_deleted(pod) && !old.contains(&uid(pod));
            is(state, "Running")
                && state.all(Kind::Pod).filter(|(_, pod)| running(pod)).count() == pods
                && state
                    .all(Kind::Service)
                    .filter(|(_, service)| !is_deleted(service))
                    .count()
                    == pods
                && state
                    .get(Kind::Job, JOB)
                    .is_some_and(|job| job["status"]["ready"] == format!("{pods}/{pods}"))
        })
        .await
    }

    pub async fn finished(&self) -> Result<(), Stuck> {
        let finished = |state: &State| is(state, "Succeeded") || is(state, "Failed");
        self.wait("the job to finish", finished).await
    }

    /// The containers of a replica's pod end with this code.
    pub async fn exit(&self, replica: &str, code: i32) {
        let phase = if code == 0 { PodPhase::Succeeded } else { failed(code) };
        let pod = format!("{JOB}-{replica}");
        let state = self.space.state();
        let before = state.get(Kind::Pod, &pod).map_or(0, restarts);
        set_pod_phase(&self.client, &self.namespace, &pod, &phase, before)
            .await
            .unwrap();
    }

    /// The container of a replica's pod fails, and waits to be started again in it.
    pub async fn fail_in_place(&self, replica: &str) {
        let now = Time(clock::now());
        let end = json!({ "exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now });
        let set = |field: &str, value: Value| {
            let path = format!("/status/containerStatuses/0/{field}");
            json!({ "op": "replace", "path": path, "value": value })
        };
        let patch = serde_json::from_value(json!([
            set("ready", json!(false)),
            set("state", json!({ "terminated": end })),
        ]));
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let (pod, parameters) = (format!("{JOB}-{replica}"), PatchParams::default());
        pods.patch_status(&pod, &parameters, &Patch::Json::<()>(patch.unwrap()))
            .await
            .unwrap();
    }

    /// The UIDs of the pods that there are.
    pub fn pods(&self) -> Vec<String> {
        self.space.state().all(Kind::Pod).map(|(_, pod)| uid(pod)).collect()
    }

    /// The UID of a replica's pod.
    pub fn pod(&self, replica: &str) -> Vec<String> {
        let state = self.space.state();
        let pod = state.get(Kind::Pod, &format!("{JOB}-{replica}"));
        pod.into_iter().map(uid).collect()
    }
}

pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// How often the container of a pod was started again.
pub fn restarts(pod: &Value) -> i32 {
    let count = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
    count.and_then(|count| count.try_into().ok()).unwrap_or(0)
}

pub fn is_deleted(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// A stored time, in seconds since the epoch.
pub fn second(time: &Value) -> Option<i64> {
    Some(time.as_str()?.parse::<Timestamp>().ok()?.as_second())
}

/// Whether a condition of the job is True.
pub fn is(state: &State, condition: &str) -> bool {
    let job = state.get(Kind::Job, JOB);
    job.is_some_and(|job| has(job, condition))
}

/// The same of a job at hand.
pub fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions
        .iter()
        .any(|entry| entry["type"] == condition && entry["status"] == "True")
}

/// What is stored, in short.
fn describe(state: &State) -> String {
    let job = state.get(Kind::Job, JOB);
    let job = job.map_or_else(
        || "no job".to_owned(),
        |job| format!("generation {} status {}", job["metadata"]["generation"], job["status"]),
    );
    let line = |kind: Kind, (name, object): (&str, &Value)| {
        let (phase, deleted) = (&object["status"]["phase"], is_deleted(object));
        format!("{kind:?} {name} {} {phase} deleted: {deleted}", uid(object))
    };
    let kinds = [Kind::Pod, Kind::Service, Kind::Group].into_iter();
    let children = kinds.flat_map(|kind| state.all(kind).map(move |child| line(kind, child)));
    iter::once(job).chain(children).collect::<Vec<_>>().join("\n")
}
