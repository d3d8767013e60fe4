//! What a watch shows.

use serde_json::{Value, json};

use super::request::selects;
use super::store::{Change, Key};

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
