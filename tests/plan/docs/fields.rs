//! `docs/fields.md`, which is generated from the definition.

use std::env;
use std::fmt::Write as _;
use std::fs;

use pytorchjob_test_cluster::repository;
use serde_json::Value;

use crate::docs::api::{FOREIGN, bounds, kind, schema};

const PAGE: &str = "docs/fields.md";

const HEAD: &str = "# Fields

<!-- Generated from the definition: UPDATE_DOCS=1 cargo test --test plan the_page_of_fields -->

What `kubectl explain pytorchjob --recursive` has, on one page: every field of `kubeflow.org/v1` PyTorchJob with the description
that is in the definition. `*` stands for `Master` and `Worker`, `[]` for each element of a list. [The API](api.md) says what an edit of
each does, where it comes from, and what holds when it is absent.
";

/// A row for each field below `schema`.
fn rows(schema: &Value, path: &str, page: &mut String) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let description = field["description"].as_str().unwrap_or_default();
        let described = description.split_whitespace().collect::<Vec<_>>().join(" ");
        let values = [kind(field).to_owned(), bounds(field)]
            .into_iter()
            .filter(|part| !part.is_empty());
        let values = values.collect::<Vec<_>>().join(": ").replace('|', "\\|");
        writeln!(page, "| `{path}` | {values} | {} |", described.replace('|', "\\|")).unwrap();
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        rows(field, &path, page);
        rows(&field["additionalProperties"], &format!("{path}.*"), page);
        rows(&field["items"], &format!("{path}[]"), page);
    }
}

#[test]
fn the_page_of_fields_is_what_the_definition_says() {
    let mut page = HEAD.to_owned();
    for part in ["spec", "status"] {
        write!(page, "\n## {part}\n\n| field | type | description |\n|---|---|---|\n").unwrap();
        rows(&schema()["properties"][part], "", &mut page);
    }
    let path = repository().join(PAGE);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "{PAGE} is out of date: UPDATE_DOCS=1 cargo test --test plan the_page_of_fields"
    );
}
