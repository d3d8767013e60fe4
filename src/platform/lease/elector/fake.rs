//! An API server in memory that knows one `Lease`, with the concurrency rules of the real one.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use kube::{Api, Client};
use serde_json::json;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// 503, nothing is written.
    Refused,
    /// Never answered, nothing is written.
    Lost,
    /// Written, but never answered.
    AnswerLost,
    /// Written and answered after this long on the way there and again on the way back.
    Slow(Duration),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) lease: Option<Lease>,
    version: u64,
    /// Methods of all requests that arrived.
    pub(super) requests: Vec<Method>,
    /// Faults of the next requests, the next one last; then `always`.
    pub(super) faults: Vec<Fault>,
    pub(super) always: Fault,
}

#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    pub(super) fn api(&self) -> Api<Lease> {
        let fake = self.clone();
        let service = tower::service_fn(move |request| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Api::namespaced(Client::new(service, "kubeflow"), "kubeflow")
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn holder(&self) -> Option<String> {
        self.state().lease.clone()?.spec?.holder_identity
    }

    /// Writes as somebody else, for instance another candidate or `kubectl`.
    pub(super) fn edit(&self, change: impl FnOnce(&mut Lease)) {
        let mut state = self.state();
        let mut lease = state.lease.take().unwrap_or_default();
        change(&mut lease);
        state.store(lease);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let fault = {
            let mut state = self.state();
            state.requests.push(request.method().clone());
            state.faults.pop().unwrap_or(state.always)
        };
        match fault {
            Fault::None => self.handle(request).await,
            Fault::Refused => refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Fault::Lost => std::future::pending().await,
            Fault::AnswerLost => {
                self.handle(request).await;
                std::future::pending().await
            }
            Fault::Slow(delay) => {
                tokio::time::sleep(delay).await;
                let answer = self.handle(request).await;
                tokio::time::sleep(delay).await;
                answer
            }
        }
    }

    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let method = request.method().clone();
        let body = request.into_body().collect_bytes().await.unwrap();
        let mut state = self.state();
        let stored = state
            .lease
            .as_ref()
            .map(|lease| lease.metadata.resource_version.clone());
        if method == Method::GET {
            return state
                .lease
                .as_ref()
                .map_or_else(|| refusal(StatusCode::NOT_FOUND, "NotFound"), found);
        }
        let lease: Lease = serde_json::from_slice(&body).unwrap();
        match (method, stored) {
            (Method::POST, None) => found(state.store(lease)),
            (Method::POST, Some(_)) => refusal(StatusCode::CONFLICT, "AlreadyExists"),
            (_, None) => refusal(StatusCode::NOT_FOUND, "NotFound"),
            (_, Some(version)) if version == lease.metadata.resource_version => found(state.store(lease)),
            (_, Some(_)) => refusal(StatusCode::CONFLICT, "Conflict"),
        }
    }
}

impl State {
    fn store(&mut self, mut lease: Lease) -> &Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease.insert(lease)
    }
}

fn found(lease: &Lease) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(lease).unwrap()))
}

fn refusal(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": reason, "code": code.as_u16(),
    });
    Response::builder()
        .status(code)
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}
