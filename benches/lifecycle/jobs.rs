//! The jobs that are run, and the pods that are none of the operator's business.

use std::time::Duration;

use futures::{TryStreamExt, stream};
use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, Request};
use kube::{Client, Resource};
use pytorchjob_operator::api::PyTorchJob;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Result;
use crate::definition::bare_jobs;

/// Requests of the bench itself under way at once.
pub const IN_FLIGHT: usize = 32;

/// A job with one Master.
pub struct Job<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub workers: u32,
    /// How long its pods run; forever when `None`.
    pub runs: Option<Duration>,
    pub active_deadline_seconds: Option<u32>,
    /// Whether only the Master has a service.
    pub few_services: bool,
    /// Whether its pods are never scheduled: where their creation is all that counts.
    pub unscheduled: bool,
    /// `restartStrategy` of a job all of whose replicas start again when one fails, any number of times.
    pub restart_strategy: Option<&'a str>,
    /// The node that its pods are bound to from the beginning.
    pub node: Option<&'a str>,
}

impl Job<'_> {
    /// One Master and three Workers that run forever.
    pub fn of_four<'a>(namespace: &'a str, name: &'a str) -> Job<'a> {
        Job {
            namespace,
            name,
            workers: 3,
            runs: None,
            active_deadline_seconds: None,
            few_services: false,
            unscheduled: false,
            restart_strategy: None,
            node: None,
        }
    }

    /// Creates it. Returns the time of the answer with the stored object.
    pub async fn create(&self, client: &Client) -> Result<(Instant, PyTorchJob)> {
        let url = PyTorchJob::url_path(&(), Some(self.namespace));
        let job = post(client, &url, &self.manifest()).await?;
        Ok((Instant::now(), job))
    }

    /// Creates it for the null operator, under a definition that checks nothing.
    pub async fn create_bare(&self, client: &Client) -> Result<(Instant, PyTorchJob)> {
        let jobs = bare_jobs();
        let url = DynamicObject::url_path(&jobs, Some(self.namespace));
        let mut manifest = self.manifest();
        manifest["apiVersion"] = json!(jobs.api_version);
        let job = post(client, &url, &manifest).await?;
        Ok((Instant::now(), job))
    }

    /// The object.
    pub fn manifest(&self) -> Value {
        let template = self.template();
        let services = self.few_services.then_some("Rendezvous");
        let mut manifest = json!({
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": {
                "activeDeadlineSeconds": self.active_deadline_seconds,
                "runPolicy": { "servicePolicy": services },
                "pytorchReplicaSpecs": {
                    "Master": { "replicas": 1, "restartPolicy": "Never", "template": template },
                    "Worker": { "replicas": self.workers, "restartPolicy": "OnFailure", "template": template },
                },
            },
        });
        if let Some(strategy) = self.restart_strategy {
            let policy = &mut manifest["spec"]["runPolicy"];
            policy["restartScope"] = json!("Job");
            policy["restartStrategy"] = json!(strategy);
            policy["backoffLimit"] = json!(i32::MAX);
            manifest["spec"]["pytorchReplicaSpecs"]["Master"]["restartPolicy"] = json!("OnFailure");
        }
        manifest
    }

    /// The container of examples/seed.yaml, and for KWOK when it ends.
    fn template(&self) -> Value {
        let metadata = match self.runs {
            None => json!({}),
            Some(time) => json!({
                "labels": { "pytorchjob-test/finish": "Succeeded" },
                "annotations": { "pytorchjob-test/after": format!("{}ms", time.as_millis()) },
            }),
        };
        let mut template = json!({
            "metadata": metadata,
            "spec": {
                "schedulerName": self.unscheduled.then_some("nobody"),
                "containers": [{
                    "name": "pytorch",
                    "image": "registry.example/gcs/pytorch-cpu:v1",
                    "command": ["python", "/var/mnist.py"],
                    "args": ["--backend", "gloo"],
                    "resources": { "limits": { "cpu": 2, "memory": "4Gi" }, "requests": { "cpu": 2, "memory": "4Gi" } },
                }],
                "imagePullSecrets": [{ "name": "imagepull-secret" }],
            },
        });
        if let Some(node) = self.node {
            template["spec"]["nodeName"] = json!(node);
        }
        template
    }
}

/// Creates pods that bear no label of ours. Nobody schedules them, so that they stay as they are.
pub async fn create_foreign_pods(client: &Client, namespace: &str, count: u32) -> Result<()> {
    let url = Pod::url_path(&(), Some(namespace));
    let pod = |index| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": format!("foreign-{index}"), "namespace": namespace, "labels": { "app": "other" } },
            "spec": { "schedulerName": "nobody", "containers": [{ "name": "main", "image": "registry.example/other" }] },
        })
    };
    stream::iter((0..count).map(pod).map(Ok))
        .try_for_each_concurrent(IN_FLIGHT, async |pod| {
            post::<IgnoredAny>(client, &url, &pod).await.map(drop)
        })
        .await
}

/// Creates an object, and decodes of the answer what is asked for.
pub async fn post<T: DeserializeOwned>(client: &Client, url: &str, object: &Value) -> Result<T> {
    let request = Request::new(url).create(&kube::api::PostParams::default(), serde_json::to_vec(object)?)?;
    Ok(client.request(request).await?)
}

/// Sends a JSON patch, and decodes nothing of the answer.
pub async fn patch(client: &Client, url: &str, operations: &Value) -> Result<()> {
    let request = http::Request::patch(url)
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(serde_json::to_vec(operations)?)?;
    client.request::<IgnoredAny>(request).await?;
    Ok(())
}

/// Deletes an object, and decodes nothing of the answer.
pub async fn delete(client: &Client, url: &str, name: &str, parameters: &DeleteParams) -> Result<()> {
    let request = Request::new(url).delete(name, parameters)?;
    client.request::<IgnoredAny>(request).await?;
    Ok(())
}
