//! Connections to the API server.
//!
//! Two clients, which share nothing: [`for_lease`] for leader election, which nothing may slow down, and
//! [`for_controller`] for everything else, whose mutating requests pass a [`Fence`] and, if wanted, a rate limit.
//! A request of the latter goes down this stack:
//!
//! | layer | what it does |
//! |---|---|
//! | `retry` | repeats a request that was answered 429, once, after the pause the server asked for |
//! | `limit` | makes mutating requests wait for their turn, when a rate is set |
//! | `unbroken` | sees a change through to its answer when whoever asked for it gives up |
//! | `transport` | holds back mutating requests of a replica that leads no longer, gives up on silence, counts |
//! | `streaming_list` | has a streaming list begin with what is stored |
//! | kube's own | address, credentials, headers, TLS |
//!
//! kube's own retry layer is off: it repeats a POST for minutes, also after the lease is lost.

mod limit;
mod proxy;
mod retry;
mod streaming_list;
mod transport;
mod unbroken;

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::buffer::Buffer;
use tower::layer::layer_fn;
use tower::retry::Retry;
use tower::{BoxError, Service};

use self::limit::Limited;
pub(crate) use self::limit::RateLimit;
pub(crate) use self::proxy::heed_no_proxy;
use self::retry::TooManyRequests;
pub(crate) use self::retry::with_pause;
use self::transport::Transport;
use self::unbroken::Unbroken;
pub(crate) use self::unbroken::{Unanswered, Waited, until};
use crate::platform::lease::{Fence, Fenced};
use crate::platform::metrics::Metrics;

/// Name and version, as the API server's audit log shows them.
const AGENT: &str = concat!("pytorchjob-operator/", env!("CARGO_PKG_VERSION"));
/// TCP and TLS. A request that passed the fence waits at most this long for its connection, which is what lies
/// between the renew deadline and the end of the lease.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing arrives for so long is dead. Watches last 55 s and kube gives up on a silent one
/// after 60 s, so this ends only what nobody else would: a list that stopped in the middle.
const READ_TIMEOUT: Duration = Duration::from_mins(5);
/// Requests that may wait between the layers.
const QUEUE: usize = 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kubeconfig that was asked for cannot be used.
    #[error("give --kubeconfig another file: cannot use the kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        source: Box<KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account was found.
    #[error("give --kubeconfig, set KUBECONFIG or run in a pod: there is no way to reach an API server: {0}")]
    Infer(#[from] Box<InferConfigError>),
    /// The configuration was read, and a client cannot be built from it.
    #[error("cannot set up the connection to the API server: {0}")]
    Build(#[from] Box<kube::Error>),
}

/// How to reach the API server: by `kubeconfig` when given, else as kube finds out (`KUBECONFIG`, `~/.kube/config`,
/// the pod's service account), with the timeouts and the name of this program.
pub(crate) async fn configuration(kubeconfig: Option<&Path>) -> Result<kube::Config, Error> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path).await.map_err(|source| Error::Kubeconfig {
            path: path.display().to_string(),
            source: Box::new(source),
        })?,
        None => kube::Config::infer().await.map_err(Box::new)?,
    };
    heed_no_proxy(&mut config);
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Ok(config)
}

async fn from_file(path: &Path) -> Result<kube::Config, KubeconfigError> {
    let file = Kubeconfig::read_from(path)?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
}

/// The client for [`Elector`](super::lease::Elector): no fence, no limit, no retry, connections of its own.
pub(crate) fn for_lease(config: &kube::Config, metrics: &Metrics) -> Result<Client, Error> {
    let builder = ClientBuilder::try_from(config.clone()).map_err(Box::new)?;
    let transport = layer_fn(|inner| Transport::new(inner, Fence::open(), metrics.clone()));
    Ok(builder.with_layer(&transport).build())
}

/// The client for everything else. `limit` is for mutating requests; reads and watches are never held up.
pub(crate) fn for_controller(
    config: &kube::Config,
    metrics: &Metrics,
    fence: &Fence,
    limit: Option<RateLimit>,
) -> Result<Client, Error> {
    let builder = ClientBuilder::try_from(config.clone()).map_err(Box::new)?;
    let stack = layer_fn(|inner| stack(inner, metrics, fence, limit));
    Ok(builder.with_layer(&stack).build())
}

type Answer<B> = BoxFuture<'static, Result<Response<B>, BoxError>>;
type Stack<B> = Retry<TooManyRequests, Limited<Buffer<Request<Body>, Answer<B>>>>;

/// Our layers of the table above on top of `inner`.
fn stack<S, B>(inner: S, metrics: &Metrics, fence: &Fence, limit: Option<RateLimit>) -> Stack<B>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    let transport = Transport::new(inner, fence.clone(), metrics.clone());
    // What lies above sends one request several times or later, so it needs a service that can be cloned.
    let shared = Buffer::new(Unbroken::new(transport, fence.clone()), QUEUE);
    Retry::new(TooManyRequests::default(), Limited::new(shared, limit))
}

/// A client with all layers but kube's own.
#[cfg(test)]
pub(crate) fn on<S, B>(service: S, metrics: &Metrics, fence: &Fence, limit: Option<RateLimit>) -> Client
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = hyper::body::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Client::new(stack(service, metrics, fence, limit), "default")
}

/// Whether a request failed because this replica must not write, [`Fenced`]: not an error of the request, and nothing
/// to retry.
#[must_use]
pub(crate) fn is_fenced(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(source) if source.is::<Fenced>())
}

#[cfg(test)]
mod tests;
