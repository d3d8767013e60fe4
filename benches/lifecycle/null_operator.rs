//! The limit that the API server sets: the same writes, and nothing that decides about them.
//!
//! It sends for each job what an operator cannot do without: the pods and services, all at once, the status when the
//! job has started, runs and has succeeded, and one event each about the pods and the success. It keeps no cache,
//! compares nothing, and is bound to no resourceVersion; and its jobs are of a definition that checks nothing
//! ([`crate::definition::bare_beside`]), so that what ours costs is not in the limit. The bodies of pods and services
//! come from the planner, so that the API server has the same to admit and to store; the pods' phases come from the
//! recorder, whose watches run for both operators alike.

use futures::{TryStreamExt, stream};
use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::DynamicObject;
use kube::{Client, Resource};
use pytorchjob_operator::api::{ChildKind, ChildRef, JobStatus, PyTorchJob, Replica, ReplicaType, names, shortened};
use pytorchjob_operator::planner::{self, Builder, Phase, Settings, World};
use pytorchjob_operator::platform::clock;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::Result;
use crate::definition::bare_jobs;
use crate::jobs::post;
use crate::recorder::Recorder;

/// Brings one job from its creation to its success.
pub async fn run(client: &Client, recorder: &Recorder, job: &PyTorchJob) -> Result<()> {
    let metadata = &job.metadata;
    let (namespace, name) = (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    );
    let replicas = replicas(job);
    let writes = Writes { client, namespace, job };
    let mut status = writes.start(&replicas).await?;
    recorder
        .wait(namespace, name, |seen| {
            seen.pods.len() == replicas.len() && seen.count("Pending") == 0
        })
        .await?;
    status = writes.status(status, &replicas, Phase::Running).await?;
    let master = Replica::new(ReplicaType::Master, 0).name(name);
    recorder
        .wait(namespace, name, |seen| {
            seen.pods.get(&master).is_some_and(|phase| phase == "Succeeded")
        })
        .await?;
    writes.status(status, &replicas, Phase::Succeeded).await?;
    writes.event(names::reason::SUCCEEDED, &replicas).await
}

/// Brings one job to where all its pods and services are there, and its status says so.
pub async fn start(client: &Client, job: &PyTorchJob) -> Result<()> {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let writes = Writes { client, namespace, job };
    writes.start(&replicas(job)).await.map(drop)
}

/// What the job asks for, the Master first.
pub fn replicas(job: &PyTorchJob) -> Vec<(ReplicaType, u32)> {
    let of = |role| (0..job.spec.replicas(role)).map(move |index| (role, index));
    ReplicaType::ALL.into_iter().flat_map(of).collect()
}

/// Bytes of a note that the API server takes.
const EVENT_NOTE: usize = 1_024;
/// Requests of a job under way at once, in pairs of a pod and its service.
const PAIRS: usize = 32;

struct Writes<'a> {
    client: &'a Client,
    namespace: &'a str,
    job: &'a PyTorchJob,
}

impl Writes<'_> {
    async fn start(&self, replicas: &[(ReplicaType, u32)]) -> Result<JobStatus> {
        self.children(replicas).await?;
        let status = self.status(JobStatus::default(), replicas, Phase::Pending).await?;
        self.event(names::reason::CREATED_POD, replicas).await?;
        Ok(status)
    }

    async fn children(&self, replicas: &[(ReplicaType, u32)]) -> Result<()> {
        let settings = Settings::default();
        let builder = Builder::new(self.job, &settings);
        let (pods, services) = (
            Pod::url_path(&(), Some(self.namespace)),
            Service::url_path(&(), Some(self.namespace)),
        );
        stream::iter(replicas.iter().map(Ok))
            .try_for_each_concurrent(PAIRS, async |&(role, index)| {
                let replica = Replica::new(role, index);
                let (pod, service) = (
                    built(&builder, ChildKind::Pod, replica)?,
                    built(&builder, ChildKind::Service, replica)?,
                );
                tokio::try_join!(
                    post::<IgnoredAny>(self.client, &pods, &pod),
                    post::<IgnoredAny>(self.client, &services, &service),
                )
                .map(drop)
            })
            .await
    }

    /// Stores the status that the planner wants for pods that are all in this phase, and returns it.
    async fn status(&self, stored: JobStatus, replicas: &[(ReplicaType, u32)], phase: Phase) -> Result<JobStatus> {
        let status = wanted_status(self.job, stored, replicas, phase)?;
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        let jobs = DynamicObject::url_path(&bare_jobs(), Some(self.namespace));
        let url = format!("{jobs}/{name}/status");
        let patch = json!([{ "op": "add", "path": "/status", "value": status }]);
        let request = http::Request::patch(url)
            .header(CONTENT_TYPE, "application/json-patch+json")
            .body(serde_json::to_vec(&patch)?)?;
        self.client.request::<IgnoredAny>(request).await?;
        Ok(status)
    }

    async fn event(&self, reason: &str, replicas: &[(ReplicaType, u32)]) -> Result<()> {
        let regarding = self.job.object_ref(&());
        let now = clock::now();
        let job_name = self.job.metadata.name.as_deref().unwrap_or_default();
        let names: Vec<String> = replicas
            .iter()
            .map(|&(role, index)| Replica::new(role, index).name(job_name))
            .collect();
        let event = Event {
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            metadata: ObjectMeta {
                name: Some(format!("{job_name}.{:x}", now.as_nanosecond())),
                namespace: Some(self.namespace.to_owned()),
                ..ObjectMeta::default()
            },
            note: Some(shortened(names.join(", "), EVENT_NOTE)),
            reason: Some(reason.to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some("null-operator".to_owned()),
            reporting_instance: Some("null-operator".to_owned()),
            type_: Some("Normal".to_owned()),
            ..Event::default()
        };
        let url = Event::url_path(&(), Some(self.namespace));
        let event: Value = serde_json::to_value(event)?;
        post::<IgnoredAny>(self.client, &url, &event).await.map(drop)
    }
}

/// The object of a replica, owned by a job of the bare definition.
fn built(builder: &Builder<'_>, kind: ChildKind, replica: Replica) -> Result<Value> {
    let object = builder.build(ChildRef::of_replica(kind, replica));
    let mut object = object.ok_or("every replica has both")?;
    object["metadata"]["ownerReferences"][0]["apiVersion"] = json!(bare_jobs().api_version);
    Ok(object)
}

/// The status that the planner wants after the stored one, for pods that are all in this phase.
pub fn wanted_status(
    job: &PyTorchJob,
    stored: JobStatus,
    replicas: &[(ReplicaType, u32)],
    phase: Phase,
) -> Result<JobStatus> {
    let job = PyTorchJob {
        status: Some(stored),
        ..job.clone()
    };
    let job_name = job.metadata.name.as_deref().unwrap_or_default();
    let name = |&(role, index): &(ReplicaType, u32)| Replica::new(role, index).name(job_name);
    let pods: Vec<planner::Pod> = replicas
        .iter()
        .map(|replica| planner::Pod {
            name: name(replica),
            phase,
            ..planner::Pod::default()
        })
        .collect();
    let services: Vec<planner::Child> = replicas
        .iter()
        .map(|replica| planner::Child {
            kind: ChildKind::Service,
            name: name(replica),
            uid: String::new(),
            terminating: false,
            pod_group: None,
            autoscaler: None,
        })
        .collect();
    let plan = planner::plan(&World {
        job: &job,
        pods: &pods,
        others: &services,
        refusal: None,
        definition_may_differ: false,
        compared_generation: None,
        settings: &Settings::default(),
        now: clock::now(),
    });
    let write = plan.status.ok_or("the planner wants no status for a changed world")?;
    Ok(write.status)
}
