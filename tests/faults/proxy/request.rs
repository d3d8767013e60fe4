//! A request of an operator, and the name that plans have for it.

use std::fmt;
use std::str::FromStr;

use axum::body::{Body, Bytes, to_bytes};
use http::Method;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::Value;

use crate::aim::Guard;
use crate::observer::Kind;

/// A request that has arrived completely.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: Parts,
    pub body: Bytes,
}

/// Which request of a run: `create-pods-worker-0`, or `status-Running.2` for the second of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    pub name: String,
    /// From 1.
    pub number: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => f.write_str(&self.name),
            number => write!(f, "{}.{number}", self.name),
        }
    }
}

impl Step {
    /// Whether it is about the election of a leader.
    pub fn is_of_lease(&self) -> bool {
        self.name.ends_with("-leases")
    }
}

impl FromStr for Step {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, number) = text.split_once('.').unwrap_or((text, "1"));
        Ok(Self {
            name: name.to_owned(),
            number: number.parse()?,
        })
    }
}

/// `/apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`, from the resource on.
struct Target<'a> {
    resource: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl Request {
    pub async fn read(request: http::Request<Incoming>) -> Option<Self> {
        let (head, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.ok()?;
        Some(Self { head, body })
    }

    fn target(&self) -> Option<Target<'_>> {
        let mut parts = self.head.uri.path().split('/').skip_while(|part| *part != "namespaces");
        parts.next()?;
        parts.next()?;
        Some(Target {
            resource: parts.next()?,
            name: parts.next(),
            subresource: parts.next(),
        })
    }

    /// The namespace of its object.
    pub fn namespace(&self) -> Option<&str> {
        let mut parts = self.head.uri.path().split('/').skip_while(|part| *part != "namespaces");
        parts.nth(1)
    }

    /// The plural of what is watched, if this is a watch.
    pub fn watched(&self) -> Option<&str> {
        let watches = self.head.uri.query()?.contains("watch=true");
        watches.then(|| self.head.uri.path().rsplit('/').next()).flatten()
    }

    /// The object that it creates, if it is of a job.
    pub fn created(&self) -> Option<(Kind, String)> {
        let target = self.target().filter(|_| self.head.method == Method::POST)?;
        let kind = match target.resource {
            "pods" => Kind::Pod,
            "services" => Kind::Service,
            "podgroups" => Kind::Group,
            _ => return None,
        };
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some((kind, body["metadata"]["name"].as_str()?.to_owned()))
    }

    /// Takes a guard out, if it has it.
    pub fn strip(&mut self, guard: Guard) {
        let Ok(mut body) = serde_json::from_slice::<Value>(&self.body) else {
            return;
        };
        match guard {
            Guard::Version => {
                let Some(patch) = body.as_array_mut() else { return };
                patch.retain(|operation| operation["path"] != "/metadata/resourceVersion");
            }
            Guard::Uid => {
                let Some(preconditions) = body.get_mut("preconditions") else {
                    return;
                };
                *preconditions = Value::Null;
            }
        }
        self.body = Bytes::from(body.to_string());
        self.head.headers.remove(CONTENT_LENGTH);
    }

    /// Whether it may change something.
    pub fn is_mutating(&self) -> bool {
        !self.head.method.is_safe()
    }

    /// What it is called; `None` for what is asked of collections and of the API itself. Jobs of plans have one name,
    /// so names of objects are shortened by it.
    pub fn step(&self) -> Option<String> {
        let target = self.target()?;
        let of = |name: &str| match name.strip_prefix(crate::stage::JOB) {
            Some("") => String::new(),
            Some(rest) => rest.to_owned(),
            None => format!("-{name}"),
        };
        let body = || serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let (verb, name) = match (&self.head.method, target.name) {
            (&Method::POST, None) if target.resource == "events" => {
                let body = body();
                ("create", format!("-{}", body["reason"].as_str().unwrap_or("unnamed")))
            }
            (&Method::POST, None) => ("create", of(body()["metadata"]["name"].as_str().unwrap_or_default())),
            (&Method::PATCH, Some(_)) if target.resource == "events" => ("repeat", String::new()),
            (&Method::PATCH, Some(_)) if target.subresource == Some("status") => return Some(status(&body())),
            (&Method::GET, Some(name)) => ("get", of(name)),
            (&Method::PATCH, Some(name)) => ("patch", of(name)),
            (&Method::PUT, Some(name)) => ("update", of(name)),
            (&Method::DELETE, Some(name)) => ("delete", of(name)),
            _ => return None,
        };
        if target.resource == "leases" {
            // Its name says nothing.
            return Some(format!("{verb}-leases"));
        }
        Some(format!("{verb}-{}{name}", target.resource))
    }
}

/// A status is called after the newest condition that is True.
fn status(patch: &Value) -> String {
    let operations = patch.as_array().into_iter().flatten();
    let mut stored = operations.filter(|operation| operation["path"] == "/status");
    let conditions = stored
        .next()
        .and_then(|operation| operation["value"]["conditions"].as_array())
        .map_or(&[][..], Vec::as_slice);
    let newest = conditions.iter().rfind(|condition| condition["status"] == "True");
    let name = newest.and_then(|condition| condition["type"].as_str());
    format!("status-{}", name.unwrap_or("none"))
}
