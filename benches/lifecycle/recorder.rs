//! What happens to jobs and pods, and when: two watches that note the time at which each event arrives.
//!
//! Both ends of a measured span are arrivals at the same process, so the way from the API server's store to here is in
//! neither. Objects hold whole seconds only and are of no use for this.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use pytorchjob_operator::api::{JobCondition, PyTorchJob, names};
use pytorchjob_operator::platform::clock;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::Result;

/// Everything waited for happens in a fraction of this.
const TIMEOUT: Duration = Duration::from_mins(4);

/// One job.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its pods, with the phase of each.
    pub pods: BTreeMap<String, String>,
    /// Arrival of the first event about the job.
    pub created: Option<Instant>,
    /// Arrival of the first creation of a pod.
    pub first_pod: Option<Instant>,
    /// Arrival of the latest creation of a pod.
    pub pod_created: Option<Instant>,
    /// Arrival of the latest disappearance of a pod.
    pub pod_gone: Option<Instant>,
    /// Conditions that are True, with the arrival of the first event that shows them.
    pub conditions: BTreeMap<String, (Instant, Timestamp)>,
    /// `status.startTime`.
    pub start_time: Option<Time>,
}

impl Seen {
    /// Pods in this phase.
    pub fn count(&self, phase: &str) -> usize {
        self.pods.values().filter(|seen| *seen == phase).count()
    }

    /// Whether the condition is or was True.
    pub fn is(&self, condition: &str) -> bool {
        self.conditions.contains_key(condition)
    }
}

type Jobs = Arc<Mutex<HashMap<(String, String), watch::Sender<Seen>>>>;

/// The watches. Dropping it ends them.
pub struct Recorder {
    jobs: Jobs,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Recorder {
    /// Starts the watches, and returns when both have listed what there is.
    pub async fn start(client: &Client) -> Result<Self> {
        let jobs = Jobs::default();
        let selector = format!("{}={}", names::LABEL_OPERATOR_NAME, names::CONTROLLER_NAME);
        let (listed, mut lists) = watch::channel(0);
        let (for_jobs, for_pods) = (jobs.clone(), jobs.clone());
        let tasks = [
            follow(Api::all(client.clone()), "", listed.clone(), move |event| {
                note_job(&for_jobs, event);
            }),
            follow(Api::all(client.clone()), &selector, listed, move |event| {
                note_pod(&for_pods, event);
            }),
        ];
        tokio::time::timeout(TIMEOUT, lists.wait_for(|&lists| lists == tasks.len())).await??;
        Ok(Self { jobs, _tasks: tasks })
    }

    /// Waits until `done` holds for the job, and returns what was seen of it.
    pub async fn wait(&self, namespace: &str, job: &str, done: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let mut seen = entry(&self.jobs, namespace, job, watch::Sender::subscribe);
        let result = tokio::time::timeout(TIMEOUT, seen.wait_for(done)).await;
        match result {
            Ok(seen) => Ok(seen?.clone()),
            Err(_) => Err(format!(
                "job {namespace}/{job} did not get there within {TIMEOUT:?}: {:?}",
                entry(&self.jobs, namespace, job, |seen| seen.borrow().clone())
            )
            .into()),
        }
    }
}

fn entry<T>(jobs: &Jobs, namespace: &str, job: &str, f: impl FnOnce(&watch::Sender<Seen>) -> T) -> T {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    f(jobs.entry((namespace.to_owned(), job.to_owned())).or_default())
}

fn follow<K>(
    api: Api<K>,
    selector: &str,
    listed: watch::Sender<usize>,
    mut note: impl FnMut(Event<K>) + Send + 'static,
) -> AbortOnDropHandle<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().labels(selector);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::InitDone) => listed.send_modify(|lists| *lists += 1),
                Ok(event) => note(event),
                Err(error) => eprintln!("the recorder's watch failed and tries again: {error}"),
            }
        }
    }))
}

fn note_job(jobs: &Jobs, event: Event<JobView>) {
    let (now, time) = (Instant::now(), clock::now());
    if let Event::Apply(job) | Event::InitApply(job) = event {
        let (namespace, name) = (job.metadata.namespace.as_deref(), job.metadata.name.as_deref());
        entry(jobs, namespace.unwrap_or_default(), name.unwrap_or_default(), |seen| {
            seen.send_modify(|seen| {
                seen.created.get_or_insert(now);
                seen.start_time = job.status.start_time;
                for condition in job.status.conditions {
                    if condition.status == "True" {
                        seen.conditions.entry(condition.type_).or_insert((now, time));
                    }
                }
            });
        });
    }
}

fn note_pod(jobs: &Jobs, event: Event<PodView>) {
    let now = Instant::now();
    let (pod, exists) = match event {
        Event::Apply(pod) | Event::InitApply(pod) => (pod, true),
        Event::Delete(pod) => (pod, false),
        Event::Init | Event::InitDone => return,
    };
    let (namespace, name) = (pod.metadata.namespace, pod.metadata.name.unwrap_or_default());
    let mut owners = pod.metadata.owner_references.into_iter().flatten();
    let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
        return;
    };
    entry(jobs, &namespace.unwrap_or_default(), &owner.name, |seen| {
        seen.send_modify(|seen| {
            if exists {
                if seen.pods.insert(name, pod.status.phase).is_none() {
                    seen.first_pod.get_or_insert(now);
                    seen.pod_created = Some(now);
                }
            } else if seen.pods.remove(&name).is_some() {
                seen.pod_gone = Some(now);
            }
        });
    });
}

/// The part of a pod that is read.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "Pod")]
struct PodView {
    metadata: ObjectMeta,
    #[serde(default)]
    status: PodStatusView,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatusView {
    phase: String,
}

/// The part of a PyTorchJob that is read.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "PyTorchJob")]
struct JobView {
    metadata: ObjectMeta,
    #[serde(default)]
    status: StatusView,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatusView {
    conditions: Vec<JobCondition>,
    start_time: Option<Time>,
}
