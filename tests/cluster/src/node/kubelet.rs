//! The kubelet.

use std::path::Path;

use serde_json::json;

use super::{Namespaces, Place, program, write, write_json};
use crate::{Error, Process};

/// Starts the kubelet. It registers the node by itself.
pub(super) fn start(namespaces: &Namespaces, kubeconfig: &Path) -> Result<Process, Error> {
    let directory = namespaces.directory();
    let Place {
        name, address, cgroup, ..
    } = namespaces.place();
    let resolver = directory.join("resolv.conf");
    write(&resolver, &format!("nameserver {address}\n"))?;
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        // Nobody else is on this network.
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        // Not every machine lets it be lowered.
        "oomScoreAdj": 0,
        "clusterDNS": [address],
        "clusterDomain": "cluster.local",
        "resolvConf": resolver,
        "podLogsDir": directory.join("pods"),
        "volumePluginDir": directory.join("plugins"),
        "readOnlyPort": 0,
        "healthzPort": 0,
        // An image that is deleted to make room cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        "nodeStatusUpdateFrequency": "4s",
    });
    let path = directory.join("kubelet.json");
    write_json(&path, &configuration)?;
    let arguments = [
        format!("--config={}", path.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={}", directory.join("kubelet").display()),
        format!("--cert-dir={}", directory.join("kubelet-certificates").display()),
        format!("--node-ip={address}"),
        format!("--hostname-override={name}"),
    ];
    namespaces.start(&program("node/kubelet")?, &arguments, &directory.join("kubelet.log"))
}
