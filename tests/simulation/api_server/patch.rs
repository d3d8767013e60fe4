//! Changes of an object that is stored.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::ApiServer;
use super::answer::Answer;
use super::request::{Request, Target};
use super::store::Key;

impl ApiServer {
    pub(super) fn replace(&mut self, request: &Request, target: &Target, now: Timestamp) -> Answer {
        let Ok(object) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::bad_request("the body is not an object");
        };
        if target.key.resource.plural == "leases" && self.store.get(&target.key).is_none() {
            // The one kind that a replacement creates.
            let mut key = target.key.clone();
            key.name.clear();
            return self.create(request, key, now);
        }
        if object["metadata"]["resourceVersion"].is_null() {
            return Answer::unbound(&target.key);
        }
        self.update(target, object)
    }

    pub(super) fn patch(&mut self, request: &Request, target: &Target, _now: Timestamp) -> Answer {
        let Some(stored) = self.store.get(&target.key) else {
            return Answer::not_found(&target.key);
        };
        let mut object = stored.as_ref().clone();
        let Ok(patch) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::bad_request("the patch cannot be decoded");
        };
        match request.content_type.as_str() {
            "application/merge-patch+json" => json_patch::merge(&mut object, &patch),
            "application/json-patch+json" => {
                let Ok(patch) = serde_json::from_value::<json_patch::Patch>(patch) else {
                    return Answer::bad_request("the patch cannot be decoded");
                };
                if json_patch::patch(&mut object, &patch).is_err() {
                    return Answer::inapplicable();
                }
            }
            other => {
                let message = format!("the body of the request was in an unknown format: {other}");
                return Answer::failure(415, "UnsupportedMediaType", &message, json!({}));
            }
        }
        self.update(target, object)
    }

    /// Stores what an object is to be, if that is allowed and changes anything.
    fn update(&mut self, target: &Target, wanted: Value) -> Answer {
        let key = &target.key;
        let Some(stored) = self.store.get(key).cloned() else {
            return Answer::not_found(key);
        };
        let found = &stored["metadata"];
        let uid = &wanted["metadata"]["uid"];
        if !uid.is_null() && *uid != found["uid"] {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                found["uid"]
            );
            return Answer::conflict(key, &why);
        }
        let version = &wanted["metadata"]["resourceVersion"];
        if version.as_str().is_some_and(|version| !version.is_empty()) && *version != found["resourceVersion"] {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Answer::conflict(key, why);
        }
        let mut object = merged(target, &stored, wanted);
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            keep(&mut object["metadata"], &stored["metadata"], field);
        }
        if key.resource.counts_generations() && object["spec"] != stored["spec"] {
            let generation = stored["metadata"]["generation"].as_i64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        object["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
        if object == *stored {
            return Answer::ok(object);
        }
        Answer::ok(self.stored_or_gone(key, object))
    }

    /// What is being deleted goes with its last finalizer.
    fn stored_or_gone(&mut self, key: &Key, object: Value) -> Value {
        let metadata = &object["metadata"];
        let finalizers = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if metadata["deletionGracePeriodSeconds"] == 0 && !finalizers {
            self.store.remove(key);
            return object;
        }
        self.store.put(key.clone(), object).as_ref().clone()
    }
}

/// The parts of an object that a write of it reaches: the status has a path of its own.
fn merged(target: &Target, stored: &Value, wanted: Value) -> Value {
    let plural = target.key.resource.plural;
    if target.status {
        let mut object = stored.clone();
        keep(&mut object, &wanted, "status");
        return object;
    }
    let mut object = wanted;
    if target.key.resource.custom || plural == "pods" {
        keep(&mut object, stored, "status");
    }
    object
}

/// Gives `object` the field as `from` has it.
fn keep(object: &mut Value, from: &Value, field: &str) {
    match (&from[field], object.as_object_mut()) {
        (Value::Null, Some(fields)) => {
            fields.remove(field);
        }
        (value, Some(fields)) => {
            fields.insert(field.to_owned(), value.clone());
        }
        (_, None) => {}
    }
}
