//! Objects that are taken apart, and what is left of them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::structural::Misfit;

/// What becomes of one job.
#[derive(Debug, Default)]
pub(super) struct Converted {
    /// The objects that it becomes.
    pub objects: Vec<Value>,
    /// What these do not say.
    pub losses: Vec<Loss>,
}

/// A field that has no place in the other API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Its path.
    pub field: String,
    /// Why it is lost.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Loss {
    pub(super) fn new(field: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost: {}: {}; {}", self.field, self.why, self.remedy)
    }
}

/// An object that is taken apart field by field, so that nothing of it is lost without being said.
#[derive(Debug)]
pub(super) struct Parts {
    object: Value,
    /// Path of the object within the one that the user wrote, with a dot at its end.
    within: String,
    /// Fields that were taken and are not what they should be.
    pub faults: Vec<Misfit>,
}

impl Parts {
    /// A whole object.
    pub(super) fn new(object: Value) -> Self {
        Self::within(String::new(), object)
    }

    /// An object beside the one that the user asked about, which is named with its fields.
    pub(super) fn of_other(title: &str, object: Value) -> Self {
        Self {
            within: format!("{title}: "),
            ..Self::new(object)
        }
    }

    /// An object that was taken from this path of another one.
    pub(super) fn within(path: String, object: Value) -> Self {
        let within = if path.is_empty() { path } else { path + "." };
        Self {
            object,
            within,
            faults: Vec::new(),
        }
    }

    /// The path of a field from the root.
    pub(super) fn path(&self, field: &str) -> String {
        format!("{}{field}", self.within)
    }

    /// The field at a path such as `spec.podGroupPolicy.volcano`.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.object, |object, step| object.get(step))
    }

    /// Takes the field at a path such as `spec.suspend`.
    pub(super) fn take(&mut self, path: &str) -> Option<Value> {
        let (parents, field) = path.rsplit_once('.').unwrap_or(("", path));
        let mut parents = parents.split('.').filter(|step| !step.is_empty());
        let parent = parents.try_fold(&mut self.object, |object, step| object.get_mut(step));
        parent?.as_object_mut()?.remove(field)
    }

    /// The same, as the type it should have.
    pub(super) fn take_as<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        let taken = self.take(path)?;
        serde_json::from_value(taken)
            .map_err(|error| {
                self.faults.push(Misfit {
                    field: self.path(path),
                    message: error.to_string(),
                });
            })
            .ok()
    }

    /// Takes the field if it has this value, which says nothing: it is the default.
    pub(super) fn drop_default(&mut self, path: &str, default: &Value) {
        if let Some(value) = self.take(path).filter(|value| value != default) {
            self.put_back(path, value);
        }
    }

    fn put_back(&mut self, path: &str, value: Value) {
        let place = path.split('.').fold(&mut self.object, |object, step| &mut object[step]);
        *place = value;
    }

    /// The paths of the fields that are left, lists as a whole.
    pub(super) fn left(&self) -> Vec<String> {
        let mut found = Vec::new();
        leaves(&self.within, &self.object, &mut found);
        found
    }
}

fn leaves(within: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| leaves(&format!("{within}{name}."), value, found)),
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        _ => found.push(within.trim_end_matches('.').to_owned()),
    }
}

/// The paths at which two values differ, lists of different lengths as a whole.
pub(super) fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(left), Value::Object(right)) => {
            let absent = Value::Null;
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            for name in names {
                let of = |fields: &Map<String, Value>| fields.get(name).unwrap_or(&absent).clone();
                differences(&format!("{path}.{name}"), &of(left), &of(right), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{index}]"), left, right, found);
            }
        }
        _ if one == other => {}
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_taken_is_left_with_its_path() {
        let mut parts = Parts::within(
            "spec".into(),
            json!({ "a": { "b": 1, "c": [1] }, "d": {}, "e": null, "f": [] }),
        );
        assert_eq!(parts.left(), ["spec.a.b", "spec.a.c"]);
        assert_eq!(parts.take("a.b"), Some(json!(1)));
        assert_eq!(parts.take("a.b"), None);
        parts.drop_default("a.c", &json!([2]));
        assert_eq!(parts.left(), ["spec.a.c"]);
        assert_eq!(parts.take_as::<i32>("a.c"), None);
        assert_eq!(parts.faults[0].field, "spec.a.c");
        assert_eq!(parts.left(), [""; 0]);
    }

    #[test]
    fn differences_are_named_by_their_paths() {
        let mut found = Vec::new();
        let one = json!({ "a": [1, { "b": 2 }], "c": [1], "d": 1, "same": {} });
        let other = json!({ "a": [1, { "b": 3 }], "c": [1, 2], "e": 1, "same": {} });
        differences("t", &one, &other, &mut found);
        assert_eq!(found, ["t.a[1].b", "t.c", "t.d", "t.e"]);
    }
}
