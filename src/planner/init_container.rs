//! The init containers of workers, which wait until the Master's name resolves.

use serde_json::{Value, json};

use crate::api::{Replica, ReplicaType, names};

/// The user ID of nobody.
const NOBODY: u32 = 65534;

/// What a worker of a job with Master waits for it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitContainer {
    /// Workers do not wait.
    None,
    /// Kubeflow's container, with a security context, so that it runs in a namespace under the restricted Pod Security
    /// Standard.
    BuiltIn {
        /// Image; it needs `sh`, `nslookup` and `sleep`.
        image: String,
        /// How often the Master is looked up, two seconds apart, before the container fails.
        max_tries: u32,
        /// Whether the cluster assigns a user ID to a container that names none, and refuses one out of its range, as
        /// OpenShift does. Elsewhere the container names one: the user of the default image is root, which the
        /// restricted Pod Security Standard forbids.
        assigned_user: bool,
    },
    /// The operator's own containers. [`InitContainer::MASTER_ADDR`] in their texts is the Master's name.
    Template(Vec<Value>),
}

impl Default for InitContainer {
    /// Kubeflow 1.9's.
    fn default() -> Self {
        Self::BuiltIn {
            image: "alpine:3.10".into(),
            max_tries: 100,
            assigned_user: false,
        }
    }
}

impl InitContainer {
    /// What the Master's name is put in for. It reads as text wherever a name would.
    pub const MASTER_ADDR: &str = "master-addr.invalid";

    /// The containers of a worker of the job; they stand after the user's own.
    #[must_use]
    pub fn build(&self, job: &str) -> Vec<Value> {
        let master = Replica::new(ReplicaType::Master, 0).name(job);
        match self {
            Self::None => Vec::new(),
            Self::BuiltIn {
                image,
                max_tries,
                assigned_user,
            } => {
                let mut container = built_in(image, *max_tries, &master);
                if !assigned_user {
                    container["securityContext"]["runAsUser"] = NOBODY.into();
                }
                vec![container]
            }
            Self::Template(containers) => containers
                .iter()
                .map(|container| with_master(container, &master))
                .collect(),
        }
    }
}

fn built_in(image: &str, max_tries: u32, master: &str) -> Value {
    let script = format!(
        "i=0; while [ $i -lt {max_tries} ]; do nslookup {master} && exit 0; echo waiting for master; sleep 2; i=$((i+1)); done; exit 1"
    );
    json!({
        "name": names::INIT_CONTAINER,
        "image": image,
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
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    })
}

/// The value with the Master's name in its texts.
fn with_master(value: &Value, master: &str) -> Value {
    match value {
        Value::String(text) => text.replace(InitContainer::MASTER_ADDR, master).into(),
        Value::Array(items) => items.iter().map(|item| with_master(item, master)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), with_master(field, master)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(containers: Vec<Value>) -> Value {
        assert_eq!(containers.len(), 1);
        containers.into_iter().next().unwrap_or_default()
    }

    #[test]
    fn the_container_is_kubeflows_with_the_flags_in_it() {
        let settings = InitContainer::BuiltIn {
            image: "registry.example/busybox:1".into(),
            max_tries: 7,
            assigned_user: false,
        };
        let container = only(settings.build("job"));
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
        let container = only(InitContainer::default().build("job"));
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(context["runAsNonRoot"], true);
        assert_eq!(context["runAsUser"], 65534);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    }

    #[test]
    fn the_container_names_no_user_where_the_cluster_assigns_one() {
        let settings = InitContainer::BuiltIn {
            image: "alpine:3.10".into(),
            max_tries: 100,
            assigned_user: true,
        };
        let context = &only(settings.build("job"))["securityContext"];
        assert_eq!(context.get("runAsUser"), None);
        assert_eq!(context["runAsNonRoot"], true);
    }

    #[test]
    fn w26_without_an_image_there_is_no_container() {
        assert_eq!(InitContainer::None.build("job"), [] as [Value; 0]);
    }

    #[test]
    fn every_container_of_a_template_gets_the_masters_name() {
        let containers = vec![
            json!({ "name": "wait", "command": ["wait-for", "master-addr.invalid:23456"] }),
            json!({ "name": "note", "env": [{ "name": "MASTER", "value": "master-addr.invalid" }], "tty": true }),
        ];
        assert_eq!(
            InitContainer::Template(containers).build("job"),
            [
                json!({ "name": "wait", "command": ["wait-for", "job-master-0:23456"] }),
                json!({ "name": "note", "env": [{ "name": "MASTER", "value": "job-master-0" }], "tty": true }),
            ]
        );
    }
}
