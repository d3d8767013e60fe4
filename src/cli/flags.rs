//! Flags of the operator, with Kubeflow's names and meanings.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::cli::kubeflow;
use crate::cli::kubeflow::KubeflowFlags;
use crate::cli::pod_flags::PodFlags;
use crate::controller::{Election, Options};
use crate::platform::client::RateLimit;
use crate::platform::http::BindAddress;
use crate::platform::logs;

/// Why the flags are of no use together.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Everything but our kind was asked for.
    #[error(transparent)]
    Scheme(#[from] kubeflow::NoPyTorchJob),
    /// The template of the init container cannot be used.
    #[error(transparent)]
    Template(#[from] crate::cli::pod_flags::Error),
}

/// Flags of the operator.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Kubeconfig file. Default: KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace to watch. Default: all.
    #[arg(long, env = "KUBEFLOW_NAMESPACE")]
    namespace: Option<String>,
    /// Where /metrics is served; 0 disables it.
    #[arg(long, default_value = ":8080", value_name = "ADDRESS")]
    metrics_bind_address: BindAddress,
    /// Where /healthz and /readyz are served; 0 disables it.
    #[arg(long, default_value = ":8081", value_name = "ADDRESS")]
    health_probe_bind_address: BindAddress,
    /// Work only while holding a lease, so that several replicas can run.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, value_parser = kubeflow::boolean)]
    leader_elect: bool,
    /// Name of the lease.
    #[arg(long, default_value = "1ca428e5.training-operator.kubeflow.org", value_name = "NAME")]
    leader_election_id: String,
    /// Namespace of the lease. Default: the pod's own.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// Jobs reconciled at once; as many more of namespaces that have none under way.
    #[arg(long, default_value = "32", value_name = "NUMBER")]
    controller_threads: NonZeroUsize,
    /// Maximum writes per second; 0 and less is no limit. Unlimited by default: the API server's priority and fairness
    /// decides.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    kube_api_qps: Option<i32>,
    /// Writes that may go out at once when --kube-api-qps is set. Default: one and a half times that.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    kube_api_burst: Option<i32>,
    /// Name of the pod, for events and the lease.
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    /// Format of the log on standard error, json or text. RUST_LOG sets what is logged. Default: json.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "FORMAT")]
    log_format: Option<logs::Format>,
    #[command(flatten)]
    pods: PodFlags,
    #[command(flatten)]
    kubeflow: KubeflowFlags,
}

impl Flags {
    /// Format of the log, and what is logged where `RUST_LOG` is unset.
    pub(super) fn log(&self) -> (logs::Format, &'static str) {
        self.kubeflow.log(self.log_format)
    }

    /// What was accepted and does nothing here, and why; a line each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let burst = "--kube-api-burst has no effect without --kube-api-qps: nothing is limited".to_owned();
        let alone = self.kube_api_burst.is_some() && self.kube_api_qps.is_none();
        self.kubeflow
            .warnings()
            .into_iter()
            .chain(alone.then_some(burst))
            .collect()
    }

    /// As the controller takes them.
    pub(super) fn options(self) -> Result<Options, Error> {
        self.kubeflow.check()?;
        Ok(Options {
            kubeconfig: self.kubeconfig,
            namespace: self.namespace.filter(|namespace| !namespace.is_empty()),
            threads: self.controller_threads,
            limit: limit(self.kube_api_qps, self.kube_api_burst),
            metrics: self.metrics_bind_address,
            probes: self.health_probe_bind_address,
            election: self.leader_elect.then_some(Election {
                namespace: self.leader_election_namespace,
                name: self.leader_election_id,
            }),
            pod_name: self.pod_name,
            discover_gang_scheduler: self.pods.discovers_gang_scheduler(),
            settings: self.pods.settings()?,
        })
    }
}

/// The limit that the flags ask for; as in client-go, a burst below the rate would never let the rate be reached.
fn limit(qps: Option<i32>, burst: Option<i32>) -> Option<RateLimit> {
    let positive = |number: i32| u32::try_from(number).ok().and_then(NonZeroU32::new);
    let qps = qps.and_then(positive)?;
    let burst = burst.and_then(positive);
    Some(RateLimit {
        qps,
        burst: burst.unwrap_or_else(|| qps.saturating_add(qps.get() / 2)),
    })
}
