//! Events of the API (`kubectl get events`), which explain a job to its owner.
//!
//! They are worth less than the work they tell of: callers never wait for them, and one that cannot be delivered is
//! logged, counted and forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::names::CONTROLLER_NAME;
use crate::platform::logs::with_causes;
use crate::platform::metrics::{EventFate, Metrics};
use crate::platform::tally::Tally;
use crate::platform::turns::Turns;

/// Events of one namespace that wait to be published: the transitions of some hundred jobs.
const QUEUE: usize = 1024;
/// The same of all namespaces.
const QUEUES: usize = 4 * QUEUE;
/// As many of one namespace are taken also where those of others fill the queue.
const FEW: usize = 16;
/// Namespaces whose events are published at once, of each one at a time: where an admission webhook or a limit of
/// events holds up those of one, those of the others go on.
const AT_ONCE: usize = 32;
/// One event may take so long; the ones of its namespace behind it wait.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of the API server for `note`, in bytes.
const NOTE_BYTES: usize = 1024;
/// Limit of the API server for `reason` and `action`, in bytes.
const REASON_BYTES: usize = 128;

struct Item {
    event: Event,
    about: ObjectReference,
}

impl Item {
    fn namespace(&self) -> String {
        self.about.namespace.clone().unwrap_or_default()
    }

    /// What makes it a repetition: its namespace and text.
    fn warning(&self) -> (String, String) {
        (self.namespace(), self.event.note.clone().unwrap_or_default())
    }
}

/// Where events are handed in. Clones feed one publisher.
#[derive(Clone)]
pub(crate) struct EventSink {
    queue: UnboundedSender<Item>,
    pending: Pending,
    metrics: Metrics,
}

/// How many events of each namespace wait or are being published.
#[derive(Clone, Debug, Default)]
struct Pending(Arc<Mutex<Tally>>);

impl Pending {
    /// One more, if there is room.
    fn add(&self, namespace: &str) -> bool {
        let mut pending = self.lock();
        let most = if pending.total() < QUEUES { QUEUE } else { FEW };
        let room = pending.of(namespace) < most;
        if room {
            pending.add(namespace);
        }
        room
    }

    /// One less.
    fn remove(&self, namespace: &str) {
        self.lock().remove(namespace);
    }

    fn total(&self) -> usize {
        self.lock().total()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that publishes. To be [drained](Self::drain) on shutdown; dropping it stops it.
pub(crate) struct Publisher {
    task: JoinHandle<()>,
    stop: CancellationToken,
    sink: EventSink,
}

impl EventSink {
    /// Starts the publisher. `instance` tells replicas apart in the events: the pod's name, or the host's when `None`.
    #[must_use]
    pub(crate) fn start(client: Client, instance: Option<String>, metrics: Metrics) -> (Self, Publisher) {
        let mut reporter = Reporter::from(CONTROLLER_NAME);
        reporter.instance = instance.or(reporter.instance);
        let (queue, items) = mpsc::unbounded_channel();
        let (stop, pending) = (CancellationToken::new(), Pending::default());
        let sink = Self {
            queue,
            pending,
            metrics,
        };
        let task = tokio::spawn(publish_all(
            items,
            Recorders::new(client, reporter),
            stop.clone(),
            sink.clone(),
        ));
        (sink.clone(), Publisher { task, stop, sink })
    }

    /// Hands in an event about an object. Never waits: when too many of its namespace wait already, or some and
    /// too many in all, the event is dropped and counted. Texts longer than the API server takes are cut.
    pub(crate) fn publish(&self, mut event: Event, about: ObjectReference) {
        event.reason = cut(event.reason, REASON_BYTES);
        event.action = cut(event.action, REASON_BYTES);
        event.note = event.note.map(|note| cut(note, NOTE_BYTES));
        let item = Item { event, about };
        if !self.pending.add(&item.namespace()) {
            return self.dropped(&item);
        }
        if let Err(SendError(item)) = self.queue.send(item) {
            self.pending.remove(&item.namespace());
            self.dropped(&item);
        }
    }

    fn dropped(&self, Item { event, about }: &Item) {
        let (reason, namespace, name) = (&event.reason, &about.namespace, &about.name);
        tracing::debug!(reason, namespace, name, "event dropped");
        self.metrics.events(EventFate::Dropped, 1);
    }
}

/// How long after its last repetition a warning is counted on: as long as a [`Recorder`] remembers what it has
/// published.
const REMEMBERED: Duration = Duration::from_mins(6);

/// A recorder remembers what it has published, in order to count repetitions. It takes an event about the same object
/// with the same reason for one, whatever it says, and then keeps the first text; so each text has a recorder of its
/// own, lest a second cause be told as the first, and in each namespace, since it publishes one event at a time. Only
/// warnings repeat. A normal event tells of a transition, and a
/// later one with the same reason tells of another, about other pods.
struct Recorders {
    client: Client,
    reporter: Reporter,
    /// By namespace and text, with the time of the last use.
    warnings: HashMap<(String, String), (Recorder, Instant)>,
}

impl Recorders {
    fn new(client: Client, reporter: Reporter) -> Self {
        Self {
            client,
            reporter,
            warnings: HashMap::new(),
        }
    }

    fn recorder_for(&mut self, item: &Item, now: Instant) -> Recorder {
        if item.event.type_ == EventType::Normal {
            return self.fresh();
        }
        self.warnings
            .retain(|_, (_, used)| now.duration_since(*used) < REMEMBERED);
        let fresh = self.fresh();
        let (recorder, used) = self.warnings.entry(item.warning()).or_insert((fresh, now));
        *used = now;
        recorder.clone()
    }

    /// One that remembers nothing.
    fn fresh(&self) -> Recorder {
        Recorder::new(self.client.clone(), self.reporter.clone())
    }

    /// Repetitions of this event are for that recorder from now on.
    fn replace(&mut self, item: &Item, by: Recorder) {
        if let Some((recorder, _)) = self.warnings.get_mut(&item.warning()) {
            *recorder = by;
        }
    }
}

impl Publisher {
    /// Takes no more events, publishes those that wait and returns; after `within` the rest is dropped and counted.
    pub(crate) async fn drain(mut self, within: Duration) {
        self.stop.cancel();
        if timeout(within, &mut self.task).await.is_err() {
            let left = self.sink.pending.total();
            tracing::warn!(events = left, "not published before the operator stopped");
            self.sink.metrics.events(EventFate::Dropped, left);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn publish_all(
    mut items: UnboundedReceiver<Item>,
    mut recorders: Recorders,
    stop: CancellationToken,
    EventSink { pending, metrics, .. }: EventSink,
) {
    let (mut waiting, mut busy) = (Turns::<Item>::default(), HashSet::new());
    let mut publishing = FuturesUnordered::new();
    loop {
        while publishing.len() < AT_ONCE
            && let Some((namespace, item)) = waiting.pop_where(|namespace| !busy.contains(namespace))
        {
            busy.insert(namespace);
            let (recorder, fresh) = (recorders.recorder_for(&item, Instant::now()), recorders.fresh());
            let metrics = &metrics;
            publishing.push(async move {
                let renewed = publish(&recorder, fresh, &item, metrics).await;
                (item, renewed)
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled(), if !items.is_closed() => items.close(),
            Some((item, renewed)) = publishing.next() => {
                if let Some(recorder) = renewed {
                    recorders.replace(&item, recorder);
                }
                let namespace = item.namespace();
                busy.remove(&namespace);
                pending.remove(&namespace);
            }
            Some(item) = items.recv() => waiting.push(&item.namespace(), item),
            // All have been published, and none can be handed in any more.
            else => return,
        }
    }
}

/// Publishes an event. Should it repeat one that somebody has deleted, `fresh` makes a new one of it, and is returned.
async fn publish(recorder: &Recorder, fresh: Recorder, item: &Item, metrics: &Metrics) -> Option<Recorder> {
    let (Item { event, about }, mut renewed) = (item, None);
    let publishing = async {
        match recorder.publish(event, about).await {
            Err(kube::Error::Api(status)) if status.is_not_found() && event.type_ == EventType::Warning => {
                renewed.insert(fresh).publish(event, about).await
            }
            published => published,
        }
    };
    let problem = match timeout(PUBLISH_TIMEOUT, publishing).await {
        Ok(Ok(())) => {
            metrics.events(EventFate::Published, 1);
            return renewed;
        }
        Ok(Err(error)) => with_causes(&error),
        Err(_) => format!("no answer from the API server within {PUBLISH_TIMEOUT:?}"),
    };
    metrics.events(EventFate::Failed, 1);
    tracing::warn!(
        namespace = about.namespace,
        name = about.name,
        reason = event.reason,
        problem,
        "event not published"
    );
    renewed
}

/// At most `bytes` bytes of `text`, marked when something is missing.
fn cut(mut text: String, bytes: usize) -> String {
    const MARK: &str = "…";
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use k8s_openapi::api::events::v1::Event as Published;
    use kube::client::Body;
    use tokio::sync::Semaphore;

    use super::*;

    /// Stores what it is sent, one request per permit.
    #[derive(Clone)]
    struct Server {
        permits: Arc<Semaphore>,
        code: StatusCode,
        stored: Arc<Mutex<Vec<Published>>>,
    }

    impl Server {
        fn new(permits: usize, code: StatusCode) -> Self {
            Self {
                permits: Arc::new(Semaphore::new(permits)),
                code,
                stored: Arc::default(),
            }
        }

        fn client(&self) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    server.permits.acquire().await.unwrap().forget();
                    let body = request.into_body().collect_bytes().await.unwrap();
                    if server.code.is_success() {
                        server
                            .stored
                            .lock()
                            .unwrap()
                            .push(serde_json::from_slice(&body).unwrap());
                    }
                    let response = Response::builder().status(server.code).body(Body::from(body)).unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            Client::new(service, "default")
        }
    }

    fn event(reason: &str, note: &str) -> Event {
        Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        }
    }

    fn job(name: usize) -> ObjectReference {
        ObjectReference {
            name: Some(format!("train-{name}")),
            namespace: Some("team-a".to_owned()),
            ..ObjectReference::default()
        }
    }

    fn count(metrics: &Metrics, fate: &str) -> usize {
        let start = format!("pytorchjob_operator_events_total{{result=\"{fate}\"}} ");
        let text = metrics.encode().unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(&start)?.parse().ok())
            .unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_handed_in_is_published_before_the_drain_ends() {
        let (server, metrics) = (Server::new(100, StatusCode::CREATED), Metrics::new().unwrap());
        let (sink, publisher) = EventSink::start(server.client(), Some("operator-0".to_owned()), metrics.clone());
        (0..3).for_each(|n| sink.publish(event("PyTorchJobFailed", "the deadline passed"), job(n)));
        publisher.drain(Duration::from_secs(5)).await;
        let stored = server.stored.lock().unwrap().clone();
        assert_eq!(stored.len(), 3);
        assert_eq!(count(&metrics, "published"), 3);
        let first = &stored[0];
        assert_eq!(first.metadata.namespace.as_deref(), Some("team-a"));
        assert_eq!(first.regarding.as_ref().unwrap().name.as_deref(), Some("train-0"));
        assert_eq!(first.reporting_controller.as_deref(), Some("pytorchjob-controller"));
        assert_eq!(first.reporting_instance.as_deref(), Some("operator-0"));
        assert_eq!(first.note.as_deref(), Some("the deadline passed"));

        sink.publish(event("TooLate", ""), job(9));
        assert_eq!(count(&metrics, "dropped"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_that_repeats_is_counted_and_what_says_something_else_is_an_event_of_its_own() {
        for (type_, notes, last) in [
            (EventType::Warning, ["pod a", "pod a"], ("pod a", Some(2))),
            (EventType::Warning, ["quota", "security"], ("security", None)),
            (EventType::Normal, ["pod a", "pod b"], ("pod b", None)),
            (EventType::Normal, ["pod a", "pod a"], ("pod a", None)),
        ] {
            let server = Server::new(100, StatusCode::CREATED);
            let (sink, publisher) = EventSink::start(server.client(), None, Metrics::new().unwrap());
            for note in notes {
                let event = Event {
                    type_,
                    ..event("Reason", note)
                };
                sink.publish(event, job(0));
            }
            publisher.drain(Duration::from_secs(5)).await;
            let second = server.stored.lock().unwrap().pop().unwrap();
            let told = (
                second.note.as_deref().unwrap(),
                second.series.map(|series| series.count),
            );
            assert_eq!(told, last);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_whose_event_was_deleted_is_told_again_and_then_counted_again() {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let arrived = requests.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let arrived = arrived.clone();
            async move {
                let method = request.method().clone();
                arrived.lock().unwrap().push(method.to_string());
                // The first one is gone when it is repeated for the first time.
                let gone = arrived.lock().unwrap().len() == 2;
                let body = request.into_body().collect_bytes().await.unwrap();
                let answer = if gone {
                    let gone = kube::core::Status::failure("gone", "NotFound").with_code(404);
                    let body = Body::from(serde_json::to_vec(&gone).unwrap());
                    Response::builder().status(404).body(body)
                } else {
                    Response::builder().body(Body::from(body))
                };
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let metrics = Metrics::new().unwrap();
        let (sink, publisher) = EventSink::start(Client::new(service, "default"), None, metrics.clone());
        (0..3).for_each(|_| sink.publish(event("FailedCreatePod", "quota"), job(0)));
        publisher.drain(Duration::from_secs(5)).await;
        assert_eq!(*requests.lock().unwrap(), ["POST", "PATCH", "POST", "PATCH"]);
        assert_eq!((count(&metrics, "published"), count(&metrics, "failed")), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_that_does_not_come_again_is_forgotten() {
        let server = Server::new(0, StatusCode::CREATED);
        let mut recorders = Recorders::new(server.client(), Reporter::from("test"));
        let start = Instant::now();
        for (text, after) in [
            ("once", Duration::ZERO),
            ("again", Duration::ZERO),
            ("again", REMEMBERED / 2),
            ("later", REMEMBERED),
        ] {
            let (event, about) = (event("Reason", text), job(0));
            recorders.recorder_for(&Item { event, about }, start + after);
        }
        let mut left: Vec<&str> = recorders.warnings.keys().map(|(_, text)| text.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["again", "later"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_refused_or_unanswered_does_not_hold_up_the_next() {
        let metrics = Metrics::new().unwrap();
        let refusing = Server::new(100, StatusCode::FORBIDDEN);
        let (sink, publisher) = EventSink::start(refusing.client(), None, metrics.clone());
        (0..2).for_each(|n| sink.publish(event("Refused", ""), job(n)));
        publisher.drain(Duration::from_secs(5)).await;
        assert_eq!(count(&metrics, "failed"), 2);

        let silent = Server::new(0, StatusCode::CREATED);
        let (sink, publisher) = EventSink::start(silent.client(), None, metrics.clone());
        (0..2).for_each(|n| sink.publish(event("Unanswered", ""), job(n)));
        publisher.drain(Duration::from_secs(30)).await;
        assert_eq!(count(&metrics, "failed"), 4);
        assert_eq!(count(&metrics, "published") + count(&metrics, "dropped"), 0);
    }

    fn of_namespace(namespace: &str) -> ObjectReference {
        ObjectReference {
            namespace: Some(namespace.to_owned()),
            ..job(0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_and_counts_and_never_waits_and_leaves_room_for_other_namespaces() {
        let (server, metrics) = (Server::new(0, StatusCode::CREATED), Metrics::new().unwrap());
        let (sink, publisher) = EventSink::start(server.client(), None, metrics.clone());
        for full in 1..=QUEUES / QUEUE {
            let about = of_namespace(&format!("full-{full}"));
            (0..QUEUE + 5).for_each(|_| sink.publish(event("Flood", ""), about.clone()));
            assert_eq!(count(&metrics, "dropped"), 5 * full);
        }
        let dropped = 5 * (QUEUES / QUEUE);
        (0..100).for_each(|n| sink.publish(event("Other", ""), of_namespace(&format!("team-{n}"))));
        assert_eq!(count(&metrics, "dropped"), dropped, "each has little to tell");
        (0..FEW).for_each(|_| sink.publish(event("Other", ""), of_namespace("team-0")));
        assert_eq!(count(&metrics, "dropped"), dropped + 1);
        publisher.drain(Duration::from_secs(1)).await;
        assert_eq!(count(&metrics, "dropped"), dropped + QUEUES + 100 + FEW);
        assert!(server.stored.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn where_five_namespaces_take_no_events_those_of_another_are_published_in_their_order() {
        let (server, metrics) = (Server::new(2, StatusCode::CREATED), Metrics::new().unwrap());
        let client = server.client();
        let service = tower::service_fn(move |request: Request<Body>| {
            let client = client.clone();
            async move {
                if request.uri().path().contains("/silent-") {
                    std::future::pending::<()>().await;
                }
                client.send(request).await
            }
        });
        let (sink, publisher) = EventSink::start(Client::new(service, "default"), None, metrics.clone());
        let silent = |n: usize| of_namespace(&format!("silent-{}", n % 5));
        (0..45).for_each(|n| sink.publish(event("Unheard", &n.to_string()), silent(n)));
        (0..2).for_each(|n| sink.publish(event("Heard", &n.to_string()), job(n)));
        publisher.drain(PUBLISH_TIMEOUT / 2).await;
        let stored = server.stored.lock().unwrap().clone();
        let notes: Vec<_> = stored.iter().filter_map(|event| event.note.as_deref()).collect();
        assert_eq!(notes, ["0", "1"]);
        assert_eq!(count(&metrics, "dropped"), 45);
    }

    #[tokio::test(start_paused = true)]
    async fn long_texts_are_cut_to_what_the_api_server_takes() {
        let (server, metrics) = (Server::new(1, StatusCode::CREATED), Metrics::new().unwrap());
        let (sink, publisher) = EventSink::start(server.client(), None, metrics);
        sink.publish(event(&"R".repeat(200), &"ä".repeat(2000)), job(0));
        publisher.drain(Duration::from_secs(5)).await;
        let stored = server.stored.lock().unwrap().pop().unwrap();
        assert_eq!(stored.reason.unwrap().len(), 128);
        let note = stored.note.unwrap();
        assert!(note.len() <= 1024 && note.len() > 1020, "{}", note.len());
        assert!(note.ends_with("ä…"), "{note}");
    }

    #[test]
    fn a_text_that_fits_exactly_is_left_alone() {
        assert_eq!(cut("a".repeat(128), 128), "a".repeat(128));
        assert_eq!(cut("a".repeat(129), 128), format!("{}…", "a".repeat(125)));
    }
}
