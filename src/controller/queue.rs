//! The queue of jobs to be looked at, and the loop that empties it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::api::ChildKind;
use crate::cache::watch::EventHandler;
use crate::cache::{NamespacedName, StoredJob};
use crate::controller::context::Context;
use crate::controller::error::{Error, ReconcileError};
use crate::controller::passes::Passes;
use crate::controller::reconcile::reconcile;
use crate::platform::client::with_pause;
use crate::platform::logs::with_causes;
use crate::platform::metrics::Outcome;

/// The kind that is always watched. What jobs own depends on the settings.
pub(super) const JOBS: &str = "pytorchjobs";
/// What gangs are measured by besides.
pub(super) const PRIORITIES: &str = "priorityclasses";
/// A reconcile is given up after this long, so that one that hangs does not keep its job forever.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long running reconciles may take to end on shutdown.
const DRAIN: Duration = Duration::from_secs(15);

/// The jobs to look at, as the watches name them. A standby drops them: it looks at all jobs when it begins to lead.
pub(super) struct JobQueue {
    context: Arc<Context>,
    sender: OnceLock<UnboundedSender<NamespacedName>>,
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

    /// Returns when every kind has been listed once, and the priority classes have been asked for.
    pub(super) async fn synced(&self) {
        let mut unsynced = self.unsynced.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _all = unsynced.wait_for(Vec::is_empty).await;
    }

    /// The priority classes too have to be asked for before a job is looked at: a group that was made without them
    /// would be written again when they come.
    pub(super) fn expect_priorities(&self) {
        self.context.health.expect(PRIORITIES);
        self.unsynced.send_modify(|unsynced| unsynced.push(PRIORITIES));
    }

    /// The priority classes are known, or cannot be had.
    pub(super) fn asked_for_priorities(&self) {
        self.listed(PRIORITIES);
    }

    fn asked_for(&self, kind: &str) {
        self.unsynced.send_if_modified(|unsynced| {
            let before = unsynced.len();
            unsynced.retain(|other| *other != kind);
            unsynced.len() != before
        });
    }

    /// The priority classes of the cluster: `minResources` of any gang may depend on them.
    pub(super) fn set_priorities(&self, classes: &BTreeMap<String, i32>) {
        if self.context.settings.set_priorities(classes) {
            self.all_changed();
        }
    }

    fn all_changed(&self) {
        for job in self.context.index.jobs().keys() {
            self.job_changed(job);
        }
    }

    fn listen(&self) -> Option<UnboundedReceiver<NamespacedName>> {
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
            let _sent = sender.unbounded_send(job);
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
        self.all_changed();
    }

    fn job_deleted(&self, uid: &str) {
        self.context.pacing.forget(uid);
    }

    fn listed(&self, kind: &'static str) {
        self.context.health.synced(kind);
        self.asked_for(kind);
    }
}

/// Reconciles all jobs once and then whichever changes, until `shutdown`; then ends the running ones. Up to `threads`
/// at once, by [`Passes`].
pub(super) async fn run(context: Arc<Context>, queue: &JobQueue, threads: NonZeroUsize, shutdown: CancellationToken) {
    let Some(changed) = queue.listen() else { return };
    let _running = context.health.reconciling();
    let all = context.index.jobs().keys();
    for job in &all {
        context.workqueue.add(job.clone());
    }
    let (later, again) = unbounded();
    let mut work = Work {
        context,
        passes: Passes::new(threads.get()),
        running: FuturesUnordered::new(),
        later,
    };
    let mut due = std::pin::pin!(scheduler(requests(all, changed, again)));
    loop {
        work.begin();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = work.running.next() => work.end(ended),
            Some(job) = due.next() => work.due(job),
        }
    }
    let rest = async { while work.running.next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, rest).await.is_err() {
        let seconds = DRAIN.as_secs();
        warn!(seconds, "some reconciles did not end in time and were given up");
    }
}

/// When each job is to be looked at: those that are there and those that change at once, the others when they asked
/// for it.
fn requests(
    all: Vec<NamespacedName>,
    changed: UnboundedReceiver<NamespacedName>,
    again: UnboundedReceiver<ScheduleRequest<NamespacedName>>,
) -> impl Stream<Item = ScheduleRequest<NamespacedName>> {
    let now = |message| ScheduleRequest {
        message,
        run_at: Instant::now(),
    };
    stream::select(stream::iter(all).chain(changed).map(now), again)
}

/// A job over which a pass has ended, and when to come back to it; never to one that is gone.
type Ended = (NamespacedName, Option<Duration>);

/// The passes under way, and the jobs that wait for one.
struct Work {
    context: Arc<Context>,
    passes: Passes,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    later: UnboundedSender<ScheduleRequest<NamespacedName>>,
}

impl Work {
    fn begin(&mut self) {
        while let Some(job) = self.passes.begin() {
            self.context.workqueue.take(&job);
            self.running.push(pass(job, self.context.clone()).boxed());
        }
    }

    fn due(&mut self, job: NamespacedName) {
        // What changed waits already. What comes back by itself waits from now on.
        self.context.workqueue.add(job.clone());
        self.passes.due(job);
    }

    fn end(&mut self, (job, pause): Ended) {
        self.context.health.progress();
        let again = self.passes.end(&job);
        if let Some(pause) = pause.filter(|_| !again) {
            let run_at = Instant::now() + pause;
            // The receiver lives as long as the loop.
            let _sent = self.later.unbounded_send(ScheduleRequest { message: job, run_at });
        }
    }
}

/// One pass over a job. The one place where its outcome is logged.
async fn pass(job: NamespacedName, context: Arc<Context>) -> Ended {
    let (namespace, name) = (job.namespace.as_str(), job.name.as_str());
    let Some(stored) = context.index.jobs().get(&job) else {
        debug!(namespace, name, "job is gone");
        return (job, None);
    };
    let pause = match guarded(stored.clone(), context.clone()).await {
        Ok(pause) => {
            debug!(namespace, name, "reconciled");
            pause
        }
        Err(failed) => {
            warn!(
                namespace,
                name,
                error = with_causes(&failed),
                "reconcile failed; trying again later"
            );
            back_off(&context, &stored, &failed)
        }
    };
    (job, Some(pause))
}

fn back_off(context: &Context, job: &StoredJob, failed: &ReconcileError) -> Duration {
    context.workqueue.retry();
    let outage = failed.error.is_outage();
    context.pacing.failed(job.uid(), outage, Instant::now());
    let pause = context.pacing.asked(job.uid(), failed.asked, Instant::now());
    failed.retry_by.map_or(pause, |due| due.min(pause))
}

/// One reconcile in a task of its own: it may panic or hang without harm to others, and dropping this ends it.
fn guarded(job: Arc<StoredJob>, context: Arc<Context>) -> BoxFuture<'static, Result<Duration, ReconcileError>> {
    context.pacing.begin(job.uid());
    let task = async move {
        let _in_flight = context.health.reconcile();
        let measured = context.metrics.reconcile_started();
        let reconciling = Box::pin(tokio::time::timeout(DEADLINE, reconcile(job, context)));
        let (result, asked) = with_pause(reconciling).await;
        let result = result
            .unwrap_or_else(|_| Err(Error::Deadline(DEADLINE).into()))
            .map_err(|failed| ReconcileError { asked, ..failed });
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

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};
    use tower::BoxError;

    use super::*;
    use crate::controller::priorities;
    use crate::controller::settings::CurrentSettings;
    use crate::planner::Settings;
    use crate::platform::client;
    use crate::platform::events::EventSink;
    use crate::platform::health::Health;
    use crate::platform::lease::Fence;
    use crate::platform::metrics::Metrics;

    /// A queue of jobs of these names, with nobody to ask.
    fn queue(jobs: &[&str]) -> JobQueue {
        let nobody = tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("nothing is asked for") });
        let context = context(kube::Client::new(nobody, "default"));
        for name in jobs {
            let job = json!({ "metadata": { "name": name, "namespace": "ns" }, "spec": { "pytorchReplicaSpecs": {} } });
            know(&context, &job);
        }
        JobQueue::new(context)
    }

    fn context(client: kube::Client) -> Arc<Context> {
        let metrics = Metrics::new().unwrap();
        let (events, _publisher) = EventSink::start(client.clone(), None, metrics.clone());
        let settings = CurrentSettings::new(Settings::default());
        Arc::new(Context::new(client, settings, metrics, events, Health::new(&[]), None))
    }

    fn know(context: &Context, job: &Value) {
        let job = serde_json::from_str(&job.to_string()).unwrap();
        context.index.jobs().feed(Event::Apply(job));
    }

    #[tokio::test]
    async fn all_jobs_are_looked_at_again_when_the_priority_classes_change() {
        let queue = queue(&["a", "b"]);
        let mut changed = queue.listen().unwrap();
        for (value, expected) in [(1, vec!["a", "b"]), (1, vec![]), (2, vec!["a", "b"])] {
            queue.set_priorities(&BTreeMap::from([("high".to_owned(), value)]));
            let names: Vec<_> = std::iter::from_fn(|| changed.try_recv().ok().map(|job| job.name)).collect();
            assert_eq!(names, expected, "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_pods_are_answered_with_429_each_time_has_failed_and_pauses_as_asked() {
        let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
        let job = json!({
            "metadata": { "name": "job", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1 },
            "spec": { "pytorchReplicaSpecs": { "Master": { "template": template } } },
        });
        let stored = job.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let mut stored = stored.clone();
            async move {
                let answer = Response::builder();
                if request.method() == Method::POST {
                    return Ok(answer.status(429).header(RETRY_AFTER, "5").body(Body::empty())?);
                }
                let patch: Value = serde_json::from_slice(&request.into_body().collect_bytes().await?)?;
                stored["metadata"]["resourceVersion"] = json!("2");
                stored["status"] = patch[1]["value"].clone();
                Ok::<_, BoxError>(answer.body(Body::from(stored.to_string().into_bytes()))?)
            }
        });
        let metrics = Metrics::new().unwrap();
        let context = context(client::on(service, &metrics, &Fence::open(), None));
        know(&context, &job);
        let job = context.index.jobs().get(&NamespacedName::new("ns", "job")).unwrap();
        let refused = guarded(job.clone(), context.clone()).await.unwrap_err();
        assert!(refused.error.is_outage(), "{refused}");
        let pause = back_off(&context, &job, &refused);
        assert!(pause >= Duration::from_secs(5), "{pause:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_time_has_come_waits_in_the_queue_until_a_pass_begins() {
        let context = queue(&["a", "b"]).context;
        let (later, _again) = unbounded();
        let mut work = Work {
            context: context.clone(),
            passes: Passes::new(1),
            running: FuturesUnordered::new(),
            later,
        };
        let depth = |expected| {
            let line = format!(
                "workqueue_depth{{controller=\"pytorchjob-controller\",name=\"pytorchjob-controller\"}} {expected}\n"
            );
            let text = context.metrics.encode().unwrap();
            assert!(text.contains(&line), "{line} in {text}");
        };
        work.due(NamespacedName::new("ns", "a"));
        work.due(NamespacedName::new("ns", "b"));
        depth(2);
        work.begin();
        depth(1);
        let ended = work.running.next().await.unwrap();
        work.end(ended);
        work.begin();
        depth(0);
    }

    #[tokio::test]
    async fn the_caches_are_not_complete_before_the_priority_classes_have_been_asked_for() {
        let queue = queue(&[]);
        queue.expect_priorities();
        let kinds = queue.unsynced.borrow().clone();
        for kind in kinds.into_iter().filter(|kind| *kind != PRIORITIES) {
            queue.listed(kind);
        }
        assert!(queue.synced().now_or_never().is_none());
        assert_eq!(
            queue.context.health.unready(),
            ["cache of priorityclasses: initial list not complete"]
        );
        queue.asked_for_priorities();
        assert!(queue.synced().now_or_never().is_some());
        assert!(queue.context.health.unready().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn priority_classes_are_watched_as_other_kinds_are_and_their_errors_are_counted_once_they_could_be_listed() {
        for (allowed, errors) in [(true, true), (false, false)] {
            let queries = Arc::new(std::sync::Mutex::new(Vec::new()));
            let asked = queries.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let query = request.uri().query().unwrap_or_default().to_owned();
                let list = json!({ "kind": "PriorityClassList", "metadata": { "resourceVersion": "1" }, "items": [] });
                let code = if allowed && !query.contains("watch=true") {
                    200
                } else {
                    403
                };
                asked.lock().unwrap().push(query);
                let answer = Response::builder()
                    .status(code)
                    .body(Body::from(list.to_string().into_bytes()));
                async move { Ok::<_, BoxError>(answer?) }
            });
            let (queue, metrics) = (Arc::new(queue(&[])), Metrics::new().unwrap());
            queue.expect_priorities();
            let watching = priorities::watch(kube::Client::new(service, "default"), queue.clone(), metrics.clone());
            let _forever = tokio::time::timeout(Duration::from_mins(2), watching).await;
            let unready = queue.context.health.unready();
            assert!(unready.iter().all(|kind| !kind.contains(PRIORITIES)), "{unready:?}");
            let counted = metrics
                .encode()
                .unwrap()
                .contains("watch_errors_total{kind=\"priorityclasses\"}");
            assert_eq!(counted, errors, "allowed: {allowed}");
            let queries = queries.lock().unwrap();
            let mut watches = queries.iter().filter(|query| query.contains("watch=true"));
            assert!(watches.all(|query| query.contains("timeoutSeconds=55")), "{queries:?}");
        }
    }
}
