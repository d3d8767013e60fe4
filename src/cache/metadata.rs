//! Metadata, as far as it is read.
//!
//! The rest is most of an object: `managedFields` has a node for each field that anybody ever set, and the annotations
//! of an object that `kubectl apply` made hold the whole of it once more, as text. The parser skips them without
//! allocating anything.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::names;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataView {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    owner_references: Option<Vec<OwnerReference>>,
    labels: Option<Kept>,
    annotations: Option<Kept>,
}

/// Labels and annotations that are read.
const KEPT: [&str; 9] = [
    names::ANNOTATION_ATTEMPT,
    names::ANNOTATION_EXCLUDED_NODES,
    names::ANNOTATION_PROGRESS_DEADLINE,
    names::ANNOTATION_IN_PLACE,
    names::LABEL_OPERATOR_NAME,
    names::LABEL_POD_TEMPLATE_HASH,
    names::COSCHEDULING_GROUP,
    names::SAFE_TO_FORCE,
    names::VOLCANO_GROUP,
];

/// Those of [`KEPT`].
struct Kept(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeptVisitor)
    }
}

struct KeptVisitor;

impl<'de> Visitor<'de> for KeptVisitor {
    type Value = Kept;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Kept, M::Error> {
        let mut kept = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if KEPT.contains(&key.as_str()) {
                kept.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Kept(kept))
    }
}

/// Decodes what is read of the metadata.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let view = MetadataView::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: view.name,
        namespace: view.namespace,
        uid: view.uid,
        resource_version: view.resource_version,
        generation: view.generation,
        deletion_timestamp: view.deletion_timestamp,
        deletion_grace_period_seconds: view.deletion_grace_period_seconds,
        owner_references: view.owner_references,
        labels: view.labels.map(|Kept(labels)| labels),
        annotations: view.annotations.map(|Kept(annotations)| annotations),
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Object {
        #[serde(deserialize_with = "deserialize")]
        metadata: ObjectMeta,
    }

    #[test]
    fn what_is_read_is_kept_and_what_is_large_is_not() {
        let mut read = serde_json::json!({
            "name": "job", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "o", "controller": true }],
        });
        read["labels"] = serde_json::json!({
            names::LABEL_OPERATOR_NAME: "o", names::LABEL_POD_TEMPLATE_HASH: "00", names::COSCHEDULING_GROUP: "a",
        });
        read["annotations"] = serde_json::json!({ names::VOLCANO_GROUP: "a" });
        let mut stored = read.clone();
        stored["labels"]["team"] = serde_json::json!("a");
        stored["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = serde_json::json!("{}");
        stored["managedFields"] =
            serde_json::json!([{ "manager": "kubectl", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": {} } }]);
        let object: Object = serde_json::from_value(serde_json::json!({ "metadata": stored })).unwrap();
        assert_eq!(serde_json::to_value(object.metadata).unwrap(), read);
    }
}
