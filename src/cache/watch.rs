//! The watches: one task a kind, each with its own back-off, feeding what we know and telling which jobs are concerned.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
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

/// Jobs fetched by one request of a list. While it is decoded, a page takes three times its size, and each of its
/// objects may have 1.5 MB.
const JOBS_PAGE: u32 = 20;
/// The same of other kinds, which are smaller as a rule.
const CHILDREN_PAGE: u32 = 50;
/// Seconds after which the API server ends a watch and it is resumed. One that hangs, because its connection is
/// half-open, is given up five seconds later.
const WATCH_SECONDS: u32 = 55;
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
    let events = events(api, watcher::Config::default().page_size(JOBS_PAGE));
    run("pytorchjobs", events, &metrics.clone(), |event| {
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
    run(kind.plural(), events(api, ours()), &metrics.clone(), |event| {
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

fn events<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let seconds = if back(Defect::HalfOpenWatch) {
        290
    } else {
        WATCH_SECONDS
    };
    watch(api, config.timeout(seconds)).backoff(WatchBackoff::default())
}

/// The pauses of client-go's reflector, up to our longest.
#[derive(Default)]
struct WatchBackoff(DefaultBackoff);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_BACKOFF))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Runs one watch forever. Its errors end here: the stream backs off and resumes by itself. Where the API server does
/// not know the kind there is no event, and `on_event` says whether that is as it may be.
async fn run<K>(
    kind: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    metrics: &Metrics,
    mut on_event: impl FnMut(Option<Event<K>>) -> bool,
) {
    let mut events = std::pin::pin!(events);
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

    #[tokio::test]
    async fn a_watch_asks_the_api_server_to_end_it_within_a_minute() {
        let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let watches = query.contains("watch=true");
            sender.send(query).unwrap();
            async move {
                if watches {
                    std::future::pending::<()>().await;
                }
                let list = r#"{"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}"#;
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
                    list.as_bytes().to_vec(),
                )))
            }
        });
        let api = Api::<ObjectView>::all_with(kube::Client::new(service, "default"), &ChildKind::Pod);
        let watching = tokio::spawn(events(api, ours()).for_each(async |_| {}));
        while let Some(query) = requests.recv().await {
            if query.contains("watch=true") {
                assert!(query.contains("timeoutSeconds=55"), "{query}");
                break;
            }
        }
        watching.abort();
    }
}
