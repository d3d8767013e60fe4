//! Jobs and pods that the tests of subcommands are about.

use std::convert::Infallible;
use std::io;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::cli::kubectl::observation::{Facts, Observation};

/// A job of one Master, with these fields in its spec.
pub(super) fn job(spec: &Value, status: &Value) -> Value {
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
    let mut job = json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": { "name": "train", "namespace": "team", "uid": "u", "generation": 1 },
        "spec": { "pytorchReplicaSpecs": { "Master": { "template": template } } }, "status": status,
    });
    let fields = spec.as_object().unwrap();
    fields
        .iter()
        .for_each(|(field, value)| job["spec"][field] = value.clone());
    job
}

/// What an API server says of an object that is not there.
pub(super) fn not_found(message: &str, name: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "NotFound",
        "code": 404, "details": { "name": name } })
}

/// Why an API server does not answer: `ServiceError: cannot connect: refused`.
pub(super) fn unreachable() -> kube::Error {
    kube::Error::Service(Box::new(Unreachable(io::Error::other("refused"))))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot connect")]
struct Unreachable(#[source] io::Error);

/// A client of an API server that gives this answer of each path.
pub(super) fn client(answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer(request.uri().path());
        let code = answer["code"].as_u64().map_or(200, |code| u16::try_from(code).unwrap());
        let response = Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()));
        std::future::ready(Ok::<_, Infallible>(response.unwrap()))
    });
    Client::new(service, "team")
}

/// Its pod.
pub(super) fn pod(status: &Value) -> Value {
    json!({
        "metadata": { "name": "train-master-0", "uid": "p", "ownerReferences": [
            { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "train", "uid": "u", "controller": true },
        ] },
        "status": status,
    })
}

/// A job as it is read at ten minutes past midnight, with whatever is added.
pub(super) fn world_of(job: Value, add: impl FnOnce(&mut Observation)) -> Observation {
    let mut observation = Observation::new(job, "2026-01-01T00:10:00Z".parse().unwrap());
    add(&mut observation);
    observation
}

/// The same as `why` sees it.
pub(super) fn facts_of(job: Value, add: impl FnOnce(&mut Observation)) -> Facts {
    world_of(job, add).facts().unwrap()
}
