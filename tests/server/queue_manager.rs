//! A queue manager as Kueue is one to the operator, and what it relies on.
//!
//! It admits a job by resuming it with a node selector in the same edit, and evicts it by suspending it and taking the
//! selector back. From then on it looks at nothing but `status.replicaStatuses`: once every `active` is 0, the quota
//! belongs to somebody else. So two things must hold in every version of every object, in the order in which etcd
//! stored them: no pod comes into being without admission, and none that has not ended exists when the quota is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource, ResourceExt as _};
use pytorchjob_test_cluster::{PodPhase, bind_pod, remove_pod, set_pod_phase};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::job::{Job, job, with};
use crate::rig::{End, Rig};

/// How far pods get before the job is evicted.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// No node has been found: deleting the pod removes it at once.
    Unbound,
    /// Bound to a node, which is still pulling the image.
    Pulling,
    /// Running.
    Running,
}

/// What one stored version of an object says.
#[derive(Debug)]
pub enum Version {
    /// The job has quota, on the nodes of a pool.
    Held { job: String, pool: Value },
    /// The job has none.
    Freed { job: String },
    /// A pod.
    Pod {
        job: String,
        name: String,
        pool: Option<String>,
        unfinished: bool,
    },
}

/// Every version of every object in a namespace, by resourceVersion.
#[derive(Clone, Default)]
struct History(Arc<Mutex<BTreeMap<u64, Version>>>);

impl History {
    fn add(&self, resource_version: u64, version: Version) {
        self.0.lock().unwrap().insert(resource_version, version);
    }

    /// Checks both laws, and that quota for one job was never used by two.
    fn check(&self) {
        let history = self.0.lock().unwrap();
        let mut held: BTreeMap<&str, &Value> = BTreeMap::new();
        let mut pods: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (at, version) in history.iter() {
            match version {
                Version::Held { job, pool } => {
                    held.insert(job, pool);
                }
                Version::Freed { job: name } => {
                    held.remove(name.as_str());
                    let left: Vec<_> = pods.iter().filter(|(job, _)| job == name).collect();
                    assert!(
                        left.is_empty(),
                        "{at}: the quota of {name} is freed, and {left:?} are left"
                    );
                }
                Version::Pod {
                    job,
                    name,
                    pool,
                    unfinished,
                } => {
                    let known = pods.contains(&(job.as_str(), name.as_str()));
                    if *unfinished && !known {
                        let pool_of_job = held.get(job.as_str());
                        let admitted =
                            pool_of_job.unwrap_or_else(|| panic!("{at}: {name} is created without admission"));
                        assert_eq!(json!(pool), **admitted, "{at}: {name} is built for another admission");
                        pods.insert((job, name));
                    } else if !*unfinished {
                        pods.remove(&(job.as_str(), name.as_str()));
                    }
                    let jobs: BTreeSet<_> = pods.iter().map(|(job, _)| job).collect();
                    assert!(jobs.len() <= 1, "{at}: {jobs:?} use the quota for one");
                }
            }
        }
    }
}

fn version_of(object: &impl Resource) -> u64 {
    object.meta().resource_version.as_deref().unwrap().parse().unwrap()
}

pub fn suspended(job: &Job) -> bool {
    job.spec["runPolicy"]["suspend"] == true
}

/// What Kueue asks: whether any role has an `active` that is not 0.
pub fn active(job: &Job) -> bool {
    ["Master", "Worker"].iter().any(|role| job.count(role, "active") != 0)
}

/// A namespace whose objects are followed, and the kubelet of its pods.
pub struct Space {
    pub rig: Rig,
    history: History,
    /// Whether deleted pods may end.
    pub ending: watch::Sender<bool>,
    /// How far pods and quota have been followed, by resourceVersion.
    seen: [watch::Receiver<u64>; 2],
}

impl Space {
    /// Follows the pods, and what `quota` says of each of `holders`, from now on.
    pub async fn start<K>(rig: Rig, reach: Reach, holders: Api<K>, quota: fn(&K) -> Option<Version>) -> Self
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let history = History::default();
        let (ending, may_end) = watch::channel(false);
        let record = history.clone();
        let quota_seen = follow(holders, move |holder: &K, gone| {
            if let Some(version) = quota(holder).filter(|_| !gone) {
                record.add(version_of(holder), version);
            }
        })
        .await;
        let (record, client) = (history.clone(), rig.client.clone());
        let namespace = rig.namespace.name().to_owned();
        let pods_seen = follow(rig.pods(), move |pod: &Pod, gone| {
            record.add(version_of(pod), of_pod(pod, gone));
            if !gone {
                let kubelet = kubelet(client.clone(), namespace.clone(), pod.clone(), reach, may_end.clone());
                tokio::spawn(kubelet);
            }
        })
        .await;
        Self {
            rig,
            history,
            ending,
            seen: [pods_seen, quota_seen],
        }
    }

    /// Waits until a job has this many pods, each as far as it gets.
    pub async fn wait_reached(&self, job: &str, reach: Reach, count: usize) {
        let all = |pods: &[Pod]| pods.len() == count && pods.iter().all(|pod| reached(pod, reach));
        self.rig.wait_pods(job, all).await;
    }

    /// Checks the history of everything that is stored by now.
    pub async fn check<K>(mut self, holders: Api<K>)
    where
        K: Resource + Clone + Debug + DeserializeOwned,
    {
        let pods = self.rig.pods().list(&ListParams::default()).await.unwrap();
        let holders = holders.list(&ListParams::default()).await.unwrap();
        let last = [pods.iter().map(version_of).max(), holders.iter().map(version_of).max()];
        for (seen, last) in self.seen.iter_mut().zip(last) {
            seen.wait_for(|seen| Some(*seen) >= last).await.unwrap();
        }
        self.history.check();
    }
}

/// The queue manager.
struct Manager(Space);

impl std::ops::Deref for Manager {
    type Target = Space;

    fn deref(&self) -> &Space {
        &self.0
    }
}

impl Manager {
    async fn start(reach: Reach) -> Self {
        let rig = Rig::start().await;
        let jobs = rig.jobs();
        Self(Space::start(rig, reach, jobs, of_job).await)
    }

    /// Creates a job as Kueue's webhook leaves it: suspended.
    async fn submit(&self, name: &str) {
        let suspended = json!({ "spec": { "runPolicy": { "suspend": true } } });
        self.rig.create(&with(job(name, 2), &suspended)).await;
    }

    /// Resumes the job on nodes of this pool; `None` suspends it and restores its templates.
    async fn admit(&self, job: &str, pool: Option<&str>) {
        let replica = json!({ "template": { "spec": { "nodeSelector": pool.map(|pool| json!({ "pool": pool })) } } });
        let spec = json!({
            "runPolicy": { "suspend": pool.is_none() },
            "pytorchReplicaSpecs": { "Master": replica, "Worker": replica },
        });
        self.rig.patch(job, &json!({ "spec": spec })).await;
    }

    async fn evict(&self, job: &str) {
        self.admit(job, None).await;
    }

    /// Waits until the quota of an evicted job is free, as far as the status says so.
    async fn freed(&self, job: &str) {
        self.rig.wait(job, |job| suspended(job) && !active(job)).await;
    }

    async fn restart(&mut self, end: End) {
        self.0.rig.end_operator(end).await;
        self.0.rig.go_on().await;
    }
}

/// Hands every version of every object from now on to `take`, in order, with whether it is gone, and says how far it
/// got.
async fn follow<K>(api: Api<K>, mut take: impl FnMut(&K, bool) + Send + 'static) -> watch::Receiver<u64>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let list = api.list(&ListParams::default()).await.unwrap();
    let from = list.metadata.resource_version.unwrap();
    let (sender, seen) = watch::channel(0);
    tokio::spawn(async move {
        let parameters = WatchParams::default().timeout(290);
        let mut events = Box::pin(api.watch(&parameters, &from).await.unwrap());
        while let Some(event) = events.try_next().await.unwrap() {
            let gone = matches!(event, WatchEvent::Deleted(_));
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) = event {
                take(&object, gone);
                sender.send_replace(version_of(&object));
            }
        }
    });
    seen
}

/// Whether the job has quota, by what the queue manager looks at.
fn of_job(job: &Job) -> Option<Version> {
    let template = &job.spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"];
    let pool = template["nodeSelector"]["pool"].clone();
    let job_name = job.name().to_owned();
    match (suspended(job), active(job)) {
        (false, _) => Some(Version::Held { job: job_name, pool }),
        (true, true) => None,
        (true, false) => Some(Version::Freed { job: job_name }),
    }
}

fn of_pod(pod: &Pod, gone: bool) -> Version {
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    Version::Pod {
        job: pod.labels()["training.kubeflow.org/job-name"].clone(),
        name: pod.name_any(),
        pool: selector.and_then(|selector| selector.get("pool").cloned()),
        unfinished: !gone && !matches!(phase(pod), Some("Succeeded" | "Failed")),
    }
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// Does what the kubelet, and the scheduler before it, do next with a pod. What comes too late fails, as theirs does.
async fn kubelet(client: Client, namespace: String, pod: Pod, reach: Reach, mut may_end: watch::Receiver<bool>) {
    let name = pod.name_any();
    let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if pod.metadata.deletion_timestamp.is_some() {
        let _ = may_end.wait_for(|may| *may).await;
        let _ = remove_pod(&client, &namespace, &name).await;
    } else if !bound && !matches!(reach, Reach::Unbound) {
        let _ = bind_pod(&client, &namespace, &name, "node").await;
    } else if bound && matches!(reach, Reach::Running) && phase(&pod) == Some("Pending") {
        let _ = set_pod_phase(&client, &namespace, &name, &PodPhase::Running, 0).await;
    }
}

/// Whether the operator ends, and where.
#[derive(Clone, Copy, Debug)]
enum Accident {
    None,
    BetweenAdmissionAndEviction(End),
    AfterEviction(End),
}

const ACCIDENTS: [Accident; 5] = [
    Accident::None,
    Accident::BetweenAdmissionAndEviction(End::Kill),
    Accident::BetweenAdmissionAndEviction(End::Stop),
    Accident::AfterEviction(End::Kill),
    Accident::AfterEviction(End::Stop),
];

/// Admits and evicts one job again and again: as soon as it is admitted or when all its pods are there, with every
/// accident in between, and with pods that take their time to end.
async fn admitted_and_evicted(reach: Reach) {
    let mut manager = Manager::start(reach).await;
    manager.submit("job").await;
    for (round, accident) in ACCIDENTS.into_iter().chain(ACCIDENTS).enumerate() {
        manager.freed("job").await;
        manager.ending.send_replace(false);
        manager.admit("job", Some(&format!("pool-{round}"))).await;
        if round >= ACCIDENTS.len() {
            manager.wait_reached("job", reach, 3).await;
        }
        if let Accident::BetweenAdmissionAndEviction(end) = accident {
            manager.restart(end).await;
        }
        manager.evict("job").await;
        if let Accident::AfterEviction(end) = accident {
            manager.restart(end).await;
        }
        // The operator has done all it does while no pod may end.
        let settled = manager.rig.settle("job").await;
        let left = manager.rig.pod_names("job").await;
        assert!(
            left.is_empty() || active(&settled),
            "{reach:?}, {accident:?}: {left:?} are left"
        );
        manager.ending.send_replace(true);
    }
    manager.freed("job").await;
    manager.admit("job", Some("last")).await;
    manager.rig.wait_pods("job", |pods| pods.len() == 3).await;
    manager.rig.set_phase("job-master-0", &PodPhase::Succeeded).await;
    manager.rig.wait("job", |job| job.is("Succeeded")).await;
    let jobs = manager.rig.jobs();
    manager.0.check(jobs).await;
}

fn reached(pod: &Pod, reach: Reach) -> bool {
    let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    match reach {
        Reach::Unbound => true,
        Reach::Pulling => bound,
        Reach::Running => phase(pod) == Some("Running"),
    }
}

#[tokio::test]
async fn no_pod_without_admission_and_no_quota_freed_while_one_is_left_whatever_befalls_the_operator() {
    join_all([Reach::Unbound, Reach::Pulling, Reach::Running].map(admitted_and_evicted)).await;
}

#[tokio::test]
async fn two_jobs_take_turns_on_the_quota_for_one() {
    let mut manager = Manager::start(Reach::Running).await;
    manager.ending.send_replace(true);
    for job in ["one", "two"] {
        manager.submit(job).await;
    }
    for round in 0..6 {
        let job = ["one", "two"][round % 2];
        manager.admit(job, Some("pool")).await;
        manager.rig.wait(job, |job| job.is("Running")).await;
        if round == 3 {
            manager.restart(End::Kill).await;
        }
        manager.evict(job).await;
        manager.freed(job).await;
    }
    let jobs = manager.rig.jobs();
    manager.0.check(jobs).await;
}
