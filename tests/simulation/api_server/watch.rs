//! What a watch shows.

use serde_json::{Value, json};

use super::request::selects;
use super::store::Change;

/// The event of a change for a watch with this selector, if it has any: what begins or ceases to be selected comes and
/// goes.
pub(crate) fn event_for(change: &Change, selector: &str) -> Option<(&'static str, Value)> {
    let before = change.before.as_ref().is_some_and(|object| selects(selector, object));
    let after = !change.gone && selects(selector, &change.after);
    let type_ = match (before, after) {
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
        (false, false) => return None,
    };
    Some((type_, change.after.as_ref().clone()))
}

/// The object of the event that ends a watch whose version is no longer kept.
pub(crate) fn expired(version: u64, oldest: u64) -> Value {
    let message = format!("too old resource version: {version} ({oldest})");
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Expired", "code": 410 })
}
