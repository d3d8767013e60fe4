//! A queue manager as Kueue is one to the operator, and what it relies on.
//!
//! It admits a job by resuming it with a node selector in the same edit, and evicts it by suspending it and taking the
//! selector back. From then on it looks at nothing but `status.replicaStatuses`: once every `active` is 0, the quota
//! belongs to somebody else. So two things must hold in every version of every object, in the order in which etcd
//! stored them: no pod comes into being without admission, and none that has not ended exists when the quota is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use pytorchjob_test_cluster::{PodPhase, Watchable, bind_pod, remove_pod, set_pod_phase};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::job::{Job, job, with};
use crate::rig::{End, Rig};

/// How far pods get before the job is evicted.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// No node has been found: deleting the pod removes it at once.
    Unbound,
    /// Bound to a node, which is still pulling the image.
    Pulling,
    /// Running.
    Running,
}

/// One stored version of a job or a pod.
#[derive(Debug)]
enum Version {
    Job {
        name: String,
        suspended: bool,
        active: bool,
        pool: Value,
    },
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
                Version::Job {
                    name,
                    suspended: false,
                    pool,
                    ..
                } => {
                    held.insert(name, pool);
                }
                Version::Job { active: true, .. } => {}
                Version::Job { name, .. } => {
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

fn version_of(object: &impl kube::Resource) -> u64 {
    object.meta().resource_version.as_deref().unwrap().parse().unwrap()
}

fn suspended(job: &Job) -> bool {
    job.spec["runPolicy"]["suspend"] == true
}

/// What Kueue asks: whether any role has an `active` that is not 0.
fn active(job: &Job) -> bool {
    ["Master", "Worker"].iter().any(|role| job.count(role, "active") != 0)
}

/// The queue manager, and the kubelet of the pods in its namespace.
struct Manager {
    rig: Rig,
    history: History,
    /// Whether deleted pods may end.
    ending: watch::Sender<bool>,
    /// The last version of a pod that is in the history.
    pods_seen: watch::Receiver<u64>,
    jobs_seen: watch::Receiver<u64>,
}

impl Manager {
    async fn start(reach: Reach) -> Self {
        let rig = Rig::start().await;
        let history = History::default();
        let (ending, may_end) = watch::channel(false);
        let record = history.clone();
        let jobs_seen = follow(rig.jobs(), move |job: &Job, gone| {
            if !gone {
                record.add(version_of(job), of_job(job));
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
            pods_seen,
            jobs_seen,
        }
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
        self.rig.end_operator(end).await;
        self.rig.go_on().await;
    }

    /// Checks the whole history once all of it has been seen.
    async fn check(mut self) {
        let jobs = self.rig.jobs().list(&ListParams::default()).await.unwrap();
        let pods = self.rig.pods().list(&ListParams::default()).await.unwrap();
        let (last_job, last_pod) = (jobs.iter().map(version_of).max(), pods.iter().map(version_of).max());
        let reached = |last: Option<u64>| move |seen: &u64| Some(*seen) >= last;
        self.jobs_seen.wait_for(reached(last_job)).await.unwrap();
        self.pods_seen.wait_for(reached(last_pod)).await.unwrap();
        self.history.check();
    }
}

/// Hands every version of every object from now on to `take`, in order, with whether it is gone, and says how far it
/// got.
async fn follow<K: Watchable>(api: Api<K>, mut take: impl FnMut(&K, bool) + Send + 'static) -> watch::Receiver<u64> {
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

fn of_job(job: &Job) -> Version {
    let template = &job.spec["pytorchReplicaSpecs"]["Worker"]["template"];
    Version::Job {
        name: job.name().to_owned(),
        suspended: suspended(job),
        active: active(job),
        pool: template["spec"]["nodeSelector"]["pool"].clone(),
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

/// Does what the kubelet, and the scheduler before it, do next with a pod. What they try too late fails, as theirs does.
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
            manager
                .rig
                .wait_pods("job", |pods| {
                    pods.len() == 3 && pods.iter().all(|pod| reached(pod, reach))
                })
                .await;
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
    manager.check().await;
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
    manager.check().await;
}
