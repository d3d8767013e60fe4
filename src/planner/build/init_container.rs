//! The init container of workers, which waits until the Master's name resolves.

use serde_json::{Value, json};

use crate::api::{Replica, ReplicaType, names};
use crate::planner::world::Settings;

/// The container, or nothing for a replica that needs none: workers of a job with Master have it. It stands after the
/// user's own.
///
/// Kubeflow's, and with a security context, so that it runs in a namespace under the restricted Pod Security Standard.
#[must_use]
pub fn build(job: &str, settings: &Settings) -> Option<Value> {
    if settings.init_container_image.is_empty() {
        return None;
    }
    let master = Replica::new(ReplicaType::Master, 0).name(job);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_kubeflows_with_the_flags_in_it() {
        let settings = Settings {
            init_container_image: "registry.example/busybox:1".into(),
            init_container_max_tries: 7,
        };
        let container = build("job", &settings).expect("there is an image");
        assert_eq!(container["name"], "init-pytorch");
        assert_eq!(container["image"], "registry.example/busybox:1");
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(
            container["resources"],
            json!({ "requests": { "cpu": "50m", "memory": "10Mi" }, "limits": { "cpu": "100m", "memory": "20Mi" } })
        );
        let command: Vec<_> = container["command"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(command[..2], ["sh", "-c"]);
        for part in [
            "-lt 7 ]",
            "nslookup job-master-0 && exit 0",
            "echo waiting for master; sleep 2",
        ] {
            assert!(command[2].contains(part), "{part} in {}", command[2]);
        }
        assert!(command[2].ends_with("exit 1"), "after the last try the container fails");
    }

    #[test]
    fn w26_the_container_passes_the_restricted_pod_security_standard() {
        let container = build("job", &Settings::default()).expect("there is an image");
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(context["runAsNonRoot"], true);
        assert_ne!(context["runAsUser"], 0);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    }

    #[test]
    fn w26_without_an_image_there_is_no_container() {
        let settings = Settings {
            init_container_image: String::new(),
            ..Settings::default()
        };
        assert_eq!(build("job", &settings), None);
    }
}
