//! Thousands of running jobs with all that they own, written straight into etcd: through the API server they would take
//! half an hour. The API server shows them as if somebody had created them.

use std::path::Path;

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use kube::client::Body;
use pytorchjob_operator::api::{ChildKind, ChildRef, JobStatus, PyTorchJob, Replica};
use pytorchjob_operator::planner::{Builder, Phase, Settings};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::Result;
use crate::jobs::Job;
use crate::null_operator::{replicas, wanted_status};

/// What etcd takes in one transaction.
const TRANSACTION: usize = 128;
const CREATED: &str = "2026-01-01T00:00:00Z";

/// A connection to etcd, and how much was written.
pub struct Population {
    etcd: SendRequest<Body>,
    objects: u32,
}

impl Population {
    /// Connects to the etcd of a control plane of the test cluster.
    pub async fn connect(directory: &Path) -> Result<Self> {
        let stream = UnixStream::connect(directory.join("etcd.sock")).await?;
        let (etcd, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { etcd, objects: 0 })
    }

    /// A job whose pods all run.
    pub async fn running(&mut self, job: &Job<'_>) -> Result<()> {
        let mut stored = self.stored(job)?;
        let all = replicas(&stored);
        let status = wanted_status(&stored, JobStatus::default(), &all, Phase::Pending)?;
        stored.status = Some(wanted_status(&stored, status, &all, Phase::Running)?);
        let jobs = format!("/registry/kubeflow.org/pytorchjobs/{}", job.namespace);
        let mut objects = vec![(format!("{jobs}/{}", job.name), serde_json::to_value(&stored)?)];
        let settings = Settings::default();
        let builder = Builder::new(&stored, &settings);
        for (role, index) in all {
            let replica = Replica::new(role, index);
            for (kind, directory) in [(ChildKind::Pod, "pods"), (ChildKind::Service, "services/specs")] {
                let object = builder.build(ChildRef::of_replica(kind, replica));
                let mut object = object.ok_or("every replica has both")?;
                self.identify(&mut object);
                if kind == ChildKind::Pod {
                    run(&mut object);
                }
                let name = replica.name(job.name);
                objects.push((format!("/registry/{directory}/{}/{name}", job.namespace), object));
            }
        }
        self.put(&objects).await
    }

    /// A job that nobody has looked at yet.
    pub async fn new_job(&mut self, job: &Job<'_>) -> Result<()> {
        let stored = serde_json::to_value(self.stored(job)?)?;
        let key = format!("/registry/kubeflow.org/pytorchjobs/{}/{}", job.namespace, job.name);
        self.put(&[(key, stored)]).await
    }

    fn stored(&mut self, job: &Job<'_>) -> Result<PyTorchJob> {
        let mut object = job.manifest();
        self.identify(&mut object);
        object["metadata"]["generation"] = json!(1);
        Ok(serde_json::from_value(object)?)
    }

    /// What the API server adds to a new object.
    fn identify(&mut self, object: &mut Value) {
        self.objects += 1;
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.objects));
        metadata["creationTimestamp"] = json!(CREATED);
    }

    async fn put(&mut self, objects: &[(String, Value)]) -> Result<()> {
        for part in objects.chunks(TRANSACTION) {
            let base64 = |bytes: &[u8]| json!(ByteString(bytes.to_vec()));
            let puts = part.iter().map(|(key, object)| {
                let value = object.to_string();
                json!({ "request_put": { "key": base64(key.as_bytes()), "value": base64(value.as_bytes()) } })
            });
            let transaction = json!({ "success": puts.collect::<Vec<_>>() });
            let request = Request::builder()
                .method(Method::POST)
                .uri("/v3/kv/txn")
                .header(header::HOST, "etcd")
                .body(Body::from(transaction.to_string().into_bytes()))?;
            self.etcd.ready().await?;
            let answer = self.etcd.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            if status != StatusCode::OK {
                return Err(format!("etcd: {status}: {}", String::from_utf8_lossy(&body)).into());
            }
        }
        Ok(())
    }
}

/// What scheduler, kubelet and API server add to a pod until it runs, as far as it has a size.
fn run(pod: &mut Value) {
    pod["spec"]["nodeName"] = json!("node-0");
    let condition =
        |type_: &str| json!({ "type": type_, "status": "True", "lastProbeTime": null, "lastTransitionTime": CREATED });
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    pod["status"] = json!({
        "phase": "Running",
        "qosClass": "Guaranteed",
        "startTime": CREATED,
        "hostIP": "10.0.0.1",
        "hostIPs": [{ "ip": "10.0.0.1" }],
        "podIP": "10.1.0.1",
        "podIPs": [{ "ip": "10.1.0.1" }],
        "conditions": conditions.map(condition),
        "containerStatuses": [{
            "name": "pytorch",
            "image": "registry.example/gcs/pytorch-cpu:v1",
            "imageID": "registry.example/gcs/pytorch-cpu@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "containerID": "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "ready": true,
            "started": true,
            "restartCount": 0,
            "lastState": {},
            "state": { "running": { "startedAt": CREATED } },
        }],
    });
    let containers = json!({ "f:containers": { "k:{\"name\":\"pytorch\"}": {
        ".": {}, "f:args": {}, "f:command": {}, "f:env": {}, "f:image": {}, "f:name": {}, "f:ports": {}, "f:resources": {},
    } } });
    let managed = |manager: &str, subresource: &str, fields: Value| {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": "v1", "time": CREATED,
            "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": subresource,
        })
    };
    pod["metadata"]["managedFields"] = json!([
        managed(
            "pytorchjob-operator",
            "",
            json!({ "f:metadata": { "f:labels": {} }, "f:spec": containers })
        ),
        managed(
            "kubelet",
            "status",
            json!({ "f:status": { "f:conditions": {}, "f:phase": {}, "f:podIP": {} } })
        ),
    ]);
}
