//! The job that a pass is about.

use futures::StreamExt;
use futures::stream;
use kube::Api;
use tokio::time::Instant;
use tracing::debug;

use super::Context;
use super::error::Error;
use super::job_ref::Target;
use crate::api::PyTorchJob;
use crate::cache::ObjectView;
use crate::cache::StoredJob;

/// Objects of one job that are read at once.
const READS: usize = 4;

/// The job as it has to be planned for, where that is not what the watch shows: with our own last status, or read anew when nobody knows
/// whether our last status was stored. A plan made on the view before it could create a pod for a job that has its verdict.
pub async fn latest(context: &Context, seen: &PyTorchJob) -> Result<Option<PyTorchJob>, Error> {
    let own = context.index.with_own_status(seen);
    if own.is_some() {
        context.metrics.overlay_hit("pytorchjobs");
    }
    let known = own.as_ref().unwrap_or(seen);
    let target = Target::of(known);
    if !context.memory.in_doubt(target.uid) {
        return Ok(own);
    }
    let api = Api::<StoredJob>::namespaced(context.client.clone(), target.namespace);
    let _permit = context.permit().await;
    match api.get(target.name).await {
        Ok(StoredJob::Decoded(read)) if read.metadata.resource_version == known.metadata.resource_version => {
            context.memory.answered(target.uid);
            Ok(own)
        }
        // The doubt lasts until the watch has caught up.
        Ok(StoredJob::Decoded(read)) if read.metadata.uid == known.metadata.uid => Ok(Some(*read)),
        Ok(_) => Err(target.conflict()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(target.conflict()),
        Err(source) => Err(Error::Read {
            namespace: target.namespace.to_owned(),
            name: target.name.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// Reads the objects of the job that we wrote and that the watch does not show. What cannot be read stays as it was written.
pub async fn read_overdue(context: &Context, target: &Target<'_>) {
    let overdue = context.index.overdue(&target.id(), Instant::now());
    stream::iter(overdue)
        .for_each_concurrent(READS, async |(kind, name, uid)| {
            let api = Api::<ObjectView>::namespaced_with(context.client.clone(), target.namespace, &kind);
            let _permit = context.permit().await;
            match api.get(&name).await {
                Ok(object) => context.index.created(kind, object, Instant::now()),
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    context.index.not_found(kind, &target.id(), &name, &uid);
                }
                Err(error) => debug!(%kind, namespace = target.namespace, name, %error, "cannot read"),
            }
        })
        .await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::super::reconcile::reconcile;
    use super::*;
    use crate::api::ChildKind;
    use crate::cache::UNSEEN;
    use crate::planner::Settings;
    use crate::platform::events::EventSink;
    use crate::platform::health::Health;
    use crate::platform::metrics::Metrics;

    /// An API server with one job, which stores a status and then fails to say so.
    #[derive(Clone, Default)]
    struct Server {
        job: Arc<Mutex<Value>>,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn answer(&self, request: &Request<Body>, sent: &[u8]) -> (StatusCode, Value) {
            let url = request.uri().path().to_owned();
            self.requests
                .lock()
                .unwrap()
                .push(format!("{} {url}", request.method()));
            let mut job = self.job.lock().unwrap();
            match *request.method() {
                Method::PATCH if url.ends_with("/status") => {
                    let patch: Value = serde_json::from_slice(sent).unwrap();
                    job["status"] = patch[1]["value"].clone();
                    job["metadata"]["resourceVersion"] = json!("2");
                    let lost = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 504, "reason": "Timeout", "message": "lost" });
                    (StatusCode::GATEWAY_TIMEOUT, lost)
                }
                Method::GET if url.ends_with("/pods/gone") => {
                    let status = kube::core::Status::failure("gone", "NotFound").with_code(404);
                    (StatusCode::NOT_FOUND, serde_json::to_value(status).unwrap())
                }
                Method::GET if url.ends_with("/pods/there") => (StatusCode::OK, pod("there")),
                Method::GET => (StatusCode::OK, job.clone()),
                _ => (StatusCode::CREATED, serde_json::from_slice(sent).unwrap()),
            }
        }

        fn client(&self) -> kube::Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect_bytes().await.unwrap();
                    let (code, answer) = server.answer(&Request::from_parts(parts, Body::empty()), &body);
                    let response = Response::builder()
                        .status(code)
                        .body(Body::from(answer.to_string().into_bytes()));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            kube::Client::new(service, "default")
        }

        fn context(&self) -> Arc<Context> {
            let metrics = Metrics::new().unwrap();
            let (events, publisher) = EventSink::start(self.client(), None, metrics.clone());
            drop(publisher);
            Arc::new(Context {
                client: self.client(),
                index: Arc::default(),
                settings: Settings::default(),
                memory: super::super::pacing::Memory::default(),
                metrics,
                events,
                requests: tokio::sync::Semaphore::new(4),
                health: Health::new(&[]),
            })
        }
    }

    fn pod(name: &str) -> Value {
        json!({
            "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": "5", "ownerReferences": [
                { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job", "uid": "u", "controller": true }] },
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_created_pod_that_the_watch_does_not_show_is_read_and_goes_only_if_it_is_gone() {
        let (server, metadata) = (
            Server::default(),
            json!({ "name": "job", "namespace": "ns", "uid": "u" }),
        );
        let job = json!({ "metadata": metadata, "spec": { "pytorchReplicaSpecs": {} } }).to_string();
        let job: PyTorchJob = serde_json::from_str(&job).unwrap();
        let (context, target) = (server.context(), Target::of(&job));
        for name in ["gone", "there"] {
            let created = serde_json::from_value(pod(name)).unwrap();
            context.index.created(ChildKind::Pod, created, Instant::now());
        }
        read_overdue(&context, &target).await;
        assert!(server.requests.lock().unwrap().is_empty(), "the watch is not late yet");
        tokio::time::advance(UNSEEN).await;
        read_overdue(&context, &target).await;
        read_overdue(&context, &target).await;
        assert_eq!(server.requests.lock().unwrap().len(), 2, "each is read once");
        let pods = context.index.owned_by(&target.id()).pods;
        assert_eq!(pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["there"]);
    }

    #[tokio::test]
    async fn after_a_status_write_without_answer_the_job_is_read_before_it_is_planned_again() {
        let server = Server::default();
        *server.job.lock().unwrap() = json!({
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
            "metadata": { "name": "job", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1 },
            "spec": { "activeDeadlineSeconds": 0, "pytorchReplicaSpecs": { "Master": { "template": { "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } } } } },
            "status": { "observedGeneration": 1, "startTime": "2026-01-01T00:00:00Z" },
        });
        let seen: Arc<StoredJob> = Arc::new(serde_json::from_str(&server.job.lock().unwrap().to_string()).unwrap());
        let context = server.context();
        reconcile(seen.clone(), context.clone())
            .await
            .expect_err("the answer is lost");
        assert_eq!(
            server.job.lock().unwrap()["status"]["conditions"][1]["type"],
            "Failed",
            "and yet the verdict is stored"
        );

        // The view is the old one; without reading anew the verdict would be decided once more, at another time.
        reconcile(seen, context.clone()).await.unwrap();
        let requests = server.requests.lock().unwrap().clone();
        let job = "/apis/kubeflow.org/v1/namespaces/ns/pytorchjobs/job";
        assert_eq!(requests, [format!("PATCH {job}/status"), format!("GET {job}")]);
    }
}
