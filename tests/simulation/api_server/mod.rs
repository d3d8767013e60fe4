//! A Kubernetes API server in memory, as far as the operator, its jobs' pods and their users can tell.
//!
//! One counter gives resourceVersions; every change is kept, so that a watch can resume from any version that is not
//! compacted. The subtleties are those the operator meets: preconditions, graceful deletion of pods that run, finalizers
//! of foreground deletion and orphaning, a status subresource, writes that change nothing.
//!
//! It has no clock and no network of its own: [`ApiServer::handle`] is a function of what is stored, the request and the
//! time.

pub(crate) mod answer;
mod delete;
mod patch;
pub(crate) mod request;
mod resource;
mod store;
mod watch;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(crate) use answer::Answer;
pub(crate) use request::Request;
pub(crate) use resource::Resource;
pub(crate) use store::{Change, Key, Object, Store};
pub(crate) use watch::{expired, shown};

/// What refuses new pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    /// The most pods that a quota allows in a namespace.
    pub(crate) pods: Option<usize>,
    /// Whether a plugin refuses every pod.
    pub(crate) denies: bool,
}

/// An API server with what is stored in its etcd.
#[derive(Debug, Default)]
pub(crate) struct ApiServer {
    pub(crate) store: Store,
    pub(crate) admission: Admission,
    /// What is left of lists that are fetched page by page, by continue token.
    pages: Vec<(String, String, Vec<Object>)>,
    tokens: u64,
    born: u64,
}

impl ApiServer {
    /// Answers any request but a watch.
    pub(crate) fn handle(&mut self, request: &Request, now: Timestamp) -> Answer {
        let Some(target) = request.target() else {
            return discover(request);
        };
        match (request.method.as_str(), target.key.name.is_empty()) {
            ("GET", true) => self.list(request, &target.key),
            ("GET", false) => self.get(&target.key),
            ("POST", true) => self.create(request, target.key, now),
            ("PUT", false) => self.replace(request, &target, now),
            ("PATCH", false) => self.patch(request, &target, now),
            ("DELETE", false) => self.delete(request, &target.key, now),
            _ => Answer::method_not_allowed(),
        }
    }

    /// Forgets the history: who asks for a version before now has to list again.
    pub(crate) fn compact(&mut self) {
        self.store.compact();
        self.pages.clear();
    }

    fn get(&self, key: &Key) -> Answer {
        match self.store.get(key) {
            Some(object) => Answer::ok(object.as_ref().clone()),
            None => Answer::not_found(key),
        }
    }

    fn list(&mut self, request: &Request, key: &Key) -> Answer {
        let (version, mut items) = if let Some(token) = request.query("continue") {
            let Some(at) = self.pages.iter().position(|(known, ..)| known == token) else {
                return Answer::expired("The provided continue parameter is too old");
            };
            let (_, version, items) = self.pages[at].clone();
            (version, items)
        } else {
            let all = self.store.all(key.resource, &key.namespace).cloned();
            (self.store.version().to_string(), all.collect())
        };
        let mut metadata = json!({ "resourceVersion": version });
        if let Some(rest) = rest_of_page(request, &mut items) {
            self.tokens += 1;
            let token = format!("page-{}", self.tokens);
            metadata["continue"] = json!(token);
            if request.query("labelSelector").is_none() {
                metadata["remainingItemCount"] = json!(rest.len());
            }
            self.pages.push((token, version, rest));
        }
        items.retain(|object| request.selects(object));
        let resource = key.resource;
        if request.metadata_only() {
            let items: Vec<_> = items.iter().map(metadata_of).collect();
            return Answer::ok(
                json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata, "items": items }),
            );
        }
        let mut items: Vec<_> = items.iter().map(|object| object.as_ref().clone()).collect();
        if !resource.custom {
            // What they are is said by the list.
            for fields in items.iter_mut().filter_map(Value::as_object_mut) {
                fields.retain(|field, _| !["kind", "apiVersion"].contains(&field.as_str()));
            }
        }
        Answer::ok(
            json!({ "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
            "metadata": metadata, "items": items }),
        )
    }

    fn create(&mut self, request: &Request, mut key: Key, now: Timestamp) -> Answer {
        let Ok(Value::Object(mut object)) = serde_json::from_slice(&request.body) else {
            return Answer::bad_request("the body is not an object");
        };
        let resource = key.resource;
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) else {
            return Answer::invalid(&key, "metadata.name: Required value: name or generateName is required");
        };
        name.clone_into(&mut key.name);
        if resource.plural == "pods"
            && let Some(refused) = self.refuses(&key)
        {
            return refused;
        }
        if let Some(stored) = self.store.get(&key) {
            return Answer::already_exists(&key, !stored["metadata"]["deletionTimestamp"].is_null());
        }
        self.born += 1;
        metadata["namespace"] = json!(key.namespace);
        metadata["uid"] = json!(format!("{:08x}-0000-4000-8000-{:012x}", self.born, self.born));
        metadata["creationTimestamp"] = json!(whole_second(now));
        if resource.counts_generations() {
            metadata["generation"] = json!(1);
        }
        if resource.custom {
            object.remove("status");
        }
        if resource.plural == "pods" {
            default_pod(&mut object);
        }
        object.insert("kind".into(), json!(resource.kind));
        object.insert("apiVersion".into(), json!(resource.api_version()));
        Answer::created(self.store.put(key, Value::Object(object)).as_ref().clone())
    }

    fn refuses(&self, key: &Key) -> Option<Answer> {
        if self.admission.denies {
            return Some(Answer::forbidden(
                key,
                "admission webhook \"pods.example.com\" denied the request",
            ));
        }
        let limit = self.admission.pods?;
        let unfinished = self
            .store
            .all(key.resource, &key.namespace)
            .filter(|pod| !finished(pod))
            .count();
        (unfinished >= limit).then(|| {
            let message =
                format!("exceeded quota: pods, requested: pods=1, used: pods={unfinished}, limited: pods={limit}");
            Answer::forbidden(key, &message)
        })
    }
}

/// Takes from `items` what does not fit on the page: whatever comes after as many selected ones as the page may have.
fn rest_of_page(request: &Request, items: &mut Vec<Object>) -> Option<Vec<Object>> {
    let limit: usize = request.query("limit")?.parse().ok()?;
    let mut selected = items.iter().enumerate().filter(|(_, object)| request.selects(object));
    let (last, _) = selected.nth(limit.checked_sub(1)?)?;
    Some(items.split_off(last + 1)).filter(|rest| !rest.is_empty())
}

/// The resources of an API group. There is nothing beside what is stored here.
fn discover(request: &Request) -> Answer {
    let served = Resource::ALL
        .iter()
        .filter(|resource| resource.prefix() == request.path);
    let resources: Vec<_> = served
        .map(|resource| {
            json!({ "name": resource.plural, "singularName": "", "namespaced": true, "kind": resource.kind,
                "verbs": [] })
        })
        .collect();
    if resources.is_empty() {
        return Answer::page_not_found();
    }
    Answer::ok(
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": request.path,
        "resources": resources }),
    )
}

/// Whether a pod has ended.
pub(crate) fn finished(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn default_pod(pod: &mut Map<String, Value>) {
    pod.insert("status".into(), json!({ "phase": "Pending" }));
    let spec = pod.entry("spec").or_insert_with(|| json!({}));
    for (field, default) in [
        ("terminationGracePeriodSeconds", json!(30)),
        ("restartPolicy", json!("Always")),
    ] {
        if spec[field].is_null() {
            spec[field] = default;
        }
    }
}

fn metadata_of(object: &Object) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// A time as the API writes it.
pub(crate) fn whole_second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).map_or_else(|_| time.to_string(), |time| time.to_string())
}
