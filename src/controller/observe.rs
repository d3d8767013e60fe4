//! The job that a pass is about.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, ResourceExt};
use tokio::time::Instant;
use tracing::debug;

use crate::api::ChildKind;
use crate::cache::{ObjectView, StoredJob};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::job_ref::JobRef;
use crate::planner::finished;
use crate::platform::logs::with_causes;

/// Objects of one job that are read at once.
const READS: usize = 4;

/// Reads a job that is doubted.
pub(super) async fn read(context: &Context, job: &JobRef<'_>) -> Result<Arc<StoredJob>, Error> {
    let api = Api::<StoredJob>::namespaced(context.client.clone(), job.namespace);
    let _permit = context.permit(job.namespace).await;
    let jobs = context.index.jobs();
    let (kept, doubt) = (jobs.get(&job.key()), jobs.last_doubt());
    let kept = kept.and_then(|kept| kept.version());
    match api.get(job.name).await {
        Ok(stored) => {
            let is_it = stored.uid() == job.uid;
            jobs.was_read(stored, kept, doubt);
            let known = jobs.get(&job.key());
            if !is_it {
                context.pacing.forget(job.uid);
            }
            known.filter(|_| is_it).ok_or_else(|| job.gone())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(job.gone()),
        Err(source) => Err(Error::Read {
            kind: "pytorchjob".to_owned(),
            namespace: job.namespace.to_owned(),
            name: job.name.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// Reads the objects of the job that we wrote and that the watch does not show. What cannot be read stays as it was
/// written.
pub(super) async fn read_overdue(context: &Context, job: &JobRef<'_>) {
    let overdue = context.index.overdue(&job.id(), Instant::now());
    stream::iter(overdue)
        .for_each_concurrent(READS, async |(kind, name, uid)| {
            if let Err(error) = read_child(context, job, kind, &name, &uid).await {
                debug!(%kind, namespace = job.namespace, name, error = with_causes(&error), "cannot read");
            }
        })
        .await;
}

/// Reads the pods of the job that have ended, failed in place or were disrupted, and were last seen before this replica
/// led: whoever led then may have counted and replaced them. Returns whether there were any.
pub(super) async fn read_ended(context: &Context, job: &JobRef<'_>) -> Result<bool, Error> {
    if job.object.status.as_ref().is_some_and(finished) {
        return Ok(false);
    }
    let ended = context.index.ended_before_leading(&job.id());
    let any = !ended.is_empty();
    stream::iter(ended.into_iter().map(Ok))
        .try_for_each_concurrent(READS, async |(name, uid)| {
            let read = read_child(context, job, ChildKind::Pod, &name, &uid).await;
            read.map(drop).map_err(|source| Error::Read {
                kind: ChildKind::Pod.to_string(),
                namespace: job.namespace.to_owned(),
                name,
                source: Box::new(source),
            })
        })
        .await?;
    Ok(any)
}

/// Reads an object of the job, and keeps what is found. Returns the version of the one that has this UID, if it is
/// there.
pub(super) async fn read_child(
    context: &Context,
    job: &JobRef<'_>,
    kind: ChildKind,
    name: &str,
    uid: &str,
) -> Result<Option<u64>, kube::Error> {
    let api = Api::<ObjectView>::namespaced_with(context.client.clone(), job.namespace, &kind);
    let permit = context.permit(job.namespace).await;
    let found = api.get_opt(name).await?;
    drop(permit);
    let is_it = |object: &ObjectView| object.uid().as_deref() == Some(uid);
    if !found.as_ref().is_some_and(is_it) {
        context.index.not_found(kind, &job.id(), name, uid);
    }
    if let Some(object) = found {
        context.index.created(kind, object, Instant::now());
    }
    Ok(context.index.version(kind, &job.id(), name, uid))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use futures::FutureExt;
    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use kube::runtime::watcher::Event;

    use super::*;
    use crate::api::{ChildKind, ChildRef, PyTorchJob, Replica, ReplicaType, names};
    use crate::cache::{CONFIRMED_WITHIN, NamespacedName};
    use crate::controller::act::act;
    use crate::controller::delete::{delete_child, force_delete};
    use crate::controller::error::ReconcileError;
    use crate::controller::reconcile::reconcile;
    use crate::controller::settings::CurrentSettings;
    use crate::planner::{Action, Contents, Settings};
    use crate::platform::events::EventSink;
    use crate::platform::health::Health;
    use crate::platform::metrics::Metrics;

    type Happening = Box<dyn FnOnce() + Send>;
    /// Verb and path of a request, and code and reason of the answer.
    type Failure = (&'static str, u16, &'static str);

    /// What becomes of an answer.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    enum Fate {
        #[default]
        Arrives,
        IsLost,
        NeverComes,
    }

    /// An API server with one job at most.
    #[derive(Clone, Default)]
    struct Server {
        /// Null when it does not exist.
        job: Arc<Mutex<Value>>,
        /// What becomes of the answer to a status that is stored.
        answer: Fate,
        /// Whether fields within a status are pruned.
        prunes: bool,
        /// Whether the pods that are asked for exist, of this job, and the watch has not shown them.
        has_the_pods: bool,
        /// Whether no pod is let in.
        refuses_pods: bool,
        /// What is answered to the next request that ends so, such as `POST pods`, in this order.
        failures: Arc<Mutex<Vec<Failure>>>,
        /// What happens before the answer to a status that is refused.
        meanwhile: Arc<Mutex<Option<Happening>>>,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn answer(&self, request: &Request<Body>, sent: &[u8]) -> (StatusCode, Value) {
            let url = request.uri().path().to_owned();
            self.requests
                .lock()
                .unwrap()
                .push(format!("{} {url}", request.method()));
            let asked = format!(
                "{} {}",
                request.method(),
                url.rsplit_once("/ns/").map_or("", |(_, path)| path)
            );
            let mut failures = self.failures.lock().unwrap();
            if let Some(next) = failures.iter().position(|(request, ..)| *request == asked) {
                let (_, code, reason) = failures.remove(next);
                return failure(code, reason);
            }
            drop(failures);
            let mut job = self.job.lock().unwrap();
            match *request.method() {
                Method::PATCH if url.ends_with("/status") => {
                    let patch: Value = serde_json::from_slice(sent).unwrap();
                    if patch[0]["value"] != job["metadata"]["resourceVersion"] {
                        self.meanwhile
                            .lock()
                            .unwrap()
                            .take()
                            .into_iter()
                            .for_each(|happens| happens());
                        return failure(409, "Conflict");
                    }
                    job["status"] = patch[1]["value"].clone();
                    if self.prunes {
                        job["status"]["conditions"][0]
                            .as_object_mut()
                            .unwrap()
                            .remove("message");
                    }
                    let version: u64 = job["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                    job["metadata"]["resourceVersion"] = json!((version + 10).max(20).to_string());
                    if self.answer == Fate::IsLost {
                        return failure(504, "Timeout");
                    }
                    (StatusCode::OK, job.clone())
                }
                Method::GET if url.ends_with("/pods/gone") => failure(404, "NotFound"),
                Method::GET if url.ends_with("/pods/there") => (StatusCode::OK, pod("there")),
                Method::GET | Method::PATCH if self.has_the_pods && url.contains("/pods/") => {
                    (StatusCode::OK, pod("job-master-0"))
                }
                Method::POST if self.has_the_pods && url.ends_with("/pods") => failure(409, "AlreadyExists"),
                Method::POST if self.refuses_pods && url.ends_with("/pods") => failure(403, "Forbidden"),
                Method::GET if job.is_null() => failure(404, "NotFound"),
                Method::GET => (StatusCode::OK, job.clone()),
                Method::POST => {
                    let mut created: Value = serde_json::from_slice(sent).unwrap();
                    created["metadata"]["uid"] = created["metadata"]["name"].clone();
                    created["metadata"]["resourceVersion"] = json!("10");
                    (StatusCode::CREATED, created)
                }
                _ => (
                    StatusCode::OK,
                    json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }),
                ),
            }
        }

        fn client(&self) -> kube::Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect_bytes().await.unwrap();
                    let writes_status = parts.method == Method::PATCH && parts.uri.path().ends_with("/status");
                    let (code, answer) = server.answer(&Request::from_parts(parts, Body::empty()), &body);
                    if server.answer == Fate::NeverComes && writes_status {
                        std::future::pending::<()>().await;
                    }
                    let response = Response::builder()
                        .status(code)
                        .body(Body::from(answer.to_string().into_bytes()));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            kube::Client::new(service, "default")
        }

        fn context(&self) -> Arc<Context> {
            let metrics = Metrics::new().unwrap();
            let (events, publisher) = EventSink::start(self.client(), None, metrics.clone());
            drop(publisher);
            let settings = CurrentSettings::new(Settings::default());
            Arc::new(Context::new(
                self.client(),
                settings,
                metrics,
                events,
                Health::new(&[]),
                None,
            ))
        }

        /// The same where this job is stored, and known.
        fn knows(&self, job: &Value) -> Arc<Context> {
            *self.job.lock().unwrap() = job.clone();
            let context = self.context();
            context.index.jobs().feed(Event::Apply(stored(job)));
            context
        }
    }

    fn failure(code: u16, reason: &str) -> (StatusCode, Value) {
        let details = json!({ "causes": [{ "reason": reason }] });
        let reason = if code == 403 { "Forbidden" } else { reason };
        let status = kube::core::Status::failure("failed", reason)
            .with_code(code)
            .with_details(serde_json::from_value(details).unwrap());
        (
            StatusCode::from_u16(code).unwrap(),
            serde_json::to_value(status).unwrap(),
        )
    }

    /// A job of one pod, as stored.
    fn job(version: &str, spec: &Value) -> Value {
        let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
        let mut job = json!({
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
            "metadata": { "name": "job", "namespace": "ns", "uid": "u", "resourceVersion": version, "generation": 1 },
            "spec": { "pytorchReplicaSpecs": { "Master": { "template": template } } },
        });
        let fields = spec.as_object().unwrap().clone();
        job["spec"].as_object_mut().unwrap().extend(fields);
        job
    }

    fn stored(job: &Value) -> StoredJob {
        serde_json::from_str(&job.to_string()).unwrap()
    }

    /// One reconcile of the job as it is known.
    async fn reconciled(context: &Arc<Context>) -> Result<Duration, ReconcileError> {
        let seen = context.index.jobs().get(&NamespacedName::new("ns", "job")).unwrap();
        context.pacing.begin(seen.uid());
        reconcile(seen, context.clone()).await
    }

    /// The same. The requests that it made, without what it asked of services.
    async fn pass(server: &Server, context: &Arc<Context>) -> Vec<String> {
        server.requests.lock().unwrap().clear();
        let _result = reconciled(context).await;
        let requests = server.requests.lock().unwrap();
        let short = |request: &String| request.rsplit_once("namespaces/ns/").map(|(_, path)| path.to_owned());
        let verb = |request: &String| request.split(' ').next().map(ToOwned::to_owned);
        let all = requests.iter().filter(|request| !request.contains("/services"));
        all.filter_map(|request| Some(format!("{} {}", verb(request)?, short(request)?)))
            .collect()
    }

    /// The watch shows the job as it is stored.
    fn show(server: &Server, context: &Context) {
        let shown = server.job.lock().unwrap().clone();
        context.index.jobs().feed(Event::Apply(stored(&shown)));
    }

    /// Where the job is known and its first status is stored.
    async fn begun(server: &Server) -> Arc<Context> {
        let context = server.knows(&job("1", &json!({})));
        assert_eq!(pass(server, &context).await, [STATUS]);
        context
    }

    fn assert_one_has_failed(context: &Context) {
        let counted = "training_operator_jobs_failed_total{framework=\"pytorch\",job_namespace=\"ns\"} 1";
        let metrics = context.metrics.encode().unwrap();
        assert!(metrics.contains(counted), "{metrics}");
    }

    fn pod(name: &str) -> Value {
        json!({
            "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": "15", "ownerReferences": [
                { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job", "uid": "u", "controller": true }] },
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_created_pod_that_the_watch_does_not_show_is_read_and_goes_only_if_it_is_gone() {
        let (server, metadata) = (
            Server::default(),
            json!({ "name": "job", "namespace": "ns", "uid": "u" }),
        );
        let job = json!({ "metadata": metadata, "spec": { "pytorchReplicaSpecs": {} } }).to_string();
        let job: PyTorchJob = serde_json::from_str(&job).unwrap();
        let (context, job) = (server.context(), JobRef::of(&job));
        for name in ["gone", "there"] {
            let created = serde_json::from_value(pod(name)).unwrap();
            context.index.created(ChildKind::Pod, created, Instant::now());
        }
        read_overdue(&context, &job).await;
        assert!(server.requests.lock().unwrap().is_empty(), "the watch is not late yet");
        tokio::time::advance(CONFIRMED_WITHIN).await;
        read_overdue(&context, &job).await;
        read_overdue(&context, &job).await;
        assert_eq!(server.requests.lock().unwrap().len(), 2, "each is read once");
        let pods = context.index.owned_by(&job.id()).pods;
        assert_eq!(pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["there"]);
    }

    const READ: &str = "GET pytorchjobs/job";
    const STATUS: &str = "PATCH pytorchjobs/job/status";

    fn suspended() -> Value {
        json!({ "runPolicy": { "suspend": true } })
    }

    /// A job that is past its deadline.
    fn late() -> Value {
        let mut late = job("1", &json!({ "activeDeadlineSeconds": 0 }));
        late["status"] = json!({ "observedGeneration": 1, "startTime": "2026-01-01T00:00:00Z" });
        late
    }

    /// The same after the write of its outcome has been carried out and not answered.
    async fn failed_without_answer() -> (Server, Arc<Context>) {
        let server = Server {
            answer: Fate::IsLost,
            ..Server::default()
        };
        let context = server.knows(&late());
        assert_eq!(pass(&server, &context).await, [STATUS]);
        (server, context)
    }

    #[tokio::test]
    async fn after_a_status_write_without_answer_the_job_is_read_before_it_is_planned_again() {
        let (server, context) = failed_without_answer().await;
        assert_eq!(server.job.lock().unwrap()["status"]["conditions"][1]["type"], "Failed");
        let failed = || {
            let metrics = context.metrics.encode().unwrap();
            let mut lines = metrics.lines().map(ToOwned::to_owned);
            lines.find(|line| line.starts_with("training_operator_jobs_failed_total{"))
        };
        assert_eq!(failed(), None, "whether it is stored is not known");
        // Without reading, the end would be decided once more, at another time.
        assert_eq!(pass(&server, &context).await, [READ]);
        assert!(failed().unwrap().ends_with(" 1"), "{:?}", failed());
        assert_eq!(pass(&server, &context).await, [""; 0], "it is known now");
    }

    #[tokio::test]
    async fn a_status_without_answer_is_not_laid_over_an_older_spec() {
        let server = Server {
            answer: Fate::IsLost,
            ..Server::default()
        };
        let context = begun(&server).await;
        // Suspended meanwhile, which the watch does not show.
        let mut edited = job("21", &suspended());
        edited["status"] = server.job.lock().unwrap()["status"].clone();
        *server.job.lock().unwrap() = edited;
        assert_eq!(pass(&server, &context).await, [READ, STATUS]);
    }

    #[tokio::test]
    async fn after_a_conflict_the_job_is_read_and_planned_again_at_once() {
        let server = Server::default();
        *server.job.lock().unwrap() = job("5", &suspended());
        let context = server.context();
        context.index.jobs().feed(Event::Apply(stored(&job("1", &json!({})))));
        assert_eq!(pass(&server, &context).await, [STATUS, READ, STATUS]);
        // The watch, still late, shows what is older than the conflict.
        context.index.jobs().feed(Event::Apply(stored(&job("3", &json!({})))));
        assert_eq!(pass(&server, &context).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_is_remembered_whatever_else_failed_and_whatever_list_of_before_has_come() {
        let server = Server {
            refuses_pods: true,
            ..Server::default()
        };
        let context = begun(&server).await;
        // What refuses the pods is told with the next status, after its burst.
        for _ in 0..2 {
            assert_eq!(pass(&server, &context).await, ["POST pods"]);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let before = server.job.lock().unwrap().clone();
        let mut edited = job("21", &suspended());
        edited["status"] = before["status"].clone();
        *server.job.lock().unwrap() = edited;
        let feed = context.clone();
        *server.meanwhile.lock().unwrap() = Some(Box::new(move || {
            for event in [Event::Init, Event::InitApply(stored(&before)), Event::InitDone] {
                feed.index.jobs().feed(event);
            }
        }));
        assert_eq!(pass(&server, &context).await, ["POST pods", STATUS]);
        assert_eq!(pass(&server, &context).await[0], READ);
    }

    #[tokio::test]
    async fn what_the_watch_of_a_standby_shows_is_read_before_it_is_acted_upon() {
        let server = Server::default();
        *server.job.lock().unwrap() = job("5", &suspended());
        let context = server.context();
        context.index.jobs().feed(Event::Apply(stored(&job("1", &json!({})))));
        context.index.jobs().led_from(8);
        assert_eq!(pass(&server, &context).await, [READ, STATUS]);
    }

    #[tokio::test]
    async fn a_pod_that_existed_already_is_neither_counted_nor_asked_for_again() {
        let server = Server {
            has_the_pods: true,
            ..Server::default()
        };
        let context = begun(&server).await;
        let adopted = ["POST pods", "GET pods/job-master-0", "PATCH pods/job-master-0"];
        assert_eq!(pass(&server, &context).await, adopted);
        assert_eq!(pass(&server, &context).await, [""; 0]);
        let metrics = context.metrics.encode().unwrap();
        let counted = metrics
            .lines()
            .find(|line| line.contains("created_pods_total") && !line.starts_with('#'));
        assert_eq!(
            counted.and_then(|line| line.split(' ').next_back()),
            Some("0"),
            "{metrics}"
        );
    }

    #[tokio::test]
    async fn pods_that_the_garbage_collector_removes_before_the_watch_shows_the_job_gone_are_not_created_again() {
        let server = Server::default();
        let context = begun(&server).await;
        assert_eq!(pass(&server, &context).await, ["POST pods"]);
        *server.job.lock().unwrap() = Value::Null;
        let created = serde_json::from_value(pod("job-master-0")).unwrap();
        context.index.feed(ChildKind::Pod, Event::Delete(created));
        for _ in 0..2 {
            assert_eq!(pass(&server, &context).await, [READ]);
        }
        // What the watch shows meanwhile is of the time before.
        context.index.jobs().feed(Event::Apply(stored(&job("30", &json!({})))));
        assert_eq!(pass(&server, &context).await, [READ]);
        let requests = server.requests.lock().unwrap();
        assert!(
            !requests.iter().any(|request| request.starts_with("POST")),
            "nor are services: {requests:?}"
        );
    }

    #[tokio::test]
    async fn a_status_whose_answer_was_lost_is_told_and_counted_when_the_watch_shows_it() {
        let (server, context) = failed_without_answer().await;
        show(&server, &context);
        pass(&server, &context).await;
        assert_one_has_failed(&context);
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_whose_pass_ended_before_the_answer_is_told_and_counted_when_the_watch_shows_it() {
        let server = Server {
            answer: Fate::NeverComes,
            ..Server::default()
        };
        let context = server.knows(&late());
        let cut = tokio::time::timeout(Duration::from_secs(5), pass(&server, &context)).await;
        assert!(cut.is_err());
        show(&server, &context);
        pass(&server, &context).await;
        assert_one_has_failed(&context);
    }

    #[tokio::test]
    async fn the_failure_of_what_cannot_be_decoded_is_counted_once_also_when_its_answer_was_lost() {
        for answer in [Fate::Arrives, Fate::IsLost] {
            let server = Server {
                answer,
                ..Server::default()
            };
            let context = server.knows(&job("1", &json!({ "pytorchReplicaSpecs": 1 })));
            assert_eq!(pass(&server, &context).await, [STATUS]);
            for _ in 0..2 {
                show(&server, &context);
                assert_eq!(pass(&server, &context).await, [""; 0]);
            }
            assert_one_has_failed(&context);
        }
    }

    #[tokio::test]
    async fn a_status_does_not_wait_behind_creations_that_are_held_up() {
        let server = Server::default();
        let context = server.knows(&job("1", &json!({})));
        let mut held = Vec::new();
        while let Some(permit) = context.creation_permit("ns").now_or_never() {
            held.push(permit);
        }
        assert_eq!(pass(&server, &context).await, [STATUS]);
    }

    #[tokio::test]
    async fn a_status_that_is_pruned_within_is_not_written_again() {
        let server = Server {
            prunes: true,
            ..Server::default()
        };
        let context = begun(&server).await;
        assert_eq!(pass(&server, &context).await, ["POST pods"]);
        assert_eq!(pass(&server, &context).await, [""; 0]);
    }

    #[tokio::test]
    async fn what_was_created_is_looked_at_again_in_time_to_read_it_if_no_watch_shows_it() {
        let server = Server::default();
        let context = begun(&server).await;
        let next = reconciled(&context).await.unwrap();
        assert!(next <= CONFIRMED_WITHIN, "{next:?}");
    }

    #[tokio::test]
    async fn a_job_whose_namespace_seems_to_end_is_looked_at_again_after_a_minute() {
        let server = Server::default();
        let context = begun(&server).await;
        server
            .failures
            .lock()
            .unwrap()
            .push(("POST pods", 403, "NamespaceTerminating"));
        assert_eq!(reconciled(&context).await.unwrap(), Duration::from_mins(1));
        assert_eq!(pass(&server, &context).await, ["POST pods"]);
    }

    #[tokio::test]
    async fn a_pod_that_is_deleted_and_then_by_force_is_counted_once() {
        let server = Server {
            has_the_pods: true,
            ..Server::default()
        };
        let context = server.knows(&job("1", &json!({})));
        let object = serde_json::from_str(&job("1", &json!({})).to_string()).unwrap();
        let job = JobRef::of(&object);
        for (name, asked) in [("asked", true), ("taken", false)] {
            let created = serde_json::from_value(pod(name)).unwrap();
            context.index.created(ChildKind::Pod, created, Instant::now());
            if asked {
                delete_child(&context, &job, ChildKind::Pod, name, name).await.unwrap();
            }
            force_delete(&context, &job, name, name).await.unwrap();
        }
        let metrics = context.metrics.encode().unwrap();
        assert!(metrics.contains("\ndeleted_pods_total 2\n"), "{metrics}");
    }

    #[tokio::test]
    async fn a_name_that_is_freed_or_given_to_another_meanwhile_is_asked_for_again() {
        let (get, patch) = ("GET pods/job-master-0", "PATCH pods/job-master-0");
        let exists = ("POST pods", 409, "AlreadyExists");
        for (has_the_pods, failures, last) in [
            (false, vec![exists, (get, 404, "NotFound")], "POST pods"),
            (true, vec![(patch, 404, "NotFound")], patch),
            (true, vec![(patch, 409, "Conflict")], patch),
        ] {
            let server = Server {
                has_the_pods,
                ..Server::default()
            };
            let context = begun(&server).await;
            *server.failures.lock().unwrap() = failures;
            let requests = pass(&server, &context).await;
            assert_eq!(requests.last().map(String::as_str), Some(last), "{requests:?}");
            assert!(requests.contains(&READ.to_owned()), "{requests:?}");
            let pods = context.index.owned_by(&crate::cache::JobId::new("ns", "u")).pods;
            assert_eq!(pods.len(), 1, "{requests:?}");
            assert_eq!(pass(&server, &context).await, [""; 0]);
        }
    }

    #[tokio::test]
    async fn what_is_gone_before_it_is_updated_or_deleted_is_no_error_and_not_counted() {
        let server = Server {
            has_the_pods: true,
            ..Server::default()
        };
        let context = server.knows(&job("1", &json!({})));
        let object = serde_json::from_str(&job("1", &json!({})).to_string()).unwrap();
        let job = JobRef::of(&object);
        let child = ChildRef::of_replica(ChildKind::Pod, Replica::new(ReplicaType::Master, 0));
        let update = |uid: &str| Action::Update {
            child,
            uid: uid.to_owned(),
            contents: Contents::TemplateHash("0-1".to_owned()),
        };
        let patch = "PATCH pods/job-master-0";
        let delete = "DELETE pytorchjobs/job";
        for (failure, action, gone, failed) in [
            ((patch, 404, "NotFound"), update("job-master-0"), true, false),
            ((patch, 422, "Invalid"), update("another"), true, false),
            ((patch, 422, "Invalid"), update("job-master-0"), false, true),
            ((delete, 404, "NotFound"), Action::DeleteJob, false, false),
        ] {
            *server.failures.lock().unwrap() = vec![failure];
            let applied = act(&context, &job, std::slice::from_ref(&action), &AtomicBool::new(false)).await;
            assert_eq!((applied.gone, applied.error.is_some()), (gone, failed), "{action:?}");
        }
        let metrics = context.metrics.encode().unwrap();
        assert!(!metrics.contains("training_operator_jobs_deleted_total{"), "{metrics}");
    }

    #[tokio::test]
    async fn a_pod_of_a_creation_that_was_given_up_before_an_edit_does_not_pass_for_one_of_today() {
        let server = Server {
            refuses_pods: true,
            ..Server::default()
        };
        let context = begun(&server).await;
        let mut edited = server.job.lock().unwrap().clone();
        edited["metadata"]["resourceVersion"] = json!("30");
        edited["metadata"]["generation"] = json!(2);
        edited["status"]["observedGeneration"] = json!(2);
        edited["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["image"] = json!("new");
        *server.job.lock().unwrap() = edited.clone();
        context.index.jobs().feed(Event::Apply(stored(&edited)));
        assert_eq!(pass(&server, &context).await[0], "POST pods");
        let mut late = pod("job-master-0");
        late["metadata"]["labels"] = json!({
            names::LABEL_OPERATOR_NAME: names::CONTROLLER_NAME,
            names::LABEL_JOB_NAME: "job",
            names::LABEL_REPLICA_TYPE: "master",
            names::LABEL_REPLICA_INDEX: "0",
            names::LABEL_POD_TEMPLATE_HASH: "0000000000000001-1",
        });
        let late = serde_json::from_value(late).unwrap();
        context.index.feed(ChildKind::Pod, Event::Apply(late));
        let mut requests = pass(&server, &context).await;
        requests.extend(pass(&server, &context).await);
        assert_eq!(requests, [STATUS, "DELETE pods/job-master-0"]);
    }

    #[tokio::test]
    async fn the_pods_of_a_new_job_wait_for_its_status_and_not_for_all_its_services() {
        let mut large = job("1", &json!({}));
        let template = large["spec"]["pytorchReplicaSpecs"]["Master"]["template"].clone();
        large["spec"]["pytorchReplicaSpecs"]["Worker"] = json!({ "replicas": 100, "template": template });
        let server = Server::default();
        let context = server.knows(&large);
        let services = || {
            let requests = server.requests.lock().unwrap();
            requests.iter().filter(|request| request.ends_with("/services")).count()
        };
        assert_eq!(pass(&server, &context).await, [STATUS]);
        assert!((1..50).contains(&services()), "{}", services());
        assert_eq!(pass(&server, &context).await, ["POST pods"; 101]);
        assert!(services() > 50, "{}", services());
    }
}
