//! The connection of one operator to the simulated API server: what it sends lies here until the world takes it along.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::channel::oneshot;
use futures::{FutureExt, Stream};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Request as HttpRequest, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use kube::client::Body;
use tokio::sync::Notify;
use tower::BoxError;

use super::api_server::{Answer, Request};

/// A request on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Request,
    /// Dropped without an answer it is a connection that was closed.
    pub(super) reply: Reply,
}

/// Where the head of the answer goes.
pub(super) type Reply = oneshot::Sender<Response<WireBody>>;
/// Where the events of a watch go. Closed, it is the orderly end of the answer.
pub(super) type Events = UnboundedSender<Bytes>;

/// One end of the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    outbox: Arc<Mutex<Vec<Outgoing>>>,
    sent: Arc<Notify>,
}

impl Wire {
    /// What the clients of an operator stand on.
    pub(super) fn service(
        &self,
    ) -> impl tower::Service<
        HttpRequest<Body>,
        Response = Response<WireBody>,
        Error = BoxError,
        Future = futures::future::BoxFuture<'static, Result<Response<WireBody>, BoxError>>,
    > + Clone
    + use<> {
        let wire = self.clone();
        tower::service_fn(move |request| wire.clone().send(request).boxed())
    }

    async fn send(self, request: HttpRequest<Body>) -> Result<Response<WireBody>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let header = |name| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let query = head.uri.query().unwrap_or_default();
        let request = Request {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: query.split('&').filter_map(parameter).collect(),
            content_type: header(CONTENT_TYPE),
            accept: header(ACCEPT),
            body: body.to_vec(),
        };
        let (reply, answer) = oneshot::channel();
        self.outbox.lock().unwrap().push(Outgoing { request, reply });
        self.sent.notify_one();
        answer.await.map_err(|_| BoxError::from("the connection was closed"))
    }

    /// Returns when something was sent.
    pub(super) async fn sent(&self) {
        self.sent.notified().await;
    }

    /// What was sent.
    pub(super) fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outbox.lock().unwrap())
    }
}

/// `name=value`, decoded.
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let mut decoded = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let hex = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    Some((name.to_owned(), String::from_utf8(decoded).ok()?))
}

/// Hands an answer to whoever waits for it.
pub(super) fn answer(reply: Reply, answer: &Answer) {
    let text = answer
        .body
        .as_str()
        .map_or_else(|| answer.body.to_string(), ToOwned::to_owned);
    let mut response = Response::builder().status(answer.code);
    if let Some(seconds) = answer.retry_after {
        response = response.header(RETRY_AFTER, seconds);
    }
    // Whoever asked may have given up.
    let _gone = reply.send(response.body(WireBody::Whole(Some(text.into()))).unwrap());
}

/// The events of a watch, and what they arrive in.
pub(super) fn new_watch() -> (Events, WireBody) {
    let (events, body) = unbounded();
    (events, WireBody::Events(body))
}

/// Answers a watch; its events follow.
pub(super) fn begin_watch(reply: Reply, body: WireBody) {
    let _gone = reply.send(Response::new(body));
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum WireBody {
    Whole(Option<Bytes>),
    Events(UnboundedReceiver<Bytes>),
}

impl HttpBody for WireBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Events(events) => {
                let next = Pin::new(events).poll_next(context);
                next.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
        }
    }
}
