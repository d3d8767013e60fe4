//! Requests.

use serde_json::Value;

use super::resource::Resource;
use super::store::Key;

/// A request as it arrives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) body: Vec<u8>,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The name is empty for all of a resource, the namespace for all namespaces.
    pub(crate) key: Key,
    pub(crate) status: bool,
}

impl Request {
    /// What the request is about, unless it is discovery.
    pub(crate) fn target(&self) -> Option<Target> {
        let mut found = Resource::ALL.iter().filter_map(|resource| {
            let rest = self.path.strip_prefix(&resource.prefix())?.strip_prefix('/')?;
            let mut parts: Vec<&str> = rest.split('/').collect();
            let mut namespace = "";
            if parts[0] == "namespaces" && parts.len() > 2 {
                namespace = parts[1];
                parts.drain(..2);
            }
            let (name, status) = match parts[..] {
                [plural] if plural == resource.plural => ("", false),
                [plural, name] if plural == resource.plural => (name, false),
                [plural, name, "status"] if plural == resource.plural => (name, true),
                ["pods", name, "resize"] if resource.plural == "pods" => (name, false),
                _ => return None,
            };
            let key = Key::new(resource, namespace, name);
            Some(Target { key, status })
        });
        found.next()
    }

    /// A parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let mut found = self.query.iter().filter(|(known, _)| known == name);
        found
            .next()
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn watches(&self) -> bool {
        matches!(self.query("watch"), Some("true" | "1"))
    }

    /// Whether it is a watch that begins with all there is.
    pub(crate) fn streams_list(&self) -> bool {
        self.watches() && self.query("sendInitialEvents") == Some("true")
    }

    /// Whether only the metadata of objects is asked for.
    pub(crate) fn metadata_only(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }

    /// Whether it may change anything.
    pub(crate) fn mutates(&self) -> bool {
        self.method != "GET"
    }

    /// Whether the label selector takes the object.
    pub(crate) fn selects(&self, object: &Value) -> bool {
        selects(self.query("labelSelector").unwrap_or_default(), object)
    }
}

/// Whether a label selector takes an object. Of its syntax: `a`, `!a`, `a=b` and `a!=b`.
pub(crate) fn selects(selector: &str, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        if let Some((key, value)) = term.split_once("!=") {
            labels[key].as_str() != Some(value)
        } else if let Some((key, value)) = term.split_once('=') {
            labels[key].as_str() == Some(value.trim_start_matches('='))
        } else if let Some(key) = term.strip_prefix('!') {
            labels[key].is_null()
        } else {
            !labels[term].is_null()
        }
    })
}
