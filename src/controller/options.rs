//! What the operator is told by its flags.

use std::num::NonZeroUsize;

use kube::{Api, Client};

use crate::cache::StoredJob;
use crate::planner::Settings;
use crate::platform::client::RateLimit;
use crate::platform::http::BindAddress;

/// What the operator is told by its flags.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Kubeconfig to use; otherwise as kube finds out.
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Namespace to watch; otherwise all.
    pub namespace: Option<String>,
    /// Jobs reconciled at once; as many more of namespaces that have none under way.
    pub threads: NonZeroUsize,
    /// Limit of mutating requests; otherwise the server's own priority and fairness decides.
    pub limit: Option<RateLimit>,
    /// Where `/metrics` is served.
    pub metrics: BindAddress,
    /// Where `/healthz` and `/readyz` are served.
    pub probes: BindAddress,
    /// Leader election; otherwise this replica leads.
    pub election: Option<Election>,
    /// Name of the pod, for events and the lease.
    pub pod_name: Option<String>,
    /// Pod settings.
    pub settings: Settings,
    /// Whether to use the gang scheduler that the cluster has.
    pub discover_gang_scheduler: bool,
}

impl Options {
    /// The jobs that are served.
    pub(super) fn jobs(&self, client: &Client) -> Api<StoredJob> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
}

/// Where to compete for leadership.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    /// Namespace of the lease; otherwise the pod's own.
    pub namespace: Option<String>,
    /// Name of the lease.
    pub name: String,
}
