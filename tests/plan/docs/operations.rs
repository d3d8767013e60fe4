//! `docs/operations.md`.

use std::fs;

use clap::{Command, CommandFactory};
use pytorchjob_operator::cli::Cli;
use pytorchjob_test_cluster::repository;
use serde_json::Value;

use crate::support::page::{assert_same, page};

#[test]
fn every_subcommand_is_documented() {
    let actual = Cli::command()
        .get_subcommands()
        .map(Command::get_name)
        .map(str::to_owned)
        .collect();
    assert_same(
        "subcommands",
        page("docs/operations.md").column("## Subcommands", 0),
        actual,
    );
}

#[test]
fn every_permission_is_documented() {
    let mut actual = Vec::new();
    for file in ["config/rbac/operator.yaml", "config/rbac/leader-election.yaml"] {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let rules = documents
            .iter()
            .filter_map(|document| document["rules"].as_array())
            .flatten();
        for rule in rules {
            let groups = rule["apiGroups"].as_array().unwrap().iter();
            let resources = || rule["resources"].as_array().unwrap().iter();
            for (group, resource) in groups.flat_map(|group| resources().map(move |resource| (group, resource))) {
                let group = group.as_str().unwrap();
                let verbs: Vec<&str> = rule["verbs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                actual.push(format!(
                    "{group} | {} | {}",
                    resource.as_str().unwrap(),
                    verbs.join(", ")
                ));
            }
        }
    }
    let rows = page("docs/operations.md").table("## Permissions");
    assert_same(
        "permissions",
        rows.into_iter().map(|row| row[..3].join(" | ")).collect(),
        actual,
    );
}

#[test]
fn the_role_that_administers_jobs_has_the_rules_of_the_one_that_edits_them_and_none_is_aggregated() {
    let text = fs::read_to_string(repository().join("config/rbac/users.yaml")).unwrap();
    let roles: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let [admin, edit, view] = &roles[..] else {
        panic!("{} roles", roles.len());
    };
    assert_eq!(admin["rules"], edit["rules"]);
    assert!(view["rules"].is_array() && roles.iter().all(|role| role["aggregationRule"].is_null()));
}
