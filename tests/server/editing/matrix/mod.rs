//! What each edit of a job does in each phase of the job: the table behind `docs/editing.md`.
//!
//! A row is an edit, a column a phase, and no cell is empty, because a row decides about a phase with a function.
//! [`run`] makes every cell happen on the API server; [`document`] writes the page.

mod base;
mod document;
mod effect;
mod metadata;
mod phase;
mod policies;
mod reasons;
mod replicas;
mod run;

use std::collections::BTreeSet;

use pytorchjob_operator::api::crd;
use serde_json::{Value, json};

use base::Base;
use effect::Effect;
use phase::Phase;

/// What an edit does in one phase.
#[derive(Clone, Copy, Debug)]
pub enum Cell {
    /// The operator, or the API server, makes it so.
    Enforced(Effect),
    /// It is stored and changes nothing, because of this.
    NoEffect(&'static str),
    /// The API server answers 422 with exactly these sentences.
    Refused(&'static [&'static str]),
}

/// One edit.
#[derive(Clone, Copy)]
pub struct Row {
    /// The field, as the page names it.
    pub field: &'static str,
    /// What is done to it.
    pub edit: &'static str,
    /// The job it is done to.
    pub base: Base,
    /// A merge patch made just before, where the effect is looked at: it arms what the edit disarms.
    pub given: &'static str,
    /// The merge patch.
    pub patch: &'static str,
    /// What it does.
    pub cell: fn(Phase) -> Cell,
}

impl Row {
    const fn new(
        field: &'static str,
        edit: &'static str,
        base: Base,
        patch: &'static str,
        cell: fn(Phase) -> Cell,
    ) -> Self {
        Self {
            field,
            edit,
            base,
            given: "{}",
            patch,
            cell,
        }
    }

    const fn given(self, given: &'static str) -> Self {
        Self { given, ..self }
    }

    fn patch(&self) -> Value {
        serde_json::from_str(self.patch).unwrap()
    }
}

/// Rows that belong together on the page.
pub struct Group {
    pub title: &'static str,
    pub about: &'static str,
    pub rows: &'static [Row],
}

/// The table.
pub const GROUPS: &[Group] = &[
    metadata::METADATA,
    policies::FLAT,
    policies::RUN_POLICY,
    policies::SUSPEND,
    policies::SCHEDULING,
    replicas::TYPES,
    replicas::NUMBERS,
    replicas::TEMPLATES,
    replicas::ELASTIC,
];

fn rows() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().flat_map(|group| group.rows)
}

/// The paths of all fields of `spec` that have a description of their own, templates as a whole.
fn fields(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    if path.ends_with(".template") || path.ends_with(".metrics") || path.ends_with(".minResources") {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        fields(property, &format!("{path}.{name}"), found);
    }
    let values = &schema["additionalProperties"];
    if values.is_object() {
        fields(values, &format!("{path}.*"), found);
    }
}

#[test]
fn every_field_of_spec_has_a_row() {
    let crd = serde_json::to_value(crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut expected = BTreeSet::new();
    fields(schema, "spec", &mut expected);
    let covered: BTreeSet<String> = rows()
        .map(|row| row.field.replace(".Master", ".*").replace(".Worker", ".*"))
        .collect();
    let missing: Vec<_> = expected.difference(&covered).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    let unknown: Vec<_> = covered
        .difference(&expected)
        .filter(|field| !field.starts_with("metadata."))
        .collect();
    assert!(unknown.is_empty(), "rows for fields that do not exist: {unknown:?}");
}

#[test]
fn every_patch_touches_the_field_of_its_row_and_no_two_rows_are_the_same() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        assert!(
            seen.insert((row.field, row.edit)),
            "{} is there twice: {}",
            row.field,
            row.edit
        );
        let pointer = format!("/{}", row.field.replace('.', "/"));
        let pointer = pointer.replace("/*", "");
        assert!(
            row.patch().pointer(&pointer).is_some(),
            "{} {}: {}",
            row.field,
            row.edit,
            row.patch
        );
        assert!(serde_json::from_str::<Value>(row.given).is_ok_and(|given| given != json!(null)));
    }
}
