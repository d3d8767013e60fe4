//! `run`: flags with Kubeflow's names and meanings, and the process around the operator.

use std::error::Error;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::controller::{self, Election, Options};
use crate::planner::Settings;
use crate::platform::client::RateLimit;
use crate::platform::http::BindAddress;
use crate::platform::logs;

/// Flags of the operator.
#[derive(Debug, Args)]
pub struct Flags {
    /// Kubeconfig file. Default: KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The one namespace to serve. Default: all.
    #[arg(long, env = "KUBEFLOW_NAMESPACE")]
    namespace: Option<String>,
    /// Where /metrics is served; 0 is nowhere.
    #[arg(long, default_value = ":8080", value_name = "ADDRESS")]
    metrics_bind_address: BindAddress,
    /// Where /healthz and /readyz are served; 0 is nowhere.
    #[arg(long, default_value = ":8081", value_name = "ADDRESS")]
    health_probe_bind_address: BindAddress,
    /// Work only while holding a lease, so that several replicas can run.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true)]
    leader_elect: bool,
    /// Name of the lease.
    #[arg(long, default_value = "1ca428e5.training-operator.kubeflow.org", value_name = "NAME")]
    leader_election_id: String,
    /// Namespace of the lease. Default: the pod's own.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// Jobs reconciled at once.
    #[arg(long, default_value = "32", value_name = "NUMBER")]
    controller_threads: NonZeroUsize,
    /// Most writes a second. Default: no limit of ours; the API server's priority and fairness decides.
    #[arg(long, value_name = "NUMBER")]
    kube_api_qps: Option<NonZeroU32>,
    /// Writes that may go out at once when --kube-api-qps is set. Default: one and a half times that.
    #[arg(long, requires = "kube_api_qps", value_name = "NUMBER")]
    kube_api_burst: Option<NonZeroU32>,
    /// Name of the pod, for events and the lease.
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    /// Format of the log on standard error. RUST_LOG sets what is logged.
    #[arg(long, value_enum, default_value_t = logs::Format::Json)]
    log_format: logs::Format,
    #[command(flatten)]
    pods: PodFlags,
}

/// Flags about what pods are built with.
#[derive(Clone, Debug, Args)]
pub struct PodFlags {
    /// Image of the init container in which workers wait for the Master; empty leaves it out.
    #[arg(long, default_value = "alpine:3.10", value_name = "IMAGE")]
    pytorch_init_container_image: String,
    /// How often that container looks for the Master, two seconds apart, before it gives up.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pytorch_init_container_max_tries: u32,
}

impl PodFlags {
    /// As the planner takes them.
    pub fn settings(&self) -> Settings {
        Settings {
            init_container_image: self.pytorch_init_container_image.clone(),
            init_container_max_tries: self.pytorch_init_container_max_tries,
        }
    }
}

impl Flags {
    fn options(self) -> Options {
        let three_halves = |qps: NonZeroU32| qps.saturating_add(qps.get() / 2);
        Options {
            kubeconfig: self.kubeconfig,
            namespace: self.namespace.filter(|namespace| !namespace.is_empty()),
            threads: self.controller_threads,
            limit: self.kube_api_qps.map(|qps| RateLimit {
                qps,
                burst: self.kube_api_burst.unwrap_or_else(|| three_halves(qps)),
            }),
            metrics: self.metrics_bind_address,
            probes: self.health_probe_bind_address,
            election: self.leader_elect.then_some(Election {
                namespace: self.leader_election_namespace,
                name: self.leader_election_id,
            }),
            pod_name: self.pod_name,
            settings: self.pods.settings(),
        }
    }
}

/// Runs the operator until SIGTERM or SIGINT.
pub fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    logs::init(flags.log_format, std::env::var("RUST_LOG").ok().as_deref())?;
    // One thread: a job takes some milliseconds of work and otherwise waits for the API server, which needs twenty
    // times as much for it. More threads would mostly wake each other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let asked = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            info!("asked to end");
            asked.cancel();
        });
        controller::run(flags.options(), shutdown)
            .await
            .map_err(Box::<dyn Error>::from)
    });
    info!(error = result.as_ref().err().map(tracing::field::display), "ended");
    result
}
