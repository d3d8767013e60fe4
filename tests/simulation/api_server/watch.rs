//! What a watch shows.

use serde_json::{Value, json};

use super::ApiServer;
use super::request::selects;
use super::resource::Resource;
use super::store::{Change, Key};

impl ApiServer {
    /// What a streaming list shows before its bookmark, in the namespace of `key` or in all, with this selector.
    pub(crate) fn listed(&self, key: &Key, selector: &str) -> Vec<Value> {
        let all = self.store.all(key.resource, &key.namespace);
        let selected = all.filter(|object| selects(selector, object));
        selected.map(|object| object.as_ref().clone()).collect()
    }

    /// The object of an event that says up to which version a watch has shown everything; and, at the end of a list,
    /// that it is the end.
    pub(crate) fn bookmark(&self, resource: &Resource, ends_list: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": self.store.version().to_string(), "creationTimestamp": null });
        if ends_list {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        json!({ "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata })
    }
}

/// The event of a change for a watch of a resource, in the namespace of `key` or in all, with this selector, if it has
/// any: what begins or ceases to be selected comes and goes.
pub(crate) fn shown(change: &Change, key: &Key, selector: &str) -> Option<(&'static str, Value)> {
    let concerns =
        key.resource == change.key.resource && (key.namespace.is_empty() || key.namespace == change.key.namespace);
    if !concerns {
        return None;
    }
    let before = change.before.as_ref().is_some_and(|object| selects(selector, object));
    let after = !change.gone && selects(selector, &change.after);
    let shown = change.after.as_ref().clone();
    Some(match (before, after) {
        (false, true) => ("ADDED", shown),
        (true, true) => ("MODIFIED", shown),
        // As it was when it was selected, under the version since which it is not.
        (true, false) => {
            let mut last = change.before.as_ref()?.as_ref().clone();
            last["metadata"]["resourceVersion"] = shown["metadata"]["resourceVersion"].clone();
            ("DELETED", last)
        }
        (false, false) => return None,
    })
}

/// The object of the event that ends a watch whose version is no longer kept.
pub(crate) fn expired(version: u64, oldest: u64) -> Value {
    let message = format!("too old resource version: {version} ({oldest})");
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Expired", "code": 410 })
}
