//! What the API server asks of the metadata of any object.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::api::bounds::MAX_NAME;
use crate::api::structural::Misfit;

/// Longest prefix of a qualified name.
const MAX_PREFIX: usize = 253;
/// Most bytes of all annotations, keys included.
const MAX_ANNOTATIONS: usize = 256 * 1024;

static NAME: LazyLock<Regex> = LazyLock::new(|| regex(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"));
static PREFIX: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"));
static LABEL: LazyLock<Regex> = LazyLock::new(|| regex(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a regular expression")
}

/// A namespace, labels, annotations and finalizers that would be refused. Types are the schema's to check.
pub(super) fn misfits(metadata: &Value) -> Vec<Misfit> {
    let entries = |field: &str| metadata[field].as_object().into_iter().flat_map(Map::iter);
    let mut found = Vec::new();
    let mut misfit = |field: String, message: &str| {
        let message = message.to_owned();
        found.push(Misfit { field, message });
    };
    if !is_namespace(metadata["namespace"].as_str().unwrap_or_default()) {
        let message = "must be at most 63 lower-case letters, digits and '-', and begin and end with a letter or digit";
        misfit("metadata.namespace".into(), message);
    }
    for (key, value) in entries("labels") {
        let value = value.as_str().unwrap_or_default();
        if !is_qualified(key) {
            misfit(
                format!("metadata.labels.{key}"),
                "is no qualified name, such as example.com/team",
            );
        }
        if !value.is_empty() && !is_name(value) {
            let message =
                "must be at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit";
            misfit(format!("metadata.labels.{key}"), message);
        }
    }
    for (key, _) in entries("annotations") {
        if !is_qualified(&key.to_lowercase()) {
            misfit(
                format!("metadata.annotations.{key}"),
                "is no qualified name, such as example.com/note",
            );
        }
    }
    let sizes = entries("annotations").map(|(key, value)| key.len() + value.as_str().map_or(0, str::len));
    if sizes.sum::<usize>() > MAX_ANNOTATIONS {
        misfit("metadata.annotations".into(), "must not have more than 256 KiB");
    }
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten() {
        if !finalizer.as_str().is_some_and(is_qualified) {
            misfit(
                "metadata.finalizers".into(),
                "needs qualified names, such as example.com/hold",
            );
        }
    }
    found
}

/// Whether a namespace may have this name, or it is that of the context.
fn is_namespace(text: &str) -> bool {
    text.is_empty() || (text.len() <= MAX_NAME && LABEL.is_match(text))
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME && NAME.is_match(text)
}

fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name(text),
        Some((prefix, name)) => prefix.len() <= MAX_PREFIX && PREFIX.is_match(prefix) && is_name(name),
    }
}
