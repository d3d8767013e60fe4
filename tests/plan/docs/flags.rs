//! `docs/flags.md`.

use clap::builder::OsStr;
use clap::{Arg, CommandFactory};
use pytorchjob_operator::cli::Cli;

use crate::support::page::{assert_same, page};

fn flags(of_kubeflow: bool) -> Vec<Arg> {
    let command = Cli::command();
    let all = command
        .get_arguments()
        .filter(|flag| !flag.is_hide_set() && flag.get_long().is_some());
    all.filter(|flag| flag.get_help_heading().is_some() == of_kubeflow)
        .cloned()
        .collect()
}

fn name(flag: &Arg) -> String {
    format!("--{}", flag.get_long().unwrap_or_default())
}

#[test]
fn every_flag_is_documented_with_its_default_and_its_variable() {
    let rows = page("docs/flags.md").table("## Of the operator");
    let documented = rows.into_iter().map(|row| row[..3].join(" | "));
    let actual = flags(false).into_iter().map(|flag| {
        let defaults: Vec<String> = flag
            .get_default_values()
            .iter()
            .map(|value: &OsStr| value.to_string_lossy().into_owned())
            .collect();
        let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
        let variable = variable.unwrap_or_default();
        format!("{} | {} | {variable}", name(&flag), defaults.join(","))
    });
    assert_same("flags", documented.collect(), actual.collect());
}

#[test]
fn every_flag_of_kubeflow_that_means_something_else_is_documented() {
    let actual = flags(true).iter().map(name).collect();
    assert_same(
        "flags",
        page("docs/flags.md").column("## Of Kubeflow's operator", 0),
        actual,
    );
}
