//! Completion, as shells and kubectl ask for it.

use std::env;
use std::os::unix::fs::symlink;

use kube::api::DeleteParams;
use pytorchjob_test_cluster::repository;
use tokio::process::Command;

use crate::job::job;
use crate::kubectl::Viewer;
use crate::rig::{BINARY, Rig};

/// What kubectl offers for this command line, as a shell asks it.
async fn kubectl(viewer: &Viewer, words: &[&str]) -> String {
    let kubectl =
        env::var_os("KUBEBUILDER_ASSETS").map_or_else(|| repository().join("target/control-plane"), Into::into);
    let path = env::join_paths([viewer.directory.path().to_owned(), kubectl.clone()]).unwrap();
    let output = Command::new(kubectl.join("kubectl"))
        .args(["__complete", "pytorchjob"])
        .args(words)
        .env("PATH", path)
        .env("KUBECONFIG", &viewer.arguments[1])
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn kubectl_completes_subcommands_flags_and_names_of_jobs_with_no_right_but_to_view() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    symlink(BINARY, viewer.directory.path().join("kubectl_complete-pytorchjob")).unwrap();
    rig.create(&job("train-a", 0)).await;
    rig.create(&job("train-b", 0)).await;
    let namespace = rig.namespace.name();
    for (words, offered, not_offered) in [
        (&["ti"][..], &["timeline\t"][..], "why"),
        (&["get", "--no-h"], &["--no-headers\t"], "--watch"),
        (&["get", "-o", "js"], &["json"], "yaml"),
        (&["-n", namespace, "why", ""], &["train-a", "train-b", ":4"], "--"),
        (
            &["timeline", "--namespace", namespace, "train-b"],
            &["train-b"],
            "train-a",
        ),
        (&["get", "train-a", "-n", namespace, "train-"], &["train-b"], "timeline"),
    ] {
        let said = kubectl(&viewer, words).await;
        for part in offered {
            assert!(said.contains(part), "{words:?}: {part:?} is not in:\n{said}");
        }
        assert!(!said.contains(not_offered), "{words:?}: {not_offered:?} is in:\n{said}");
    }
    rig.jobs().delete("train-a", &DeleteParams::default()).await.unwrap();
    rig.wait_gone("train-a").await;
    assert!(
        !kubectl(&viewer, &["-n", namespace, "why", ""])
            .await
            .contains("train-a")
    );
}
