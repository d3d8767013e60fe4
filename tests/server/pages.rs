//! The commands of the documentation, as they stand on the pages, in their order.
//!
//! Each page has a namespace of its own on a control plane with a simulated node, and an operator that serves it. What needs
//! more than that is in [`ELSEWHERE`], with who runs it instead.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use pytorchjob_test_cluster::{Cluster, Options, not_applicable, repository};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::kubectl::plugin;
use crate::rig::{BINARY, Rig, install_identity, own_cluster};
use crate::support::page::{Page, pages};

/// How commands begin that the test does not run, and who does.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "make ",
        "each target exists (`every_make_target_that_a_page_names_exists`); .ci/run or people run them",
    ),
    ("cargo install ", "by hand, from a git address and from a checkout"),
    ("ln -s pytorchjob-operator ~/.cargo/", "the same"),
    ("cargo ", "tests of the repository, this one among them"),
    ("PROPTEST_CASES=40000 cargo ", "the same"),
    (
        "skopeo copy ",
        "needs a registry; by hand, to a directory instead of one",
    ),
    ("helm ", "make test-chart does this with Helm"),
    (
        "kubectl apply --server-side -k .",
        "`every_kustomization_can_be_built_from_a_git_address` builds such an overlay",
    ),
    (
        "kubectl -n kubeflow rollout ",
        "no controller of Deployments runs here; make demo-real does it",
    ),
    (
        "kubectl -n kubeflow scale deployment training-operator ",
        "make test-take-over, with that operator",
    ),
    (
        "kubectl -n kubeflow patch deployment training-operator ",
        "needs Kubeflow's manifests; make test-take-over starts that operator with the flag",
    ),
    (
        "kubectl get validatingwebhookconfiguration ",
        "needs Kubeflow's manifests; by hand, on a file",
    ),
    ("config/release/", "make release-check"),
    ("git tag ", "the release itself"),
    ("cosign verify ", "there is no release yet"),
    ("gh attestation verify ", "there is no release yet"),
    ("kubectl edit ", "opens an editor"),
    ("kubectl exec ", "needs containers; make demo-real and make test-real"),
    ("kubectl logs ", "needs containers; make demo-real"),
    ("kubectl pytorchjob logs ", "needs containers; make test-real"),
    (
        "kubectl get pytorchjob restart -o wide --watch",
        "does not end by itself",
    ),
    (
        "kubectl wait pytorchjob ddp --for=condition=Succeeded",
        "needs containers; make demo-real",
    ),
    (
        "kubectl wait pytorchjob torchrun --for=condition=Succeeded",
        "needs containers; make test-real",
    ),
    (
        "kubectl wait pytorchjob elastic --for=condition=Succeeded",
        "needs containers; make demo-real",
    ),
    (
        "kubectl wait pytorchjob restart --for=jsonpath",
        "needs a volume; make demo-real waits for a checkpoint",
    ),
    (
        "kubectl wait pytorchjob checkpoint --for=condition=Running",
        "needs a volume; make demo-real",
    ),
    (
        "kubectl wait pytorchjob checkpoint --for=condition=Succeeded",
        "needs containers; make demo-real",
    ),
];

/// A page takes seconds; this is for a busy machine.
const LATE: Duration = Duration::from_mins(3);

fn elsewhere(command: &str) -> Option<&'static str> {
    let known = ELSEWHERE.iter().find(|(prefix, _)| command.starts_with(prefix));
    known.map(|(prefix, _)| *prefix)
}

/// The blocks of a page without what is run elsewhere.
fn script(page: &Page) -> String {
    let blocks = page.shell().into_iter();
    let commands = blocks.flatten().filter(|command| elsewhere(command).is_none());
    commands.map(|command| command + "\n").collect()
}

/// What a reader has: kubectl with the plugin, the program where `make build` puts it, the checkout, a namespace.
struct Reader {
    directory: TempDir,
    kubeconfig: PathBuf,
}

impl Reader {
    async fn of(cluster: &Cluster, namespace: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        plugin(directory.path());
        for entry in fs::read_dir(repository()).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "target" {
                symlink(repository().join(&name), directory.path().join(&name)).unwrap();
            }
        }
        fs::create_dir_all(directory.path().join("target/release")).unwrap();
        symlink(BINARY, directory.path().join("target/release/pytorchjob-operator")).unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        fs::copy(cluster.admin_kubeconfig(), &kubeconfig).unwrap();
        let reader = Self { directory, kubeconfig };
        reader
            .runs(&format!("kubectl config set-context --current --namespace={namespace}"))
            .await
            .unwrap();
        reader
    }

    /// Runs a script that ends with its first command that fails; the error is all it said.
    async fn runs(&self, script: &str) -> Result<String, String> {
        let programs =
            env::var_os("KUBEBUILDER_ASSETS").map_or_else(|| repository().join("target/control-plane"), PathBuf::from);
        let path = format!(
            "{}:{}:{}",
            self.directory.path().display(),
            programs.display(),
            env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell.args(["-exc", script]).current_dir(self.directory.path());
        shell.env("PATH", path).env("KUBECONFIG", &self.kubeconfig);
        shell.env("HOME", self.directory.path()).kill_on_drop(true);
        let output = timeout(LATE, shell.output())
            .await
            .map_err(|_| "does not end".to_owned())?
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(said.into_owned())
        } else {
            Err(said.into_owned())
        }
    }
}

#[tokio::test]
async fn the_commands_of_the_pages_do_what_they_say() {
    let cluster = own_cluster(Options {
        crds: Vec::new(),
        nodes: 1,
        ..Options::default()
    })
    .await;
    if !cluster.is_ours() {
        return not_applicable("installs and uninstalls everything");
    }
    cluster
        .apply_kustomize(&repository().join("dist/install.yaml"))
        .await
        .unwrap();
    let identity = install_identity(cluster).await;
    cluster.kubectl(&["create", "namespace", "monitoring"]).await.unwrap();
    let (mut pages, mut ran) = (pages(), 0);
    // It uninstalls.
    pages.sort_by_key(|page| page.path == "docs/install.md");
    for page in pages.iter().filter(|page| !script(page).is_empty()) {
        let namespace = cluster.namespace("reader").await.unwrap();
        let reader = Reader::of(cluster, &namespace).await;
        let _rig = Rig::start_in(cluster, namespace, identity.clone()).await;
        if page.path == "docs/editing.md" {
            reader.runs(BERT).await.unwrap_or_else(|said| panic!("{said}"));
        }
        let said = reader.runs(&script(page)).await;
        said.unwrap_or_else(|said| panic!("{}:\n{said}", page.path));
        ran += script(page).lines().count();
    }
    println!("{ran} lines of shell ran");
    assert!(ran > 20, "{ran}");
}

/// The job that docs/editing.md edits.
const BERT: &str =
    "sed 's/name: elastic/name: bert/; s/maxReplicas: 4/maxReplicas: 8/' examples/elastic.yaml | kubectl apply -f - &&
    kubectl wait pytorchjob bert --for condition=Running";

#[test]
fn what_is_run_elsewhere_stands_on_a_page() {
    let pages = pages();
    let commands = pages.iter().flat_map(Page::shell).flatten();
    let used: BTreeSet<&str> = commands.filter_map(|command| elsewhere(&command)).collect();
    let unused: Vec<&str> = ELSEWHERE
        .iter()
        .map(|(prefix, _)| *prefix)
        .filter(|prefix| !used.contains(prefix))
        .collect();
    assert!(
        unused.is_empty(),
        "no page has a command that begins with one of {unused:?}"
    );
}
