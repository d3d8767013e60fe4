//! What the operator logs: how lines are written in the source, and what it says where it cannot start.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::architecture::{ALLOWED, sources};

/// The calls that log, each with its arguments.
fn calls() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in ALLOWED.iter().flat_map(|(module, _)| sources(module)) {
        let code: Vec<&str> = source.code().map(|(_, code)| code.trim()).collect();
        let code = code.join(" ");
        for level in ["debug!(", "info!(", "warn!(", "error!("] {
            for call in code.split(level).skip(1) {
                let end = call.find(");").or_else(|| call.find("),")).unwrap_or(call.len());
                found.push((source.path.display().to_string(), call[..end].to_owned()));
            }
        }
    }
    found
}

#[test]
fn no_line_of_the_log_has_a_debug_dump_and_objects_are_named_by_namespace_and_name() {
    let calls = calls();
    assert!(calls.len() > 30, "the calls are found: {}", calls.len());
    for (path, call) in calls {
        for dump in ["?}", " ?", "= ?", "(?", "%job", "job =", "%error"] {
            let starts = call.starts_with(dump.trim_start());
            assert!(!starts && !call.contains(dump), "{path}: {dump:?} in {call}");
        }
        let other = |letter: char| !letter.is_alphanumeric() && letter != '_';
        let has = |field: &str| call.split(other).any(|word| word == field);
        assert_eq!(has("namespace"), has("name"), "{path}: one without the other in {call}");
    }
}

/// Runs the operator, which ends by itself, and returns the lines of its log.
fn log(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_pytorchjob-operator"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nowhere")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kubeconfig(name: &str, server: &str) -> String {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: k, cluster: {{server: \"{server}\"}}}}], \
         contexts: [{{name: c, context: {{cluster: k, user: u}}}}], users: [{{name: u, user: {{token: t}}}}]}}"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn why_the_operator_cannot_start_is_said_once_as_an_error_and_what_to_do_comes_first() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--metrics-bind-address={}", taken.local_addr().unwrap());
    let unreachable = format!("--kubeconfig={}", kubeconfig("unreachable", "http://127.0.0.1:9"));
    for (arguments, says) in [
        (&[][..], "give --kubeconfig, set KUBECONFIG or run in a pod: "),
        (
            &["--kubeconfig=/nowhere"],
            "give --kubeconfig another file: cannot use the kubeconfig /nowhere: ",
        ),
        (
            &[&unreachable, "--leader-elect"],
            "set POD_NAMESPACE or switch leader election off: ",
        ),
        (
            &[&unreachable, &address],
            "set --metrics-bind-address to another address: cannot listen on ",
        ),
        (&["--enable-scheme=TFJob"], "--enable-scheme does not name PyTorchJob"),
        (
            &["--pytorch-init-container-template-file=/nowhere"],
            "--pytorch-init-container-template-file: /nowhere: cannot be read: ",
        ),
    ] {
        let log = log(arguments);
        let errors: Vec<&Value> = log.iter().filter(|line| line["level"] == "ERROR").collect();
        assert_eq!(errors.len(), 1, "{arguments:?}: {log:?}");
        assert!(
            errors[0]["message"].as_str().unwrap().starts_with(says),
            "{arguments:?}: {log:?}"
        );
        assert_eq!(log.last().unwrap(), errors[0], "{arguments:?}: nothing comes after it");
    }
}

#[test]
fn an_api_server_that_cannot_be_reached_is_told_with_the_cause_and_the_operator_goes_on() {
    let kubeconfig = format!("--kubeconfig={}", kubeconfig("refused", "http://127.0.0.1:9"));
    let mut operator = Command::new(env!("CARGO_BIN_EXE_pytorchjob-operator"))
        .args([&kubeconfig, "--metrics-bind-address=0", "--health-probe-bind-address=0"])
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(operator.stderr.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    operator.kill().unwrap();
    operator.wait().unwrap();
    assert_eq!(first["level"], "WARN", "{first}");
    assert!(
        first["error"].as_str().unwrap().contains("Connection refused"),
        "{first}"
    );
}
