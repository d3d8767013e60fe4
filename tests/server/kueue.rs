//! The real Kueue beside the operator: `make test-kueue` builds it.
//!
//! Kueue runs with the roles, definitions and webhooks it is shipped with, on a control plane of its own; pods are
//! played, so that they stay pending, run or end late as a case needs it. Every case ends with the two laws of
//! [`crate::queue_manager`], held to the admission that Kueue stores in its Workloads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use pytorchjob_test_cluster::{Cluster, Options, PodPhase, User, free_port, not_applicable, repository};
use serde_json::{Value, json};

use crate::job::{Job, job, with};
use crate::queue_manager::{Reach, Space, Version, active, suspended};
use crate::rig::{Rig, install_identity, own_cluster, refusal, until};

/// Kueue asks for its own time: requeuing waits for seconds.
const TIMEOUT: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "kueue-system";
/// Label of the queue that a job is for.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// CPUs of one job of [`submitted`], and the quota of every queue.
const QUOTA: u32 = 3;

/// A running Kueue, which is killed when this is dropped.
struct Kueue {
    process: Child,
    cluster: &'static Cluster,
    identity: PathBuf,
}

impl Drop for Kueue {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.cluster.directory().join("kueue.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

impl Kueue {
    /// A control plane with Kueue, the latter configured with `more`; `None` on an existing cluster.
    async fn start(more: Value) -> Option<Self> {
        let cluster = own_cluster(Options::default()).await;
        if !cluster.is_ours() {
            not_applicable("installs Kueue");
            return None;
        }
        let identity = install_identity(cluster).await;
        let port = free_port();
        install(cluster, port).await;
        let account = User::ServiceAccount {
            namespace: NAMESPACE,
            name: "kueue-controller-manager",
        };
        let kubeconfig = cluster.kubeconfig(account).await.unwrap();
        let kueue = Self {
            process: run(cluster.directory(), &kubeconfig, port, &more),
            cluster,
            identity,
        };
        kueue.served().await;
        Some(kueue)
    }

    /// Waits until its webhooks answer, by asking for the first flavor until it is accepted: nothing announces it.
    async fn served(&self) {
        let flavor = json!({ "metadata": { "name": "spot" }, "spec": { "nodeLabels": { "pool": "spot" } } });
        until("Kueue serves its webhooks", TIMEOUT, async || {
            self.try_create("ResourceFlavor", None, &flavor).await.is_ok()
        })
        .await;
        for (name, value) in [("low", 1), ("high", 10)] {
            let class = json!({ "metadata": { "name": name }, "value": value });
            self.try_create("WorkloadPriorityClass", None, &class).await.unwrap();
        }
    }

    fn api(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta2", kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.cluster.admin(), namespace, &resource),
            None => Api::all_with(self.cluster.admin(), &resource),
        }
    }

    async fn try_create(&self, kind: &str, namespace: Option<&str>, object: &Value) -> kube::Result<DynamicObject> {
        let head = json!({ "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind });
        let object: DynamicObject = serde_json::from_value(with(object.clone(), &head)).unwrap();
        self.api(kind, namespace).create(&PostParams::default(), &object).await
    }

    /// A namespace with an operator and a queue of its own, whose quota is one job.
    async fn queue(&self, reach: Reach) -> Space {
        self.queue_of("spot", reach).await
    }

    async fn queue_of(&self, flavor: &str, reach: Reach) -> Space {
        let rig = Rig::start_on(self.cluster, self.identity.clone()).await;
        let name = rig.namespace.name().to_owned();
        let cpu = json!({ "name": "cpu", "nominalQuota": QUOTA });
        let group = json!({ "coveredResources": ["cpu"], "flavors": [{ "name": flavor, "resources": [cpu] }] });
        let spec = json!({
            "namespaceSelector": {}, "resourceGroups": [group],
            "preemption": { "withinClusterQueue": "LowerPriority" },
        });
        let queue = json!({ "metadata": { "name": name }, "spec": spec });
        self.try_create("ClusterQueue", None, &queue).await.unwrap();
        let local = json!({ "metadata": { "name": "queue" }, "spec": { "clusterQueue": name } });
        self.try_create("LocalQueue", Some(&name), &local).await.unwrap();
        let workloads = self.api("Workload", Some(&name));
        Space::start(rig, reach, workloads, of_workload).await
    }

    async fn check(&self, space: Space) {
        let workloads = self.api("Workload", Some(space.rig.namespace.name()));
        space.check(workloads).await;
    }

    /// Sets `spec.active` of the Workload of a job.
    async fn activate(&self, space: &Space, job: &str, active: bool) {
        let workloads = self.api("Workload", Some(space.rig.namespace.name()));
        let all = workloads.list(&kube::api::ListParams::default()).await.unwrap();
        let workload = all.items.iter().find(|workload| owner(workload) == job).unwrap();
        let patch = Patch::Merge(json!({ "spec": { "active": active } }));
        let name = workload.metadata.name.as_deref().unwrap();
        workloads.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// The job that a Workload stands for.
fn owner(workload: &DynamicObject) -> &str {
    workload
        .metadata
        .owner_references
        .as_ref()
        .map_or("", |owners| &owners[0].name)
}

/// Whether its job has quota, by what Kueue has stored. A finished one gives it back by being finished.
fn of_workload(workload: &DynamicObject) -> Option<Version> {
    let status = &workload.data["status"];
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let is = |type_: &str| {
        conditions
            .iter()
            .any(|entry| entry["type"] == type_ && entry["status"] == "True")
    };
    let job = owner(workload).to_owned();
    match (is("Finished"), is("Admitted"), status["admission"].is_object()) {
        (true, ..) | (_, false, true) => None,
        (_, true, _) => Some(Version::Held {
            job,
            pool: json!("spot"),
        }),
        (_, false, false) => Some(Version::Freed { job }),
    }
}

/// Applies the manifests that Kueue is shipped with, but for what makes it run in the cluster, and with webhooks at
/// `port` of this machine. The certificate of the API server serves for them too.
async fn install(cluster: &Cluster, port: u16) {
    let file = repository().join("target/kueue/kueue.yaml");
    let text = fs::read_to_string(&file).expect("make test-kueue builds target/kueue");
    let bundle = json!(ByteString(fs::read(cluster.ca().unwrap()).unwrap()));
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let left_out = ["APIService", "ConfigMap", "Deployment", "Secret", "Service"].map(Value::from);
    objects.retain(|object| !left_out.contains(&object["kind"]));
    for object in &mut objects {
        if let Some(webhooks) = object.get_mut("webhooks").and_then(Value::as_array_mut) {
            let served = ["-kueue-x-k8s-io-", "-v1-pytorchjob"];
            webhooks.retain(|webhook| {
                let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
                served.iter().any(|part| path.contains(part))
            });
            for webhook in webhooks {
                reach_at(webhook, port, &bundle);
            }
        } else if let Some(webhook) = object.pointer_mut("/spec/conversion/webhook") {
            reach_at(webhook, port, &bundle);
        }
    }
    // Namespaces and definitions first: kubectl applies a list in its order.
    objects.sort_by_key(|object| {
        !["Namespace", "CustomResourceDefinition"]
            .map(Value::from)
            .contains(&object["kind"])
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let file = cluster.directory().join("kueue.json");
    fs::write(&file, list.to_string()).unwrap();
    cluster.apply_kustomize(&file).await.unwrap();
}

fn reach_at(webhook: &mut Value, port: u16, bundle: &Value) {
    let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
    let url = format!("https://127.0.0.1:{port}{path}");
    webhook["clientConfig"] = json!({ "url": url, "caBundle": bundle });
}

/// Starts Kueue. It insists on a certificate for metrics in a fixed directory below /etc, metrics or not, so it gets
/// one there in a mount namespace of its own, for which the test has to be run by root.
fn run(directory: &Path, kubeconfig: &Path, port: u16, more: &Value) -> Child {
    let certificates = directory.join("kueue-certificates");
    fs::create_dir(&certificates).unwrap();
    for (from, to) in [("apiserver.crt", "tls.crt"), ("apiserver.key", "tls.key")] {
        fs::copy(directory.join(from), certificates.join(to)).unwrap();
    }
    let configuration = json!({
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": { "healthProbeBindAddress": "0" },
        "metrics": { "bindAddress": "0" },
        "webhook": { "port": port, "host": "127.0.0.1", "certDir": certificates },
        "leaderElection": { "leaderElect": false },
        "internalCertManagement": { "enable": false },
        "integrations": { "frameworks": ["kubeflow.org/pytorchjob"] },
    });
    let file = directory.join("kueue-configuration.json");
    fs::write(&file, with(configuration, more).to_string()).unwrap();
    let script = "mount -t tmpfs none /mnt; mkdir -p /mnt/upper/kueue/metrics/certs /mnt/work
        cp \"$1\"/* /mnt/upper/kueue/metrics/certs/
        mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
        exec \"$2\" --config \"$3\" --feature-gates=VisibilityOnDemand=false";
    let log = fs::File::create(directory.join("kueue.log")).unwrap();
    Command::new("unshare")
        .args(["--mount", "bash", "-ec", script, "kueue"])
        .args([&certificates, &repository().join("target/kueue/kueue"), &file])
        .env("KUBECONFIG", kubeconfig)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A job that takes the whole quota of its queue.
fn submitted(name: &str, priority: &str) -> Value {
    let labels = json!({ "labels": { QUEUE: "queue", "kueue.x-k8s.io/priority-class": priority } });
    let mut job = with(job(name, QUOTA - 1), &json!({ "metadata": labels }));
    for role in ["Master", "Worker"] {
        let spec = &mut job["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"];
        spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "1" } });
    }
    job
}

/// Lets all pods of a job succeed, and waits for its outcome.
async fn succeed(space: &Space, job: &str) {
    let pods = space.rig.pod_names(job).await;
    space.rig.set_phases(pods, &PodPhase::Succeeded).await;
    space.rig.wait(job, |job| job.is("Succeeded")).await;
}

fn stopped(job: &Job) -> bool {
    suspended(job) && job.is("Suspended")
}

/// A job is suspended by Kueue when it is created, runs on the nodes of the flavor when there is quota, and hands the
/// quota on when it has finished.
async fn two_jobs_take_turns(kueue: &Kueue) {
    let space = kueue.queue(Reach::Running).await;
    space.ending.send_replace(true);
    space.rig.create(&submitted("one", "low")).await;
    space.rig.wait("one", |job| job.is("Running")).await;
    space.rig.create(&submitted("two", "low")).await;
    space.rig.wait("two", stopped).await;
    assert_eq!(space.rig.pod_names("two").await, [""; 0]);
    succeed(&space, "one").await;
    space.rig.wait("two", |job| job.is("Running")).await;
    succeed(&space, "two").await;
    kueue.check(space).await;
}

/// A job of higher priority waits until the last pod of the one it preempts has ended.
async fn preempted(kueue: &Kueue, reach: Reach) {
    let space = kueue.queue(reach).await;
    space.rig.create(&submitted("low", "low")).await;
    space.wait_reached("low", reach, 3).await;
    space.rig.create(&submitted("high", "high")).await;
    space.rig.wait("low", suspended).await;
    let settled = space.rig.settle("low").await;
    assert!(active(&settled), "{reach:?}: pods that are to end late still count");
    assert!(
        suspended(&space.rig.get("high").await),
        "{reach:?}: the quota is not free"
    );
    space.ending.send_replace(true);
    space.wait_reached("high", reach, 3).await;
    succeed(&space, "high").await;
    space.rig.wait_pods("low", |pods| pods.len() == 3).await;
    kueue.check(space).await;
}

/// A job that an administrator deactivates stops, and goes on when it is activated again.
async fn deactivated(kueue: &Kueue) {
    let space = kueue.queue(Reach::Running).await;
    space.ending.send_replace(true);
    space.rig.create(&submitted("job", "low")).await;
    space.rig.wait("job", |job| job.is("Running")).await;
    kueue.activate(&space, "job", false).await;
    space.rig.wait("job", |job| stopped(job) && !active(job)).await;
    space.rig.wait_pods("job", <[_]>::is_empty).await;
    kueue.activate(&space, "job", true).await;
    space.rig.wait("job", |job| job.is("Running")).await;
    succeed(&space, "job").await;
    kueue.check(space).await;
}

/// An elastic job that is scaled is another job to Kueue: it is suspended, admitted with its new size, and all its pods
/// are new.
///
/// Kueue deletes the Workload of the old size at once, and with it the claim to the quota, whatever `active` says. The
/// history has no such version, so the laws are held to the admissions before and after.
async fn scaled(kueue: &Kueue) {
    let space = kueue.queue(Reach::Running).await;
    space.ending.send_replace(true);
    let elastic = json!({ "spec": {
        "elasticPolicy": { "minReplicas": 1, "maxReplicas": QUOTA },
        "pytorchReplicaSpecs": { "Master": null, "Worker": { "replicas": 2 } },
    } });
    space.rig.create(&with(submitted("job", "low"), &elastic)).await;
    space.wait_reached("job", Reach::Running, 2).await;
    let uids = |pods: Vec<Pod>| -> BTreeSet<_> { pods.into_iter().filter_map(|pod| pod.metadata.uid).collect() };
    let old = uids(space.rig.wait_pods("job", |_| true).await);
    space
        .rig
        .patch(
            "job",
            &json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": 3 } } } }),
        )
        .await;
    space.rig.wait("job", suspended).await;
    space.wait_reached("job", Reach::Running, 3).await;
    let new = uids(space.rig.wait_pods("job", |_| true).await);
    assert!(old.is_disjoint(&new), "{old:?} and {new:?}");
    kueue.check(space).await;
}

/// Workers that are to be on one host wait behind the gate of Kueue until it has chosen one for all of them.
async fn placed_by_topology(kueue: &Kueue) {
    const HOST: &str = "kubernetes.io/hostname";
    let nodes = Api::<Node>::all(kueue.cluster.admin());
    for name in ["a", "b"] {
        let room = json!({ "cpu": "2", "memory": "8Gi", "pods": "10" });
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let node = json!({
            "metadata": { "name": name, "labels": { HOST: name, "pool": "spot" } },
            "status": { "allocatable": room, "capacity": room, "conditions": ready },
        });
        let node: Node = serde_json::from_value(node).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        nodes
            .patch_status(
                name,
                &PatchParams::default(),
                &Patch::Merge(json!({ "status": node.status })),
            )
            .await
            .unwrap();
    }
    let hosts = json!({ "metadata": { "name": "hosts" }, "spec": { "levels": [{ "nodeLabel": HOST }] } });
    kueue.try_create("Topology", None, &hosts).await.unwrap();
    let flavor = json!({ "nodeLabels": { "pool": "spot" }, "topologyName": "hosts" });
    let flavor = json!({ "metadata": { "name": "hosts" }, "spec": flavor });
    kueue.try_create("ResourceFlavor", None, &flavor).await.unwrap();
    let space = kueue.queue_of("hosts", Reach::Running).await;
    space.ending.send_replace(true);
    let together = json!({ "metadata": { "annotations": { "kueue.x-k8s.io/podset-required-topology": HOST } } });
    let worker = json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "template": together } } } });
    space.rig.create(&with(submitted("job", "low"), &worker)).await;
    space.wait_reached("job", Reach::Running, 3).await;
    let pods = space.rig.wait_pods("job", |_| true).await;
    let host = |pod: &Pod| pod.spec.as_ref()?.node_selector.as_ref()?.get(HOST).cloned();
    assert!(
        host(&pods[1]).is_some() && host(&pods[1]) == host(&pods[2]),
        "{:?}",
        pods.iter().map(host).collect::<Vec<_>>()
    );
    succeed(&space, "job").await;
    kueue.check(space).await;
}

/// A job of MultiKueue is left alone, and one that would lose policies on the way to another cluster is refused.
async fn of_multikueue(kueue: &Kueue) {
    let space = kueue.queue(Reach::Running).await;
    let managed = json!({ "spec": { "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue" } } });
    let job = with(submitted("job", "low"), &managed);
    let flat = with(job.clone(), &json!({ "spec": { "backoffLimit": 3 } }));
    let status = refusal(space.rig.try_create(&flat).await);
    assert!(
        status.code == 422 && status.message.contains("write them under runPolicy"),
        "{}",
        status.message
    );
    space
        .rig
        .create(&with(job, &json!({ "spec": { "runPolicy": { "backoffLimit": 3 } } })))
        .await;
    kueue.check(space).await;
}

#[tokio::test]
#[ignore = "needs Kueue, and root: make test-kueue"]
async fn kueue_admits_preempts_places_and_deactivates_and_never_gives_away_quota_that_is_used() {
    let Some(kueue) = Kueue::start(json!({})).await else {
        return;
    };
    two_jobs_take_turns(&kueue).await;
    for reach in [Reach::Running, Reach::Pulling] {
        preempted(&kueue, reach).await;
    }
    deactivated(&kueue).await;
    scaled(&kueue).await;
    placed_by_topology(&kueue).await;
    of_multikueue(&kueue).await;
}

#[tokio::test]
#[ignore = "needs Kueue, and root: make test-kueue"]
async fn a_job_whose_pods_do_not_get_ready_in_time_keeps_its_quota_until_they_have_ended() {
    let requeuing = json!({ "timestamp": "Eviction", "backoffBaseSeconds": 1, "backoffMaxSeconds": 2 });
    let wait = json!({ "waitForPodsReady": { "timeout": "3s", "requeuingStrategy": requeuing } });
    let Some(kueue) = Kueue::start(wait).await else { return };
    let space = kueue.queue(Reach::Pulling).await;
    space.rig.create(&submitted("job", "low")).await;
    space.rig.wait_pods("job", |pods| pods.len() == 3).await;
    space.rig.wait("job", suspended).await;
    let settled = space.rig.settle("job").await;
    assert!(active(&settled), "pods that are to end late still count");
    space.ending.send_replace(true);
    space.rig.wait("job", |job| !active(job)).await;
    // Kueue tries again.
    space.rig.wait("job", |job| !suspended(job)).await;
    space.rig.wait_pods("job", |pods| pods.len() == 3).await;
    kueue.check(space).await;
}
