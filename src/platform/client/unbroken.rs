//! Changes that go on when whoever asked for them gives up.
//!
//! To drop a request cancels it at the API server. An admission webhook that takes longer than a pass would never let
//! anything in: each pass would cancel what the one before has asked for.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use kube::client::Body;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use crate::platform::lease::Fence;

tokio::task_local! {
    /// Whether a request of [`until`] is with the API server.
    static SENT: Cell<bool>;
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited<T> {
    /// It has ended in time.
    Answered(T),
    /// The API server has it, and may still carry it out.
    Unanswered,
    /// It waited for its turn, and will not be sent.
    NotSent,
}

/// The API server has not answered yet.
#[derive(Debug, thiserror::Error)]
#[error("the API server has not answered yet; an admission webhook may be slow or away")]
pub(crate) struct Unanswered;

/// Waits for a request until `deadline`.
pub(crate) async fn until<F: Future>(deadline: Instant, request: F) -> Waited<F::Output> {
    let waiting = async {
        match timeout_at(deadline, request).await {
            Ok(answer) => Waited::Answered(answer),
            Err(_) if SENT.with(Cell::get) => Waited::Unanswered,
            Err(_) => Waited::NotSent,
        }
    };
    SENT.scope(Cell::new(false), waiting).await
}

/// Outside of [`until`] there is nothing to note.
fn note_sent(sent: bool) {
    let _waits = SENT.try_with(|cell| cell.set(sent));
}

/// Sees what changes something through to its answer, while this replica leads.
#[derive(Debug)]
pub(super) struct Unbroken<S> {
    inner: S,
    fence: Fence,
}

impl<S> Unbroken<S> {
    pub(super) fn new(inner: S, fence: Fence) -> Self {
        Self { inner, fence }
    }
}

impl<S> Service<Request<Body>> for Unbroken<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let changes = !request.method().is_safe();
        let exchange = self.inner.call(request).boxed();
        let exchange = Exchange {
            rest: Some(exchange),
            fence: self.fence.clone(),
            changes,
            sent: false,
        };
        async move {
            note_sent(true);
            let answer = exchange.await;
            note_sent(false);
            answer
        }
        .boxed()
    }
}

/// A request and its answer.
struct Exchange<T: Send + 'static> {
    /// What is left of it.
    rest: Option<BoxFuture<'static, T>>,
    fence: Fence,
    changes: bool,
    sent: bool,
}

impl<T: Send + 'static> Future for Exchange<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.sent = true;
        let Some(rest) = &mut self.rest else {
            return Poll::Pending;
        };
        let answer = rest.as_mut().poll(context);
        if answer.is_ready() {
            self.rest = None;
        }
        answer
    }
}

impl<T: Send + 'static> Drop for Exchange<T> {
    fn drop(&mut self) {
        let rest = self.rest.take().filter(|_| self.changes && self.sent);
        // Without a runtime the process ends.
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            let fence = self.fence.clone();
            runtime.spawn(async move {
                tokio::select! {
                    _answer = rest => {}
                    () = fence.closed() => {}
                }
            });
        }
    }
}
