//! JSON kept as text.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Bytes from which on a text is kept compressed, unless that saves less than half of it.
const LARGE: usize = 16 << 10;

/// A JSON value kept as the text the API server sent.
///
/// Pod templates are stored this way and parsed only when a pod is built: a parsed template takes ten times the memory,
/// and a typed one loses every field that is newer than our Kubernetes schema.
///
/// A large text is compressed, since templates of thousands of variables say much the same again and again.
///
/// Decodes only from JSON text, so not through serde's buffers (`flatten`, untagged enums).
///
/// Cheap to clone, to compare and to hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Kept);

/// One text is always kept in one way.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kept {
    Text(Arc<str>),
    Compressed(Arc<[u8]>),
}

impl RawJson {
    /// Keeps `value` as its JSON text.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON.
    pub fn new<T: Serialize>(value: &T) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(|text| Self::keep(&text))
    }

    /// Parses the text.
    ///
    /// # Errors
    /// When the text is not a `T`; the error names line and column within the text.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.get())
    }

    /// The JSON text.
    #[must_use]
    pub fn get(&self) -> Cow<'_, str> {
        match &self.0 {
            Kept::Text(text) => text.as_ref().into(),
            Kept::Compressed(bytes) => {
                let text = decompress_size_prepended(bytes).unwrap_or_default();
                String::from_utf8(text).unwrap_or_default().into()
            }
        }
    }

    fn keep(text: &str) -> Self {
        if text.len() >= LARGE {
            let bytes = compress_prepend_size(text.as_bytes());
            if bytes.len() <= text.len() / 2 {
                return Self(Kept::Compressed(bytes.into()));
            }
        }
        Self(Kept::Text(text.into()))
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.get();
        let value: &RawValue = serde_json::from_str(&text).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|text| Self::keep(text.get()))
    }
}

/// `null`.
impl Default for RawJson {
    fn default() -> Self {
        Self::keep(RawValue::NULL.get())
    }
}

impl JsonSchema for RawJson {
    fn schema_name() -> Cow<'static, str> {
        "RawJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn variables(number: usize) -> Value {
        let variable = |index| json!({ "name": format!("VARIABLE_{index}"), "value": format!("value {index}") });
        json!({ "env": (0..number).map(variable).collect::<Vec<_>>() })
    }

    #[test]
    fn a_text_is_kept_to_the_letter_whatever_its_size_and_a_large_one_in_less_than_half_of_it() {
        for (number, large) in [(1, false), (1_000, true)] {
            let text = format!(" {} ", serde_json::to_string_pretty(&variables(number)).unwrap());
            let kept: RawJson = serde_json::from_str(&text).unwrap();
            assert_eq!(kept.get(), text.trim());
            assert_eq!(serde_json::to_string(&kept).unwrap(), text.trim());
            assert_eq!(kept.parse::<Value>().unwrap(), variables(number));
            assert_eq!(kept, serde_json::from_str(&text).unwrap());
            assert_ne!(kept, RawJson::new(&variables(number + 1)).unwrap());
            let bytes = match &kept.0 {
                Kept::Compressed(bytes) => Some(bytes.len()),
                Kept::Text(_) => None,
            };
            assert_eq!(bytes.is_some_and(|bytes| bytes < text.len() / 2), large, "{bytes:?}");
        }
    }
}
