//! The manifests of `examples/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use pytorchjob_test_cluster::repository;
use serde_json::Value;

use crate::support::page::{assert_same, page};

/// The image that the pods of all examples have, and which `tests/cluster/src/node/mod.rs` gives to the one that `make torch-image` builds.
const IMAGE: &str = "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime";

/// The names of the manifests.
fn manifests() -> Vec<String> {
    let entries = fs::read_dir(repository().join("examples")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let manifest = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "yaml");
    names.filter(manifest).collect()
}

/// Runs a subcommand on all manifests of a directory: whether it exits with 0, and its output or its errors.
fn run(arguments: &[&str], directory: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pytorchjob-operator"))
        .args(arguments)
        .arg(directory)
        .output()
        .unwrap();
    let valid = output.status.success();
    let said = if valid { output.stdout } else { output.stderr };
    (valid, String::from_utf8(said).unwrap())
}

/// The pods that would be created for all examples, those resumed that are suspended.
fn pods() -> Vec<Value> {
    let resumed = tempfile::tempdir().unwrap();
    for manifest in manifests() {
        let text = fs::read_to_string(repository().join("examples").join(&manifest)).unwrap();
        fs::write(
            resumed.path().join(manifest),
            text.replace("suspend: true", "suspend: false"),
        )
        .unwrap();
    }
    let (planned, said) = run(&["plan", "-o", "json"], resumed.path());
    assert!(planned, "{said}");
    let list: Value = serde_json::from_str(&said).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.filter(|item| item["kind"] == "Pod").cloned().collect()
}

/// The containers of the pods of a job, or of all.
fn containers(pods: &[Value], job: Option<&str>) -> Vec<Value> {
    let name = |pod: &Value| pod["metadata"]["labels"]["training.kubeflow.org/job-name"].clone();
    let of_job = pods.iter().filter(|pod| job.is_none_or(|job| name(pod) == job));
    of_job
        .flat_map(|pod| pod["spec"]["containers"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn every_example_is_valid() {
    let (valid, said) = run(&["validate"], &repository().join("examples"));
    assert!(valid, "{said}");
}

#[test]
fn every_example_names_the_image_of_pytorch_and_says_how_to_run_it() {
    let node = fs::read_to_string(repository().join("tests/cluster/src/node/mod.rs")).unwrap();
    assert!(node.contains(IMAGE), "a real node has another image");
    let containers = containers(&pods(), None);
    let images: BTreeSet<&str> = containers
        .iter()
        .filter_map(|container| container["image"].as_str())
        .collect();
    assert_eq!(images, [IMAGE].into());
    for manifest in manifests() {
        let text = fs::read_to_string(repository().join("examples").join(&manifest)).unwrap();
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(
            head.join("\n").contains("kubectl "),
            "{manifest} does not say how to run it"
        );
    }
}

#[test]
fn every_example_is_in_the_table_of_examples() {
    let rows = page("examples/README.md").column("# Examples", 0);
    let listed = rows
        .iter()
        .map(|cell| cell.split(['[', ']']).nth(1).unwrap().to_owned());
    assert_same("examples", listed.collect(), manifests());
}

#[test]
fn the_example_for_gpus_has_what_its_page_says() {
    let containers = containers(&pods(), Some("gpu"));
    assert_eq!(containers.len(), 2);
    for container in &containers {
        let value = |name: &str| {
            let variables = container["env"].as_array().unwrap().iter();
            variables
                .clone()
                .find(|variable| variable["name"] == name)
                .map(|variable| variable["value"].clone())
        };
        assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], 8);
        assert_eq!(value("PET_NPROC_PER_NODE"), Some("8".into()));
        assert_eq!(value("PET_NNODES"), Some("2".into()));
        assert_eq!(value("WORLD_SIZE"), Some("16".into()));
        assert_eq!(value("NCCL_SOCKET_IFNAME"), None);
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|mount| mount["mountPath"] == "/dev/shm"));
    }
}
