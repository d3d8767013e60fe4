//! What the layout of the source promises: a pure core, one place for names, dependencies in one direction, files of a
//! readable size.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, tests not counted.
const MAX_LINES: usize = 300;

/// Widest line, as in `rustfmt.toml`.
const WIDTH: usize = 120;

/// What the core must not touch: the cluster, the clock, the environment, the log, and order that differs from run to
/// run.
const IMPURE: &[&str] = &[
    "kube::",
    "tokio",
    "tracing",
    "prometheus",
    "futures",
    "::now(",
    "Instant",
    "SystemTime",
    "std::env",
    "std::fs",
    "std::net",
    "std::thread",
    "async ",
    ".await",
    "HashMap",
    "HashSet",
    "println!",
    "rand::",
    "static mut",
    "Mutex",
    "Atomic",
];

/// The modules that each module may use. Tests are free.
pub(crate) const ALLOWED: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("planner", &["api"]),
    ("platform", &["api"]),
    ("cache", &["api", "planner", "platform", "defects"]),
    ("controller", &["api", "planner", "platform", "cache", "defects"]),
    ("cli", &["api", "planner", "platform", "cache", "controller"]),
];

pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The lines before the tests.
    pub(crate) lines: Vec<String>,
}

impl Source {
    /// The code of each line, comments taken off, with its number.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(&self.lines);
        lines
            .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
            .filter(|(_, code)| !code.trim().is_empty())
    }
}

pub(crate) fn sources(module: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module);
    let mut found = Vec::new();
    collect(&root, &mut found);
    assert!(!found.is_empty(), "no source in {}", root.display());
    found
}

fn collect(path: &Path, found: &mut Vec<Source>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("the directory can be read");
        entries.for_each(|entry| collect(&entry.expect("the entry can be read").path(), found));
    } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(path) {
        let text = fs::read_to_string(path).expect("the file can be read");
        let lines = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]" || !ends(&text, line))
            .map(Into::into)
            .collect();
        found.push(Source {
            path: path.to_owned(),
            lines,
        });
    }
}

/// Whether what follows this attribute is the tests at the end, and not a single item for them.
fn ends(text: &str, attribute: &str) -> bool {
    text.contains(&format!("{attribute}\nmod tests"))
}

/// Modules that exist for tests alone, declared under `#[cfg(test)]` by their parent.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    ["tests", "simulation"].contains(&stem)
}

#[test]
fn the_planner_is_pure() {
    for source in sources("planner") {
        for (number, code) in source.code() {
            for word in IMPURE {
                assert!(
                    !code.contains(word),
                    "{}:{number} mentions {word}",
                    source.path.display()
                );
            }
        }
    }
}

#[test]
fn modules_use_each_other_in_one_direction() {
    for (module, allowed) in ALLOWED {
        for source in sources(module) {
            for (number, code) in source.code() {
                for used in code.split("crate::").skip(1) {
                    let name: String = used
                        .chars()
                        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                        .collect();
                    assert!(
                        name == *module || allowed.contains(&name.as_str()),
                        "{}:{number} uses crate::{name}; {module} may use {allowed:?}",
                        source.path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn every_module_has_its_place_in_the_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = fs::read_dir(root)
        .expect("the directory can be read")
        .map(|entry| entry.expect("the entry can be read").path());
    let found: BTreeSet<_> = entries
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    let known: BTreeSet<_> = ALLOWED.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(found, known);
}

#[test]
fn labels_reasons_and_variables_are_spelt_out_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/names.rs");
    let names = fs::read_to_string(root).expect("the names can be read");
    let mut group = "";
    let mut literals = Vec::new();
    for line in names.lines() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            group = module.trim_end_matches(" {");
        }
        let label = line.starts_with("pub const LABEL_");
        let value = line
            .trim()
            .strip_prefix("pub const ")
            .and_then(|constant| constant.split('"').nth(1));
        if let Some(value) = value.filter(|_| label || !group.is_empty()) {
            literals.push(value.to_owned());
        }
    }
    assert!(literals.len() > 30, "the constants are found: {literals:?}");
    for (module, _) in ALLOWED {
        for source in sources(module)
            .into_iter()
            .filter(|source| !source.path.ends_with("api/names.rs"))
        {
            for (number, code) in source.code() {
                for literal in &literals {
                    assert!(
                        !code.contains(&format!("\"{literal}\"")),
                        "{}:{number} spells {literal}",
                        source.path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn files_can_be_read_in_one_go() {
    for (module, _) in ALLOWED {
        for source in sources(module) {
            let lines = source.lines.len();
            assert!(
                lines <= MAX_LINES,
                "{} has {lines} lines before its tests; {MAX_LINES} are allowed",
                source.path.display()
            );
            let wide = source
                .lines
                .iter()
                .find(|line| line.trim_start().starts_with("//") && line.chars().count() > WIDTH);
            assert_eq!(wide, None, "{}: rustfmt does not wrap comments", source.path.display());
        }
    }
}
