//! Just enough Markdown: the tables under a heading, without their markup, and the commands in blocks of shell.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::Path;

use pytorchjob_test_cluster::repository;

/// A page of the documentation.
pub struct Page {
    /// Its path in the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Reads a page by its path in the repository.
pub fn page(path: &str) -> Page {
    let text = fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"));
    Page {
        path: path.to_owned(),
        text,
    }
}

/// Every page there is, at the top, in `docs/` and in `examples/`.
pub fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    for directory in ["", "docs/", "examples/"] {
        for entry in fs::read_dir(repository().join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                paths.push(format!("{directory}{name}"));
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| page(path)).collect()
}

impl Page {
    /// The rows of the first table after the line `heading`, without the head of the table. Cells are trimmed and have
    /// no backticks.
    pub fn table(&self, heading: &str) -> Vec<Vec<String>> {
        let mut lines = self.text.lines();
        lines
            .find(|line| *line == heading)
            .unwrap_or_else(|| panic!("{} has no heading {heading:?}", self.path));
        let rows: Vec<Vec<String>> = lines
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .map(cells)
            .collect();
        assert!(rows.len() > 2, "{}: no table under {heading:?}", self.path);
        rows.into_iter().skip(2).collect()
    }

    /// One column of that table.
    pub fn column(&self, heading: &str, index: usize) -> Vec<String> {
        self.table(heading).into_iter().map(|row| row[index].clone()).collect()
    }
}

impl Page {
    /// The blocks of shell, each as its commands: lines, with those that go on joined. Comments are kept.
    pub fn shell(&self) -> Vec<Vec<String>> {
        let mut blocks = Vec::new();
        let mut open: Option<Vec<String>> = None;
        for line in self.text.lines() {
            match (&mut open, line.trim()) {
                (None, "```sh") => open = Some(Vec::new()),
                (Some(_), "```") => blocks.extend(open.take()),
                (Some(commands), line) if !line.is_empty() => match commands.last_mut() {
                    Some(last) if goes_on(last) => *last = format!("{last}\n{line}"),
                    _ => commands.push(line.to_owned()),
                },
                _ => {}
            }
        }
        blocks
    }
}

/// Whether the shell needs another line: a backslash or a pipe at the end, or a quotation that is open.
fn goes_on(command: &str) -> bool {
    command.ends_with(['\\', '|']) || command.matches('\'').count() % 2 == 1
}

fn cells(line: &str) -> Vec<String> {
    const ESCAPED: &str = "\u{0}";
    let line = line.replace("\\|", ESCAPED);
    let inner = line.trim_matches('|');
    inner
        .split('|')
        .map(|cell| cell.replace(ESCAPED, "|").replace('`', "").trim().to_owned())
        .collect()
}

/// Compares what a page says with what is, in the same order on both sides, and shows the difference.
pub fn assert_same(what: &str, mut documented: Vec<String>, mut actual: Vec<String>) {
    documented.sort();
    actual.sort();
    let missing: Vec<_> = actual.iter().filter(|item| !documented.contains(item)).collect();
    let invented: Vec<_> = documented.iter().filter(|item| !actual.contains(item)).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}\nnot documented: {missing:#?}\ndocumented and not so: {invented:#?}"
    );
    assert_eq!(documented.len(), actual.len(), "{what}: a row stands twice");
}
