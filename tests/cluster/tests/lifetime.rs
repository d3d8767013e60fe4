//! Nothing that the rig starts outlives the process that started it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::{read_dir, read_to_string};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_mins(2);

/// Starts the program of the rig and waits until its cluster is up. Returns it with what is left of its output and
/// the path of the kubeconfig.
async fn start(keep: &str) -> (Child, Lines<BufReader<ChildStdout>>, PathBuf) {
    let mut harness = Command::new(env!("CARGO_BIN_EXE_pytorchjob-test-cluster"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env("KEEP", keep)
        .env_remove(pytorchjob_test_cluster::EXISTING_CLUSTER)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(harness.stdout.take().unwrap()).lines();
    let line = timeout(TIMEOUT, lines.next_line()).await.unwrap().unwrap().unwrap();
    let kubeconfig = line.strip_prefix("export KUBECONFIG=").unwrap();
    let kubeconfig = PathBuf::from(kubeconfig);
    (harness, lines, kubeconfig)
}

/// The directory with all files of the rig.
fn directory(kubeconfig: &Path) -> PathBuf {
    kubeconfig.ancestors().nth(2).unwrap().to_owned()
}

/// The names and pidfds of the children of a process.
fn children(parent: u32) -> Vec<(String, OwnedFd)> {
    let mut children = Vec::new();
    for entry in read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while the directory is read.
        let stat = read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        if tail.split_whitespace().nth(1) == Some(parent.to_string().as_str()) {
            let name = head.split_once('(').unwrap().1.to_owned();
            let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
            children.push((name, pidfd));
        }
    }
    children.sort_by(|one, two| one.0.cmp(&two.0));
    children
}

fn all_end(children: &[(String, OwnedFd)], directory: &Path) {
    let deadline = Timespec::try_from(TIMEOUT).unwrap();
    for (name, pidfd) in children {
        // A pidfd is readable when its process has ended.
        let ended = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&deadline)).unwrap();
        assert_eq!(ended, 1, "{name} still runs");
    }
    // The watchdog is one of the children, and removing the directory is the last thing it does.
    assert!(!directory.exists(), "{} is left", directory.display());
}

#[tokio::test]
async fn everything_ends_with_a_harness_that_is_killed() {
    let (mut harness, _output, kubeconfig) = start("0").await;
    let directory = directory(&kubeconfig);
    let children = children(harness.id().unwrap());
    let names: Vec<&str> = children.iter().map(|(name, _)| name.as_str()).collect();
    // Linux keeps 15 characters of a name.
    assert_eq!(
        names,
        [
            "cat",
            "etcd",
            "kube-apiserver",
            "kube-controller",
            "kube-scheduler",
            "kwok",
            "sh"
        ]
    );
    assert!(directory.is_dir());
    harness.kill().await.unwrap();
    all_end(&children, &directory);
}

#[tokio::test]
async fn everything_ends_with_a_harness_that_returns() {
    let (mut harness, _output, kubeconfig) = start("0").await;
    let directory = directory(&kubeconfig);
    let children = children(harness.id().unwrap());
    drop(harness.stdin.take());
    assert!(timeout(TIMEOUT, harness.wait()).await.unwrap().unwrap().success());
    all_end(&children, &directory);
}

#[tokio::test]
async fn a_kept_cluster_serves_until_it_is_stopped() {
    let (mut harness, mut output, kubeconfig) = start("1").await;
    let line = timeout(TIMEOUT, output.next_line()).await.unwrap().unwrap().unwrap();
    assert!(timeout(TIMEOUT, harness.wait()).await.unwrap().unwrap().success());

    let config = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    client.apiserver_version().await.unwrap();

    let stop = line.strip_prefix("# stop it with: ").unwrap();
    assert!(Command::new("sh").args(["-c", stop]).status().await.unwrap().success());
    client.apiserver_version().await.unwrap_err();
    assert!(!directory(&kubeconfig).exists());
}
