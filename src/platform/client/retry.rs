//! Another attempt after 429 Too Many Requests.
//!
//! The API server answers 429 before it does anything, so every verb may be repeated. All other failures go to the
//! caller, who knows the object and has a back-off of its own; a POST that met a 504 may have succeeded.

use std::cell::Cell;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::{Sleep, sleep};
use tower::BoxError;
use tower::retry::Policy;

use crate::platform::clock::jittered;

/// Attempts after the first. With more of them a pass, or the time of an event, could end in the middle of a pause, and
/// nobody would learn that the API server refuses.
const RETRIES: u32 = 1;
/// The server asks for one second as a rule, and for up to 32 when it has far too much to do. The rest of those is for
/// the caller, who learns of them by [`with_pause`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause when the server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// Added to the pause at random, so that requests refused together do not come back together.
const SPREAD: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// The longest pause that came with a 429 for a caller of this task.
    static ASKED: Cell<Duration>;
}

/// What comes of `work`, and the longest pause that the API server has asked for with a 429 which `work` was told of.
pub(crate) async fn with_pause<F: Future>(work: F) -> (F::Output, Duration) {
    let noting = async {
        let output = work.await;
        (output, ASKED.with(Cell::get))
    };
    ASKED.scope(Cell::default(), noting).await
}

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
        if self.retries == RETRIES {
            // Outside of `with_pause` nobody asks.
            let _noted = ASKED.try_with(|asked| asked.set(asked.get().max(pause)));
            return None;
        }
        self.retries += 1;
        Some(sleep(pause.min(LONGEST_PAUSE) + jittered(SPREAD, 1.0)))
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
