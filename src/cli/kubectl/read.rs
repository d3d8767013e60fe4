//! Reads a job and what belongs to it from a cluster.

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::Status;
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

use crate::api::{ChildKind, PyTorchJob, Replica, names};
use crate::cache::ObjectView;
use crate::cli::kubectl::observation::{Observation, kind_of, owns, waits};
use crate::platform::logs::with_causes;

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
        .map_err(|error| format!("cannot get PyTorchJob {namespace}/{name}: {}", said_of_jobs(&error)))?;
    let mut observation = Observation::new(json(&job), time);
    observation.read_children(client, namespace, name).await;
    observation.read_quotas(client, namespace).await;
    observation.read_workloads(client, namespace).await;
    observation.read_events(client, namespace, name).await;
    Ok(observation)
}

/// What cannot be read begins with one of these.
pub(super) const PODGROUPS: &str = "podgroups";
pub(super) const WORKLOADS: &str = "workloads";

impl Observation {
    async fn read_children(&mut self, client: &Client, namespace: &str, job: &str) {
        let of_job = format!("{}={job}", names::LABEL_JOB_NAME);
        let mut refused = None;
        for kind in ChildKind::ALL {
            let api = api::<ObjectView>(client, namespace, &kind);
            match api.list(&ListParams::default().labels(&of_job)).await {
                Ok(list) => {
                    let objects = list.items.iter().map(|object| with_kind(json(object), kind));
                    self.of_kind(kind).extend(objects);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                // Of kinds that the cluster does not have, those who have few rights learn no more.
                Err(error) if kind.is_pod_group() => refused = refused.or(Some(error)),
                Err(error) => self.unread.push(format!("{}: {}", kind.plural(), said(&error))),
            }
        }
        if let Some(error) = refused.filter(|_| self.is_gang_unseen()) {
            self.unread.push(format!("{PODGROUPS}: {}", said(&error)));
        }
    }

    /// Whether the job is to have a PodGroup, or is said to wait for one, and none was found.
    fn is_gang_unseen(&self) -> bool {
        let mut kinds = self.others.iter().filter_map(kind_of);
        let asks = !self.job["spec"]["runPolicy"]["schedulingPolicy"].is_null();
        let waits = self
            .job()
            .is_ok_and(|job| waits(&job).any(|wait| wait.starts_with("PodGroup ")));
        (asks || waits) && !kinds.any(ChildKind::is_pod_group)
    }

    /// Any quota of the namespace may keep pods out of it.
    async fn read_quotas(&mut self, client: &Client, namespace: &str) {
        let api = api::<ResourceQuota>(client, namespace, &());
        match api.list(&ListParams::default()).await {
            Ok(list) => self.quotas = list.items.iter().map(quota).collect(),
            Err(error) => self.unread.push(format!("resourcequotas: {}", said(&error))),
        }
    }

    /// Kueue has an object for each job that is for one of its queues.
    async fn read_workloads(&mut self, client: &Client, namespace: &str) {
        if self.job["metadata"]["labels"][names::KUEUE_QUEUE].is_null() {
            return;
        }
        let version = match version_of(client, names::KUEUE).await {
            Ok(Some(version)) => version,
            Ok(None) => {
                return self
                    .unread
                    .push(format!("{WORKLOADS}: the cluster has no {}", names::KUEUE));
            }
            Err(error) => return self.unread.push(format!("{WORKLOADS}: {}", said(&error))),
        };
        let kind = GroupVersionKind::gvk(names::KUEUE, &version, "Workload");
        let resource = ApiResource::from_gvk_with_plural(&kind, WORKLOADS);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let uid = self.job["metadata"]["uid"].as_str().unwrap_or_default();
        let of_job = ListParams::default().labels(&format!("{}={uid}", names::KUEUE_JOB_UID));
        match api.list(&of_job).await {
            Ok(list) => {
                let workloads = list.items.iter().filter(|object| owns(uid, &json(object)));
                self.workloads = workloads.map(workload).collect();
            }
            Err(error) => self.unread.push(format!("{WORKLOADS}: {}", said(&error))),
        }
    }

    async fn read_events(&mut self, client: &Client, namespace: &str, job: &str) {
        let api = api::<Event>(client, namespace, &());
        let list = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(error) => return self.unread.push(format!("events: {}", said(&error))),
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

/// The version of an API group that the cluster prefers, if it has the group.
async fn version_of(client: &Client, group: &str) -> Result<Option<String>, kube::Error> {
    let request = http::Request::get(format!("/apis/{group}")).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    match client.request::<APIGroup>(request).await {
        Ok(group) => Ok(group.preferred_version.map(|preferred| preferred.version)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the API server says of an error, or why it could not be asked.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => with_causes(error),
    }
}

/// The same where jobs were asked for. A server without their definition says no more than that it has no such page.
pub(super) fn said_of_jobs(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 && !names_an_object(status) => {
            "the cluster has no definition of PyTorchJobs".to_owned()
        }
        error => said(error),
    }
}

fn names_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// What is read of a quota.
fn quota(object: &DynamicObject) -> Value {
    let [spec, status] = ["spec", "status"].map(|field| &object.data[field]);
    json!({ "metadata": { "name": object.metadata.name }, "spec": spec, "status": status })
}

/// What is read of a Workload, which has the templates of the job too.
fn workload(object: &DynamicObject) -> Value {
    let [spec, status] = ["spec", "status"].map(|field| &object.data[field]);
    json!({
        "metadata": { "name": object.metadata.name },
        "spec": { "queueName": spec["queueName"], "active": spec["active"] },
        "status": { "conditions": status["conditions"], "admissionChecks": status["admissionChecks"] },
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kubectl::tests::{client, job, not_found, unreachable};

    fn api(status: &Value) -> kube::Error {
        kube::Error::Api(serde_json::from_value(status.clone()).unwrap())
    }

    #[test]
    fn an_error_is_told_in_the_words_of_the_api_server_or_with_what_is_behind_it() {
        for (error, said_of_any, of_jobs) in [
            (api(&not_found("x not found", "x")), "x not found", "x not found"),
            (
                api(&not_found("404 page not found", "")),
                "404 page not found",
                "the cluster has no definition of PyTorchJobs",
            ),
            (
                unreachable(),
                "ServiceError: cannot connect: refused",
                "ServiceError: cannot connect: refused",
            ),
        ] {
            assert_eq!([said(&error), said_of_jobs(&error)], [said_of_any, of_jobs]);
        }
    }

    async fn observed(answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> Result<Observation, String> {
        observe(&client(answer), "team", "train", Timestamp::UNIX_EPOCH).await
    }

    #[tokio::test]
    async fn a_job_that_is_not_there_is_no_dump() {
        let error = observed(|_| not_found("pytorchjobs \"train\" not found", "train")).await;
        let expected = "cannot get PyTorchJob team/train: pytorchjobs \"train\" not found";
        assert_eq!(error.unwrap_err(), expected);
    }

    #[tokio::test]
    async fn pod_groups_that_may_not_be_read_are_missed_where_the_job_asks_for_one_or_waits_for_it() {
        let policy = json!({ "runPolicy": { "schedulingPolicy": { "minAvailable": 2 } } });
        let told =
            |message: &str| json!({ "conditions": [{ "type": "Created", "status": "True", "message": message }] });
        for (spec, status, missed) in [
            (json!({}), told("It is created."), false),
            (policy, told("It is created."), true),
            (
                json!({}),
                told("It is created. Waiting: PodGroup train: Pending. Volcano has not admitted it."),
                true,
            ),
        ] {
            let job = job(&spec, &status);
            let observation = observed(move |path| match path {
                path if path.ends_with("pytorchjobs/train") => job.clone(),
                path if path.ends_with("podgroups") => json!({ "kind": "Status", "code": 403, "message": "forbidden" }),
                _ => json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [] }),
            });
            let unread = observation.await.unwrap().unread;
            assert_eq!(
                unread.contains(&"podgroups: forbidden".to_owned()),
                missed,
                "{unread:?}"
            );
        }
    }
}
