//! The init container of workers, which waits until the Master's name resolves.

use serde_json::{Value, json};

use super::world::Settings;
use crate::api::{Role, names};

/// The container, or nothing for a replica that needs none: workers of a job with Master have it. It stands after the user's own.
///
/// Kubeflow's, and with a security context, so that it runs in a namespace under the restricted Pod Security Standard.
#[must_use]
pub fn build(job: &str, settings: &Settings) -> Option<Value> {
    if settings.init_container_image.is_empty() {
        return None;
    }
    let master = Role::Master.replica_name(job, 0);
    let tries = settings.init_container_max_tries;
    let script = format!(
        "i=0; while [ $i -lt {tries} ]; do nslookup {master} && exit 0; echo waiting for master; sleep 2; i=$((i+1)); done; exit 1"
    );
    Some(json!({
        "name": names::INIT_CONTAINER,
        "image": settings.init_container_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "resources": {
            "limits": { "cpu": "100m", "memory": "20Mi" },
            "requests": { "cpu": "50m", "memory": "10Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "runAsNonRoot": true,
            "runAsUser": 65534,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    }))
}
