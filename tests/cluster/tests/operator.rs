//! Control over the operator process, tried on programs that stand for one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::{Permissions, read_to_string, set_permissions, write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use pytorchjob_test_cluster::{Error, Operator};

/// A program that does `script` in place of an operator.
fn program(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join("operator");
    write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn start(script: &str) -> (tempfile::TempDir, Operator) {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), script);
    let operator = Operator::start(&program, Path::new("/kubeconfig"), &["--leader-elect"]).unwrap();
    (directory, operator)
}

fn state(pid: u32) -> char {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[tokio::test]
async fn an_operator_that_ends_at_its_start_is_reported_with_its_log() {
    let (_directory, operator) = start("echo \"arguments: $*\"; exit 3");
    let error = operator.ready().await.unwrap_err();
    assert!(
        matches!(&error, Error::Exited { status, .. } if status.code() == Some(3)),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("--kubeconfig=/kubeconfig --metrics-bind-address=127.0.0.1:"),
        "{text}"
    );
    assert!(text.contains("--leader-elect"), "{text}");
}

#[tokio::test]
async fn an_operator_is_frozen_and_goes_on_and_ends_on_a_signal() {
    let (_directory, operator) = start("exec sleep 1000");
    assert!(operator.rss_bytes().unwrap() > 0);
    assert!(operator.cpu_time().unwrap().as_secs() < 5);
    operator.pause();
    // The kernel delivers a signal when it comes to it.
    while state(operator.pid()) != 'T' {
        tokio::task::yield_now().await;
    }
    operator.resume();
    assert_eq!(operator.stop().await.unwrap().signal(), Some(15));
    assert_eq!(operator.rss_bytes(), None);
}

#[tokio::test]
async fn a_frozen_operator_is_gone_when_it_is_dropped() {
    let (_directory, operator) = start("exec sleep 1000");
    operator.pause();
    let pid = operator.pid();
    drop(operator);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
