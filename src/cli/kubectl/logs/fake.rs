//! An API server that knows one job, its pods and their logs, and what they are like from one look to the next.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use futures::{StreamExt, stream};
use http::{Request, Response};
use kube::Client;
use serde_json::{Value, json};

/// What the API server says until the job is read again.
#[derive(Clone)]
pub(super) struct Moment {
    /// Nothing for somebody who may not read jobs.
    pub(super) job: Option<Value>,
    pub(super) pods: Vec<Value>,
    /// Of the container that is there, and of the one before it. One that cannot be read is a code.
    pub(super) logs: [&'static str; 2],
}

/// What was asked of it.
#[derive(Default)]
pub(super) struct Asked {
    /// How logs were asked for.
    pub(super) logs: Vec<String>,
    /// How many logs are being read, and the most that were at once.
    open: usize,
    pub(super) most: usize,
}

pub(super) const UNREADABLE: &str = "500";
pub(super) const REFUSED: &str = "403";

/// A log to which the Master adds a last line after [`LATE`], and the workers nothing: it does not end before they do.
pub(super) const ENDLESS: &str = "2026-01-01T00:00:01Z step 1\n";
const LATE: Duration = Duration::from_secs(5);

fn at(second: u32) -> String {
    format!("2026-01-01T00:00:{second:02}Z")
}

pub(super) fn running(since: u32) -> Value {
    json!({ "running": { "startedAt": at(since) } })
}

pub(super) fn ended(from: u32, until: u32, code: i32) -> Value {
    json!({ "terminated": { "exitCode": code, "startedAt": at(from), "finishedAt": at(until) } })
}

pub(super) fn pod(name: &str, restarts: i32, state: &Value, last: &Value) -> Value {
    let container = json!({ "name": "pytorch", "image": "i", "imageID": "", "ready": false,
        "restartCount": restarts, "state": state, "lastState": last });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "uid": name }, "spec": {},
        "status": { "containerStatuses": [container] } })
}

/// A job whose worker 1 failed first, after five seconds.
pub(super) fn job(condition: &str, has_failed: bool) -> Value {
    let failure = json!({ "pod": "train-worker-1", "exitCode": 1, "class": "ImportError", "node": "node-a",
        "excerpt": "ImportError: x", "finishedAt": at(5) });
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
    json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "train", "namespace": "team" },
        "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": 2, "template": template } } },
        "status": { "conditions": [{ "type": condition, "status": "True" }],
            "firstFailure": has_failed.then_some(failure) },
    })
}

/// Reads a job, lists pods and reads logs; anything else is refused. Each time the job is read, the next moment is
/// there.
pub(super) fn client(moments: &[Moment], asked: Arc<Mutex<Asked>>) -> Client {
    let moments = Mutex::new((VecDeque::from(moments.to_vec()), None::<Moment>));
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let mut moments = moments.lock().unwrap();
        let refused = || {
            (
                403,
                Body::from(json!({ "kind": "Status", "code": 403, "message": "forbidden" }).to_string()),
            )
        };
        let (code, body) = if path.ends_with("/namespaces/team/pytorchjobs/train") {
            moments.1 = moments.0.pop_front().or_else(|| moments.1.clone());
            let job = moments.1.clone().unwrap().job;
            job.map_or_else(refused, |job| of_job(&job))
        } else if path == "/api/v1/namespaces/team/pods" {
            let pods = moments.1.clone().unwrap().pods;
            let list = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods });
            (200, Body::from(list.to_string()))
        } else if path.ends_with("/log") {
            asked.lock().unwrap().logs.push(query.replace("&container=pytorch", ""));
            let previous = usize::from(query.contains("previous=true"));
            let (code, log) = of_log(moments.1.clone().unwrap().logs[previous], path, query);
            (code, counted(log, &asked))
        } else {
            refused()
        };
        let response = Response::builder().status(code).body(body);
        std::future::ready(Ok::<_, Infallible>(response.unwrap()))
    });
    Client::new(service, "team")
}

/// A log that is counted as long as it is read.
fn counted(log: Body, asked: &Arc<Mutex<Asked>>) -> Body {
    let mut counts = asked.lock().unwrap();
    counts.open += 1;
    counts.most = counts.most.max(counts.open);
    let open = scopeguard::guard(Arc::clone(asked), |asked| asked.lock().unwrap().open -= 1);
    Body::from_stream(log.into_data_stream().inspect(move |_| {
        let _still = &open;
    }))
}

/// A job; or, in its place, what is said of one that is not there: a Status, or mere text.
fn of_job(job: &Value) -> (u16, Body) {
    match job {
        Value::String(text) => (404, text.clone().into()),
        job if job["kind"] == "Status" => (404, job.to_string().into()),
        job => (200, job.to_string().into()),
    }
}

fn of_log(log: &'static str, path: &str, query: &str) -> (u16, Body) {
    if let Ok(code) = log.parse() {
        return (code, json!({ "kind": "Status", "code": code }).to_string().into());
    }
    if log != ENDLESS || !query.contains("follow=true") {
        return (200, log.into());
    }
    let is_master = path.contains("master");
    let end = async move {
        if !is_master {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LATE).await;
        Ok::<_, Infallible>("2026-01-01T00:00:06Z the end\n")
    };
    let lines = stream::once(async move { Ok(log) }).chain(stream::once(end));
    (200, Body::from_stream(lines))
}
