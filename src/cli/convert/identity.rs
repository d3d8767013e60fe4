//! What an object is called, in both directions.

use serde_json::{Map, Value};

use crate::api::names::LAST_APPLIED;
use crate::cli::convert::parts::{Loss, Parts};

/// What a person says of an object.
const KEPT: [&str; 5] = ["name", "generateName", "namespace", "labels", "annotations"];
/// What the API server says of it. It will say it of the new object.
const SET_BY_SERVER: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Takes the metadata, and whatever is the API server's or a controller's.
pub(super) fn taken(parts: &mut Parts, losses: &mut Vec<Loss>) -> Map<String, Value> {
    let own = ["apiVersion".to_owned(), "kind".to_owned()];
    let servers = SET_BY_SERVER.map(|field| format!("metadata.{field}"));
    own.iter().chain(&servers).for_each(|field| drop(parts.take(field)));
    if parts
        .take("status")
        .is_some_and(|status| status.as_object().is_some_and(|status| !status.is_empty()))
    {
        losses.push(Loss::new(
            "status",
            "the new object begins from the start",
            "let the job finish first, or see that it goes on from its checkpoint",
        ));
    }
    let kept = KEPT
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), parts.take(&format!("metadata.{field}"))?)));
    let mut kept: Map<String, Value> = kept.collect();
    if let Some(annotations) = kept.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    kept.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
    kept
}

/// The names of an object that stands beside another one: it is referred to by its name, so that is not generated.
pub(super) fn beside(metadata: &Map<String, Value>) -> Map<String, Value> {
    let name = ["name", "generateName"]
        .iter()
        .find_map(|field| metadata.get(*field)?.as_str().filter(|name| !name.is_empty()));
    let mut beside = Map::new();
    beside.insert("name".into(), name.unwrap_or_default().trim_end_matches('-').into());
    if let Some(namespace) = metadata.get("namespace") {
        beside.insert("namespace".into(), namespace.clone());
    }
    beside
}
