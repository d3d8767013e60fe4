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
        for (field, called) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let found = object["metadata"][field].as_str().unwrap_or_default();
            if let Some(expected) = options["preconditions"][field].as_str()
                && expected != found
            {
                return Answer::precondition(key, called, expected, found);
            }
        }
        let mut object = object.as_ref().clone();
        let graceful = key.resource.plural == "pods";
        let begun = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
        let asked = options["gracePeriodSeconds"].as_i64();
        let grace = match begun {
            // A deletion that has begun can be made shorter, and nothing else.
            Some(known) if graceful && known > 0 => match asked {
                Some(sooner) if sooner < known => sooner,
                _ => return Answer::ok(object),
            },
            None if graceful => grace_of(&object, asked),
            _ => 0,
        };
        let finalizers = finalizers(&object, options["propagationPolicy"].as_str());
        let goes = finalizers.is_empty() && grace == 0;
        if !goes || (graceful && begun != Some(0)) {
            begin_deletion(key, &mut object, grace, now);
            if !finalizers.is_empty() {
                object["metadata"]["finalizers"] = json!(finalizers);
            }
            if Some(&object) != self.store.get(key).map(AsRef::as_ref) {
                object = self.store.put(key.clone(), object).as_ref().clone();
            }
        }
        if !goes {
            return Answer::ok(object);
        }
        let last = self.store.remove(key);
        match last.filter(|_| ["pods", "services"].contains(&key.resource.plural)) {
            Some(last) => Answer::ok(last.as_ref().clone()),
            None => Answer::deleted(key, &object["metadata"]["uid"]),
        }
    }
}

/// The finalizers of an object that is deleted with this policy, or with the one of an earlier deletion.
fn finalizers(object: &Value, policy: Option<&str>) -> Vec<Value> {
    let known = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let chosen = match policy {
        Some("Foreground") => Some(FOREGROUND),
        Some("Orphan") => Some(ORPHAN),
        Some(_) => None,
        None => [ORPHAN, FOREGROUND]
            .into_iter()
            .find(|policy| known.contains(&json!(policy))),
    };
    let others = known
        .into_iter()
        .filter(|known| *known != FOREGROUND && *known != ORPHAN);
    others.chain(chosen.map(|chosen| json!(chosen))).collect()
}

/// Says when an object is to go. That is an edit, for controllers to see.
fn begin_deletion(key: &Key, object: &mut Value, grace: i64, now: Timestamp) {
    let metadata = &mut object["metadata"];
    if key.resource.counts_generations() && metadata["deletionTimestamp"].is_null() {
        metadata["generation"] = json!(metadata["generation"].as_i64().unwrap_or(1) + 1);
    }
    if metadata["deletionGracePeriodSeconds"]
        .as_i64()
        .is_none_or(|known| grace < known)
    {
        metadata["deletionTimestamp"] = json!(whole_second(now + SignedDuration::from_secs(grace)));
        metadata["deletionGracePeriodSeconds"] = json!(grace);
    }
}

/// The seconds that a pod is given: none before it is bound to a node nor after it has ended.
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    if pod["spec"]["nodeName"].is_null() || finished(pod) {
        return 0;
    }
    asked.unwrap_or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30))
}
