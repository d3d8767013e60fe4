//! `kubectl pytorchjob`, as its users call it: by its name, with their own kubeconfig.

mod completion;
mod get;
mod timeline;
mod why;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::PostParams;
use pytorchjob_test_cluster::User;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::job::{Job, job, with};
use crate::rig::{BINARY, Rig, failed, run};

/// The plugin in a directory of its own, and the namespace with the kubeconfig of somebody who may look at everything
/// in it and nothing else.
struct Viewer {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Viewer {
    async fn of(rig: &Rig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        plugin(directory.path());
        let kubeconfig = viewer(rig).await.display().to_string();
        Self {
            directory,
            arguments: ["--kubeconfig", &kubeconfig, "--namespace", rig.namespace.name()]
                .map(ToOwned::to_owned)
                .to_vec(),
        }
    }

    /// The plugin, called with these arguments.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.directory.path().join("kubectl-pytorchjob"));
        command.args(&self.arguments).args(arguments);
        command
    }

    /// Whether it succeeds, and what it prints to standard output and standard error.
    async fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = self.command(arguments).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }
}

/// Somebody who may look at everything in the namespace, and change nothing.
async fn viewer(rig: &Rig) -> PathBuf {
    let create = PostParams::default();
    let account = json!({ "metadata": { "name": "viewer" } });
    let account: ServiceAccount = serde_json::from_value(account).unwrap();
    rig.api().create(&create, &account).await.unwrap();
    let binding = json!({
        "metadata": { "name": "viewer" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "kind": "ServiceAccount", "name": "viewer", "namespace": rig.namespace.name() }],
    });
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    rig.api().create(&create, &binding).await.unwrap();
    let user = User::ServiceAccount {
        namespace: &rig.namespace,
        name: "viewer",
    };
    rig.cluster.kubeconfig(user).await.unwrap()
}

/// The operator's binary under the name by which kubectl finds it.
pub fn plugin(directory: &Path) -> PathBuf {
    let path = directory.join("kubectl-pytorchjob");
    symlink(BINARY, &path).unwrap();
    path
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn logs_of_a_job_whose_pods_have_not_started_are_empty_and_it_is_said_who_knows_why() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    rig.create_with_pods(&job("train", 0)).await;
    let said = viewer.run(&["logs", "train"]).await;
    let namespace = rig.namespace.name();
    let error = format!(
        "no container of PyTorchJob {namespace}/train has started yet: \
         see kubectl pytorchjob why train -n {namespace}\n"
    );
    assert_eq!(said, (true, String::new(), error));
}

#[tokio::test]
async fn why_record_and_replay_need_no_right_but_to_view_and_a_record_says_the_same() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (program, kubeconfig) = (plugin(directory.path()), viewer(&rig).await);
    let kubeconfig = kubeconfig.display().to_string();
    let secret = json!({ "spec": {
        "activeDeadlineSeconds": 3600, "backoffLimit": 3,
        "pytorchReplicaSpecs": { "Worker": { "template": { "spec": { "containers": [{
            "name": "pytorch", "image": "i", "env": [{ "name": "TOKEN", "value": "very-secret" }],
        }] } } } },
    } });
    rig.running(&with(job("train", 1), &secret)).await;
    rig.set_phase("train-worker-0", &failed(137)).await;
    // The failed pod is replaced, and nothing changes any more: what is said twice is the same.
    let replaced = |job: &Job| job.status["restarts"] == 1 && job.status["replacedPods"].is_null() && job.is("Running");
    rig.wait("train", replaced).await;
    rig.wait_pods("train", |pods| pods.len() == 2).await;
    rig.settle("train").await;
    rig.wait_event("train", "Warning", "PyTorchJobRestarting").await;
    let of_user = ["--kubeconfig", &kubeconfig, "--namespace", rig.namespace.name()];
    let call = |command: &'static [&'static str]| [&of_user[..], command].concat();

    let why = run(&program, &call(&["why", "train"]), "").await;
    let said = text(&why.stdout);
    assert!(why.status.success(), "{}", text(&why.stderr));
    let heading = format!("{}/train is ", rig.namespace.name());
    for part in [
        heading.as_str(),
        "Restarts: 1 of 3",
        "exitCode: 137",
        "train-worker-0: ",
        "Last warnings:",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(said.contains("It fails by activeDeadlineSeconds, in 59m"), "{said}");

    let record = run(&program, &call(&["record", "train"]), "").await;
    let recorded = text(&record.stdout);
    assert!(
        !recorded.contains("very-secret") && recorded.contains("TOKEN"),
        "{recorded}"
    );
    let job: Value = serde_json::from_str(recorded).unwrap();
    assert_eq!(job["job"]["metadata"]["name"], "train");
    let replay = run(&program, &["replay", "-"], recorded).await;
    let lines = |said: &str| {
        said.lines()
            .skip(1)
            .filter(|line| !line.contains("in 59m"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(text(&replay.stdout)), lines(said), "{}", text(&replay.stderr));

    let none = run(&program, &call(&["why", "nothing"]), "").await;
    assert!(!none.status.success());
    assert!(
        text(&none.stderr).contains("cannot get PyTorchJob"),
        "{}",
        text(&none.stderr)
    );
}
