//! PyTorchJobs as they are written in a file.

use serde_json::Value;

use crate::api::structural::{Misfit, misfits};
use crate::api::{PyTorchJob, without_place};
use crate::cli::place::Place;
use crate::cli::{metadata, yaml};

/// An object that says it is a PyTorchJob.
#[derive(Debug)]
pub(super) struct Document {
    /// What to call it: its name as kubectl takes it, or its place in the file; after its file where there are several.
    pub title: String,
    /// The job, if it can be decoded.
    pub job: Option<Box<PyTorchJob>>,
    /// Whether an operator has started it.
    pub started: bool,
    /// What does not fit the definition.
    pub misfits: Vec<Misfit>,
    /// Where it stands.
    pub place: Place,
}

/// The objects of a text, those in lists too, each with its place. Documents that hold nothing are not counted.
pub(super) fn objects(text: &str) -> Result<Vec<(Place, Value)>, serde_saphyr::Error> {
    let first = Place::first(text);
    let found = yaml::objects(text)?.into_iter().enumerate();
    let placed = found.map(|(number, document)| (first.document(number), document));
    Ok(placed.flat_map(|(place, document)| in_list(place, document)).collect())
}

/// The items of a list such as `kubectl get -o yaml` prints; any other object is itself.
fn in_list(place: Place, mut document: Value) -> Vec<(Place, Value)> {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => {
            let numbered = items.into_iter().enumerate();
            numbered.map(|(number, item)| (place.item(number), item)).collect()
        }
        _ => vec![(place, document)],
    }
}

/// Whether the object says that it is ours.
pub(super) fn is_job(document: &Value) -> bool {
    document["kind"] == "PyTorchJob" && document["apiVersion"] == "kubeflow.org/v1"
}

/// The job in an object, and what is wrong with it by the schema.
pub(super) fn decode(schema: &Value, origin: Option<&str>, place: &Place, mut document: Value) -> Document {
    let mut misfits = misfits(schema, &document);
    drop_nulls(&mut document);
    misfits.extend(metadata::misfits(&document["metadata"]));
    // To the API server an empty name is none.
    let nameless = document["metadata"].get("name").is_none_or(|name| name == "");
    if let (true, Some(prefix)) = (nameless, text(&document["metadata"], "generateName")) {
        // The API server appends five letters.
        document["metadata"]["name"] = format!("{prefix}xxxxx").into();
    }
    let text = document.to_string();
    let mut json = serde_json::Deserializer::from_str(&text);
    let job = serde_path_to_error::deserialize(&mut json).map(Box::new);
    if let (Err(error), true) = (&job, misfits.is_empty()) {
        misfits.push(Misfit {
            field: error.path().to_string(),
            message: without_place(error.inner()),
        });
    }
    Document {
        title: title(origin, place, "pytorchjob", &document["metadata"]),
        job: job.ok(),
        started: document["status"]["startTime"].is_string(),
        misfits,
        place: place.clone(),
    }
}

/// An object as an argument of kubectl, so that the line about it can be copied: `pytorchjob/train -n team`.
pub(super) fn title(origin: Option<&str>, place: &Place, kind: &str, metadata: &Value) -> String {
    let name = text(metadata, "name").or_else(|| text(metadata, "generateName"));
    let name = name.map_or_else(|| place.to_string(), str::to_owned);
    let origin = origin.map(|origin| format!("{origin}: ")).unwrap_or_default();
    let namespace = metadata["namespace"].as_str();
    let namespace = namespace
        .map(|namespace| format!(" -n {namespace}"))
        .unwrap_or_default();
    format!("{origin}{kind}/{name}{namespace}")
}

/// A field that is not empty.
fn text<'a>(metadata: &'a Value, field: &str) -> Option<&'a str> {
    metadata[field].as_str().filter(|text| !text.is_empty())
}

/// The object without fields that are null.
pub(super) fn without_nulls(object: &Value) -> Value {
    let mut object = object.clone();
    drop_nulls(&mut object);
    object
}

/// Drops fields that are null: nothing in our schema is nullable, and to the API server such a field is absent.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::UnknownPodFields;
    use crate::api::structural::schema_of_jobs;
    use crate::planner::problems;

    /// What is wrong with a job of this metadata.
    fn faults(metadata: &Value) -> Vec<String> {
        let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
        let spec = json!({ "pytorchReplicaSpecs": { "Master": { "template": template } } });
        let job = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": spec });
        let schema = schema_of_jobs(UnknownPodFields::Refused);
        let decoded = decode(&schema, None, &Place::default(), job);
        let problems = problems(&decoded.job.unwrap()).into_iter().map(|problem| problem.field);
        let misfits = decoded.misfits.into_iter().map(|misfit| misfit.field);
        problems.chain(misfits).collect()
    }

    #[test]
    fn a_namespace_that_none_can_have_is_a_fault_and_an_empty_one_is_absent() {
        for (namespace, valid) in [
            ("team-1", true),
            (&"a".repeat(63), true),
            ("", true),
            (&"a".repeat(64), false),
            ("Foo_", false),
            ("a..b", false),
            ("a.b", false),
            ("-a", false),
        ] {
            let faults = faults(&json!({ "name": "train", "namespace": namespace }));
            let expected: &[&str] = if valid { &[] } else { &["metadata.namespace"] };
            assert_eq!(faults, expected, "{namespace}");
        }
    }

    #[test]
    fn a_name_that_is_empty_is_generated_where_the_job_says_how_and_otherwise_missing() {
        assert!(faults(&json!({ "name": "", "generateName": "train-" })).is_empty());
        assert!(faults(&json!({ "generateName": "train-" })).is_empty());
        assert_eq!(faults(&json!({ "name": "", "generateName": "" })), ["metadata.name"]);
    }
}
