//! The operator as a whole: connections, watches, leadership, the queue, and their end in order.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cache::watch;
use crate::controller::context::Context;
use crate::controller::options::{Election, Options};
use crate::controller::priorities;
use crate::controller::queue::{self, JobQueue};
use crate::controller::settings::settings;
use crate::controller::take_over::{doubt_what_is_older, label_children};
use crate::defects::{Defect, back};
use crate::platform::client;
use crate::platform::events::EventSink;
use crate::platform::health::Health;
use crate::platform::http::{self, Server};
use crate::platform::lease::{self, Elector, Fence};
use crate::platform::logs::with_causes;
use crate::platform::metrics::Metrics;

/// Time for events to go out on shutdown. The Lease is still held meanwhile, and no other replica acts.
const EVENTS_GRACE: Duration = Duration::from_secs(2);

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
    Lost(#[from] lease::LeadershipLost),
    /// etcd was restored to an earlier state. Children of which there is no trace any more may be kept, and only new
    /// lists of all kinds, which a restart brings, show what there is.
    #[error("the API server was restored to an earlier state: it shows older versions than before; restart")]
    Restored,
    /// A watch ended, which watches do not do.
    #[error("a watch ended; restart")]
    WatchEnded,
}

/// Runs the operator until `shutdown` is cancelled, and then ends in order: no new reconciles, the running ones end,
/// events go out, the lease is released.
pub(crate) async fn run(options: Options, shutdown: CancellationToken) -> Result<(), RunError> {
    let metrics = Metrics::new()?;
    let config = client::configuration(options.kubeconfig.as_deref()).await?;
    let elector = options
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
    let result = operate(&options, client, elector, metrics, health, &shutdown).await;
    stop.cancel();
    // Which bounds how long it waits for its connections.
    let _ended = serving.await;
    result
}

/// [`run`] on connections that are there already. The fence of `client` is that of `elector`.
pub(crate) async fn operate(
    options: &Options,
    client: Client,
    mut elector: Option<Elector>,
    metrics: Metrics,
    health: Health,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let settings = tokio::select! {
        biased;
        settings = settings(options, &client) => settings,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (events, publisher) = EventSink::start(client.clone(), options.pod_name.clone(), metrics.clone());
    let context = Arc::new(Context::new(client, settings, metrics, events, health, options.limit));
    let index = context.index.clone();
    context.metrics.count_jobs(move || index.jobs().by_state())?;
    let mut watches = JoinSet::new();
    let queue = start_watches(&mut watches, options, &context);

    let result = tokio::select! {
        biased;
        result = lead(options, &context, &queue, elector.as_mut(), shutdown) => result,
        () = context.index.jobs().restored().cancelled() => Err(RunError::Restored),
        _ = watches.join_next() => Err(RunError::WatchEnded),
    };
    publisher.drain(EVENTS_GRACE).await;
    if let Some(elector) = elector
        && let Err(error) = elector.release().await
    {
        tracing::warn!(error = with_causes(&error), "Lease not released; it will expire");
    }
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
        timing: lease::Timing::default(),
    };
    Ok(Elector::new(api, config, metrics.clone()))
}

/// Starts one task a kind.
fn start_watches(tasks: &mut JoinSet<()>, options: &Options, context: &Arc<Context>) -> Arc<JobQueue> {
    let queue = Arc::new(JobQueue::new(context.clone()));
    let (client, index, metrics) = (&context.client, &context.index, &context.metrics);
    let namespace = options.namespace.as_deref();
    let jobs = watch::jobs(options.jobs(client), index.clone(), queue.clone(), metrics.clone());
    tasks.spawn(jobs);
    let settings = context.settings.get();
    if settings
        .gang
        .as_ref()
        .is_some_and(|gang| gang.scheduler.has_min_resources())
    {
        queue.expect_priorities();
        tasks.spawn(priorities::watch(client.clone(), queue.clone(), metrics.clone()));
    }
    for kind in settings.kinds() {
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        tasks.spawn(watch::children(
            kind,
            api,
            index.clone(),
            queue.clone(),
            metrics.clone(),
        ));
    }
    queue
}

/// Waits for the caches, then for leadership, then reconciles until told to stop or until leadership is lost.
async fn lead(
    options: &Options,
    context: &Arc<Context>,
    queue: &JobQueue,
    mut elector: Option<&mut Elector>,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let ready = async {
        queue.synced().await;
        if let Some(elector) = elector.as_deref_mut() {
            info!("caches are complete; waiting for leadership");
            elector.acquire().await;
            if !back(Defect::StaleStandby) {
                doubt_what_is_older(options, context).await;
            }
        }
    };
    tokio::select! {
        biased;
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
    let reconciling = queue::run(context.clone(), queue, options.threads, shutdown.clone());
    let labelling = async {
        label_children(options, context).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        lost = held => Err(RunError::Lost(lost)),
        () = reconciling => Ok(()),
        () = labelling => Ok(()),
    }
}
