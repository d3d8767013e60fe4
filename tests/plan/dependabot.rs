//! What Dependabot looks after: everything that has dependencies of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

use pytorchjob_test_cluster::repository;
use serde_json::Value;

/// The files of this name in a directory and below. What is built and what is hidden is left out.
fn find(directory: &Path, file: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == file {
            found.push(entry.path());
        } else if entry.file_type().unwrap().is_dir() && name != "target" && !name.starts_with('.') {
            find(&entry.path(), file, found);
        }
    }
}

/// The directories with such a file, as Dependabot names them.
fn directories(file: &str, has_dependencies: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    find(repository(), file, &mut found);
    found.retain(|path| has_dependencies(&fs::read_to_string(path).unwrap()));
    let directory = |path: &PathBuf| {
        let directory = path.parent().unwrap().strip_prefix(repository()).unwrap();
        format!("/{}", directory.display())
    };
    let mut directories: Vec<_> = found.iter().map(directory).collect();
    directories.sort();
    directories
}

/// What the configuration has for an ecosystem.
fn configured(ecosystem: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(".github/dependabot.yml")).unwrap();
    let configuration: Value = serde_saphyr::from_str(&text).unwrap();
    let updates = configuration["updates"].as_array().unwrap().iter();
    let updates = updates.filter(|update| update["package-ecosystem"] == ecosystem);
    let one_or_more = |update: &Value| {
        let one = update["directory"].as_str().map(str::to_owned).into_iter();
        let more = update["directories"].as_array().into_iter().flatten();
        one.chain(more.map(|directory| directory.as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let mut directories: Vec<_> = updates.flat_map(one_or_more).collect();
    directories.sort();
    directories
}

#[test]
fn dependabot_has_every_go_module_and_every_cargo_project_once() {
    assert_eq!(configured("gomod"), directories("go.mod", |_| true));
    // Cargo refuses a package that is in no workspace below one, so what is no workspace belongs to one.
    let workspace = |manifest: &str| manifest.lines().any(|line| line == "[workspace]");
    assert_eq!(configured("cargo"), directories("Cargo.toml", workspace));
}
