//! The shell around the decisions: watches in, requests out.
//!
//! [`run`] puts it together. Standby replicas keep their caches warm and do nothing else; the queue is filled only once
//! this replica leads. Everything a request needs is bound to what was decided on, so that even two leaders at once
//! would only waste requests.

mod act;
mod create;
mod delete;
mod error;
mod gang;
mod job_ref;
mod observe;
mod pacing;
mod queue;
mod reconcile;
mod store_status;
mod take_over;
mod update;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::gang::CurrentSettings;
use self::pacing::Memory;
use self::queue::Trigger;
use self::take_over::{doubt_what_is_older, label_autoscalers};
use crate::cache::{Index, StoredJob, watch};
use crate::planner::{Note, Settings};
use crate::platform::client::{self, RateLimit};
use crate::platform::events::EventSink;
use crate::platform::health::Health;
use crate::platform::http::{self, BindAddress, Server};
use crate::platform::lease::{self, Elector, Fence};
use crate::platform::metrics::Metrics;

/// Requests under way at once, over all jobs. kube opens a connection for each.
const REQUESTS: usize = 64;
/// Time for events, and again for requests of probes and metrics, to end on shutdown.
const GRACE: Duration = Duration::from_secs(10);
/// Action of every event: what the controller was doing.
const EVENT_ACTION: &str = "Reconcile";

/// What the operator is told by its flags.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Kubeconfig to use; otherwise as kube finds out.
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Namespace to watch; otherwise all.
    pub namespace: Option<String>,
    /// Jobs reconciled at once.
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
    fn jobs(&self, client: &Client) -> Api<StoredJob> {
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

/// Why the operator ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// No connection could be set up.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// An address could not be listened on.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The metrics could not be registered.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Leader election has no namespace for its lease.
    #[error(transparent)]
    Namespace(#[from] lease::NamespaceUnknown),
    /// Another replica may lead now. This one must not go on; a restart makes it a candidate again.
    #[error("leadership lost: {0}")]
    Lost(#[from] lease::Lost),
    /// A watch ended, which watches do not do.
    #[error("a watch ended; restart")]
    WatchEnded,
}

/// What every reconcile shares.
pub(crate) struct Context {
    client: Client,
    index: Arc<Index>,
    settings: CurrentSettings,
    memory: Memory,
    metrics: Metrics,
    events: EventSink,
    requests: Semaphore,
    health: Health,
    /// Set once it has been said that the definition prunes fields of the status.
    pruned: OnceLock<()>,
}

impl Context {
    /// Waits for one of the [`REQUESTS`].
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there is always a permit.
        self.requests.acquire().await.ok()
    }

    fn publish(&self, regarding: &ObjectReference, note: Note) {
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.to_owned(),
            note: Some(note.message),
            action: EVENT_ACTION.to_owned(),
            secondary: None,
        };
        self.events.publish(event, regarding.clone());
    }
}

/// Runs the operator until `shutdown` is cancelled, and then ends in order: no new reconciles, the running ones end,
/// events go out, the lease is released.
pub(crate) async fn run(options: Options, shutdown: CancellationToken) -> Result<(), RunError> {
    let metrics = Metrics::new()?;
    let config = client::configuration(options.kubeconfig.as_deref()).await?;
    let mut elector = options
        .election
        .as_ref()
        .map(|election| elector(&options, election, &config, &metrics))
        .transpose()?;
    let fence = elector.as_ref().map_or_else(Fence::open, Elector::fence);
    let client = client::for_controller(&config, &metrics, &fence, options.limit)?;
    let health = Health::new(&[queue::JOBS]);
    let server = Server::bind(&options.metrics, &options.probes).await?;

    let stop = CancellationToken::new();
    let _stop_everything = stop.clone().drop_guard();
    let serving = tokio::spawn(server.run(metrics.clone(), health.clone(), stop.clone()));
    let settings = tokio::select! {
        settings = gang::settings(&options, &client) => settings,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (events, publisher) = EventSink::start(client.clone(), options.pod_name.clone(), metrics.clone());
    let context = Arc::new(Context {
        client: client.clone(),
        index: Arc::default(),
        settings,
        memory: Memory::default(),
        metrics,
        events,
        requests: Semaphore::new(REQUESTS),
        health,
        pruned: OnceLock::new(),
    });
    let mut watches = JoinSet::new();
    let trigger = start_watches(&mut watches, &options, &context);

    let result = tokio::select! {
        result = lead(&options, &context, &trigger, elector.as_mut(), &shutdown) => result,
        _ = watches.join_next() => Err(RunError::WatchEnded),
    };
    publisher.drain(GRACE).await;
    if let Some(elector) = elector
        && let Err(error) = elector.release().await
    {
        tracing::warn!(%error, "Lease not released; it will expire");
    }
    stop.cancel();
    // A connection that does not end must not keep the process.
    let _ended = tokio::time::timeout(GRACE, serving).await;
    result
}

fn elector(
    options: &Options,
    election: &Election,
    config: &kube::Config,
    metrics: &Metrics,
) -> Result<Elector, RunError> {
    let namespace = lease::namespace(election.namespace.as_deref())?;
    let api: Api<Lease> = Api::namespaced(client::for_lease(config, metrics)?, &namespace);
    let config = lease::Config {
        name: election.name.clone(),
        identity: lease::identity(options.pod_name.as_deref()),
        terms: lease::Terms::default(),
    };
    Ok(Elector::new(api, config, metrics.clone()))
}

/// Starts one task a kind.
fn start_watches(tasks: &mut JoinSet<()>, options: &Options, context: &Arc<Context>) -> Arc<Trigger> {
    let trigger = Arc::new(Trigger::new(context.clone()));
    let (client, index, metrics) = (&context.client, &context.index, &context.metrics);
    let namespace = options.namespace.as_deref();
    let jobs = watch::jobs(options.jobs(client), index.clone(), trigger.clone(), metrics.clone());
    tasks.spawn(jobs);
    for kind in context.settings.get().kinds() {
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        tasks.spawn(watch::children(
            kind,
            api,
            index.clone(),
            trigger.clone(),
            metrics.clone(),
        ));
    }
    trigger
}

/// Waits for the caches, then for leadership, then reconciles until told to stop or until leadership is lost.
async fn lead(
    options: &Options,
    context: &Arc<Context>,
    trigger: &Trigger,
    mut elector: Option<&mut Elector>,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let ready = async {
        trigger.synced().await;
        if let Some(elector) = elector.as_deref_mut() {
            info!("caches are complete; waiting for leadership");
            elector.acquire().await;
            doubt_what_is_older(options, context).await;
        }
    };
    tokio::select! {
        () = ready => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    info!(jobs = context.index.jobs().store().len(), "reconciling");
    let held = async {
        match elector {
            Some(elector) => elector.hold().await,
            None => std::future::pending().await,
        }
    };
    let reconciling = queue::run(context.clone(), trigger, options.threads, shutdown.clone());
    let labelling = async {
        label_autoscalers(options, context).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        lost = held => Err(RunError::Lost(lost)),
        () = reconciling => Ok(()),
        () = labelling => Ok(()),
    }
}
