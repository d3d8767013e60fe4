//! Writes `docs/editing.md` from the table. `UPDATE_DOCS=1 cargo test --test server` rewrites the page.

use std::fmt::Write as _;
use std::fs;

use pytorchjob_test_cluster::repository;

use super::phase::Phase;
use super::{Cell, GROUPS, Group, Row};

const INTRODUCTION: &str = include_str!("introduction.md");
const PAGE: &str = "docs/editing.md";

#[test]
fn the_page_says_what_the_tests_run() {
    let page = page();
    let path = repository().join(PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "{PAGE} is not what tests/server/editing/matrix says: run UPDATE_DOCS=1 cargo test --test server the_page"
    );
}

fn page() -> String {
    let mut page = format!(
        "<!-- Generated from tests/server/editing/matrix; see document.rs there. Do not edit. -->\n{INTRODUCTION}"
    );
    for group in GROUPS {
        section(&mut page, group);
    }
    page
}

fn section(page: &mut String, group: &Group) {
    writeln!(page, "\n### {}\n\n{}\n", group.title, group.about).unwrap();
    let titles = Phase::ALL.map(Phase::title).join(" | ");
    writeln!(
        page,
        "| field | edit | {titles} |\n|---|---|{}",
        "---|".repeat(Phase::ALL.len())
    )
    .unwrap();
    let mut notes = Vec::new();
    let mut last = "";
    for row in group.rows {
        let field = if row.field == last {
            String::new()
        } else {
            format!("`{}`", row.field)
        };
        last = row.field;
        writeln!(page, "| {field} | {} | {} |", row.edit, cells(row, &mut notes)).unwrap();
    }
    writeln!(page).unwrap();
    for (number, note) in (1..).zip(&notes) {
        writeln!(page, "{number}. {note}").unwrap();
    }
}

fn cells(row: &Row, notes: &mut Vec<String>) -> String {
    let cell = |phase| {
        let (word, note) = match (row.cell)(phase) {
            Cell::Enforced(effect) => ("**enforced**", format!("Enforced: {}.", effect.text(phase))),
            Cell::NoEffect(because) => ("no effect", format!("No effect: {because}")),
            Cell::Refused(messages) => ("refused", format!("Refused: {}.", quoted(messages))),
        };
        let number = notes.iter().position(|other| *other == note).unwrap_or_else(|| {
            notes.push(note);
            notes.len() - 1
        });
        format!("{word} <sup>{}</sup>", number + 1)
    };
    Phase::ALL.map(cell).join(" | ")
}

fn quoted(messages: &[&str]) -> String {
    let quoted: Vec<String> = messages.iter().map(|message| format!("“{message}”")).collect();
    quoted.join(" and ")
}
