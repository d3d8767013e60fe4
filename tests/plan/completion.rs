//! Completion of both names of the program.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_pytorchjob-operator");

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers for a last word, with the script of the program of this name.
fn bash(program: &Path, words: &[&str]) -> Vec<String> {
    let name = program.file_name().unwrap().to_str().unwrap();
    let last = words.last().unwrap();
    let before = words.iter().rev().nth(1).unwrap_or(&name);
    let script = format!(
        "eval \"$({} completion bash)\"; COMP_WORDS=({name} {}); COMP_CWORD={}; COMP_LINE=\"${{COMP_WORDS[*]}}\"
         $(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {name} '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
        program.display(),
        words.join(" "),
        words.len(),
    );
    let offered = output(Command::new("bash").args(["--norc", "-c", &script]));
    offered.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_both_names_of_the_program_and_every_shell_has_a_script() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-pytorchjob");
    symlink(BINARY, &plugin).unwrap();
    let operator = Path::new(BINARY);
    for (program, words, expected) in [
        (operator, &["va"][..], &["validate"][..]),
        (operator, &["plan", "--out"], &["--output"]),
        (&plugin, &["ti"], &["timeline"]),
        (&plugin, &["get", "-o", "j"], &["json"]),
    ] {
        assert_eq!(bash(program, words), expected, "{words:?}");
    }
    for (program, subcommand) in [(operator, "validate"), (plugin.as_path(), "timeline")] {
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let script = output(Command::new(program).args(["completion", shell]));
            let name = program.file_name().unwrap().to_str().unwrap();
            assert!(
                script.contains(subcommand) && script.contains(name),
                "{shell}: {script}"
            );
        }
    }
}

/// What kubectl is offered for these words, without a cluster.
fn kubectl(completer: &Path, words: &[&str]) -> Vec<String> {
    let offered = output(Command::new(completer).args(words).env("KUBECONFIG", "/dev/null"));
    let value = |line: &str| line.split('\t').next().unwrap().to_owned();
    offered.lines().map(value).collect()
}

#[test]
fn kubectl_is_offered_what_can_stand_in_the_place_of_the_last_word() {
    let directory = tempfile::tempdir().unwrap();
    let completer = directory.path().join("kubectl_complete-pytorchjob");
    symlink(BINARY, &completer).unwrap();
    for (words, expected) in [
        (&["ti"][..], &["timeline", ":4"][..]),
        (&["--namespace", "why", "re"], &["record", "replay", ":4"]),
        (&["--namespace=team", "get", "--no-h"], &["--no-headers", ":4"]),
        (&["get", "-o", "j"], &["json", ":4"]),
        (&["get", "a-job", "--output", "w"], &["wide", ":4"]),
        (&["completion", "ba"], &["bash", ":4"]),
        (&["replay", ""], &[":0"]),
        (&["timeline", "a-job", "--html", ""], &[":0"]),
        (&["-n", ""], &[":4"]),
        (&["why", "train"], &[":4"]),
    ] {
        assert_eq!(kubectl(&completer, words), expected, "{words:?}");
    }
    let all = kubectl(&completer, &[""]);
    for subcommand in ["get", "why", "timeline", "logs", "record", "replay", "completion"] {
        assert!(
            all.iter().any(|offered| offered == subcommand),
            "{subcommand} is not in {all:?}"
        );
    }
}
