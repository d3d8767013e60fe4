//! The two servers.

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use http::header::{ACCEPT, CONTENT_TYPE};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

use super::api_server::{ApiServer, Request, expired, shown};
use super::draw::SENTINEL;
use super::names::Names;

/// A server that answers.
pub(super) trait Side {
    /// The status code and the body of the answer, or the events of a watch up to that of the sentinel.
    async fn answer(&mut self, request: &Request) -> Value;
}

/// Path and token of a list that goes on.
type Page = (String, String);

/// The real one.
pub(super) struct Real {
    client: Client,
    names: Names,
    page: Page,
}

impl Real {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            names: Names::default(),
            page: Page::default(),
        }
    }
}

impl Side for Real {
    async fn answer(&mut self, request: &Request) -> Value {
        let spelt = with_page(self.names.spell(request), &self.page);
        let sent = http_request(&spelt);
        if request.watches() {
            let sent = sent.map(|()| spelt.body);
            let lines = self.client.request_stream(sent).await.unwrap().lines();
            let events = lines.map_ok(|line| serde_json::from_str::<Value>(&line).unwrap());
            let mut shown = Vec::new();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.try_next().await.unwrap() {
                let last = is_last(request, &event);
                shown.push(event);
                if last {
                    break;
                }
            }
            return told(shown, &mut self.names);
        }
        let answer = self
            .client
            .send(sent.map(|()| spelt.body.clone().into()))
            .await
            .unwrap();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        keep_page(&spelt, &body, &mut self.page);
        json!({ "code": code, "body": self.names.read(body) })
    }
}

fn http_request(request: &Request) -> http::Request<()> {
    let parameters = request.query.iter();
    let parameters: Vec<_> = parameters
        .map(|(name, value)| format!("{name}={}", value.replace('=', "%3D")))
        .collect();
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(format!(
        "{}?{}",
        request.path,
        parameters.join("&")
    ));
    for (header, value) in [(CONTENT_TYPE, &request.content_type), (ACCEPT, &request.accept)] {
        if !value.is_empty() {
            builder = builder.header(header, value);
        }
    }
    builder.body(()).unwrap()
}

/// The one of the simulation.
#[derive(Default)]
pub(super) struct Simulated {
    server: ApiServer,
    pub(super) names: Names,
    page: Page,
}

impl Side for Simulated {
    async fn answer(&mut self, request: &Request) -> Value {
        let spelt = with_page(self.names.spell(request), &self.page);
        if request.watches() {
            return told(self.watched(&spelt), &mut self.names);
        }
        // Times are not compared.
        let answer = self.server.handle(&spelt, Timestamp::UNIX_EPOCH);
        keep_page(&spelt, &answer.body, &mut self.page);
        json!({ "code": answer.code, "body": self.names.read(answer.body) })
    }
}

impl Simulated {
    /// The history is compacted.
    pub(super) fn forget(&mut self) {
        self.server.compact();
    }

    fn watched(&self, request: &Request) -> Vec<Value> {
        let key = request.target().unwrap().key;
        let selector = request.query("labelSelector").unwrap_or_default();
        if request.streams_list() {
            let list = self.server.listed(&key, selector).into_iter();
            let list = list.map(|object| json!({ "type": "ADDED", "object": object }));
            let end = json!({ "type": "BOOKMARK", "object": self.server.bookmark(key.resource, true) });
            return list.chain([end]).collect();
        }
        let version = request.query("resourceVersion").unwrap_or_default().parse().unwrap();
        let Some(changes) = self.server.store.since(version) else {
            return vec![json!({ "type": "ERROR", "object": expired(version, self.server.store.version()) })];
        };
        let events = changes.iter().filter_map(|change| shown(change, &key, selector));
        events
            .map(|(type_, object)| json!({ "type": type_, "object": object }))
            .collect()
    }
}

/// Whether a watch has shown all there is: the sentinel, or where it begins with a list the end of that, or an error.
fn is_last(request: &Request, event: &Value) -> bool {
    let end = if request.streams_list() {
        event["type"] == "BOOKMARK"
    } else {
        event["object"]["metadata"]["name"] == SENTINEL
    };
    end || event["type"] == "ERROR" || event["kind"] == "Status"
}

/// Of a bookmark no more than what says that a list ends: its version counts what happens elsewhere too.
fn told(events: Vec<Value>, names: &mut Names) -> Value {
    let events = events.into_iter().map(|mut event| {
        if event["type"] == "BOOKMARK" {
            event["object"] = json!({ "kind": event["object"]["kind"],
                "ends": event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] });
            return event;
        }
        event["object"] = names.read(event["object"].take());
        event
    });
    json!({ "events": events.collect::<Vec<_>>() })
}

/// A request with the token of the last page, if that was one of the same list.
fn with_page(mut request: Request, page: &Page) -> Request {
    let (path, token) = page;
    request
        .query
        .retain(|(_, value)| value != "<token>" || *path == request.path);
    for (_, value) in request.query.iter_mut().filter(|(_, value)| value == "<token>") {
        token.clone_into(value);
    }
    request
}

fn keep_page(request: &Request, body: &Value, page: &mut Page) {
    if let Some(token) = body["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
        *page = (request.path.clone(), token.to_owned());
    }
}
