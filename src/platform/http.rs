//! The HTTP endpoints: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

use std::collections::VecDeque;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use futures::future::join_all;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::platform::health::Health;
use crate::platform::metrics::Metrics;

/// Content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Requests that are being answered when the operator stops, or their connection has to end, have this long to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Connections of one socket. One more closes the oldest: whoever holds connections open without using them does not
/// keep the kubelet out.
const CONNECTIONS: usize = 64;
/// A request's line and headers have this long to arrive, from the moment when the connection was opened or the last
/// answer was sent. The kubelet opens a connection for each probe; Prometheus opens another one when its scrapes are
/// further apart.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is not used for longer, so that a client that reads its answer slowly ends too.
const LIFETIME: Duration = Duration::from_mins(5);
/// What is kept of a request that is not complete, in bytes; longer ones are answered with 431.
const REQUEST_BYTES: usize = 16 << 10;

/// Where to listen, written as for controller-runtime: `:8080` for all interfaces, `127.0.0.1:8080` or
/// `localhost:8080` for one, `0` for nowhere. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindAddress {
    /// Do not listen.
    Off,
    /// Listen on this host, or on all interfaces.
    On {
        /// Name or address, IPv6 in brackets; `None` is all interfaces.
        host: Option<String>,
        /// TCP port.
        port: u16,
    },
}

/// The text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on: write `:8080`, `127.0.0.1:8080` or, to switch it off, `0`")]
pub(crate) struct NoAddress(String);

impl FromStr for BindAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if text == "0" {
            return Ok(Self::Off);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| NoAddress(text.to_owned()))?;
        let port = port.parse().map_err(|_| NoAddress(text.to_owned()))?;
        let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if bare_ipv6 {
            return Err(NoAddress(text.to_owned()));
        }
        Ok(Self::On {
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
            port,
        })
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("0"),
            Self::On { host, port } => write!(f, "{}:{port}", host.as_deref().unwrap_or_default()),
        }
    }
}

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "set {} to another address: cannot listen on {address} for {what}: {source}",
    flag(what)
)]
pub(crate) struct Error {
    address: BindAddress,
    what: &'static str,
    source: io::Error,
}

/// The flag for what is to be served; metrics stand for both where both share an address.
fn flag(what: &str) -> &'static str {
    if what == "probes" {
        "--health-probe-bind-address"
    } else {
        "--metrics-bind-address"
    }
}

/// Sockets that are bound and do not answer yet.
#[derive(Debug)]
pub(crate) struct Server {
    metrics: Option<TcpListener>,
    probes: Option<TcpListener>,
    shared: bool,
}

impl Server {
    /// Binds the addresses; equal ones share a socket. Logs what was bound.
    pub(crate) async fn bind(metrics: &BindAddress, probes: &BindAddress) -> Result<Self, Error> {
        let shared = metrics == probes;
        let what = if shared { "metrics and probes" } else { "metrics" };
        Ok(Self {
            metrics: listen(metrics, what).await?,
            probes: if shared { None } else { listen(probes, "probes").await? },
            shared,
        })
    }

    /// Answers requests until `stop` is cancelled.
    pub(crate) async fn run(self, metrics: Metrics, health: Health, stop: CancellationToken) {
        let metrics = Router::new().route("/metrics", get(show_metrics)).with_state(metrics);
        let probes = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(health);
        let (first, second) = if self.shared {
            (metrics.merge(probes), None)
        } else {
            (metrics, Some(probes))
        };
        let sockets = [self.metrics.zip(Some(first)), self.probes.zip(second)];
        let servers = sockets.into_iter().flatten();
        join_all(servers.map(|(socket, routes)| serve(socket, routes, &stop))).await;
    }
}

/// Answers what comes in on a socket until `stop` is cancelled.
async fn serve(mut socket: TcpListener, routes: Router, stop: &CancellationToken) {
    let mut open = VecDeque::with_capacity(CONNECTIONS);
    // axum's `accept` waits when the process has no file descriptor left.
    while let Some((stream, _)) = stop.run_until_cancelled(Listener::accept(&mut socket)).await {
        open.retain(|connection: &AbortOnDropHandle<()>| !connection.is_finished());
        if open.len() == CONNECTIONS {
            open.pop_front();
        }
        let answers = answer(stream, routes.clone(), stop.clone());
        open.push_back(AbortOnDropHandle::new(tokio::spawn(answers)));
    }
    // No new connections while the last requests are answered.
    drop(socket);
    join_all(open).await;
}

/// Answers the requests of one connection until either side ends it.
async fn answer(stream: TcpStream, routes: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    // That a client went away or sent no HTTP is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(SHUTDOWN_GRACE, connection).await;
}

async fn listen(address: &BindAddress, what: &'static str) -> Result<Option<TcpListener>, Error> {
    let bound = match address {
        BindAddress::Off => return Ok(None),
        BindAddress::On { host: Some(_), .. } => TcpListener::bind(address.to_string()).await,
        BindAddress::On { host: None, port } => all_interfaces(*port).await,
    };
    let socket = bound.map_err(|source| Error {
        address: address.clone(),
        what,
        source,
    })?;
    if let Ok(bound) = socket.local_addr() {
        tracing::info!(address = %bound, what, "listening");
    }
    Ok(Some(socket))
}

/// IPv6 with IPv4 on the same socket, or IPv4 alone where the kernel has no IPv6.
async fn all_interfaces(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(("::", port)).await {
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            TcpListener::bind(("0.0.0.0", port)).await
        }
        bound => bound,
    }
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    metrics.set_tasks(Handle::current().metrics().num_alive_tasks());
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(health): State<Health>) -> Response {
    answer_probe(health.broken().as_slice())
}

async fn readyz(State(health): State<Health>) -> Response {
    answer_probe(&health.unready())
}

/// `ok`, or 500 with one problem per line.
fn answer_probe(problems: &[String]) -> Response {
    if problems.is_empty() {
        return "ok".into_response();
    }
    (StatusCode::INTERNAL_SERVER_ERROR, problems.join("\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::{JoinHandle, spawn_blocking};
    use tokio::time::Instant;

    use super::*;

    impl Server {
        fn metrics_address(&self) -> Option<SocketAddr> {
            self.metrics.as_ref()?.local_addr().ok()
        }

        fn probes_address(&self) -> Option<SocketAddr> {
            let probes = if self.shared { &self.metrics } else { &self.probes };
            probes.as_ref()?.local_addr().ok()
        }
    }

    fn address(text: &str) -> BindAddress {
        text.parse().unwrap()
    }

    /// Head and body of the answer.
    async fn fetch(address: SocketAddr, path: &'static str) -> (String, String) {
        let answer = spawn_blocking(move || {
            let mut stream = net::TcpStream::connect(address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
            io::read_to_string(stream)
        });
        let answer = answer.await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn addresses_are_written_as_in_controller_runtime() {
        let on = |host: Option<&str>, port| BindAddress::On {
            host: host.map(str::to_owned),
            port,
        };
        for (text, expected) in [
            ("0", BindAddress::Off),
            (":8080", on(None, 8080)),
            ("127.0.0.1:0", on(Some("127.0.0.1"), 0)),
            ("localhost:8081", on(Some("localhost"), 8081)),
            ("[::1]:8081", on(Some("[::1]"), 8081)),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for text in ["", "8080", ":", ":http", ":65536", "::1:80", "host:-1"] {
            assert_eq!(text.parse::<BindAddress>(), Err(NoAddress(text.to_owned())), "{text}");
        }
    }

    #[tokio::test]
    async fn each_address_serves_its_own_paths_and_off_serves_none() {
        let server = Server::bind(&address("127.0.0.1:0"), &address("localhost:0"))
            .await
            .unwrap();
        let (metrics_at, probes_at) = (server.metrics_address().unwrap(), server.probes_address().unwrap());
        assert_ne!(metrics_at, probes_at);
        let (metrics, health, stop) = (Metrics::new().unwrap(), Health::new(&["Pod"]), CancellationToken::new());
        metrics.pod_created();
        let running = tokio::spawn(server.run(metrics, health.clone(), stop.clone()));

        let (head, body) = fetch(metrics_at, "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{head}"
        );
        assert!(body.contains("created_pods_total 1"), "{body}");
        for (at, path) in [
            (metrics_at, "/healthz"),
            (metrics_at, "/readyz"),
            (probes_at, "/metrics"),
        ] {
            assert!(fetch(at, path).await.0.starts_with("HTTP/1.1 404"), "{path}");
        }

        let (head, body) = fetch(probes_at, "/readyz").await;
        assert!(head.starts_with("HTTP/1.1 500"), "{head}");
        assert_eq!(body, "cache of Pod: initial list not complete");
        health.synced("Pod");
        for path in ["/readyz", "/healthz"] {
            let (head, body) = fetch(probes_at, path).await;
            assert!(
                head.starts_with("HTTP/1.1 200") && body == "ok",
                "{path}: {head} {body}"
            );
        }
        let _stuck = (health.reconciling(), health.reconcile());
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(301)).await;
        tokio::time::resume();
        let (head, body) = fetch(probes_at, "/healthz").await;
        assert!(head.starts_with("HTTP/1.1 500"), "{head}");
        let expected = "reconcile loop: it has work (1 jobs in flight) and nothing has moved for 301 s";
        assert_eq!(body, expected);

        stop.cancel();
        running.await.unwrap();
        assert!(net::TcpStream::connect(metrics_at).is_err());

        let off = Server::bind(&BindAddress::Off, &BindAddress::Off).await.unwrap();
        assert_eq!((off.metrics_address(), off.probes_address()), (None, None));
        let one = Server::bind(&BindAddress::Off, &address("127.0.0.1:0")).await.unwrap();
        assert!(one.metrics_address().is_none() && one.probes_address().is_some());
    }

    #[tokio::test]
    async fn equal_addresses_share_a_socket() {
        let server = Server::bind(&address(":0"), &address(":0")).await.unwrap();
        let port = server.metrics_address().unwrap().port();
        assert_eq!(server.probes_address().unwrap().port(), port);
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(Metrics::new().unwrap(), Health::new(&[]), stop.clone()));
        for path in ["/metrics", "/healthz", "/readyz"] {
            let (head, _) = fetch(SocketAddr::from(([127, 0, 0, 1], port)), path).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        }
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_it() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = holder.local_addr().unwrap().to_string();
        let error = Server::bind(&address(&taken), &BindAddress::Off)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!(
                "set --metrics-bind-address to another address: cannot listen on {taken} for metrics: "
            )),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_does_not_hold_up_the_shutdown() {
        let server = Server::bind(&address("127.0.0.1:0"), &BindAddress::Off).await.unwrap();
        let at = server.metrics_address().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(Metrics::new().unwrap(), Health::new(&[]), stop.clone()));
        let mut slow = net::TcpStream::connect(at).unwrap();
        Write::write_all(&mut slow, b"GET /metrics HTTP/1.1\r\n").unwrap();
        fetch(at, "/metrics").await;
        stop.cancel();
        timeout(2 * SHUTDOWN_GRACE, running).await.unwrap().unwrap();
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";

    /// A server of probes that runs until the test ends.
    async fn probes() -> (SocketAddr, JoinHandle<()>) {
        let server = Server::bind(&BindAddress::Off, &address("127.0.0.1:0")).await.unwrap();
        let at = server.probes_address().unwrap();
        let answers = server.run(Metrics::new().unwrap(), Health::new(&[]), CancellationToken::new());
        (at, tokio::spawn(answers))
    }

    /// Sends `bytes` every five seconds, reads what comes and returns after how long the server has closed the
    /// connection.
    async fn closed_after(at: SocketAddr, bytes: &[u8]) -> Duration {
        let mut client = TcpStream::connect(at).await.unwrap();
        let (start, mut tick, mut answer) = (Instant::now(), tokio::time::interval(Duration::from_secs(5)), [0; 1024]);
        let closed = async {
            loop {
                tokio::select! {
                    _ = tick.tick() => { let _ = client.write_all(bytes).await; }
                    read = client.read(&mut answer) => if !read.is_ok_and(|bytes| bytes > 0) { break }
                }
            }
        };
        timeout(4 * LIFETIME, closed)
            .await
            .expect("the server closes the connection");
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_no_request_is_complete_in_time_and_a_busy_one_when_it_is_old() {
        let (at, _server) = probes().await;
        for (client, bytes, limit) in [
            ("silent", &b""[..], HEAD_TIMEOUT),
            ("slow", b"G", HEAD_TIMEOUT),
            ("busy", REQUEST, LIFETIME),
        ] {
            let closed = closed_after(at, bytes).await;
            assert!(
                (limit..limit + 2 * SHUTDOWN_GRACE).contains(&closed),
                "{client}: {closed:?}"
            );
        }
    }

    #[tokio::test]
    async fn connections_that_are_held_open_do_not_keep_a_probe_from_its_answer() {
        let (at, _server) = probes().await;
        let mut clients = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            let mut client = TcpStream::connect(at).await.unwrap();
            client.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
            clients.push(client);
        }
        let (head, body) = fetch(at, "/healthz").await;
        assert!(head.starts_with("HTTP/1.1 200") && body == "ok", "{head} {body}");
        // The older half made way; one of the younger gave its place to the probe.
        let (old, young) = clients.split_at_mut(CONNECTIONS);
        for client in old {
            let _ = client.read(&mut [0]).await;
        }
        let last = young.last_mut().unwrap();
        last.write_all(b"Host: test\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        last.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn a_request_line_without_end_is_refused() {
        let (at, _server) = probes().await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(&vec![b'G'; 2 * REQUEST_BYTES]).await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
}
