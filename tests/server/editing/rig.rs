//! One namespace with an operator of its own, and the hands of the people and the kubelet in it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, Status};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use pytorchjob_operator::api::{ConditionType, JobStatus, PyTorchJob};
use pytorchjob_test_cluster::{
    Cluster, Namespace, Operator, PodPhase, remove_pod, set_pod_phase, wait_for, wait_for_all,
};
use serde_json::{Value, json};

use crate::rig::{failed, names, of_job, operator, replica_names};

/// How long anything may take on a loaded machine.
pub const SOON: Duration = Duration::from_mins(2);

/// What the API server adds when the schema already refuses an object.
const RULES_SKIPPED: &str = "some validation rules were not checked";

/// A namespace and what is needed to work in it.
pub struct Rig {
    pub cluster: &'static Cluster,
    pub client: Client,
    pub namespace: Namespace<'static>,
    pub jobs: Api<PyTorchJob>,
    pub pods: Api<Pod>,
    pub services: Api<Service>,
}

impl Rig {
    /// A new namespace on the cluster that the tests of this binary share.
    pub async fn new(name: &str) -> Self {
        let cluster = Cluster::shared().await;
        let client = cluster.admin();
        let namespace = cluster.namespace(name).await.unwrap();
        Self {
            jobs: Api::namespaced(client.clone(), &namespace),
            pods: Api::namespaced(client.clone(), &namespace),
            services: Api::namespaced(client.clone(), &namespace),
            cluster,
            client,
            namespace,
        }
    }

    /// A namespace with an operator at work in it.
    pub async fn with_operator(name: &str) -> (Self, Operator) {
        let rig = Self::new(name).await;
        let operator = rig.start_operator().await;
        (rig, operator)
    }

    /// Starts an operator for this namespace.
    pub async fn start_operator(&self) -> Operator {
        operator(self.cluster.admin_kubeconfig(), &self.namespace, &[]).await
    }

    /// Creates a job.
    pub async fn create(&self, name: &str, spec: Value) -> PyTorchJob {
        self.create_object(json!({ "metadata": { "name": name }, "spec": spec }))
            .await
    }

    /// Creates a job from metadata and spec.
    pub async fn create_object(&self, mut object: Value) -> PyTorchJob {
        object["apiVersion"] = json!("kubeflow.org/v1");
        object["kind"] = json!("PyTorchJob");
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let created = self.raw().create(&PostParams::default(), &object).await.unwrap();
        self.job(&created.name_any()).await
    }

    /// The jobs as plain JSON, so that a test can write what the types do not know.
    pub fn raw(&self) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &ApiResource::erase::<PyTorchJob>(&()),
        )
    }

    /// The job as it is stored.
    pub async fn job(&self, name: &str) -> PyTorchJob {
        self.jobs.get(name).await.unwrap()
    }

    /// A merge patch, and its answer.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<PyTorchJob, Box<Status>> {
        answer(
            self.jobs
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await,
        )
    }

    /// A merge patch that must be accepted.
    pub async fn edit(&self, name: &str, patch: Value) -> PyTorchJob {
        self.patch(name, &patch)
            .await
            .unwrap_or_else(|status| panic!("{name}: {patch} was refused: {}", status.message))
    }

    /// Suspends or resumes.
    pub async fn suspend(&self, name: &str, suspend: bool) -> PyTorchJob {
        self.edit(name, json!({ "spec": { "runPolicy": { "suspend": suspend } } }))
            .await
    }

    /// Waits for the job.
    pub async fn until(&self, name: &str, what: impl Fn(&PyTorchJob) -> bool) -> PyTorchJob {
        wait_for(&self.jobs, name, SOON, what).await.unwrap()
    }

    /// Waits until the operator has acted on the latest edit.
    pub async fn until_observed(&self, name: &str) -> PyTorchJob {
        let generation = self.job(name).await.metadata.generation;
        self.until(name, |job| status(job).observed_generation >= generation)
            .await
    }

    /// Waits until the job has exactly these pods, given as `worker-0`, none of them terminating.
    pub async fn until_pods(&self, job: &str, replicas: &[&str]) -> Vec<Pod> {
        let names = replica_names(job, replicas);
        wait_for_all(&self.pods, &of_job(job), SOON, |pods: &[Pod]| {
            self::names(pods) == names && pods.iter().all(|pod| pod.meta().deletion_timestamp.is_none())
        })
        .await
        .unwrap()
    }

    /// Waits until the job has exactly these services.
    pub async fn until_services(&self, job: &str, replicas: &[&str]) {
        let names = replica_names(job, replicas);
        wait_for_all(&self.services, &of_job(job), SOON, |services: &[Service]| {
            self::names(services) == names
        })
        .await
        .unwrap();
    }

    /// Waits until nothing of the job is left but itself.
    pub async fn until_bare(&self, job: &str) {
        self.until_pods(job, &[]).await;
        self.until_services(job, &[]).await;
    }

    /// The pods of a job, sorted by name.
    pub async fn pods_of(&self, job: &str) -> Vec<Pod> {
        self.pods
            .list(&ListParams::default().labels(&of_job(job)))
            .await
            .unwrap()
            .items
    }

    /// Reports a phase for a pod, given as `worker-0`.
    pub async fn report(&self, job: &str, replica: &str, phase: PodPhase) {
        set_pod_phase(&self.client, &self.namespace, &format!("{job}-{replica}"), &phase, 0)
            .await
            .unwrap();
    }

    /// Waits for these pods, lets them run, and waits until the job is Running.
    pub async fn run(&self, job: &str, replicas: &[&str]) -> PyTorchJob {
        self.until_pods(job, replicas).await;
        // One that failed is about to be replaced under the same name.
        let living = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Failed");
        let all = |pods: &[Pod]| pods.len() == replicas.len() && pods.iter().all(living);
        wait_for_all(&self.pods, &of_job(job), SOON, all).await.unwrap();
        for replica in replicas {
            self.report(job, replica, PodPhase::Running).await;
        }
        self.until(job, |job| is(job, ConditionType::Running)).await
    }

    /// Lets a pod fail as a training that exits with 1.
    pub async fn fail(&self, job: &str, replica: &str) {
        self.report(job, replica, failed(1)).await;
    }

    /// Removes a pod as its kubelet does when it has ended.
    pub async fn bury(&self, job: &str, replica: &str) {
        remove_pod(&self.client, &self.namespace, &format!("{job}-{replica}"))
            .await
            .unwrap();
    }

    /// Waits until the operator has worked on a job that is created now, and so on every event before it.
    pub async fn fence(&self) {
        let name = self
            .create_object(json!({ "metadata": { "generateName": "fence-" }, "spec": bare() }))
            .await
            .name_any();
        self.run(&name, &["master-0", "worker-0"]).await;
    }
}

/// The answer to a request, or what the API server says about it. Anything but an answer of the API server fails the
/// test.
pub fn answer<T>(result: kube::Result<T>) -> Result<T, Box<Status>> {
    match result {
        Ok(value) => Ok(value),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("no answer: {error}"),
    }
}

/// What a refusal says, one sentence for each rule that is broken.
pub fn messages(status: &Status) -> Vec<String> {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    if causes.is_empty() {
        return vec![status.message.clone()];
    }
    let plain = |message: &str| {
        let heads = ["Invalid value: ", "Forbidden: ", "Required value: "];
        let head = heads
            .into_iter()
            .find(|head| message.starts_with(head))
            .unwrap_or_default();
        let said = &message[head.len()..];
        // Older servers name the type of the value first.
        said.strip_prefix("\"object\": ").unwrap_or(said).to_owned()
    };
    let mut messages: Vec<String> = causes
        .iter()
        .map(|cause| plain(&cause.message))
        .filter(|message| !message.contains(RULES_SKIPPED))
        .collect();
    messages.dedup();
    messages
}

/// The status; empty before the operator has written one.
pub fn status(job: &PyTorchJob) -> JobStatus {
    job.status.clone().unwrap_or_default()
}

/// Whether the condition is True.
pub fn is(job: &PyTorchJob, condition: ConditionType) -> bool {
    status(job)
        .conditions
        .iter()
        .any(|entry| entry.type_ == condition.as_str() && entry.status == "True")
}

/// Whether the job has finished.
pub fn finished(job: &PyTorchJob) -> bool {
    is(job, ConditionType::Succeeded) || is(job, ConditionType::Failed)
}

/// The conditions in order, as `Running=False(PyTorchJobSuspended)`.
pub fn conditions(job: &PyTorchJob) -> Vec<String> {
    status(job)
        .conditions
        .iter()
        .map(|entry| {
            let reason = entry.reason.as_deref().unwrap_or_default();
            format!("{}={}({reason})", entry.type_, entry.status)
        })
        .collect()
}

/// `active` of a replica type.
pub fn active(job: &PyTorchJob, role: &str) -> i32 {
    status(job)
        .replica_statuses
        .get(role)
        .and_then(|counts| counts.active)
        .unwrap_or(0)
}

/// A container named pytorch.
pub fn template() -> Value {
    json!({ "spec": { "schedulerName": "nobody", "containers": [{ "name": "pytorch", "image": "training:1" }] } })
}

/// A Master and a Worker, and nothing that can be left out.
pub fn bare() -> Value {
    json!({ "pytorchReplicaSpecs": { "Master": { "template": template() }, "Worker": { "template": template() } } })
}

/// An elastic job of that many workers.
pub fn elastic(workers: u32, min: u32, max: u32) -> Value {
    json!({
        "elasticPolicy": { "minReplicas": min, "maxReplicas": max },
        "pytorchReplicaSpecs": { "Worker": { "replicas": workers, "template": template() } },
    })
}
