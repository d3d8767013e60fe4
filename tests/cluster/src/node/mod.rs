//! A real node, or two: a kubelet, containerd with runc, CNI plugins and cluster DNS, on a machine without systemd or
//! Docker.
//!
//! Everything runs in namespaces of its own ([`Namespaces`]) and keeps its files in one directory, so nothing of the
//! machine is touched and nothing is left. `make node` builds the programs that are not Debian's.
//!
//! Services with a cluster address are not served, but for `kubernetes`: its address is that of the API server. Headless
//! ones, as jobs have, are names, which `CoreDNS` knows. Nothing enforces a `NetworkPolicy`.

mod containers;
mod kubelet;
mod namespaces;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) use self::namespaces::Namespaces;
use crate::binaries::repository;
use crate::{Error, Process, wait_for};

/// Where the API server listens for the nodes and their pods, at the port of https. It is the first address of
/// [`SERVICES`], which every cluster gives to the Service `kubernetes`. The range is set aside for tests of networks
/// (RFC 2544), so it is nobody's address.
pub(crate) const API_SERVER: &str = "198.18.0.1";
/// Addresses of Services.
pub(crate) const SERVICES: &str = "198.18.0.0/24";

/// What tells one node from another.
#[derive(Debug)]
struct Place {
    /// Name of the Node object.
    name: &'static str,
    /// The device by which the node is reached from `gateway`.
    link: &'static str,
    /// All addresses of the node and its pods.
    network: &'static str,
    /// By way of whom the node reaches others: the API server's address, or one of the first node.
    gateway: &'static str,
    /// The node's own address, at which it serves DNS too.
    address: &'static str,
    /// Addresses of pods.
    pods: &'static str,
    /// Parent of the cgroups of all pods.
    cgroup: &'static str,
}

/// The node that a cluster starts with.
const FIRST: Place = Place {
    name: "node-0",
    link: "ptj-node",
    network: "198.18.0.0/23",
    gateway: API_SERVER,
    address: "198.18.0.2",
    pods: "198.18.1.0/24",
    cgroup: "pytorchjob-test-node",
};
/// The one that may join it. Its cgroup is found by the name of the first.
const SECOND: Place = Place {
    name: "node-1",
    link: "ptj-node-1",
    network: "198.18.2.0/23",
    gateway: "198.18.2.1",
    address: "198.18.2.2",
    pods: "198.18.3.0/24",
    cgroup: "pytorchjob-test-node-1",
};

/// Archives in `target`, and the names that manifests have for the image in each. PyTorch from Debian stands in for the
/// image that the examples name, and a shell for that of the init container of workers.
const IMAGES: [(&str, &[&str]); 3] = [
    (
        "node/shell.tar",
        &["docker.io/local/shell:1", "docker.io/library/alpine:3.10"],
    ),
    (
        "torch/torch.tar",
        &[
            "docker.io/local/torch:1",
            "docker.io/pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime",
        ],
    ),
    ("image.tar", &["docker.io/library/pytorchjob-operator:dev"]),
];

/// The node must be ready in this time.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Whom the programs of a node talk to the API server as.
#[derive(Debug, Clone)]
pub(crate) struct Kubeconfigs {
    pub(crate) kubelet: PathBuf,
    pub(crate) dns: PathBuf,
}

/// A running node. Fields are dropped in their order: the kubelet before what it works with.
#[derive(Debug)]
pub struct Node {
    kubelet: Mutex<Process>,
    dns: Process,
    containerd: Process,
    namespaces: Namespaces,
    kubeconfigs: Kubeconfigs,
}

impl Node {
    /// Starts the programs of the node in `namespaces`, and waits until the node is ready for pods.
    pub(crate) async fn start(namespaces: Namespaces, kubeconfigs: Kubeconfigs, client: Client) -> Result<Self, Error> {
        let containerd = containers::start(&namespaces).await?;
        let dns = start_dns(&namespaces, &kubeconfigs.dns)?;
        let kubelet = kubelet::start(&namespaces, &kubeconfigs.kubelet)?;
        let node = Self {
            kubelet: Mutex::new(kubelet),
            dns,
            containerd,
            namespaces,
            kubeconfigs,
        };
        node.load_image(&program("node/pause.tar")?).await?;
        node.ready(client).await?;
        Ok(node)
    }

    /// Starts a second node beside this one, `node-1`, and waits until it is ready for pods. It ends when it is dropped;
    /// its Node object stays.
    pub async fn another(&self, client: Client) -> Result<Self, Error> {
        let namespaces = self.namespaces.another().await?;
        Self::start(namespaces, self.kubeconfigs.clone(), client).await
    }

    /// Name of the Node object.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.namespaces.place().name
    }

    /// Where the files of the node are: logs of its programs and of its pods.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.namespaces.directory()
    }

    /// Adds the image in an OCI archive to those that the node has, and returns the name that it has there. There is no
    /// registry to pull one from.
    pub async fn load_image(&self, archive: &Path) -> Result<String, Error> {
        let path = archive.display().to_string();
        let said = self
            .run("ctr", &["--namespace=k8s.io", "images", "import", &path])
            .await?;
        // "unpacking NAME (DIGEST)...done"
        let name = said.split_whitespace().skip_while(|&word| word != "unpacking").nth(1);
        name.map(str::to_owned)
            .ok_or_else(|| Error::Manifest(format!("{path}: ctr names no image: {said}")))
    }

    /// Adds those images that have been built, under the names that the manifests of the project have, and returns
    /// these.
    pub async fn load_project_images(&self) -> Result<Vec<&'static str>, Error> {
        let mut loaded = Vec::new();
        for (archive, names) in IMAGES {
            let archive = repository().join("target").join(archive);
            if !archive.is_file() {
                continue;
            }
            let image = self.load_image(&archive).await?;
            for name in names {
                self.run("ctr", &["--namespace=k8s.io", "images", "tag", "--force", &image, name])
                    .await?;
                loaded.push(*name);
            }
        }
        Ok(loaded)
    }

    /// Runs a program inside the namespaces of the node, and returns its standard output.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        self.namespaces.run(program, arguments).await
    }

    /// Kills the kubelet, as when its machine is cut off: the containers of its pods go on.
    pub async fn kill_kubelet(&self) {
        self.kubelet.lock().await.kill().await;
    }

    /// Starts the kubelet again after [`Node::kill_kubelet`]; one that runs is left alone.
    pub async fn start_kubelet(&self) -> Result<(), Error> {
        let mut kubelet = self.kubelet.lock().await;
        if kubelet.exit_status().is_some() {
            *kubelet = kubelet::start(&self.namespaces, &self.kubeconfigs.kubelet)?;
        }
        Ok(())
    }

    /// Ends the node as when its machine loses power: all processes are gone, and nobody is told, so connections stay
    /// open at their other ends.
    pub async fn lose_power(&self) -> Result<(), Error> {
        self.namespaces.lose_power().await
    }

    /// Waits until the node is ready for pods.
    pub async fn ready(&self, client: Client) -> Result<(), Error> {
        let ready = wait_for(&Api::all(client), self.name(), START_TIMEOUT, is_ready).await;
        // A program that has ended is a better explanation than what it has not done.
        self.kubelet.lock().await.check_running()?;
        self.dns.check_running()?;
        self.containerd.check_running()?;
        ready.map(drop)
    }

    /// Ends the node, as when it is dropped.
    pub(crate) fn end(&self) {
        self.namespaces.end();
    }
}

fn is_ready(node: &KubeNode) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready.next().is_some() && node.spec.as_ref().is_none_or(|spec| spec.taints.is_none())
}

/// The names of the cluster, and no others: nothing outside can be reached anyway, and a name that is asked for in vain
/// for seconds makes programs slow.
fn start_dns(namespaces: &Namespaces, kubeconfig: &Path) -> Result<Process, Error> {
    let address = namespaces.place().address;
    let corefile = format!(
        "cluster.local in-addr.arpa {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        ttl 1
    }}
}}
. {{
    bind {address}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig.display()
    );
    let directory = namespaces.directory();
    let path = directory.join("Corefile");
    write(&path, &corefile)?;
    let arguments = ["-conf".to_owned(), path.display().to_string()];
    namespaces.start(&program("node/coredns")?, &arguments, &directory.join("coredns.log"))
}

/// A program or a file that `make node` builds.
fn program(name: &str) -> Result<PathBuf, Error> {
    let path = repository().join("target").join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::NoNode(path))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}

fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    write(path, &value.to_string())
}
