use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use tokio::time::{Instant, timeout};

use super::*;

/// Method and body of what arrived.
type Arrived = Vec<(Method, Vec<u8>)>;

/// Answers with the given codes in turn, then with 200, and keeps what arrived.
#[derive(Clone, Default)]
struct Server {
    codes: Arc<Mutex<VecDeque<u16>>>,
    retry_after: Option<&'static str>,
    arrived: Arc<Mutex<Arrived>>,
}

impl Server {
    fn answering(codes: &[u16], retry_after: Option<&'static str>) -> Self {
        let codes = Arc::new(Mutex::new(codes.iter().copied().collect()));
        Self {
            codes,
            retry_after,
            ..Self::default()
        }
    }

    fn client(&self, metrics: &Metrics, fence: &Fence, limit: Option<RateLimit>) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, BoxError>(server.answer(request).await) }
        });
        Client::new(stack(service, metrics, fence, limit), "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap().to_vec();
        self.arrived.lock().unwrap().push((head.method, body));
        let code = self.codes.lock().unwrap().pop_front().unwrap_or(200);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }

    fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }
}

fn request(method: Method) -> Request<Body> {
    let body = Body::from(b"a pod".to_vec());
    Request::builder()
        .method(method)
        .uri("/api/v1/namespaces/team-a/pods?dryRun=All")
        .body(body)
        .unwrap()
}

fn metrics() -> Metrics {
    Metrics::new().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_429_is_repeated_with_the_same_body_after_the_pause_the_server_asked_for() {
    let server = Server::answering(&[429], Some("2"));
    let client = server.client(&metrics(), &Fence::open(), None);
    let start = Instant::now();
    let answer = client.send(request(Method::POST)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let waited = start.elapsed().as_secs_f64();
    assert!((2.0..=2.51).contains(&waited), "{waited}");
    let arrived = server.arrived.lock().unwrap().clone();
    assert_eq!(arrived.len(), 2);
    assert!(
        arrived
            .iter()
            .all(|(method, body)| method == Method::POST && body == b"a pod")
    );
}

#[tokio::test(start_paused = true)]
async fn a_429_reaches_the_caller_after_one_retry_with_the_pause_that_was_asked_for() {
    for (retry_after, seconds) in [(None, 1), (Some("6"), 6), (Some("18446744073709551615"), u64::MAX)] {
        let server = Server::answering(&[429; 10], retry_after);
        let client = server.client(&metrics(), &Fence::open(), None);
        let (answer, asked) = with_pause(client.send(request(Method::POST))).await;
        assert_eq!(answer.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!((server.count(), asked.as_secs()), (2, seconds), "{retry_after:?}");
    }
    let server = Server::answering(&[429], Some("2"));
    let client = server.client(&metrics(), &Fence::open(), None);
    let (answer, asked) = with_pause(client.send(request(Method::POST))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(asked, Duration::ZERO, "it was waited for");
}

#[tokio::test(start_paused = true)]
async fn the_more_the_server_asks_for_the_longer_is_the_wait() {
    let mut waited = Vec::new();
    for retry_after in ["1", "5", "6", "32"] {
        let server = Server::answering(&[429], Some(retry_after));
        let client = server.client(&metrics(), &Fence::open(), None);
        let start = Instant::now();
        client.send(request(Method::POST)).await.unwrap();
        waited.push(start.elapsed().as_secs());
    }
    assert_eq!(waited, [1, 5, 5, 5]);
}

#[tokio::test(start_paused = true)]
async fn no_other_failure_is_repeated() {
    for code in [409, 500, 503, 504] {
        let server = Server::answering(&[code; 10], Some("1"));
        let client = server.client(&metrics(), &Fence::open(), None);
        assert_eq!(client.send(request(Method::POST)).await.unwrap().status(), code);
        assert_eq!(server.count(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_replica_that_does_not_lead_reads_and_cannot_write() {
    let server = Server::default();
    let metrics = metrics();
    let client = server.client(
        &metrics,
        &Fence::until(Duration::ZERO, Arc::new(|| Duration::ZERO)),
        None,
    );
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let error = client.send(request(method)).await.err().unwrap();
        assert!(is_fenced(&error), "{error}");
    }
    assert_eq!(server.count(), 0);
    client.send(request(Method::GET)).await.unwrap();
    assert_eq!(server.count(), 1);
    let text = metrics.encode().unwrap();
    assert!(text.contains("pytorchjob_operator_fenced_requests_total 4"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_had_to_wait_is_held_back_when_the_lease_ran_out_meanwhile() {
    let start = Instant::now();
    let fence = Fence::until(Duration::from_millis(1500), Arc::new(move || start.elapsed()));
    let (one, server) = (NonZeroU32::MIN, Server::default());
    let client = server.client(&metrics(), &fence, Some(RateLimit { qps: one, burst: one }));
    let sent = futures::future::join_all((0..3).map(|_| client.send(request(Method::POST)))).await;
    let outcomes: Vec<bool> = sent
        .iter()
        .map(|result| result.as_ref().is_err_and(is_fenced))
        .collect();
    assert_eq!(outcomes, [false, false, true]);
    assert_eq!(server.count(), 2);

    let refused = Server::answering(&[429], Some("5"));
    let fence = Fence::until(
        start.elapsed() + Duration::from_secs(4),
        Arc::new(move || start.elapsed()),
    );
    let error = refused
        .client(&metrics(), &fence, None)
        .send(request(Method::POST))
        .await
        .err()
        .unwrap();
    assert!(is_fenced(&error), "{error}");
    assert_eq!(refused.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_mutating_requests_wait_for_the_rate_limit() {
    let one = NonZeroU32::MIN;
    let server = Server::default();
    let client = server.client(&metrics(), &Fence::open(), Some(RateLimit { qps: one, burst: one }));
    let start = Instant::now();
    client.send(request(Method::POST)).await.unwrap();
    let writes = futures::future::join_all((0..3).map(|_| client.send(request(Method::DELETE))));
    let reads = async {
        futures::future::join_all((0..2000).map(|_| client.send(request(Method::GET)))).await;
        start.elapsed()
    };
    let (_, read_in) = tokio::join!(writes, reads);
    assert_eq!(read_in.as_millis(), 0);
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(server.count(), 2004);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_in_an_error_that_names_the_request() {
    let metrics = metrics();
    let silent = tower::service_fn(|_| std::future::pending::<Result<Response<Body>, BoxError>>());
    let client = Client::new(stack(silent, &metrics, &Fence::open(), None), "default");
    let error = timeout(Duration::from_mins(1), client.send(request(Method::GET)))
        .await
        .unwrap()
        .err()
        .unwrap();
    let expected = "no answer from the API server to GET /api/v1/namespaces/team-a/pods within 35s";
    assert!(error.to_string().contains(expected), "{error}");
    let line = "rest_client_requests_total{code=\"<error>\",method=\"GET\",resource=\"pods\"} 1";
    assert!(metrics.encode().unwrap().contains(line));
}

#[tokio::test]
async fn requests_are_counted_by_method_resource_and_code() {
    let metrics = metrics();
    let client = Server::answering(&[409], None).client(&metrics, &Fence::open(), None);
    client.send(request(Method::POST)).await.unwrap();
    client.send(request(Method::POST)).await.unwrap();
    let text = metrics.encode().unwrap();
    for code in ["200", "409"] {
        let line = format!("rest_client_requests_total{{code=\"{code}\",method=\"POST\",resource=\"pods\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_is_counted_as_an_error_with_the_time_that_it_took() {
    let metrics = metrics();
    let silent = tower::service_fn(|_| std::future::pending::<Result<Response<Body>, BoxError>>());
    let client = Client::new(stack(silent, &metrics, &Fence::open(), None), "default");
    let given_up = timeout(Duration::from_secs(3), client.send(request(Method::GET))).await;
    assert!(given_up.is_err());
    let text = metrics.encode().unwrap();
    for line in [
        "rest_client_requests_total{code=\"<error>\",method=\"GET\",resource=\"pods\"} 1",
        "rest_client_request_duration_seconds_count{method=\"GET\",resource=\"pods\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// A kubeconfig for a server that listens on `port` of this machine.
fn kubeconfig(name: &str, port: u16) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("pytorchjob-operator-{name}-{}", std::process::id()));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: k, user: u, namespace: team-a}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_real_connection_carries_the_name_of_the_program() {
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::any;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = kubeconfig("agent", listener.local_addr().unwrap().port());
    let echo = any(|headers: HeaderMap| async move { headers["user-agent"].to_str().unwrap().to_owned() });
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });

    let config = configuration(Some(&path)).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.default_namespace, "team-a");
    for client in [
        for_lease(&config, &metrics()).unwrap(),
        for_controller(&config, &metrics(), &Fence::open(), None).unwrap(),
    ] {
        let body = client
            .send(request(Method::GET))
            .await
            .unwrap()
            .into_body()
            .collect_bytes()
            .await
            .unwrap();
        assert_eq!(body, AGENT.as_bytes());
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_api_server() {
    use tokio::io::AsyncReadExt;

    for (scheme, greeting) in [("http", &b"CONNECT api.k8s.example:6443"[..]), ("socks5", &[5])] {
        let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = kube::Config::new("https://api.k8s.example:6443".parse().unwrap());
        let address = format!("{scheme}://{}", proxy.local_addr().unwrap());
        config.proxy_url = Some(address.parse().unwrap());
        let client = for_controller(&config, &metrics(), &Fence::open(), None).unwrap();
        let asked = tokio::spawn(async move { client.send(request(Method::GET)).await.map(drop) });
        let (mut connection, _) = proxy.accept().await.unwrap();
        let mut received = vec![0; greeting.len()];
        connection.read_exact(&mut received).await.unwrap();
        assert_eq!(received, greeting, "{scheme}");
        asked.abort();
    }
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_is_named() {
    let error = configuration(Some(Path::new("/no/such/kubeconfig")))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("give --kubeconfig another file: cannot use the kubeconfig /no/such/kubeconfig: "),
        "{error}"
    );
}

/// Takes requests, and answers none before it is released.
#[derive(Clone, Default)]
struct Slow {
    arrived: Arc<tokio::sync::Notify>,
    released: Arc<tokio::sync::Notify>,
    carried_out: Arc<Mutex<Vec<Method>>>,
}

impl Slow {
    fn client(&self, limit: Option<RateLimit>) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                server.arrived.notify_one();
                server.released.notified().await;
                server.carried_out.lock().unwrap().push(request.method().clone());
                Ok::<_, BoxError>(Response::new(Body::empty()))
            }
        });
        Client::new(stack(service, &metrics(), &Fence::open(), limit), "default")
    }

    /// Gives up a request that has arrived.
    async fn give_up(&self, client: &Client, method: Method) {
        tokio::select! {
            answer = client.send(request(method)) => panic!("{answer:?}"),
            () = self.arrived.notified() => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_goes_on_when_its_sender_gives_up_and_a_read_does_not() {
    let server = Slow::default();
    let client = server.client(None);
    for method in [Method::GET, Method::POST, Method::DELETE] {
        server.give_up(&client, method).await;
    }
    tokio::task::yield_now().await;
    server.released.notify_waiters();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*server.carried_out.lock().unwrap(), [Method::POST, Method::DELETE]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_learns_whether_the_api_server_has_the_request() {
    let (one, server) = (NonZeroU32::MIN, Slow::default());
    let client = server.client(Some(RateLimit { qps: one, burst: one }));
    let give_up = |method| {
        until(
            Instant::now() + Duration::from_millis(400),
            client.send(request(method)),
        )
    };
    let read = give_up(Method::GET).await;
    assert!(matches!(read, Waited::Unanswered), "{read:?}");
    let first = give_up(Method::POST).await;
    assert!(matches!(first, Waited::Unanswered), "{first:?}");
    let second = give_up(Method::POST).await;
    assert!(matches!(second, Waited::NotSent), "it waits for its turn: {second:?}");
    let client = Server::default().client(&metrics(), &Fence::open(), None);
    let answered = until(
        Instant::now() + Duration::from_secs(1),
        client.send(request(Method::POST)),
    )
    .await;
    assert!(matches!(answered, Waited::Answered(Ok(_))), "{answered:?}");
}
