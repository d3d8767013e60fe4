//! What runs containers: containerd with runc, on a bridge of the node.

use std::path::Path;

use serde_json::json;

use super::{Namespaces, write, write_json};
use crate::process::poll_until;
use crate::{Error, Process};

/// Where Debian installs the CNI plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Starts containerd, and waits until it answers.
pub(super) async fn start(namespaces: &Namespaces) -> Result<Process, Error> {
    let directory = namespaces.directory();
    let networks = directory.join("cni");
    std::fs::create_dir(&networks).map_err(Error::io(format!("create {}", networks.display())))?;
    let bridge = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": directory.join("addresses"),
                "ranges": [[{ "subnet": namespaces.place().pods }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    write_json(&networks.join("pods.conflist"), &bridge)?;
    let path = directory.join("containerd.toml");
    write(&path, &configuration(directory))?;
    let log = directory.join("containerd.log");
    let arguments = [format!("--config={}", path.display())];
    let containerd = namespaces.start(Path::new("containerd"), &arguments, &log)?;
    let answers = async || Ok(namespaces.run("ctr", &["version"]).await.is_ok());
    poll_until(&containerd, answers).await?;
    Ok(containerd)
}

/// Without the right to lower its own `oom_score_adj`, as in a container, no sandbox starts unless that is restricted.
fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"version = 2
root = "{directory}/containerd"

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/local/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{directory}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}
