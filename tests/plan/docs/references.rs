//! What the pages point to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pytorchjob_test_cluster::repository;

use crate::support::page::{page, pages};

/// The text of every Rust file that may hold a test.
fn sources() -> String {
    fn collect(directory: &Path, text: &mut String) {
        let mut entries: Vec<PathBuf> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for directory in ["src", "tests"] {
        collect(&repository().join(directory), &mut text);
    }
    text
}

/// The names of the tests among the functions: those that stand below the attribute.
fn tests_of(sources: &str) -> BTreeSet<&str> {
    let (mut tests, mut is_test) = (BTreeSet::new(), false);
    for line in sources.lines().map(str::trim) {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        if let Some((before, function)) = line.split_once("fn ")
            && matches!(before, "" | "async ")
        {
            if let Some((name, _)) = function.split_once('(').filter(|_| is_test) {
                tests.insert(name);
            }
            is_test = false;
        }
    }
    tests
}

/// Pieces of code that are written as tests are: long, in lower case, with underscores. Series of metrics look alike
/// and are no tests.
fn tests_named_in(text: &str) -> impl Iterator<Item = &str> {
    let metric = [
        "controller_runtime_",
        "process_",
        "pytorchjob_operator_",
        "rest_client_",
        "training_operator_",
        "workqueue_",
    ];
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    text.split('`')
        .filter(move |code| code.matches('_').count() > 3 && code.chars().all(plain))
        .filter(move |code| !metric.iter().any(|prefix| code.starts_with(prefix)))
}

#[test]
fn every_test_that_a_page_names_exists() {
    let sources = sources();
    let tests = tests_of(&sources);
    for page in pages() {
        for test in tests_named_in(&page.text) {
            assert!(
                tests.contains(test),
                "{} names the test {test:?}, which does not exist",
                page.path
            );
        }
    }
}

/// The first version of PyTorch whose torchrun reads `TORCH_ELASTIC_SHUTDOWN_TIMEOUT`.
const LISTENS_SINCE: &str = "PyTorch 2.12";

#[test]
fn every_section_about_how_long_torchrun_waits_says_since_which_version_it_can_be_told() {
    let mut sections = 0;
    for page in pages() {
        let limit = ["torchrun", "30 s", "gracefulStopSeconds"];
        let told = |section: &&str| limit.iter().all(|word| section.contains(word));
        for section in page.text.split("\n#").filter(told) {
            let plain = section.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(plain.contains(LISTENS_SINCE), "{}: {section}", page.path);
            sections += 1;
        }
    }
    assert!(sections >= 4, "{sections}");
}

#[test]
fn every_claim_to_be_better_names_a_test() {
    for row in page("README.md").table("## Better than the Go operator") {
        let test = row[2].split(", ").next().unwrap_or_default();
        assert!(tests_named_in(test).count() == 1, "no test is named for: {}", row[0]);
    }
}

#[test]
fn every_known_weakness_is_mended_with_a_test_or_kept_for_a_reason() {
    let rows = page("docs/differences.md").table("### Known weaknesses of training-operator 1.9");
    let numbers: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(numbers, (1..=40).map(|number| format!("W{number}")).collect::<Vec<_>>());
    for row in &rows {
        let test = row[3]
            .split([' ', ',', '.', ';', ':', ')', '('])
            .find(|word| tests_named_in(word).count() > 0);
        match row[2].as_str() {
            "mended" | "offered" => assert!(test.is_some(), "no test is named for {}", row[0]),
            kept => assert_eq!((kept, row[3].is_empty()), ("kept", false), "{}", row[0]),
        }
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for page in pages() {
        let directory = repository().join(&page.path).parent().unwrap().to_owned();
        let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                repository().join(&page.path)
            } else {
                directory.join(file)
            };
            assert!(path.exists(), "{} links to {target}, which does not exist", page.path);
            let known = anchor.is_empty() || anchors(&fs::read_to_string(&path).unwrap()).contains(&anchor.to_owned());
            assert!(known, "{} links to {target}, and there is no such heading", page.path);
        }
    }
}

#[test]
fn every_page_of_the_documentation_is_on_its_map() {
    let map = page("docs/README.md");
    for page in pages() {
        if let Some(name) = page.path.strip_prefix("docs/").filter(|name| *name != "README.md") {
            assert!(
                map.text.contains(&format!("]({name}")),
                "docs/README.md does not lead to {name}"
            );
        }
    }
}

/// GitHub Pages reads a page as a template of Liquid first, and leaves out what it takes for a variable.
#[test]
fn no_page_has_braces_that_the_site_would_leave_out() {
    for page in pages() {
        let outside = page
            .text
            .split("{% raw %}")
            .enumerate()
            .map(|(index, part)| match index {
                0 => part,
                _ => part.split_once("{% endraw %}").map_or("", |(_, outside)| outside),
            });
        for part in outside {
            assert!(!part.contains("{{") && !part.contains("{%"), "{}: {part}", page.path);
        }
    }
}

/// The site shows such a link as the text of the page that it leads to.
#[test]
fn no_link_has_a_line_break_in_its_text() {
    for page in pages() {
        let mut parts: Vec<&str> = page.text.split("](").collect();
        // What comes after the last link.
        parts.pop();
        for text in parts.iter().filter_map(|part| part.rsplit('[').next()) {
            assert!(!text.contains('\n'), "{}: [{text}]", page.path);
        }
    }
}

#[test]
fn every_path_that_contributors_are_sent_to_exists() {
    let text = page("CONTRIBUTING.md").text;
    let code = text.split('`').skip(1).step_by(2);
    let paths = code.filter(|code| code.contains('/') && !code.contains([' ', '\n']) && !code.contains("NAME"));
    let missing: Vec<_> = paths.filter(|path| !repository().join(path).exists()).collect();
    assert!(missing.is_empty(), "CONTRIBUTING.md names {missing:?}");
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_make_target_that_a_page_names_exists() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    for page in pages() {
        let commands = page.text.split("make ").skip(1).zip(page.text.split("make "));
        // `make X` as a command: at the beginning of a line or of a piece of code.
        let commands = commands.filter(|(_, before)| before.is_empty() || before.ends_with(['\n', '`']));
        for (after, _) in commands {
            let target: String = after
                .chars()
                .take_while(|letter| letter.is_ascii_lowercase() || *letter == '-')
                .collect();
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{} names `make {target}`, which does not exist",
                page.path
            );
        }
    }
}
