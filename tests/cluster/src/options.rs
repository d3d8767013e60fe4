//! What a cluster is started with.

use std::fs;
use std::path::PathBuf;

use crate::binaries::repository;

/// What to start. The default is an API server with the controllers that every cluster has, with the definitions in
/// `crds/` and without nodes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files with a `CustomResourceDefinition` each, installed before the garbage collector starts: of a kind that is
    /// installed later it learns up to 30 s later only.
    pub crds: Vec<PathBuf>,
    /// Number of nodes that KWOK plays; with 0, the default, neither KWOK nor a scheduler runs, and pods stay pending
    /// unless [`crate::set_pod_phase`] says otherwise. See `kwok-stages.yaml` for what ends a pod. An existing cluster
    /// has its own nodes.
    pub nodes: u32,
    /// Whether Kubernetes' own gang scheduling is on, which it is not by default: the feature gate `GenericWorkload`
    /// and the `PodGroups` of `scheduling.k8s.io/v1beta1`.
    pub gang_scheduling: bool,
    /// Whether there is one real [`crate::Node`], on which pods run for real. It needs root, the programs that `make
    /// node-programs` builds, and to be the only one on the machine.
    pub real_node: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            crds: project_crds(),
            nodes: 0,
            gang_scheduling: false,
            real_node: false,
        }
    }
}

/// The definitions that the project ships.
fn project_crds() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("crds")).into_iter().flatten().flatten();
    let is_crd = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let mut crds: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_crd).collect();
    crds.sort();
    crds
}
