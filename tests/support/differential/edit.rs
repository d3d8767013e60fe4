//! One edit of a job, as a client sends it.

use std::fmt;

use serde_json::{Value, json};

/// A request of the verb PATCH.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// `application/merge-patch+json`.
    Merge(Value),
    /// `application/json-patch+json`.
    Json(Value),
}

impl Edit {
    /// A JSON patch that puts `value` at `path`, whole.
    pub fn put(path: &str, value: &Value) -> Self {
        Self::Json(json!([{ "op": "add", "path": path, "value": value }]))
    }

    /// A JSON patch that removes what is at `path`.
    pub fn remove(path: &str) -> Self {
        Self::Json(json!([{ "op": "remove", "path": path }]))
    }

    /// The edit that leads back to `job`: its spec, labels and annotations, whole.
    pub fn back_to(job: &Value) -> Self {
        let whole = |field: &str| job["metadata"].get(field).cloned().unwrap_or_else(|| json!({}));
        Self::Json(json!([
            { "op": "add", "path": "/spec", "value": job["spec"] },
            { "op": "add", "path": "/metadata/labels", "value": whole("labels") },
            { "op": "add", "path": "/metadata/annotations", "value": whole("annotations") },
        ]))
    }

    /// The object that the patch makes of `job`.
    pub fn apply(&self, job: &Value) -> Result<Value, String> {
        let mut patched = job.clone();
        match self {
            Self::Merge(patch) => json_patch::merge(&mut patched, patch),
            Self::Json(operations) => {
                let patch = self.operations(operations);
                json_patch::patch(&mut patched, &patch).map_err(|error| error.to_string())?;
            }
        }
        Ok(patched)
    }

    /// The operations of a JSON patch, typed.
    pub fn operations(&self, operations: &Value) -> json_patch::Patch {
        serde_json::from_value(operations.clone()).unwrap_or_else(|error| unreachable!("{self} is no patch: {error}"))
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Merge(patch) => write!(f, "merge {patch}"),
            Self::Json(operations) => write!(f, "json {operations}"),
        }
    }
}
