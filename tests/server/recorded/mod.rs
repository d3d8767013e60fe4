//! Records the worlds of `tests/recorded`: `make recorded`. `tests/plan/recorded.rs` holds the planner to them.
//!
//! No operator runs. The objects are those of a real API server; the test plays users, kubelet and schedulers, asks
//! `kubectl pytorchjob replay` what an operator would do, and sends these requests.

mod normal;
mod stories;

use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use pytorchjob_test_cluster::{Cluster, PodPhase, bind_pod, repository, set_pod_phase};
use serde_json::{Value, json};

use crate::api::{ChildKind, ChildRef, PyTorchJob, names};
use crate::kubectl::{plugin, text};
use crate::planner::{Builder, Gang, GangScheduler, Settings};
use crate::rig::{Site, TIMEOUT, run};

/// Most plans until nothing is left to do.
const STEPS: usize = 20;

/// The name of every job.
const JOB: &str = "train";

/// Where the worlds are kept.
struct Stage {
    cluster: &'static Cluster,
    program: PathBuf,
    kept: PathBuf,
    #[expect(dead_code, reason = "held")]
    directory: tempfile::TempDir,
}

/// One job in a namespace without operator.
struct Story {
    site: Site,
    program: PathBuf,
    kept: PathBuf,
    kubeconfig: String,
    /// Seconds that are skipped when the world is looked at.
    later: i64,
}

impl Stage {
    /// Deletes what was recorded before.
    fn new(cluster: &'static Cluster) -> Self {
        let kept = repository().join("tests/recorded");
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir_all(&kept).unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            cluster,
            program: plugin(directory.path()),
            kept,
            directory,
        }
    }

    /// Creates a job.
    async fn story(&self, job: &Value) -> Story {
        let namespace = self.cluster.namespace("recorded").await.unwrap();
        let site = Site::new(self.cluster, namespace, TIMEOUT);
        site.create(job).await;
        Story {
            site,
            program: self.program.clone(),
            kept: self.kept.clone(),
            kubeconfig: self.cluster.admin_kubeconfig().display().to_string(),
            later: 0,
        }
    }

    /// The same, with its pods, which are bound to a node and wait for its kubelet.
    async fn started(&self, job: &Value) -> Story {
        let story = self.story(job).await;
        story.settle().await;
        story.bind().await;
        story
    }

    /// The same, and all pods run.
    async fn running(&self, job: &Value) -> Story {
        let story = self.started(job).await;
        story.run().await;
        story
    }
}

impl Story {
    async fn plugin(&self, arguments: &[&str], input: &str) -> String {
        let output = run(&self.program, arguments, input).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    async fn decision(&self, world: &Value, format: &str) -> String {
        self.plugin(&["replay", "-", "-o", format], &world.to_string()).await
    }

    /// What `record` prints, without what no decision reads.
    async fn world(&self) -> Value {
        let namespace = self.site.namespace.name();
        let arguments = [
            "--kubeconfig",
            &self.kubeconfig,
            "--namespace",
            namespace,
            "record",
            JOB,
        ];
        let mut world: Value = serde_json::from_str(&self.plugin(&arguments, "").await).unwrap();
        let time: Timestamp = world["time"].as_str().unwrap().parse().unwrap();
        let second = Timestamp::from_second(time.as_second()).unwrap();
        world["time"] = json!(second + SignedDuration::from_secs(self.later));
        assert_eq!(world["unread"], json!([]));
        let whole = self.decision(&world, "json").await;
        normal::prune(&mut world);
        assert_eq!(self.decision(&world, "json").await, whole, "more is read of it");
        world
    }

    /// Keeps the world as it is now and the plan for it.
    async fn keep(&self, title: &str) {
        let world = normal::normal(&self.world().await, self.site.namespace.name());
        let plan = self.decision(&world, "yaml").await;
        let write = |extension: &str, text: &str| {
            let path = self.kept.join(format!("{title}.{extension}"));
            assert!(!path.exists(), "there are two worlds {title}");
            fs::write(path, text).unwrap();
        };
        write("json", &(normal::printed(&world, "") + "\n"));
        write("yaml", &plan);
    }

    /// Does what an operator would do now; says whether that is anything.
    async fn step(&self) -> bool {
        let world = self.world().await;
        let plan: Value = serde_json::from_str(&self.decision(&world, "json").await).unwrap();
        let requests = plan["requests"].as_array().cloned().unwrap_or_default();
        for request in &requests {
            self.send(&world, request).await;
        }
        if let Some(status) = plan["status"].get("store") {
            let patch = json!([{ "op": "add", "path": "/status", "value": status }]);
            let patch = Patch::<Value>::Json(serde_json::from_value(patch).unwrap());
            let api = self.api(&job_resource());
            api.patch_status(JOB, &PatchParams::default(), &patch).await.unwrap();
        }
        !requests.is_empty() || !plan["status"].is_null()
    }

    /// Does what an operator would do until nothing is left.
    async fn settle(&self) {
        for _ in 0..STEPS {
            if !self.step().await {
                return;
            }
        }
        panic!("{} does not settle", self.site.namespace.name());
    }

    async fn send(&self, world: &Value, request: &Value) {
        if let Some(object) = request.get("create") {
            let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
            let types = object.types.clone().unwrap();
            let api = self.api(&resource(&types.api_version, &types.kind));
            api.create(&PostParams::default(), &object).await.unwrap();
        } else if let Some(gone) = request.get("delete") {
            let this = Preconditions {
                uid: gone["uid"].as_str().map(str::to_owned),
                resource_version: None,
            };
            let parameters = DeleteParams::default().preconditions(this);
            let api = self.api(&resource_of(world, gone));
            api.delete(gone["name"].as_str().unwrap(), &parameters).await.unwrap();
        } else {
            let patched = &request["patch"];
            let patch = Patch::<Value>::Json(serde_json::from_value(patched["patch"].clone()).unwrap());
            let api = self.api(&resource_of(world, patched));
            let name = patched["name"].as_str().unwrap();
            api.patch(name, &PatchParams::default(), &patch).await.unwrap();
        }
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.site.client.clone(), &self.site.namespace, resource)
    }

    /// Creates the PodGroup that an operator with this scheduler creates first. A record does not have the flags of the
    /// operator; they are told from the group.
    async fn group(&self, scheduler: GangScheduler) {
        let job: PyTorchJob = serde_json::from_value(self.world().await["job"].clone()).unwrap();
        let child = ChildRef::of_job(scheduler.kind());
        let settings = Settings {
            gang: Some(Gang {
                scheduler,
                served: true,
            }),
            ..Settings::default()
        };
        let group = Builder::new(&job, &settings).build(child).unwrap();
        self.send(&Value::Null, &json!({ "create": group })).await;
    }

    /// Binds all pods that are not bound yet to a node.
    async fn bind(&self) {
        let pods = self.site.pods().list(&ListParams::default()).await.unwrap();
        let unbound = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.is_none();
        for pod in pods.items.iter().filter(unbound) {
            let (client, namespace) = (&self.site.client, &self.site.namespace);
            bind_pod(client, namespace, &pod.name_any(), "node-1").await.unwrap();
        }
    }

    /// Lets all pods run.
    async fn run(&self) {
        let pods = self.site.pod_names(JOB).await;
        self.site.set_phases(pods, &PodPhase::Running).await;
        self.settle().await;
    }

    /// Says what the kubelet reports of a replica.
    async fn pod(&self, replica: &str, phase: &PodPhase) {
        self.site.set_phase(&format!("{JOB}-{replica}"), phase).await;
    }

    /// The same of a container that the kubelet has started again so often.
    async fn restarted(&self, replica: &str, restarts: i32) {
        let pod = format!("{JOB}-{replica}");
        set_pod_phase(
            &self.site.client,
            &self.site.namespace,
            &pod,
            &PodPhase::Running,
            restarts,
        )
        .await
        .unwrap();
    }

    /// Writes into the status of the pod of a replica.
    async fn pod_status(&self, replica: &str, status: &Value) {
        let patch = Patch::Strategic(json!({ "status": status }));
        let pods = self.site.pods();
        let pod = format!("{JOB}-{replica}");
        pods.patch_status(&pod, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Deletes the pod of a replica, as a user does.
    async fn delete(&self, replica: &str) {
        let pod = format!("{JOB}-{replica}");
        self.site.pods().delete(&pod, &DeleteParams::default()).await.unwrap();
    }

    /// Lets the node end all pods that are being deleted.
    async fn end(&self) {
        let pods = self.site.pods().list(&ListParams::default()).await.unwrap();
        for pod in pods
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
        {
            self.site.finish_deletion(pod).await;
        }
    }

    /// Edits the job.
    async fn edit(&self, patch: &Value) {
        self.site.patch(JOB, patch).await;
    }
}

/// The kind of an object of this world.
fn resource_of(world: &Value, named: &Value) -> ApiResource {
    let kind = named["kind"].as_str().unwrap();
    if kind == names::KIND {
        return job_resource();
    }
    let others = world["others"].as_array().unwrap();
    let other = others.iter().find(|other| other["kind"] == kind);
    resource(other.map_or("v1", |other| other["apiVersion"].as_str().unwrap()), kind)
}

fn job_resource() -> ApiResource {
    ApiResource::erase::<PyTorchJob>(&())
}

/// What jobs own of this kind.
fn resource(api_version: &str, kind: &str) -> ApiResource {
    let is = |known: &ChildKind| known.kind() == kind && known.api_version() == api_version;
    let known = ChildKind::ALL.into_iter().find(is).unwrap();
    ApiResource {
        group: known.group().to_owned(),
        version: known.version().to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: known.plural().to_owned(),
    }
}
