//! Who imports whom: every file and every folder imports only what stands below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use crate::architecture::{ALLOWED, Source, sources};

/// A file as the path of its module below `src`.
type Module = Vec<String>;
/// What each of them imports from.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn module(file: &Path) -> Module {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = file
        .strip_prefix(root)
        .expect("a source is below src")
        .with_extension("");
    let names = below.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    names.filter(|name| *name != "mod").map(ToOwned::to_owned).collect()
}

/// The paths of the `use` items and every other path that begins with `crate`.
fn paths(source: &Source) -> Vec<String> {
    let code: String = source.code().map(|(_, code)| code.trim()).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for statement in code.split(';') {
        let used = statement.rsplit_once("use ").filter(|(before, _)| {
            let before = before.trim_end();
            before.is_empty() || before.ends_with(['}', '{', ']', ')']) || before.ends_with("pub")
        });
        match used {
            Some((_, path)) => expand("", path, &mut found),
            None => found.extend(statement.split("crate::").skip(1).map(|path| format!("crate::{path}"))),
        }
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn expand(prefix: &str, path: &str, found: &mut Vec<String>) {
    let Some((before, inside)) = path.split_once('{') else {
        found.push(format!("{prefix}{}", path.trim()));
        return;
    };
    let prefix = format!("{prefix}{}", before.trim());
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let mut depth = 0;
    let items = inside.split(|letter: char| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    items
        .filter(|item| !item.trim().is_empty())
        .for_each(|item| expand(&prefix, item.trim(), found));
}

/// The file that a path in `from` leads to, if it is one of ours.
fn resolve(from: &Module, path: &str, files: &BTreeSet<Module>) -> Option<Module> {
    let mut steps = path
        .split("::")
        .map(|step| {
            step.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .next()
                .unwrap_or_default()
        })
        .peekable();
    let mut at = match *steps.peek()? {
        "crate" => Module::new(),
        "self" | "super" => from.clone(),
        name => Some(from.clone()).filter(|from| files.contains(&[from.as_slice(), &[name.to_owned()]].concat()))?,
    };
    for step in steps {
        match step {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name => at.push(name.to_owned()),
        }
    }
    while !at.is_empty() && !files.contains(&at) {
        at.pop();
    }
    (!at.is_empty() && at != *from).then_some(at)
}

fn imports() -> Imports {
    let sources: Vec<_> = ALLOWED.iter().flat_map(|(module, _)| sources(module)).collect();
    let files: BTreeSet<_> = sources.iter().map(|source| module(&source.path)).collect();
    let of = |source: &Source| {
        let from = module(&source.path);
        let paths = paths(source);
        let targets = paths.iter().filter_map(|path| resolve(&from, path, &files)).collect();
        (from, targets)
    };
    sources.iter().map(of).collect()
}

/// The imports that are left when whatever imports nothing is taken away again and again: the circles, and who leads
/// into them.
fn circles(mut imports: Imports) -> Imports {
    loop {
        let left: BTreeSet<_> = imports.keys().cloned().collect();
        for targets in imports.values_mut() {
            targets.retain(|target| left.contains(target));
        }
        let before = imports.len();
        imports.retain(|_, targets| !targets.is_empty());
        if imports.len() == before {
            return imports;
        }
    }
}

/// The imports among what stands directly in a folder. Its face, `mod.rs`, counts among files and not here: it may
/// import all of them, and none of them imports it.
fn within(folder: &[String], imports: &Imports) -> Imports {
    let entry = |file: &Module| {
        file.strip_prefix(folder)
            .and_then(|below| below.first())
            .map(|name| vec![name.clone()])
    };
    let mut found = Imports::new();
    for (file, targets) in imports {
        let Some(from) = entry(file) else { continue };
        let mut targets: BTreeSet<_> = targets.iter().filter_map(entry).collect();
        targets.remove(&from);
        found.entry(from).or_default().append(&mut targets);
    }
    found
}

#[test]
fn files_and_folders_import_only_what_stands_below_them() {
    let imports = imports();
    assert!(
        imports.values().map(BTreeSet::len).sum::<usize>() > 200,
        "imports are found"
    );
    assert_eq!(
        circles(imports.clone()),
        Imports::new(),
        "files import each other in a circle"
    );
    let folders: BTreeSet<_> = imports.keys().map(|file| file[..file.len() - 1].to_vec()).collect();
    for folder in folders {
        let circles = circles(within(&folder, &imports));
        assert_eq!(
            circles,
            Imports::new(),
            "in {} folders import each other in a circle",
            folder.join("::")
        );
    }
}

#[test]
fn a_circle_is_found_among_files_and_among_folders() {
    let module = |path: &str| -> Module { path.split("::").map(ToOwned::to_owned).collect() };
    let imports = |edges: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in edges {
            imports.entry(module(from)).or_default().insert(module(to));
            imports.entry(module(to)).or_default();
        }
        imports
    };
    assert_eq!(circles(imports(&[("a::x", "b::y"), ("b::y", "c")])).len(), 0);
    assert_eq!(circles(imports(&[("a::x", "b::y"), ("b::y", "a::x")])).len(), 2);
    let folders = imports(&[("a::x", "b::y"), ("b::z", "a::w")]);
    assert_eq!(circles(folders.clone()).len(), 0, "no file is in a circle");
    assert_eq!(circles(within(&[], &folders)).len(), 2, "but the folders are");
    let files = [module("p::a"), module("p::b"), module("p")].into();
    let mut found = Vec::new();
    expand("", "crate::p::{a::{X, Y}, b}", &mut found);
    assert_eq!(found, ["crate::p::a::X", "crate::p::a::Y", "crate::p::b"]);
    assert_eq!(resolve(&module("p::a"), "super::b::T", &files), Some(module("p::b")));
    assert_eq!(resolve(&module("p::a"), "crate::p::Face", &files), Some(module("p")));
    assert_eq!(resolve(&module("p"), "b::T", &files), Some(module("p::b")));
    assert_eq!(resolve(&module("p::a"), "kube::Api", &files), None);
}

/// The modules that more than one `use` at the left margin imports from: those of inner modules stand apart.
fn imported_twice(source: &Source) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let uses = source.code().filter_map(|(_, code)| code.strip_prefix("use "));
    let modules = uses.filter_map(|path| {
        let module = path.split('{').next().unwrap_or_default().trim_end_matches("::");
        let whole = path.contains('{') || !module.contains("::");
        let module = if whole {
            Some(module)
        } else {
            module.rsplit_once("::").map(|(module, _)| module)
        };
        module.map(ToOwned::to_owned)
    });
    modules.filter(|module| !seen.insert(module.clone())).collect()
}

#[test]
fn a_file_has_one_use_for_each_module_that_it_imports_from() {
    for source in ALLOWED.iter().flat_map(|(module, _)| sources(module)) {
        let twice = imported_twice(&source);
        assert!(twice.is_empty(), "{}: {twice:?}", source.path.display());
    }
    let source = |text: &str| Source {
        path: "x.rs".into(),
        lines: text.lines().map(ToOwned::to_owned).collect(),
    };
    assert_eq!(imported_twice(&source("use a::b::{C, D};\nuse a::b::E;")), ["a::b"]);
    assert_eq!(
        imported_twice(&source("use a::b::C;\nuse a::b;\nuse a::b::c::D;")),
        [""; 0]
    );
}
