//! Deletion: at once, with a grace period, or when the last finalizer is gone.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::answer::Answer;
use super::request::Request;
use super::store::Key;
use super::{ApiServer, finished, whole_second};

/// The finalizers of the two policies that the garbage collector works on before an object goes.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

impl ApiServer {
    pub(super) fn delete(&mut self, request: &Request, key: &Key, now: Timestamp) -> Answer {
        let options: Value = if request.body.is_empty() {
            json!({})
        } else {
            match serde_json::from_slice(&request.body) {
                Ok(options) => options,
                Err(_) => return Answer::bad_request("the options of the deletion cannot be decoded"),
            }
        };
        let Some(object) = self.store.get(key).cloned() else {
            return Answer::not_found(key);
        };
        for field in ["uid", "resourceVersion"] {
            let expected = &options["preconditions"][field];
            let found = &object["metadata"][field];
            if !expected.is_null() && expected != found {
                let why = format!("Precondition failed: {field} in precondition: {expected}, in object meta: {found}");
                return Answer::conflict(key, &why);
            }
        }
        let mut object = object.as_ref().clone();
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some(FOREGROUND),
            Some("Orphan") => Some(ORPHAN),
            _ => None,
        };
        let policies = [FOREGROUND, ORPHAN];
        let mut finalizers: Vec<Value> = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        finalizers.retain(|known| known.as_str().is_none_or(|known| !policies.contains(&known)));
        finalizers.extend(finalizer.map(|finalizer| json!(finalizer)));
        let grace = if key.resource.plural == "pods" {
            grace_of(&object, options["gracePeriodSeconds"].as_i64())
        } else {
            0
        };
        if finalizers.is_empty() && grace == 0 {
            self.store.remove(key);
            return Answer::ok(object);
        }
        let metadata = &mut object["metadata"];
        let sooner = metadata["deletionGracePeriodSeconds"]
            .as_i64()
            .is_none_or(|known| grace < known);
        if sooner {
            metadata["deletionTimestamp"] = json!(whole_second(now + SignedDuration::from_secs(grace)));
            metadata["deletionGracePeriodSeconds"] = json!(grace);
        }
        if !finalizers.is_empty() {
            metadata["finalizers"] = json!(finalizers);
        }
        if Some(&object) != self.store.get(key).map(AsRef::as_ref) {
            object = self.store.put(key.clone(), object).as_ref().clone();
        }
        Answer::ok(object)
    }
}

/// The seconds that a pod is given: none before it is bound to a node nor after it has ended.
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    if pod["spec"]["nodeName"].is_null() || finished(pod) {
        return 0;
    }
    asked.unwrap_or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30))
}
