//! The last layer of ours before a request goes out.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tower::{BoxError, Service};

use super::streaming_list::from_what_is_stored;
use crate::platform::lease::Fence;
use crate::platform::metrics::Metrics;

/// Longest wait for the head of a response; the body, which for a watch never ends, may take its time. An admission
/// webhook may hold a write for 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// The API server took a request and said nothing. Whether it was carried out is unknown.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server to {method} {path} within {ANSWER_TIMEOUT:?}")]
pub(super) struct NoAnswer {
    method: Method,
    path: String,
}

/// Consults the fence when the request is about to leave, bounds the wait for its answer and counts it, also when
/// nobody waits for that any more.
#[derive(Debug)]
pub(super) struct Transport<S> {
    inner: S,
    fence: Fence,
    metrics: Metrics,
}

impl<S> Transport<S> {
    pub(super) fn new(inner: S, fence: Fence, metrics: Metrics) -> Self {
        Self { inner, fence, metrics }
    }
}

impl<S, B> Service<Request<Body>> for Transport<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let request = from_what_is_stored(request);
        let (fence, metrics) = (self.fence.clone(), self.metrics.clone());
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        // A future that does nothing before it is polled, so the fence below is asked first and last.
        let sent = self.inner.call(request);
        Box::pin(async move {
            if !method.is_safe()
                && let Err(fenced) = fence.check()
            {
                metrics.request_fenced();
                return Err(fenced.into());
            }
            let began = Instant::now();
            // Counted also when whoever asked gives up, which drops this: a read that is cut off, a renewal of the
            // Lease.
            let mut status = scopeguard::guard(None::<StatusCode>, |status| {
                let code = status.as_ref().map_or("<error>", StatusCode::as_str);
                metrics.request(method.as_str(), &resource(&path), code, began.elapsed());
            });
            let answer = match tokio::time::timeout(ANSWER_TIMEOUT, sent).await {
                Ok(answer) => answer,
                Err(_) => Err(NoAnswer {
                    method: method.clone(),
                    path: path.clone(),
                }
                .into()),
            };
            *status = answer.as_ref().ok().map(Response::status);
            answer
        })
    }
}

/// The plural of what a path is about, with the subresource: `pods`, `pytorchjobs/status`. Names do not appear in it.
fn resource(path: &str) -> String {
    let mut parts = path.trim_matches('/').split('/');
    match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.nth(1),
        _ => return "none".to_owned(),
    };
    let rest: Vec<&str> = parts.collect();
    match rest[..] {
        ["namespaces", _, plural] | ["namespaces", _, plural, _] | [plural] | [plural, _] => plural.to_owned(),
        ["namespaces", _, plural, _, sub, ..] | [plural, _, sub, ..] => format!("{plural}/{sub}"),
        [] => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn a_path_is_reduced_to_its_resource() {
        for (path, expected) in [
            ("/api/v1/pods", "pods"),
            ("/api/v1/namespaces/team-a/pods", "pods"),
            ("/api/v1/namespaces/team-a/pods/train-worker-0", "pods"),
            ("/api/v1/namespaces/team-a/pods/train-worker-0/status", "pods/status"),
            ("/apis/kubeflow.org/v1/pytorchjobs", "pytorchjobs"),
            (
                "/apis/kubeflow.org/v1/namespaces/team-a/pytorchjobs/train/status",
                "pytorchjobs/status",
            ),
            ("/apis/coordination.k8s.io/v1/namespaces/kubeflow/leases/lock", "leases"),
            ("/api/v1/namespaces", "namespaces"),
            ("/api/v1/namespaces/team-a", "namespaces"),
            ("/version", "none"),
            ("/api/v1", "none"),
            ("/", "none"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
