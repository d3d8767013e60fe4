//! `docs/operations.md`.

use std::collections::BTreeSet;
use std::fs;

use clap::{Command, CommandFactory};
use pytorchjob_operator::cli::Cli;
use pytorchjob_operator::platform::metrics::{EventFate, JobStep, Metrics, Outcome};
use pytorchjob_test_cluster::repository;
use serde_json::Value;

use crate::docs::page::{assert_same, page};

#[test]
fn every_flag_is_documented_with_its_default_and_its_variable() {
    let rows = page("docs/operations.md").table("## Flags");
    let documented = rows.into_iter().map(|row| row[..3].join(" | "));
    let command = Cli::command();
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let actual = flags.filter_map(|flag| {
        let texts = |values: &[clap::builder::OsStr]| {
            let texts: Vec<String> = values
                .iter()
                .map(|value| value.to_string_lossy().into_owned())
                .collect();
            texts.join(",")
        };
        let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
        Some(format!(
            "--{} | {} | {}",
            flag.get_long()?,
            texts(flag.get_default_values()),
            variable.unwrap_or_default()
        ))
    });
    assert_same("flags", documented.collect(), actual.collect());
}

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

/// Every series that the operator gives a value, since one without is not exported.
fn all_metrics() -> Metrics {
    let metrics = Metrics::new().unwrap();
    for step in [
        JobStep::Created,
        JobStep::Deleted,
        JobStep::Successful,
        JobStep::Failed,
        JobStep::Restarted,
    ] {
        metrics.job(step, "ns");
    }
    metrics.reconcile_started().finished(Outcome::Error);
    metrics.set_leader("lease", true);
    metrics.request("GET", "pods", "200");
    metrics.watch_error("pods");
    metrics.relist("pods");
    metrics.undecodable("pods");
    metrics.set_cached("pods", 1);
    metrics.status_pruned("ready");
    metrics.events(EventFate::Published, 1);
    metrics
}

#[test]
#[cfg(target_os = "linux")]
fn every_metric_is_documented_with_its_type_and_labels() {
    let text = all_metrics().encode().unwrap();
    let labels = |name: &str| {
        let sample = text
            .lines()
            .find(|line| !line.starts_with('#') && line.starts_with(name))
            .unwrap();
        let inner = sample
            .split_once('{')
            .map_or("", |(_, rest)| rest.split('}').next().unwrap());
        let names: BTreeSet<&str> = inner.split(',').filter_map(|pair| pair.split('=').next()).collect();
        let names = names.into_iter().filter(|name| !name.is_empty() && *name != "le");
        names.collect::<Vec<_>>().join(", ")
    };
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let actual = types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        format!("{name} | {kind} | {}", labels(name))
    });
    let rows = page("docs/operations.md").table("## Metrics");
    assert_same(
        "metrics",
        rows.into_iter().map(|row| row[..3].join(" | ")).collect(),
        actual.collect(),
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
            for resource in rule["resources"].as_array().unwrap() {
                let group = rule["apiGroups"][0].as_str().unwrap();
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
