//! Another attempt after 429 Too Many Requests.
//!
//! The API server answers 429 before it does anything, so every verb may be repeated. All other failures go to the
//! caller, who knows the object and has a back-off of its own; a POST that met a 504 may have succeeded.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::{Sleep, sleep};
use tower::BoxError;
use tower::retry::Policy;

use crate::platform::clock::jittered;

/// Attempts after the first.
const RETRIES: u32 = 3;
/// The server asks for one second as a rule. When it asks for more than this, the caller is told.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause when the server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// Added to the pause at random, so that requests refused together do not come back together.
const SPREAD: Duration = Duration::from_millis(500);

/// The policy; one copy per request.
#[derive(Clone, Debug, Default)]
pub(super) struct TooManyRequests {
    retries: u32,
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for TooManyRequests {
    type Future = Sleep;

    fn retry(
        &mut self,
        _request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let response = result
            .as_ref()
            .ok()
            .filter(|r| r.status() == StatusCode::TOO_MANY_REQUESTS)?;
        let asked = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = asked.map_or(PAUSE, Duration::from_secs);
        if self.retries == RETRIES || pause > LONGEST_PAUSE {
            return None;
        }
        self.retries += 1;
        Some(sleep(pause + jittered(SPREAD, 1.0)))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let body = request.body().try_clone()?;
        let mut copy = Request::new(body);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }
}
