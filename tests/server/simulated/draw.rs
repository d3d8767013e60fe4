//! Requests at random.

use serde_json::{Value, json};

use super::api_server::{Request, Resource};
use crate::support::dice::Dice;

/// The last object of a kind that is created.
pub(super) const SENTINEL: &str = "zz-last";
/// The names of all others.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// What the operator selects its objects by.
const SELECTOR: &str = "training.kubeflow.org/operator-name=pytorchjob-controller";
/// How many watches of each resource there are.
const WATCHES: usize = 4;
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";

/// A sequence of requests that a seed determines, as far as the number of versions that were answered goes.
pub(super) struct Sequence {
    dice: Dice,
    namespace: String,
}

impl Sequence {
    pub(super) fn new(seed: u64, namespace: &str) -> Self {
        Self {
            dice: Dice::new(seed),
            namespace: namespace.to_owned(),
        }
    }

    /// The next request, after so many versions were answered.
    pub(super) fn next(&mut self, versions: usize) -> Request {
        let served: Vec<_> = served().collect();
        // Jobs and pods are what most is done to.
        let resource = match self.dice.below(9) {
            0..=2 => Resource::named("pytorchjobs"),
            3..=5 => Resource::named("pods"),
            _ => self.dice.pick(&served),
        };
        match self.dice.below(20) {
            0..=6 => self.create(resource),
            7 => self.on("GET", resource, ""),
            8 => self.list(resource),
            9..=12 => self.edit(resource, versions),
            13..=15 => self.status(resource, versions),
            _ => self.delete(resource, versions),
        }
    }

    /// Versions to watch from; from the last one on there is nothing to wait for.
    pub(super) fn froms(&mut self, versions: usize) -> Vec<usize> {
        (0..WATCHES).map(|_| self.dice.below(versions - 1)).collect()
    }

    /// A watch of a resource from a version on, of what is selected or of all.
    pub(super) fn watch(&mut self, resource: &Resource, from: usize) -> Request {
        let request = watch(resource, &self.namespace, &format!("<version {from}>"));
        self.of_some_or_all(request)
    }

    /// A watch that begins with a list.
    pub(super) fn streamed_list(&mut self, resource: &Resource) -> Request {
        let query = [
            ("watch", "true"),
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", "30"),
        ];
        self.of_some_or_all(request("GET", path(resource, &self.namespace, ""), &query))
    }

    fn of_some_or_all(&mut self, mut request: Request) -> Request {
        if self.dice.one_in(2) {
            request.query.push(("labelSelector".to_owned(), SELECTOR.to_owned()));
        }
        request
    }

    fn name(&mut self, resource: &Resource) -> &'static str {
        // A name says nothing about the kind, but a Service must not begin with a digit.
        let names = if resource.plural == "pods" {
            ["a", "b", "c"]
        } else {
            ["a", "b", "a"]
        };
        self.dice.pick(&names)
    }

    fn on(&mut self, method: &str, resource: &Resource, below: &str) -> Request {
        let name = self.name(resource);
        request(method, path(resource, &self.namespace, &format!("/{name}{below}")), &[])
    }

    fn create(&mut self, resource: &'static Resource) -> Request {
        let name = self.name(resource);
        let labels = if self.dice.one_in(3) {
            json!({ "team": "a" })
        } else {
            selected()
        };
        let mut object = object(resource, name, &self.namespace, &labels);
        if self.dice.one_in(3) {
            object["metadata"]["finalizers"] = json!(["example.com/kept"]);
        }
        if resource.plural == "pods" {
            if self.dice.one_in(2) {
                object["spec"]["nodeName"] = json!("nowhere");
            }
            if self.dice.one_in(3) {
                object["spec"]["terminationGracePeriodSeconds"] = json!(self.dice.pick(&[0, 5]));
            }
        }
        with_body(
            request("POST", path(resource, &self.namespace, ""), &[]),
            "application/json",
            &object,
        )
    }

    fn list(&mut self, resource: &Resource) -> Request {
        // Of all namespaces only with a selector: others have objects too.
        let everywhere = self.dice.one_in(3);
        let mut query = Vec::new();
        if everywhere || self.dice.one_in(2) {
            query.push(("labelSelector", SELECTOR));
        }
        query.extend(self.dice.one_in(2).then_some(("limit", "1")));
        query.extend(self.dice.one_in(4).then_some(("continue", "<token>")));
        let namespace = if everywhere { "" } else { self.namespace.as_str() };
        request("GET", path(resource, namespace, ""), &query)
    }

    /// What users and the operator change of an object.
    fn edit(&mut self, resource: &'static Resource, versions: usize) -> Request {
        if resource.plural == "leases" {
            return self.renew(resource, versions);
        }
        if self.dice.one_in(4) && versions > 0 {
            let uid = format!("<uid {}>", self.dice.below(versions / 2 + 1));
            let patch = json!([{ "op": "test", "path": "/metadata/uid", "value": uid },
                { "op": "add", "path": "/metadata/labels/team", "value": "patched" }]);
            return with_body(self.on("PATCH", resource, ""), JSON, &patch);
        }
        let mut patches = vec![
            json!({ "metadata": { "labels": { "team": self.dice.pick(&["a", "b"]) } } }),
            json!({ "metadata": { "labels": selected() } }),
            json!({ "metadata": { "labels": null } }),
            json!({ "metadata": { "finalizers": null } }),
            json!({ "metadata": { "ownerReferences": null } }),
            json!({}),
        ];
        if resource.custom {
            patches.extend([
                json!({ "spec": { "runPolicy": { "suspend": self.dice.one_in(2) } } }),
                json!({ "spec": { "runPolicy": { "backoffLimit": self.dice.below(3) } } }),
                json!({ "spec": { "runPolicy": { "activeDeadlineSeconds": null } } }),
                json!({ "status": { "startTime": "2027-01-15T08:00:00Z" } }),
            ]);
        }
        let mut patch = self.dice.pick(&patches);
        self.bind(&mut patch, versions);
        with_body(self.on("PATCH", resource, ""), MERGE, &patch)
    }

    /// Binds a change to a version, which may be one of something else.
    fn bind(&mut self, patch: &mut Value, versions: usize) {
        if versions > 0 && self.dice.one_in(3) {
            patch["metadata"]["resourceVersion"] = json!(self.version(versions));
        }
    }

    /// One of the last versions more often than an old one.
    fn version(&mut self, versions: usize) -> String {
        let back = if self.dice.one_in(3) { versions } else { versions.min(4) };
        format!("<version {}>", versions - 1 - self.dice.below(back))
    }

    fn renew(&mut self, resource: &'static Resource, versions: usize) -> Request {
        let name = self.name(resource);
        let mut lease = object(resource, name, &self.namespace, &selected());
        lease["spec"]["holderIdentity"] = json!(self.dice.pick(&["one", "other"]));
        self.bind(&mut lease, versions);
        let put = request("PUT", path(resource, &self.namespace, &format!("/{name}")), &[]);
        with_body(put, "application/json", &lease)
    }

    /// What the operator and kubelets say of a job or a pod.
    fn status(&mut self, resource: &'static Resource, versions: usize) -> Request {
        if resource.plural == "pods" {
            let phase = self.dice.pick(&["Running", "Succeeded", "Failed"]);
            let patch = json!({ "status": { "phase": phase } });
            return with_body(self.on("PATCH", resource, "/status"), MERGE, &patch);
        }
        if versions == 0 || !resource.custom {
            return self.on("GET", resource, "");
        }
        let status = json!({ "replicaStatuses": { "Worker": { "active": self.dice.below(3) } } });
        let patch = json!([{ "op": "replace", "path": "/metadata/resourceVersion", "value": self.version(versions) },
            { "op": "add", "path": "/status", "value": status }]);
        with_body(self.on("PATCH", resource, "/status"), JSON, &patch)
    }

    fn delete(&mut self, resource: &Resource, versions: usize) -> Request {
        let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        if self.dice.one_in(2) {
            options["propagationPolicy"] = json!(self.dice.pick(&["Background", "Background", "Foreground", "Orphan"]));
        }
        if self.dice.one_in(3) {
            options["gracePeriodSeconds"] = json!(self.dice.pick(&[0, 0, 2]));
        }
        if versions > 0 && self.dice.one_in(3) {
            options["preconditions"]["resourceVersion"] = json!(self.version(versions));
        }
        if versions > 0 && self.dice.one_in(3) {
            options["preconditions"]["uid"] = json!(format!("<uid {}>", self.dice.below(versions / 2 + 1)));
        }
        with_body(self.on("DELETE", resource, ""), "application/json", &options)
    }
}

/// The resources that are compared. Events are written and never read, and the others are not there on the real one, or
/// never stored.
pub(super) fn served() -> impl Iterator<Item = &'static Resource> {
    let not = ["events", "podgroups", "priorityclasses"];
    Resource::ALL
        .iter()
        .filter(move |resource| !not.contains(&resource.plural))
}

/// A watch of a resource from a version on.
pub(super) fn watch(resource: &Resource, namespace: &str, version: &str) -> Request {
    let query = [
        ("watch", "true"),
        ("resourceVersion", version),
        ("timeoutSeconds", "30"),
    ];
    request("GET", path(resource, namespace, ""), &query)
}

/// Removes every object of every kind.
pub(super) fn clear(namespace: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    for resource in served() {
        for name in NAMES.into_iter().chain([SENTINEL]) {
            let path = path(resource, namespace, &format!("/{name}"));
            let free = json!({ "metadata": { "finalizers": null } });
            requests.push(with_body(request("PATCH", path.clone(), &[]), MERGE, &free));
            let at_once = json!({ "gracePeriodSeconds": 0 });
            requests.push(with_body(request("DELETE", path, &[]), "application/json", &at_once));
        }
    }
    requests
}

/// Creates the last object of a kind.
pub(super) fn sentinel(resource: &'static Resource, namespace: &str) -> Request {
    let object = object(resource, SENTINEL, namespace, &selected());
    with_body(
        request("POST", path(resource, namespace, ""), &[]),
        "application/json",
        &object,
    )
}

fn selected() -> Value {
    let (label, value) = SELECTOR.split_once('=').unwrap();
    json!({ label: value })
}

fn path(resource: &Resource, namespace: &str, below: &str) -> String {
    let within = if namespace.is_empty() {
        String::new()
    } else {
        format!("/namespaces/{namespace}")
    };
    format!("{}{within}/{}{below}", resource.prefix(), resource.plural)
}

fn request(method: &str, path: String, query: &[(&str, &str)]) -> Request {
    let query = query
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Request {
        method: method.to_owned(),
        path,
        query: query.collect(),
        ..Request::default()
    }
}

fn with_body(mut request: Request, content_type: &str, body: &Value) -> Request {
    content_type.clone_into(&mut request.content_type);
    request.body = body.to_string().into_bytes();
    request
}

/// An object with all that its kind needs.
fn object(resource: &'static Resource, name: &str, namespace: &str, labels: &Value) -> Value {
    let container = json!([{ "name": "pytorch", "image": "training:1" }]);
    let spec = match resource.plural {
        "pytorchjobs" => json!({ "runPolicy": { "suspend": false }, "pytorchReplicaSpecs": { "Worker": { "replicas": 2,
            "restartPolicy": "Never", "template": { "spec": { "containers": container } } } } }),
        "pods" => json!({ "containers": container, "restartPolicy": "Never" }),
        "services" => {
            json!({ "clusterIP": "None", "ports": [{ "name": "master", "port": 23456 }], "selector": labels })
        }
        "horizontalpodautoscalers" => json!({ "maxReplicas": 3, "minReplicas": 1,
            "scaleTargetRef": { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "a" },
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu",
                "target": { "type": "Utilization", "averageUtilization": 80 } } }] }),
        "leases" => json!({ "holderIdentity": "one", "leaseDurationSeconds": 15 }),
        other => unreachable!("{other} are not compared"),
    };
    json!({ "apiVersion": resource.api_version(), "kind": resource.kind,
        "metadata": { "name": name, "namespace": namespace, "labels": labels }, "spec": spec })
}
