//! The ways of installing that need no cluster to be tried.

use std::fs;
use std::path::Path;
use std::process::Command;

use pytorchjob_test_cluster::{Cluster, Options, not_applicable, repository};
use serde_json::Value;

use crate::rig::{cluster_without_definition, own_cluster};

/// Runs git with nobody's configuration.
fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
}

/// A repository that has the working tree's `config` and `crds`, with the tag `v1`.
pub fn published() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args(["config", "crds"].map(|name| repository().join(name)))
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(copied.success());
    git(directory.path(), &["init", "--quiet"]);
    git(directory.path(), &["add", "."]);
    git(directory.path(), &["commit", "--quiet", "--message=v1"]);
    git(directory.path(), &["tag", "v1"]);
    directory
}

/// The directories of `config` that have a kustomization of their own, and no component of others.
fn kustomizations() -> Vec<String> {
    let entries = fs::read_dir(repository().join("config")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let file = |name: &str| repository().join("config").join(name).join("kustomization.yaml");
    let mut names: Vec<String> = names
        .filter(|name| fs::read_to_string(file(name)).is_ok_and(|text| !text.contains("kind: Component")))
        .collect();
    names.sort();
    names
}

/// What kustomize makes of these lines.
pub async fn built(cluster: &Cluster, kustomization: &str) -> String {
    let overlay = tempfile::tempdir().unwrap();
    fs::write(overlay.path().join("kustomization.yaml"), kustomization).unwrap();
    let overlay = overlay.path().display().to_string();
    cluster.kubectl(&["kustomize", &overlay]).await.unwrap()
}

/// kustomize refuses a base that reads files outside of its own directory, which a checkout does not show.
#[tokio::test]
async fn every_kustomization_can_be_built_from_a_git_address() {
    let cluster = cluster_without_definition().await;
    let published = published();
    let names = kustomizations();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let local = repository().join("config").join(&name).display().to_string();
        let address = format!("file://{}//config/{name}?ref=v1", published.path().display());
        // An overlay, as the page shows it.
        let image = "images: [{ name: pytorchjob-operator, newName: r.example/o, newTag: v1 }]";
        let remote = built(cluster, &format!("resources: ['{address}']\n{image}\n")).await;
        let local = cluster.kubectl(&["kustomize", &local]).await.unwrap();
        assert_eq!(
            remote,
            local.replace("pytorchjob-operator:dev", "r.example/o:v1"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn uninstalling_as_the_page_says_leaves_the_jobs_and_deleting_the_definition_leaves_nothing() {
    let cluster = own_cluster(Options::default()).await;
    if !cluster.is_ours() {
        return not_applicable("uninstalls everything");
    }
    let file = repository().join("dist/install.yaml").display().to_string();
    cluster
        .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file])
        .await
        .unwrap();
    let example = repository().join("examples/simple.yaml").display().to_string();
    cluster.kubectl(&["apply", "-f", &example]).await.unwrap();
    let blocks = crate::support::page::page("docs/install.md").shell();
    let uninstall: Vec<&String> = blocks
        .iter()
        .flatten()
        .filter(|command| command.contains("delete"))
        .collect();
    let [namespaced, global, definition] = uninstall[..] else {
        panic!("{uninstall:?}")
    };
    for command in [namespaced, global] {
        let arguments = command.replace('\\', " ");
        cluster
            .kubectl(&arguments.split_whitespace().skip(1).collect::<Vec<_>>())
            .await
            .unwrap();
    }
    let kinds =
        "deployment,service,pdb,networkpolicy,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,crd";
    let ours = [
        "get",
        kinds,
        "-A",
        "-o",
        "json",
        "-l",
        "app.kubernetes.io/name=pytorchjob-operator",
    ];
    let left: Value = serde_json::from_str(&cluster.kubectl(&ours).await.unwrap()).unwrap();
    let names: Vec<&str> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "kubeflow-pytorchjob-admin",
            "kubeflow-pytorchjob-edit",
            "kubeflow-pytorchjob-view",
            "pytorchjobs.kubeflow.org"
        ]
    );
    let jobs = cluster
        .kubectl(&["get", "pytorchjobs", "-A", "-o", "name"])
        .await
        .unwrap();
    assert_eq!(jobs, "pytorchjob.kubeflow.org/simple\n");
    cluster
        .kubectl(&definition.split_whitespace().skip(1).collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(cluster.kubectl(&["get", "pytorchjobs", "-A"]).await.is_err());
}
