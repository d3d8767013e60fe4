//! The watches: one task a kind, each with its own back-off, feeding what we know and telling which jobs are concerned.

use std::fmt::Debug;
use std::future::ready;
use std::mem::replace;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::Api;
use kube::api::Resource;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::api::{ChildKind, names};
use crate::cache::index::Index;
use crate::cache::key::NamespacedName;
use crate::cache::stored_job::{StoredJob, Undecodable};
use crate::cache::view::ObjectView;
use crate::defects::{Defect, back};
use crate::platform::logs::with_causes;
use crate::platform::metrics::Metrics;

/// Jobs fetched by one request, where lists go by pages. While it is decoded, a page takes three times its size, and
/// each of its objects may have 1.5 MB.
const JOBS_PAGE: u32 = 20;
/// The same of other kinds, which are smaller as a rule.
const CHILDREN_PAGE: u32 = 50;
/// Seconds after which the API server ends a watch and it is resumed. One that hangs, because its connection is
/// half-open, is given up five seconds later.
pub(crate) const WATCH_SECONDS: u32 = 55;
/// Longest pause after an error of a watch: it delays everything once the API server is back.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// What a watch does with the jobs that an event concerns.
pub(crate) trait EventHandler: Send + Sync + 'static {
    /// Something about this job changed.
    fn job_changed(&self, job: NamespacedName);
    /// The job with this UID is deleted.
    fn job_deleted(&self, uid: &str);
    /// Whether the API server serves a kind that a cluster may lack.
    fn served(&self, kind: ChildKind, served: bool);
    /// The kind is completely known.
    fn listed(&self, kind: &'static str);
}

/// Watches jobs.
pub(crate) async fn jobs(api: Api<StoredJob>, index: Arc<Index>, handler: Arc<impl EventHandler>, metrics: Metrics) {
    let store = index.jobs().store();
    let config = watcher::Config::default().page_size(JOBS_PAGE);
    let asks_again = || index.jobs().watch_asks_again();
    run("pytorchjobs", api, config, &metrics.clone(), asks_again, |event| {
        let Some(event) = event else { return false };
        if let Event::InitApply(job) | Event::Apply(job) = &event {
            tell_undecodable(job, &metrics);
        }
        let complete = matches!(event, Event::InitDone);
        let changed = index.jobs().feed(event);
        changed.gone.iter().for_each(|uid| handler.job_deleted(uid));
        if let Some(job) = changed.job {
            handler.job_changed(job);
        }
        if complete {
            handler.listed("pytorchjobs");
        }
        metrics.set_cached("pytorchjobs", store.len());
        true
    })
    .await;
}

fn tell_undecodable(job: &StoredJob, metrics: &Metrics) {
    if let StoredJob::Undecodable(object) = job {
        metrics.undecodable("pytorchjobs");
        let Undecodable { metadata, cause, .. } = object.as_ref();
        warn!(
            namespace = metadata.namespace,
            name = metadata.name,
            cause,
            "cannot decode job"
        );
    }
}

/// Watches the objects of one kind that bear our label. A cluster may lack the PodGroups of a gang scheduler, and get
/// them later.
pub(crate) async fn children(
    kind: ChildKind,
    api: Api<ObjectView>,
    index: Arc<Index>,
    handler: Arc<impl EventHandler>,
    metrics: Metrics,
) {
    let asks_again = || index.watch_asks_again(kind);
    run(kind.plural(), api, ours(), &metrics.clone(), asks_again, |event| {
        if event.is_none() && !kind.is_pod_group() {
            return false;
        }
        let (served, complete) = (event.is_some(), matches!(event, None | Some(Event::InitDone)));
        // What is not served does not exist: an empty list.
        let events = event.map_or_else(|| vec![Event::Init, Event::InitDone], |event| vec![event]);
        for job in events.into_iter().flat_map(|event| index.feed(kind, event)) {
            handler.job_changed(job);
        }
        if complete && kind.is_pod_group() {
            handler.served(kind, served);
        }
        if complete {
            handler.listed(kind.plural());
        }
        metrics.set_cached(kind.plural(), index.len(kind));
        true
    })
    .await;
}

/// Selected by the server, so pods of others never reach us.
fn ours() -> watcher::Config {
    let label = format!("{}={}", names::LABEL_OPERATOR_NAME, names::CONTROLLER_NAME);
    watcher::Config::default().labels(&label).page_size(CHILDREN_PAGE)
}

/// A watch whose lists are streams, which arrive one object at a time and cost the API server least. Where it does not
/// stream lists, or a stream ends before the list is complete, they go by pages from then on. `asks_again` is called
/// before each request that follows an error: a list may answer it.
fn events<K>(
    kind: &'static str,
    api: Api<K>,
    config: watcher::Config,
    asks_again: impl Fn(),
) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let seconds = if back(Defect::HalfOpenWatch) {
        290
    } else {
        WATCH_SECONDS
    };
    let config = config.timeout(seconds);
    let by_pages = watch(api.clone(), config.clone());
    let streamed = watch(api, config.streaming_lists());
    let mut lists = StreamedLists::default();
    let streamed = streamed.take_while(move |event| {
        let streams = lists.go_on(event);
        if !streams {
            info!(kind, "the API server does not stream the list: listing by pages");
        }
        ready(streams)
    });
    let (mut events, mut failed) = (Box::pin(streamed.chain(by_pages)), false);
    let events = stream::poll_fn(move |context| {
        // The pause is over.
        if replace(&mut failed, false) {
            asks_again();
        }
        let event = task::ready!(events.as_mut().poll_next(context));
        failed = matches!(event, Some(Err(_)));
        Poll::Ready(event)
    });
    events.backoff(WatchBackoff::default())
}

/// Whether the API server streams lists: Kubernetes does since 1.34, and before with the feature gate `WatchList`.
#[derive(Debug, Default)]
struct StreamedLists {
    incomplete: bool,
}

impl StreamedLists {
    fn go_on<K>(&mut self, event: &watcher::Result<Event<K>>) -> bool {
        match event {
            Ok(Event::Init) => !replace(&mut self.incomplete, true),
            Ok(Event::InitDone) => {
                self.incomplete = false;
                true
            }
            Ok(_) => true,
            Err(error) => !matches!(code(error), Some(400 | 422)),
        }
    }
}

/// The pauses of client-go's reflector, up to our longest. They begin again after two minutes without an error, and not
/// with the next event: a list by pages tells of its begin before it is asked for.
#[derive(Default)]
pub(crate) struct WatchBackoff(DefaultBackoff);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_BACKOFF))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

/// Runs one watch forever. Its errors end here: the stream backs off and resumes by itself. Where the API server does
/// not know the kind there is no event, and `on_event` says whether that is as it may be.
async fn run<K>(
    kind: &'static str,
    api: Api<K>,
    config: watcher::Config,
    metrics: &Metrics,
    asks_again: impl Fn(),
    mut on_event: impl FnMut(Option<Event<K>>) -> bool,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = std::pin::pin!(events(kind, api, config, asks_again));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if matches!(event, Event::InitDone) {
                    metrics.relist(kind);
                    info!(kind, "list complete");
                }
                on_event(Some(event));
            }
            Err(error) if is_unknown(&error) && on_event(None) => {}
            Err(error) => {
                metrics.watch_error(kind);
                let hint = hint(&error).map(|hint| format!("{hint}: ")).unwrap_or_default();
                warn!(kind, error = with_causes(&error), "{hint}watch failed; trying again");
            }
        }
    }
}

/// What to do about an error that does not go away by itself.
fn hint(error: &watcher::Error) -> Option<&'static str> {
    match code(error)? {
        404 => Some("install the CustomResourceDefinition with kubectl apply --server-side -k config/crd"),
        403 => Some("bind the role of the operator with kubectl apply -k config/rbac"),
        _ => None,
    }
}

/// Whether the API server does not know the kind.
fn is_unknown(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_tried_again_within_ten_seconds_however_long_the_outage() {
        let pauses = WatchBackoff::default().take(50);
        assert!(pauses.into_iter().all(|pause| pause <= Duration::from_secs(10)));
        assert_eq!(WatchBackoff::default().take(50).count(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_by_pages_that_fails_is_asked_for_less_and_less_often() {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let service = tower::service_fn(|_| async {
            let refused = kube::core::Status::failure("forbidden", "Forbidden").with_code(403);
            let body = kube::client::Body::from(serde_json::to_vec(&refused).unwrap());
            Ok::<_, std::convert::Infallible>(http::Response::builder().status(403).body(body).unwrap())
        });
        let api = Api::<ObjectView>::all_with(kube::Client::new(service, "default"), &ChildKind::Pod);
        let events = watch(api, ours()).backoff(WatchBackoff::default());
        let counting = events.for_each(|event| {
            asked.fetch_add(u32::from(event.is_err()), std::sync::atomic::Ordering::Relaxed);
            ready(())
        });
        let _forever = tokio::time::timeout(Duration::from_mins(2), counting).await;
        let asked = asked.into_inner();
        assert!((10..20).contains(&asked), "{asked}");
    }

    const LIST: &str = r#"{"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}"#;
    const POD: &str = r#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"train-worker-0",
        "namespace":"team-a","resourceVersion":"7"}}}"#;
    const END: &str = r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"9",
        "annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    const NO_STREAMS: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Invalid",
        "message":"sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled","code":422}"#;

    /// What an API server, which answers streaming lists so and keeps other watches open, is asked until the list is
    /// complete; and the names of what the list shows.
    async fn listed(streamed: (u16, String)) -> (Vec<String>, Vec<String>) {
        let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (code, body) = if query.contains("sendInitialEvents=true") {
                streamed.clone()
            } else {
                assert!(!query.contains("watch=true"), "the list comes first");
                (200, LIST.to_owned())
            };
            sender.send(query).unwrap();
            let body = kube::client::Body::from(body.into_bytes());
            async move { Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap()) }
        });
        let api = Api::<ObjectView>::all_with(kube::Client::new(service, "default"), &ChildKind::Pod);
        let mut events = std::pin::pin!(events("pods", api, ours(), || ()));
        let mut shown = Vec::new();
        loop {
            match events.next().await.unwrap() {
                Ok(Event::Init) => shown.clear(),
                Ok(Event::InitApply(pod)) => shown.push(pod.meta().name.clone().unwrap()),
                Ok(Event::InitDone) => break,
                other => panic!("{other:?}"),
            }
        }
        let asked = std::iter::from_fn(|| requests.try_recv().ok());
        (asked.collect(), shown)
    }

    /// An event as it is sent, which is one line.
    fn line(event: &str) -> String {
        event.replace('\n', "") + "\n"
    }

    #[tokio::test]
    async fn a_list_is_streamed_by_a_watch_that_the_api_server_ends_within_a_minute() {
        let (asked, shown) = listed((200, line(POD) + &line(END))).await;
        let [query] = &asked[..] else { panic!("{asked:?}") };
        assert!(
            query.contains("watch=true") && query.contains("timeoutSeconds=55"),
            "{query}"
        );
        assert_eq!(shown, ["train-worker-0"]);
    }

    #[tokio::test]
    async fn where_the_api_server_streams_no_lists_they_go_by_pages() {
        let (asked, shown) = listed((422, NO_STREAMS.to_owned())).await;
        let [_, query] = &asked[..] else { panic!("{asked:?}") };
        assert!(query.contains("limit=50"), "{query}");
        assert_eq!(shown, [""; 0]);
    }

    #[tokio::test]
    async fn a_streamed_list_that_ends_before_it_is_complete_is_made_by_pages() {
        let (asked, shown) = listed((200, line(POD))).await;
        let [.., query] = &asked[..] else { panic!("{asked:?}") };
        assert!(query.contains("limit=50"), "{query}");
        assert_eq!(shown, [""; 0]);
    }
}
