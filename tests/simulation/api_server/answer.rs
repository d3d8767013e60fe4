//! Answers.

use serde_json::{Value, json};

use super::resource::Resource;
use super::store::Key;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self {
            code: 200,
            retry_after: None,
            body,
        }
    }

    pub(crate) fn created(body: Value) -> Self {
        Self {
            code: 201,
            ..Self::ok(body)
        }
    }

    /// A failure, in the form of `Status`.
    pub(crate) fn failure(code: u16, reason: &str, message: &str, details: Value) -> Self {
        let mut body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code });
        if !details.is_null() {
            body["details"] = details;
        }
        Self { code, ..Self::ok(body) }
    }

    pub(crate) fn not_found(key: &Key) -> Self {
        let message = format!("{} \"{}\" not found", qualified(key), key.name);
        Self::failure(404, "NotFound", &message, details(key))
    }

    /// The answer to a path that is not served, which is plain text.
    pub(crate) fn page_not_found() -> Self {
        let body = Value::String("404 page not found\n".into());
        Self {
            code: 404,
            ..Self::ok(body)
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::failure(405, "MethodNotAllowed", message, json!({}))
    }

    pub(crate) fn already_exists(key: &Key, deleting: bool) -> Self {
        let prefix = if deleting { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} \"{}\" already exists", qualified(key), key.name);
        Self::failure(409, "AlreadyExists", &message, details(key))
    }

    pub(crate) fn conflict(key: &Key, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": {why}",
            qualified(key),
            key.name
        );
        Self::failure(409, "Conflict", &message, details(key))
    }

    /// A precondition of a deletion, `UID` or `ResourceVersion`, is not met. It is told of the kind, not of the resource.
    pub(crate) fn precondition(key: &Key, field: &str, expected: &str, found: &str) -> Self {
        let Resource { kind, group, .. } = key.resource;
        let qualified = if group.is_empty() {
            (*kind).to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let happened = if field == "UID" {
            "deleted and then recreated"
        } else {
            "modified"
        };
        let message = format!(
            "Operation cannot be fulfilled on {qualified} \"{}\": the {field} in the precondition ({expected}) does not \
             match the {field} in record ({found}). The object might have been {happened}",
            key.name
        );
        let mut details = details(key);
        details["kind"] = json!(kind);
        Self::failure(409, "Conflict", &message, details)
    }

    /// An object is gone of which the answer shows nothing but its name.
    pub(crate) fn deleted(key: &Key, uid: &Value) -> Self {
        let mut details = details(key);
        details["uid"] = uid.clone();
        Self::ok(
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details }),
        )
    }

    /// A replacement does not say what it replaces.
    pub(crate) fn unbound(key: &Key) -> Self {
        let why = "Invalid value: 0: must be specified for an update";
        let message = format!(
            "{} \"{}\" is invalid: metadata.resourceVersion: {why}",
            qualified(key),
            key.name
        );
        let mut details = details(key);
        details["causes"] =
            json!([{ "reason": "FieldValueInvalid", "message": why, "field": "metadata.resourceVersion" }]);
        Self::failure(422, "Invalid", &message, details)
    }

    /// A patch cannot be applied.
    pub(crate) fn inapplicable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::failure(422, "Invalid", message, json!({}))
    }

    pub(crate) fn invalid(key: &Key, why: &str) -> Self {
        let message = format!("{} \"{}\" is invalid: {why}", key.resource.kind, key.name);
        Self::failure(422, "Invalid", &message, details(key))
    }

    /// The answer of Kubernetes without the feature gate `WatchList` to a streaming list.
    pub(crate) fn streams_no_lists() -> Self {
        let why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature \
                   gate is enabled";
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
        Self::failure(422, "Invalid", &message, json!({}))
    }

    pub(crate) fn bad_request(why: &str) -> Self {
        Self::failure(400, "BadRequest", why, Value::Null)
    }

    pub(crate) fn forbidden(key: &Key, why: &str) -> Self {
        let message = format!("{} \"{}\" is forbidden: {why}", qualified(key), key.name);
        Self::failure(403, "Forbidden", &message, details(key))
    }

    pub(crate) fn expired(why: &str) -> Self {
        Self::failure(410, "Expired", why, Value::Null)
    }

    /// The server is in trouble: one of 429, 500, 503 and 504.
    pub(crate) fn trouble(code: u16) -> Self {
        let (reason, retry_after) = match code {
            429 => ("TooManyRequests", Some(1)),
            503 => ("ServiceUnavailable", Some(1)),
            504 => ("Timeout", None),
            _ => ("InternalError", None),
        };
        Self {
            retry_after,
            ..Self::failure(code, reason, "the server is in trouble", json!({}))
        }
    }
}

fn qualified(key: &Key) -> String {
    let resource = key.resource;
    if resource.group.is_empty() {
        resource.plural.to_owned()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    }
}

fn details(key: &Key) -> Value {
    let mut details = json!({ "name": key.name, "kind": key.resource.plural });
    if !key.resource.group.is_empty() {
        details["group"] = json!(key.resource.group);
    }
    details
}
