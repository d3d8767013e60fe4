//! Real pods on a real node, the operator being one of them: `make test-real` builds what they need. The tests run one
//! after another, because they disturb the node.
//!
//! Every failure is looked at as its user would: the status of the job, its events, and `kubectl describe`, which must name
//! the cause.

mod disruptions;
mod failures;
mod first_step;
mod operator;
mod recovery;
mod short;
mod training;
mod two_nodes;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use pytorchjob_test_cluster::{Cluster, Node, Options, repository, wait_for};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::job::{Job, with};
use crate::rig::{Site, file_cluster};

/// For what takes seconds on an idle machine: PyTorch is loaded by several processes at once.
const TIMEOUT: Duration = Duration::from_mins(3);
/// PyTorch with a shell, as the node has it.
const IMAGE: &str = "local/torch:1";

/// A namespace on the one cluster of these tests, which has the operator as it is shipped.
async fn site() -> Site {
    static CLUSTER: OnceCell<&'static Cluster> = OnceCell::const_new();
    let cluster = *CLUSTER.get_or_init(cluster).await;
    // A test that failed may have left it without.
    node(cluster).start_kubelet().await.unwrap();
    node(cluster).ready(cluster.admin()).await.unwrap();
    available(cluster).await;
    Site::new(cluster, cluster.namespace("real").await.unwrap(), TIMEOUT)
}

async fn cluster() -> &'static Cluster {
    let options = Options {
        crds: Vec::new(),
        // When no node answers, the fault is looked for elsewhere, and nothing is evicted.
        nodes: 1,
        real_node: true,
        ..Options::default()
    };
    let cluster = file_cluster(options).await;
    cluster.kubectl(&["cordon", "kwok-0"]).await.unwrap();
    let images = node(cluster).load_project_images().await.unwrap();
    assert!(
        images.iter().any(|image| image.contains("pytorchjob-operator")),
        "make image: {images:?}"
    );
    assert!(
        images.iter().any(|image| image.contains("pytorch/pytorch")),
        "make torch-image: {images:?}"
    );
    cluster
        .apply_kustomize(&repository().join("config/default"))
        .await
        .unwrap();
    cluster
}

fn node(cluster: &Cluster) -> &Node {
    cluster.node().expect("this cluster has a real node")
}

/// Waits until both replicas of the operator are ready.
async fn available(cluster: &Cluster) {
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), "kubeflow");
    let both = |deployment: &Deployment| {
        let status = deployment.status.as_ref();
        status.is_some_and(|status| status.ready_replicas == Some(2) && status.updated_replicas == Some(2))
    };
    wait_for(&deployments, "pytorchjob-operator", TIMEOUT, both)
        .await
        .unwrap();
}

/// A replica that runs a shell script.
fn replica(replicas: u32, policy: &str, script: &str) -> Value {
    json!({
        "replicas": replicas,
        "restartPolicy": policy,
        "template": { "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "pytorch", "image": IMAGE, "command": ["sh", "-c", script],
                "resources": { "requests": { "cpu": "50m" } },
            }],
        } },
    })
}

/// A job of one Master that runs a shell script.
fn job(name: &str, policy: &str, script: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": { "name": name },
        "spec": { "pytorchReplicaSpecs": { "Master": replica(1, policy, script) } },
    })
}

/// The same with a Worker that runs another.
fn with_worker(job: Value, policy: &str, script: &str) -> Value {
    with(
        job,
        &json!({ "spec": { "pytorchReplicaSpecs": { "Worker": replica(1, policy, script) } } }),
    )
}

/// Changes the template of the Master.
fn with_template(job: Value, patch: &Value) -> Value {
    with(
        job,
        &json!({ "spec": { "pytorchReplicaSpecs": { "Master": { "template": { "spec": patch } } } } }),
    )
}

/// Changes the one container of the Master.
fn with_container(mut job: Value, patch: &Value) -> Value {
    let container = &mut job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0];
    *container = with(container.take(), patch);
    job
}

impl Site {
    /// What `kubectl describe` shows of a job, its events included. Those are published beside the status and may come
    /// a moment later, so each of `parts` is waited for.
    async fn described(&self, job: &str, parts: &[&str]) -> String {
        let describe = async {
            loop {
                let text = self
                    .cluster
                    .kubectl(&["describe", "pytorchjob", job, "--namespace", &self.namespace])
                    .await
                    .unwrap();
                if parts.iter().all(|part| text.contains(part)) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), describe)
            .await
            .unwrap_or_else(|_| panic!("kubectl describe does not say {parts:?}"))
    }

    /// Waits until a pod runs, and returns it.
    async fn pod_running(&self, name: &str) -> Pod {
        let running = |pod: &Pod| {
            let status = pod.status.as_ref();
            status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
                && pod.metadata.deletion_timestamp.is_none()
        };
        wait_for(&self.pods(), name, TIMEOUT, running).await.unwrap()
    }

    /// Which object a pod is.
    async fn uid(&self, pod: &str) -> Option<String> {
        self.pods().get(pod).await.unwrap().uid()
    }

    /// Waits until another pod of the same name runs.
    async fn pod_replaced(&self, old: &Pod) -> Pod {
        let running = |pod: &Pod| {
            let status = pod.status.as_ref();
            pod.uid() != old.uid() && status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
        };
        wait_for(&self.pods(), &old.name_any(), TIMEOUT, running).await.unwrap()
    }

    /// Waits until the log of a pod has `part`.
    async fn logged(&self, pod: &str, part: &str) -> String {
        let read = async {
            loop {
                let log = self
                    .pods()
                    .logs(pod, &kube::api::LogParams::default())
                    .await
                    .unwrap_or_default();
                if log.contains(part) {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, read)
            .await
            .unwrap_or_else(|_| panic!("{pod} does not log {part:?}"))
    }

    /// Applies an example of the repository.
    async fn example(&self, name: &str) {
        let file = repository().join("examples").join(name).display().to_string();
        self.cluster
            .kubectl(&["apply", "--namespace", &self.namespace, "--filename", &file])
            .await
            .unwrap();
    }
}

/// The reason, exit code and text that the status has for the first failure.
fn first_failure(job: &Job) -> &Value {
    &job.status["firstFailure"]
}
