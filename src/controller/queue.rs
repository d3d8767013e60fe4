//! The queue of jobs to be looked at, and the loop that empties it.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt, StreamExt};
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, Error as QueueError};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::api::ChildKind;
use crate::cache::watch::EventHandler;
use crate::cache::{self, NamespacedName, StoredJob};
use crate::controller::context::Context;
use crate::controller::error::{Error, ReconcileError};
use crate::controller::reconcile::reconcile;
use crate::platform::logs::with_causes;
use crate::platform::metrics::Outcome;

/// The kind that is always watched. What jobs own depends on the settings.
pub(super) const JOBS: &str = "pytorchjobs";
/// A reconcile is given up after this long, so that one that hangs does not keep its job forever.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long running reconciles may take to end on shutdown.
const DRAIN: Duration = Duration::from_secs(15);

/// The jobs to look at, as the watches name them. A standby drops them: it looks at all jobs when it begins to lead.
pub(super) struct JobQueue {
    context: Arc<Context>,
    sender: OnceLock<UnboundedSender<ObjectRef<StoredJob>>>,
    unsynced: watch::Sender<Vec<&'static str>>,
}

impl JobQueue {
    /// A queue that nothing listens to yet.
    pub(super) fn new(context: Arc<Context>) -> Self {
        let owned = context.settings.get().kinds().map(ChildKind::plural);
        let kinds: Vec<_> = std::iter::once(JOBS).chain(owned).collect();
        for kind in &kinds {
            context.health.expect(kind);
        }
        Self {
            context,
            sender: OnceLock::new(),
            unsynced: watch::Sender::new(kinds),
        }
    }

    /// Returns when every kind has been listed once.
    pub(super) async fn synced(&self) {
        let mut unsynced = self.unsynced.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _all = unsynced.wait_for(Vec::is_empty).await;
    }

    fn listen(&self) -> Option<UnboundedReceiver<ObjectRef<StoredJob>>> {
        let (sender, receiver) = unbounded();
        self.sender.set(sender).ok().map(|()| receiver)
    }
}

impl EventHandler for JobQueue {
    fn job_changed(&self, job: NamespacedName) {
        if let Some(sender) = self.sender.get() {
            self.context.health.queued();
            self.context.workqueue.add(job.clone());
            // Fails only while the process ends.
            let _sent = sender.unbounded_send(cache::reference(&job));
        }
    }

    fn served(&self, kind: ChildKind, served: bool) {
        if !self.context.settings.set_served(served) {
            return;
        }
        if served {
            info!(api_version = kind.api_version(), "PodGroups are served");
        } else {
            let api_version = kind.api_version();
            warn!(
                api_version,
                "PodGroups are not served; is the gang scheduler installed?"
            );
        }
        for job in self.context.index.jobs().store().state() {
            self.job_changed(job.key());
        }
    }

    fn job_deleted(&self, uid: &str) {
        self.context.pacing.forget(uid);
    }

    fn listed(&self, kind: &'static str) {
        self.context.health.synced(kind);
        self.unsynced.send_if_modified(|unsynced| {
            let before = unsynced.len();
            unsynced.retain(|other| *other != kind);
            unsynced.len() != before
        });
    }
}

/// Reconciles all jobs once and then whichever changes, until `shutdown`; then ends the running ones.
pub(super) async fn run(context: Arc<Context>, queue: &JobQueue, threads: NonZeroUsize, shutdown: CancellationToken) {
    let Some(changed) = queue.listen() else { return };
    let _running = context.health.reconciling();
    let store = context.index.jobs().store();
    let all = store.state();
    for job in &all {
        context.workqueue.add(job.key());
    }
    let all: Vec<ObjectRef<StoredJob>> = all.iter().map(|job| ObjectRef::from_obj(job.as_ref())).collect();
    let jobs = futures::stream::iter(all)
        .chain(changed)
        .map(Ok::<_, Infallible>)
        .take_until(shutdown.clone().cancelled_owned());
    let config = Config::default().concurrency(u16::try_from(threads.get()).unwrap_or(u16::MAX));
    let shared = context.clone();
    let done = applier(guarded, back_off, context, store, jobs, config).for_each(|result| {
        shared.health.progress();
        report(&shared, result);
        std::future::ready(())
    });
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        biased;
        () = done => {}
        () = drained => warn!(seconds = DRAIN.as_secs(), "some reconciles did not end in time and were given up"),
    }
}

/// One reconcile in a task of its own: it may panic or hang without harm to others, and dropping this ends it.
fn guarded(
    job: Arc<StoredJob>,
    context: Arc<Context>,
) -> futures::future::BoxFuture<'static, Result<Action, ReconcileError>> {
    context.pacing.begin(job.uid());
    context.workqueue.take(&job.key());
    let task = async move {
        let _in_flight = context.health.reconcile();
        let measured = context.metrics.reconcile_started();
        let result = match tokio::time::timeout(DEADLINE, reconcile(job, context)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Deadline(DEADLINE).into()),
        };
        // Alerts stand on the errors, and nobody who runs the operator can mend a user's.
        let failed = result.as_ref().is_err_and(|failed| !failed.error.is_of_user());
        measured.finished(if failed { Outcome::Error } else { Outcome::Success });
        result
    };
    AbortOnDropHandle::new(tokio::spawn(task))
        .map(|joined| joined.unwrap_or_else(|error| Err(Error::Panicked(panic_message(error)).into())))
        .boxed()
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "without a message".into())
        }
        Err(error) => error.to_string(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn back_off(job: Arc<StoredJob>, failed: &ReconcileError, context: Arc<Context>) -> Action {
    context.workqueue.retry();
    let pause = context
        .pacing
        .failed(job.uid(), failed.error.is_outage(), Instant::now());
    Action::requeue(failed.retry_by.map_or(pause, |due| due.min(pause)))
}

/// The one place where the outcome of a reconcile is logged.
fn report(context: &Context, result: Result<(ObjectRef<StoredJob>, Action), QueueError<ReconcileError, Infallible>>) {
    match result {
        Ok((job, _)) => debug!(namespace = job.namespace, name = job.name, "reconciled"),
        Err(QueueError::ObjectNotFound(job)) => {
            let namespace = job.namespace.as_deref().unwrap_or_default();
            context.workqueue.take(&NamespacedName::new(namespace, &job.name));
            debug!(namespace, name = job.name, "job is gone");
        }
        Err(QueueError::ReconcilerFailed(error, job)) => {
            let (namespace, name) = (job.namespace, job.name);
            warn!(
                namespace,
                name,
                error = with_causes(&error),
                "reconcile failed; trying again later"
            );
        }
        Err(error) => error!(error = with_causes(&error), "queue failed"),
    }
}
