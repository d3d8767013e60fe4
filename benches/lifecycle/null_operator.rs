//! The limit that the API server sets: the same writes, and nothing that decides about them.
//!
//! It sends for each job what an operator cannot do without: the pods and services, all at once, the status when the
//! job has started, runs and has succeeded, and one event each about the pods and the success; and for one all of whose
//! pods start again, their deletions and creations, or the two patches that restart each in place. It keeps no cache,
//! compares nothing, and is bound to no resourceVersion; and its jobs are of a definition that checks nothing
//! ([`crate::definition::bare_beside`]), so that what ours costs is not in the limit. The bodies of pods and services
//! come from the planner, so that the API server has the same to admit and to store; the pods' phases come from the
//! recorder, whose watches run for both operators alike.

use futures::future::try_join_all;
use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use pytorchjob_operator::api::{ChildKind, ChildRef, JobStatus, PyTorchJob, Replica, ReplicaType, names, shortened};
use pytorchjob_operator::planner::{
    self, Asked, Builder, Mark, Phase, Resource, Restart, Settings, World, ask_again, resize,
};
use pytorchjob_operator::platform::clock;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::Result;
use crate::definition::bare_jobs;
use crate::jobs::{delete, patch, post};
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

/// A job whose pods start again together, without services.
pub struct Restarting<'a> {
    writes: Writes<'a>,
    replicas: Vec<(ReplicaType, u32)>,
    /// Name and UID of each pod that was created first.
    pods: Vec<(String, String)>,
    /// While all run.
    status: JobStatus,
}

impl<'a> Restarting<'a> {
    /// Creates the pods.
    pub async fn begin(client: &'a Client, job: &'a PyTorchJob) -> Result<Self> {
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let (writes, replicas) = (Writes { client, namespace, job }, replicas(job));
        writes.children(&replicas, &[ChildKind::Pod]).await?;
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let pods = pods.list_metadata(&ListParams::default()).await?;
        let names = pods.iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()));
        let status = wanted_status(job, JobStatus::default(), &replicas, Phase::Pending)?;
        Ok(Self {
            pods: names.collect(),
            status: wanted_status(job, status, &replicas, Phase::Running)?,
            writes,
            replicas,
        })
    }

    /// Deletes all pods, and creates them again when all are gone.
    pub async fn in_new_pods(&self, recorder: &Recorder) -> Result<()> {
        let Writes { client, namespace, job } = self.writes;
        let status = self.ended().await?;
        let url = self.writes.url(ChildKind::Pod);
        stream::iter(self.pods.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, async |(pod, _)| {
                delete(client, &url, pod, &DeleteParams::background()).await
            })
            .await?;
        self.writes.event(names::reason::DELETED_POD, &self.replicas).await?;
        let name = job.metadata.name.as_deref().unwrap_or_default();
        recorder.wait(namespace, name, |seen| seen.pods.is_empty()).await?;
        self.writes.children(&self.replicas, &[ChildKind::Pod]).await?;
        self.writes.event(names::reason::CREATED_POD, &self.replicas).await?;
        self.writes.status(status, &self.replicas, Phase::Running).await?;
        Ok(())
    }

    /// Asks every container to start again, for the first, the second time and so on.
    pub async fn in_place(&self, time: i32) -> Result<()> {
        let client = self.writes.client;
        let status = self.ended().await?;
        let restart = restart_in_place(time);
        let url = self.writes.url(ChildKind::Pod);
        stream::iter(self.pods.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, async |(pod, uid)| {
                let step = resize(&restart, uid).ok_or("a restart without a step")?;
                patch(client, &format!("{url}/{pod}"), &ask_again(&restart, uid)).await?;
                patch(client, &format!("{url}/{pod}/resize"), &step).await
            })
            .await?;
        let reason = names::reason::RESTARTED_IN_PLACE;
        self.writes.event(reason, &self.replicas).await?;
        self.writes.status(status, &self.replicas, Phase::Running).await?;
        Ok(())
    }

    /// Stores the status of the job while nothing runs, and returns it.
    async fn ended(&self) -> Result<JobStatus> {
        let stored = self.status.clone();
        self.writes.status(stored, &self.replicas, Phase::Pending).await
    }
}

/// What the planner asks of each pod of [`crate::jobs::Job`].
fn restart_in_place(time: i32) -> Restart {
    let resource = Resource::Memory;
    let asked = Asked {
        amount: (0..time).fold(MEMORY, |amount, _| resource.other(amount)),
        restarts: time,
        again: false,
    };
    Restart {
        attempt: time + 1,
        mark: Mark {
            resource,
            asked: Some(asked),
        },
        annotate: true,
        container: Some(0),
        limit: true,
    }
}

/// What the job asks for, the Master first.
pub fn replicas(job: &PyTorchJob) -> Vec<(ReplicaType, u32)> {
    let of = |role| (0..job.spec.replicas(role)).map(move |index| (role, index));
    ReplicaType::ALL.into_iter().flat_map(of).collect()
}

/// What the container of a job requests: 4 GiB.
const MEMORY: i64 = 4 << 30;
/// Bytes of a note that the API server takes.
const EVENT_NOTE: usize = 1_024;
/// Replicas of a job whose requests are under way at once.
const AT_ONCE: usize = 32;

struct Writes<'a> {
    client: &'a Client,
    namespace: &'a str,
    job: &'a PyTorchJob,
}

impl Writes<'_> {
    async fn start(&self, replicas: &[(ReplicaType, u32)]) -> Result<JobStatus> {
        self.children(replicas, &[ChildKind::Pod, ChildKind::Service]).await?;
        let status = self.status(JobStatus::default(), replicas, Phase::Pending).await?;
        self.event(names::reason::CREATED_POD, replicas).await?;
        Ok(status)
    }

    /// Creates what each replica has of these kinds.
    async fn children(&self, replicas: &[(ReplicaType, u32)], kinds: &[ChildKind]) -> Result<()> {
        let settings = Settings::default();
        let builder = Builder::new(self.job, &settings);
        stream::iter(replicas.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, async |&(role, index)| {
                let create = async |&kind| {
                    let object = built(&builder, kind, Replica::new(role, index))?;
                    post::<IgnoredAny>(self.client, &self.url(kind), &object).await
                };
                try_join_all(kinds.iter().map(create)).await.map(drop)
            })
            .await
    }

    fn url(&self, kind: ChildKind) -> String {
        match kind {
            ChildKind::Service => Service::url_path(&(), Some(self.namespace)),
            _ => Pod::url_path(&(), Some(self.namespace)),
        }
    }

    /// Stores the status that the planner wants for pods that are all in this phase, and returns it.
    async fn status(&self, stored: JobStatus, replicas: &[(ReplicaType, u32)], phase: Phase) -> Result<JobStatus> {
        let status = wanted_status(self.job, stored, replicas, phase)?;
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        let jobs = DynamicObject::url_path(&bare_jobs(), Some(self.namespace));
        let url = format!("{jobs}/{name}/status");
        let operations = json!([{ "op": "add", "path": "/status", "value": status }]);
        patch(self.client, &url, &operations).await?;
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
