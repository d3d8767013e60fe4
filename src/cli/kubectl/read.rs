//! Reads a job and what belongs to it from a cluster.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, Resource};
use serde_json::Value;

use crate::api::{ChildKind, PyTorchJob, Replica, names};
use crate::cache::ObjectView;
use crate::cli::kubectl::observation::Observation;

/// Reads the job of this name. What else cannot be read, because it is not permitted or not there, is said in
/// [`Observation::unread`].
pub(super) async fn observe(
    client: &Client,
    namespace: &str,
    name: &str,
    time: Timestamp,
) -> Result<Observation, String> {
    let jobs = api::<PyTorchJob>(client, namespace, &());
    let job = jobs
        .get(name)
        .await
        .map_err(|error| format!("cannot get PyTorchJob {namespace}/{name}: {error}"))?;
    let mut observation = Observation {
        time,
        job: json(&job),
        pods: Vec::new(),
        others: Vec::new(),
        events: Vec::new(),
        unread: Vec::new(),
    };
    let of_job = format!("{}={name}", names::LABEL_JOB_NAME);
    for kind in ChildKind::ALL {
        let api = api::<ObjectView>(client, namespace, &kind);
        match api.list(&ListParams::default().labels(&of_job)).await {
            Ok(list) => {
                let objects = list.items.iter().map(|object| with_kind(json(object), kind));
                match kind {
                    ChildKind::Pod => observation.pods.extend(objects),
                    _ => observation.others.extend(objects),
                }
            }
            // The cluster has no such kind, which looks like a missing right to those who have few.
            Err(kube::Error::Api(status)) if status.code == 404 || kind.is_pod_group() => {}
            Err(error) => observation.unread.push(format!("{}: {error}", kind.plural())),
        }
    }
    observation.read_events(client, namespace, name).await;
    Ok(observation)
}

impl Observation {
    async fn read_events(&mut self, client: &Client, namespace: &str, job: &str) {
        let api = api::<Event>(client, namespace, &());
        let list = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(error) => return self.unread.push(format!("events: {error}")),
        };
        let mut events: Vec<Value> = list.iter().map(json).collect();
        // A job that had the name before is another one.
        let created = |object: &Value| object["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
        let begin = created(&self.job);
        events.retain(|event| {
            let about = &event["regarding"];
            let name = about["name"].as_str().unwrap_or_default();
            let of_job = about["kind"] == names::KIND && name == job;
            let of_pod = about["kind"] == "Pod" && Replica::parse(job, name).is_some();
            (of_job || of_pod) && created(event) >= begin
        });
        events.sort_by_key(|event| {
            event["metadata"]["resourceVersion"]
                .as_str()
                .and_then(|v| v.parse::<u64>().ok())
        });
        self.events = events;
    }
}

/// Objects of a kind as they are stored, with all that we do not know of them.
fn api<K: Resource>(client: &Client, namespace: &str, kind: &K::DynamicType) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(kind))
}

/// Objects in a list do not say what they are.
fn with_kind(mut object: Value, kind: ChildKind) -> Value {
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind().into();
    object
}

fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
