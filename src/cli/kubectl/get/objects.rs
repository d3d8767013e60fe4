//! Jobs as programs read them.

use serde_json::{Value, json};

use crate::api::names;
use crate::cli::yaml;

/// How an object is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Name,
    Json,
    Yaml,
}

/// The objects as kubectl prints them: one that was asked for by its name alone stands by itself, or is nothing where
/// it is missing; others are a list.
pub(super) fn printed(jobs: Vec<Value>, alone: bool, format: Format) -> Result<String, String> {
    let mut jobs: Vec<Value> = jobs.into_iter().map(without_managers).collect();
    if format == Format::Name {
        return Ok(jobs.iter().map(|job| name(job) + "\n").collect());
    }
    let object = match jobs.pop() {
        None if alone => return Ok(String::new()),
        Some(job) if alone && jobs.is_empty() => job,
        last => {
            jobs.extend(last);
            json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": jobs })
        }
    };
    if format == Format::Json {
        return Ok(format!("{object:#}\n"));
    }
    yaml::printed(&object).map_err(|error| format!("cannot print the jobs as YAML: {error}"))
}

/// `pytorchjob.kubeflow.org/NAME`.
fn name(job: &Value) -> String {
    let group = names::API_VERSION.split('/').next().unwrap_or_default();
    let kind = names::KIND.to_lowercase();
    format!(
        "{kind}.{group}/{}",
        job["metadata"]["name"].as_str().unwrap_or_default()
    )
}

/// Who manages which field is shown by `kubectl get --show-managed-fields`.
fn without_managers(mut job: Value) -> Value {
    if let Some(metadata) = job["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_by_name_stands_by_itself_and_others_are_a_list() {
        let job = |name: &str| json!({ "kind": "PyTorchJob", "metadata": { "name": name, "managedFields": [] } });
        let read = |jobs: Vec<Value>, alone, format| printed(jobs, alone, format).unwrap();
        assert_eq!(
            read(vec![job("a"), job("b")], false, Format::Name),
            "pytorchjob.kubeflow.org/a\npytorchjob.kubeflow.org/b\n"
        );
        let alone = json!({ "kind": "PyTorchJob", "metadata": { "name": "a" } });
        let list = |items: Value| json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items });
        for (jobs, by_name, expected) in [
            (vec![job("a")], true, alone.clone()),
            (vec![job("a")], false, list(json!([alone]))),
            (vec![], false, list(json!([]))),
        ] {
            let json: Value = serde_json::from_str(&read(jobs.clone(), by_name, Format::Json)).unwrap();
            assert_eq!(json, expected);
            let yaml: Value = serde_saphyr::from_str(&read(jobs, by_name, Format::Yaml)).unwrap();
            assert_eq!(yaml, expected);
        }
        for format in [Format::Name, Format::Json, Format::Yaml] {
            assert_eq!(read(vec![], true, format), "", "{format:?}");
        }
    }
}
