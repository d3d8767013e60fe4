//! Who takes part in the election, and in which namespace.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

/// Where the kubelet tells a pod its namespace.
const SERVICE_ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Linux' own idea of the host name, which in a pod is the pod's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// No namespace was given and none could be found.
#[derive(Debug, thiserror::Error)]
#[error(
    "set POD_NAMESPACE or switch leader election off: the namespace of the leader lease is unknown outside of a pod \
     ({SERVICE_ACCOUNT_NAMESPACE} is missing)"
)]
pub(crate) struct NamespaceUnknown;

/// Namespace of the lease: `explicit`, a flag or the environment variable `POD_NAMESPACE`, else that of the pod's
/// service account, as Kubeflow's operator does.
pub(crate) fn namespace(explicit: Option<&str>) -> Result<String, NamespaceUnknown> {
    first_of(explicit, Path::new(SERVICE_ACCOUNT_NAMESPACE)).ok_or(NamespaceUnknown)
}

/// An identity that no other process has, now or later: the pod's name, or the host's, and a random suffix. A
/// restarted container is a new participant, which cannot take its predecessor's writes for its own.
#[must_use]
pub(crate) fn identity(pod_name: Option<&str>) -> String {
    let name = first_of(pod_name, Path::new(HOST_NAME)).unwrap_or_else(|| "unknown-host".to_owned());
    format!("{name}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

fn first_of(explicit: Option<&str>, file: &Path) -> Option<String> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    explicit
        .and_then(given)
        .or_else(|| given(&fs::read_to_string(file).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins_over_the_file_and_blanks_are_cut() {
        let file = std::env::temp_dir().join(format!("pytorchjob-operator-namespace-{}", std::process::id()));
        fs::write(&file, "kubeflow\n").unwrap();
        assert_eq!(first_of(Some("other"), &file).as_deref(), Some("other"));
        assert_eq!(first_of(None, &file).as_deref(), Some("kubeflow"));
        assert_eq!(first_of(Some(""), &file).as_deref(), Some("kubeflow"));
        fs::write(&file, "\n").unwrap();
        assert_eq!(first_of(None, &file), None);
        fs::remove_file(&file).unwrap();
        assert_eq!(first_of(None, &file), None);
    }

    #[test]
    fn two_processes_on_one_host_differ() {
        let (one, other) = (identity(Some("operator-0")), identity(Some("operator-0")));
        assert!(one.starts_with("operator-0_"), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn without_a_pod_name_the_host_name_is_used() {
        let host = fs::read_to_string(HOST_NAME).unwrap();
        assert!(identity(None).starts_with(&format!("{}_", host.trim())));
    }
}
