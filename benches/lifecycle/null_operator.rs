//! The limit that the API server sets: the same writes, and nothing that decides about them.
//!
//! It sends for each job what an operator cannot do without: the pods and services, all at once, the status when the
//! job has started, runs and has succeeded, and one event each about the pods and the success. It keeps no cache,
//! compares nothing, and is bound to no resourceVersion. The bodies of pods and services come from the planner, so that
//! the API server has the same to admit and to store; the pods' phases come from the recorder, whose watches run for
//! both operators alike.

use futures::future::try_join_all;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Client, Resource};
use pytorchjob_operator::api::{ChildKind, ChildRef, JobStatus, PyTorchJob, Replica, ReplicaType, names};
use pytorchjob_operator::planner::{self, Builder, Phase, Settings, World};
use pytorchjob_operator::platform::clock;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::Result;
use crate::jobs::post;
use crate::recorder::Recorder;

/// Brings one job from its creation to its success.
pub async fn run(client: &Client, recorder: &Recorder, job: &PyTorchJob) -> Result<()> {
    let metadata = &job.metadata;
    let (namespace, name) = (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    );
    let writes = Writes { client, namespace, job };
    let replicas: Vec<(ReplicaType, u32)> = ReplicaType::ALL
        .into_iter()
        .flat_map(|role| (0..job.spec.replicas(role)).map(move |index| (role, index)))
        .collect();
    writes.children(&replicas).await?;
    let mut status = writes.status(JobStatus::default(), &replicas, Phase::Pending).await?;
    writes.event(names::reason::CREATED_POD, &replicas).await?;
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

struct Writes<'a> {
    client: &'a Client,
    namespace: &'a str,
    job: &'a PyTorchJob,
}

impl Writes<'_> {
    async fn children(&self, replicas: &[(ReplicaType, u32)]) -> Result<()> {
        let settings = Settings::default();
        let builder = Builder::new(self.job, &settings);
        let (pods, services) = (
            Pod::url_path(&(), Some(self.namespace)),
            Service::url_path(&(), Some(self.namespace)),
        );
        let create = async |&(role, index): &(ReplicaType, u32)| {
            let built = |kind| {
                builder
                    .build(ChildRef::of_replica(kind, Replica::new(role, index)))
                    .ok_or("every replica has both")
            };
            let (pod, service) = (built(ChildKind::Pod)?, built(ChildKind::Service)?);
            tokio::try_join!(
                post::<IgnoredAny>(self.client, &pods, &pod),
                post::<IgnoredAny>(self.client, &services, &service),
            )
        };
        try_join_all(replicas.iter().map(create)).await.map(drop)
    }

    /// Stores the status that the planner wants for pods that are all in this phase, and returns it.
    async fn status(&self, stored: JobStatus, replicas: &[(ReplicaType, u32)], phase: Phase) -> Result<JobStatus> {
        let status = self.wanted_status(stored, replicas, phase)?;
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        let url = format!("{}/{name}/status", PyTorchJob::url_path(&(), Some(self.namespace)));
        let patch = json!([{ "op": "add", "path": "/status", "value": status }]);
        let request = http::Request::patch(url)
            .header(CONTENT_TYPE, "application/json-patch+json")
            .body(serde_json::to_vec(&patch)?)?;
        self.client.request::<IgnoredAny>(request).await?;
        Ok(status)
    }

    fn wanted_status(&self, stored: JobStatus, replicas: &[(ReplicaType, u32)], phase: Phase) -> Result<JobStatus> {
        let job = PyTorchJob {
            status: Some(stored),
            ..self.job.clone()
        };
        let job_name = self.job.metadata.name.as_deref().unwrap_or_default();
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
            note: Some(names.join(", ")),
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
