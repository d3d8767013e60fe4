//! What stands between an operator and the API server: a plain HTTP server that passes each request on, or does with it
//! what a plan says.

mod gate;
mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body as Answered, Bytes, to_bytes};
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::response::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body as Sent;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::gate::{Flow, Gates};
pub use self::request::{Request, Step};

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
pub struct Cut;

/// An answer of the API server that is complete.
#[derive(Clone, Debug)]
pub struct Answer {
    head: Parts,
    body: Bytes,
}

/// What is done with each request that is neither a watch nor about the API itself.
pub type Handler = Arc<dyn Fn(Arc<Proxy>, Request) -> BoxFuture<'static, Result<Answer, Cut>> + Send + Sync>;

/// A way to the API server for one operator.
pub struct Proxy {
    address: SocketAddr,
    client: Client,
    handler: Handler,
    /// The watches that pass through.
    pub gates: Gates,
    /// Connections live as long as the present era.
    era: Mutex<Era>,
}

struct Era {
    connections: CancellationToken,
    /// Until when no connection is taken.
    away_until: Instant,
}

impl Answer {
    /// An answer that the API server did not give.
    pub fn failure(code: StatusCode, reason: &str) -> Self {
        let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
            "message": format!("{reason}, by the fault plan"), "code": code.as_u16() });
        let mut response = Response::builder()
            .status(code)
            .header("content-type", "application/json");
        if code == StatusCode::TOO_MANY_REQUESTS {
            response = response.header("retry-after", "1");
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        Self {
            head,
            body: Bytes::from(status.to_string()),
        }
    }

    pub fn is_success(&self) -> bool {
        self.head.status.is_success()
    }

    /// The UID of the object in it.
    pub fn uid(&self) -> Option<String> {
        let object: Value = serde_json::from_slice(&self.body).ok()?;
        object["metadata"]["uid"]
            .as_str()
            .map(ToOwned::to_owned)
            .filter(|_| self.is_success())
    }

    fn into_response(self) -> Response<Answered> {
        Response::from_parts(self.head, Answered::from(self.body))
    }
}

impl Proxy {
    /// Listens on a free port, and passes on what comes as the user of `client`. It ends when the handle is aborted.
    pub async fn start(client: Client, handler: Handler) -> (Arc<Self>, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            client,
            handler,
            gates: Gates::default(),
            era: Mutex::new(Era {
                connections: CancellationToken::new(),
                away_until: Instant::now(),
            }),
        });
        let serving = tokio::spawn(proxy.clone().serve(listener));
        (proxy, serving)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The API server is away: every connection ends, and none is taken for this long.
    pub fn go_away(&self, time: Duration) {
        let mut era = self.era.lock().unwrap_or_else(PoisonError::into_inner);
        era.connections.cancel();
        *era = Era {
            connections: CancellationToken::new(),
            away_until: Instant::now() + time,
        };
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let all = CancellationToken::new();
        let _ends_all = all.clone().drop_guard();
        while let Ok((stream, _)) = listener.accept().await {
            let (era, away_until) = {
                let era = self.era.lock().unwrap_or_else(PoisonError::into_inner);
                (era.connections.clone(), era.away_until)
            };
            let (proxy, all) = (self.clone(), all.clone());
            tokio::spawn(async move {
                if away_until > Instant::now() {
                    return;
                }
                tokio::select! {
                    () = proxy.connection(stream) => {}
                    () = era.cancelled() => {}
                    () = all.cancelled() => {}
                }
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| self.clone().answer(request));
        // An error is a connection that was cut, by either side.
        let _ended = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(self: Arc<Self>, request: http::Request<Incoming>) -> Result<Response<Answered>, Cut> {
        let request = Request::read(request).await.ok_or(Cut)?;
        if let Some(kind) = request.watched() {
            let upstream = self.send(&request).await?;
            return Ok(self.gates.pass(kind, upstream));
        }
        let answer = if request.step().is_some() {
            (self.handler)(self.clone(), request).await?
        } else {
            self.forward(&request).await?
        };
        Ok(answer.into_response())
    }

    /// Passes a request on, and waits for the whole answer.
    pub async fn forward(&self, request: &Request) -> Result<Answer, Cut> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = to_bytes(Answered::new(body), usize::MAX).await.map_err(|_| Cut)?;
        Ok(Answer { head, body })
    }

    async fn send(&self, request: &Request) -> Result<Response<Sent>, Cut> {
        let mut head = request.head.clone();
        // Those of the connection to the API server are kube's to set.
        head.headers.remove(HOST);
        head.headers.remove(AUTHORIZATION);
        let sent = http::Request::from_parts(head, Sent::from(request.body.clone()));
        self.client.send(sent).await.map_err(|_| Cut)
    }
}

/// Does something at a time, whatever becomes of the connection meanwhile.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.expect("what a fault does not panic")
}
