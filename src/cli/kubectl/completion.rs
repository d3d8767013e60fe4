//! Completion of `kubectl pytorchjob` by kubectl's own: it runs a program `kubectl_complete-pytorchjob` with the words
//! of the command line, the last of which is not complete, and reads a candidate from each line.

use std::ffi::OsString;
use std::fmt::Write;
use std::time::Duration;

use clap::{Arg, Command, ValueHint};
use kube::Api;
use kube::api::ListParams;

use crate::api::PyTorchJob;
use crate::cli::kubectl::target::Target;

/// The name under which kubectl looks for the program.
pub(super) const NAME: &str = "kubectl_complete-pytorchjob";
/// How long a shell waits for the names of jobs at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names of jobs that are looked for at most: nobody reads more.
const JOBS: u32 = 500;
/// The name of the arguments that name a job.
const JOB: &str = "JOB";
/// Directives for the shell, as kubectl's library has them: to complete names of files, or not.
const FILES: u8 = 0;
const NO_FILES: u8 = 4;

/// A candidate and what it means.
type Candidate = (String, String);

/// What the last word of a command line can be.
enum Expected<'a> {
    Flag(&'a Command),
    Subcommand(&'a Command),
    Value(&'a Arg),
    Nothing,
}

/// The candidates, a line each with their help, and the directive.
pub(super) fn candidates(mut command: Command, words: &[OsString]) -> String {
    command.build();
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (last, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let expected = expected(&command, before, last);
    let directive = match expected {
        Expected::Value(arg) if arg.get_value_hint() == ValueHint::AnyPath => FILES,
        _ => NO_FILES,
    };
    let mut text = String::new();
    for (value, help) in offered(&expected, &words)
        .iter()
        .filter(|(value, _)| value.starts_with(last))
    {
        let help = help.lines().next().map(|help| format!("\t{help}")).unwrap_or_default();
        // Writing to a text does not fail.
        let _ = writeln!(text, "{value}{help}");
    }
    let _ = writeln!(text, ":{directive}");
    text
}

/// Goes through the words that are complete.
fn expected<'a>(command: &'a Command, before: &[String], last: &str) -> Expected<'a> {
    let (mut at, mut option, mut values) = (command, None, 0);
    for word in before {
        if option.take().is_some() {
            continue;
        }
        option = at.get_opts().find(|option| is(option, word));
        if let Some(within) = at.find_subcommand(word) {
            (at, values) = (within, 0);
        } else if option.is_none() && !word.starts_with('-') {
            values += 1;
        }
    }
    let mut positionals = at.get_positionals();
    match option {
        Some(option) => Expected::Value(option),
        None if last.starts_with('-') => Expected::Flag(at),
        None if at.has_subcommands() => Expected::Subcommand(at),
        None => positionals
            .find(|arg| {
                arg.get_index() == Some(values + 1) || arg.get_num_args().is_some_and(|many| many.max_values() > 1)
            })
            .map_or(Expected::Nothing, Expected::Value),
    }
}

/// Whether a word is this option, without its value.
fn is(option: &Arg, word: &str) -> bool {
    let long = word
        .strip_prefix("--")
        .is_some_and(|long| option.get_long() == Some(long));
    let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
    long || (letters.next().is_some_and(|letter| option.get_short() == Some(letter)) && letters.next().is_none())
}

/// Whatever can stand there.
fn offered(expected: &Expected<'_>, words: &[String]) -> Vec<Candidate> {
    let help = |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string).unwrap_or_default();
    match expected {
        Expected::Flag(command) => {
            let args = command.get_arguments().filter(|arg| !arg.is_hide_set());
            args.filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg.get_help()))))
                .collect()
        }
        Expected::Subcommand(command) => {
            let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
            commands
                .map(|command| (command.get_name().to_owned(), help(command.get_about())))
                .collect()
        }
        Expected::Value(arg)
            if arg
                .get_value_names()
                .is_some_and(|names| names.iter().any(|name| name == JOB)) =>
        {
            let names = names_within(PATIENCE, &target(words)).unwrap_or_default();
            names.into_iter().map(|name| (name, String::new())).collect()
        }
        Expected::Value(arg) => {
            let values = arg.get_possible_values().into_iter();
            values
                .map(|value| (value.get_name().to_owned(), help(value.get_help())))
                .collect()
        }
        Expected::Nothing => Vec::new(),
    }
}

/// What a command line that is not complete says about the cluster.
fn target(words: &[String]) -> Target {
    let value = |names: &[&str]| {
        let joined = words.iter().rev().find_map(|word| {
            let (name, value) = word.split_once('=')?;
            names.contains(&name).then(|| value.to_owned())
        });
        let mut pairs = words.windows(2);
        let apart = || {
            pairs
                .rfind(|pair| names.contains(&pair[0].as_str()))
                .map(|pair| pair[1].clone())
        };
        joined.or_else(apart)
    };
    Target {
        namespace: value(&["--namespace", "-n"]),
        context: value(&["--context"]),
        kubeconfig: value(&["--kubeconfig"]).map(Into::into),
    }
}

/// A shell has no place for errors, and no patience.
fn names_within(patience: Duration, target: &Target) -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async { tokio::time::timeout(patience, names(target)).await.ok()? })
}

async fn names(target: &Target) -> Option<Vec<String>> {
    let (client, namespace) = target.connect().await.ok()?;
    let api: Api<PyTorchJob> = Api::namespaced(client, &namespace);
    let list = api.list_metadata(&ListParams::default().limit(JOBS)).await.ok()?;
    Some(list.items.into_iter().filter_map(|job| job.metadata.name).collect())
}
