//! `config/krew/pytorchjob.yaml`, by the fields that krew documents.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::fs;

use pytorchjob_test_cluster::repository;
use serde_json::Value;

use crate::support::page::{assert_same, page};

/// The names of the fields of an object, which are all known, and of which some must be there.
fn fields(object: &Value, required: &[&str], optional: &[&str]) {
    let found: BTreeSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = required.iter().chain(optional).copied().collect();
    assert!(
        found.is_subset(&known),
        "{:?} are no fields of krew's",
        found.difference(&known)
    );
    for field in required {
        assert!(found.contains(field), "{field} is missing in {object}");
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    let text = object[field].as_str().unwrap();
    assert!(!text.trim().is_empty(), "{field} is empty");
    text
}

#[test]
fn the_manifest_for_krew_has_the_fields_that_krew_documents_and_states_the_version() {
    let file = repository().join("config/krew/pytorchjob.yaml");
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    fields(&manifest, &["apiVersion", "kind", "metadata", "spec"], &[]);
    assert_eq!(
        text(&manifest, "apiVersion"),
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(text(&manifest, "kind"), "Plugin");
    fields(&manifest["metadata"], &["name"], &[]);
    assert_eq!(text(&manifest["metadata"], "name"), file.file_stem().unwrap());
    let spec = &manifest["spec"];
    fields(
        spec,
        &["version", "shortDescription", "platforms"],
        &["homepage", "description", "caveats"],
    );
    let version = text(spec, "version");
    assert_eq!(version, concat!("v", env!("CARGO_PKG_VERSION")));
    assert!(text(spec, "shortDescription").len() <= 50, "krew's index takes no more");
    let described = text(spec, "description")
        .lines()
        .filter_map(|line| line.split_once("  "));
    let mut described: Vec<String> = described.map(|(name, _)| name.to_owned()).collect();
    // Of which the caveats tell.
    described.push("completion".to_owned());
    let commands = page("docs/operations.md").column("## kubectl pytorchjob", 0);
    let commands = commands.iter().filter_map(|command| command.split(' ').nth(2));
    assert_same("subcommands", described, commands.map(str::to_owned).collect());
    let platforms = spec["platforms"].as_array().unwrap();
    let mut served = BTreeSet::new();
    for platform in platforms {
        fields(platform, &["uri", "sha256", "bin", "selector"], &["files"]);
        fields(&platform["selector"], &[], &["matchLabels", "matchExpressions"]);
        let labels = &platform["selector"]["matchLabels"];
        fields(labels, &["os", "arch"], &[]);
        let (os, arch) = (text(labels, "os"), text(labels, "arch"));
        served.insert((os, arch));
        let uri = text(platform, "uri");
        assert!(
            uri.starts_with("https://") && uri.contains(&format!("/{version}/")),
            "{uri}"
        );
        assert!(uri.ends_with(&format!("-{os}-{arch}.tar.gz")), "{uri}");
        let sum = text(platform, "sha256");
        assert!(
            sum.len() == 64 && sum.chars().all(|digit| digit.is_ascii_hexdigit()),
            "{sum}"
        );
        let kept = platform["files"].as_array().unwrap();
        for file in kept {
            fields(file, &["from", "to"], &[]);
        }
        let bin = text(platform, "bin");
        assert!(kept.iter().any(|file| text(file, "from") == bin), "{bin} is not kept");
        assert!(
            kept.iter().any(|file| text(file, "from") == "LICENSE"),
            "krew's index asks for the licence"
        );
    }
    assert_eq!(
        served.into_iter().collect::<Vec<_>>(),
        [("linux", "amd64"), ("linux", "arm64")]
    );
}
