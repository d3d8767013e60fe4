//! A namespace, an operator that serves it, and a client that plays everybody else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod, ResourceQuota, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request};
use kube::core::Status;
use kube::{Api, Client, Resource, ResourceExt};
use pytorchjob_test_cluster::{
    Audit, AuditFilter, Cluster, Namespace, Operator, Options, PodPhase, User, repository, set_pod_phase, wait_for,
    wait_for_all, wait_gone,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use crate::job::{Job, suspend};

/// For what happens in milliseconds on an idle machine.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two questions for what cannot be watched.
const PAUSE: Duration = Duration::from_millis(50);
/// Who the operator is in the audit log.
pub const OPERATOR: &str = "system:serviceaccount:kubeflow:pytorchjob-operator";

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pytorchjob-operator");

/// A namespace, and a client that plays everybody else, whoever runs the operator.
pub struct Site {
    pub cluster: &'static Cluster,
    pub namespace: Namespace<'static>,
    pub client: Client,
    /// How long anything is waited for.
    pub timeout: Duration,
}

/// A site with an operator of its own.
pub struct Rig {
    site: Site,
    pub operator: Operator,
    pub kubeconfig: PathBuf,
    /// Flags of the operator beside the namespace.
    pub arguments: Vec<String>,
}

/// How an operator ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
}

impl Rig {
    /// A namespace of the shared cluster, and an operator with the shipped roles.
    pub async fn start() -> Self {
        let cluster = Cluster::shared().await;
        let kubeconfig = shipped_identity(cluster).await;
        Self::start_on(cluster, kubeconfig).await
    }

    /// The same on another cluster, and as whoever `kubeconfig` says.
    pub async fn start_on(cluster: &'static Cluster, kubeconfig: PathBuf) -> Self {
        let namespace = cluster.namespace("apiserver").await.unwrap();
        Self::start_in(cluster, namespace, kubeconfig).await
    }

    /// The same in a namespace that has objects already.
    pub async fn start_in(cluster: &'static Cluster, namespace: Namespace<'static>, kubeconfig: PathBuf) -> Self {
        Self::start_with(cluster, namespace, kubeconfig, &[]).await
    }

    /// The same with flags of the operator.
    pub async fn start_with(
        cluster: &'static Cluster,
        namespace: Namespace<'static>,
        kubeconfig: PathBuf,
        arguments: &[&str],
    ) -> Self {
        Self {
            operator: operator(&kubeconfig, &namespace, arguments).await,
            site: Site::new(cluster, namespace, TIMEOUT),
            kubeconfig,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        }
    }

    /// Ends the operator. Nobody serves the namespace until [`Rig::go_on`].
    pub async fn end_operator(&self, end: End) {
        match end {
            End::Stop => assert!(self.operator.stop().await.unwrap().success(), "SIGTERM is a normal end"),
            End::Kill => self.operator.kill().await,
        }
    }

    /// Starts the operator again, with the flags it had.
    pub async fn go_on(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.operator = operator(&self.kubeconfig, &self.namespace, &arguments).await;
    }
}

impl Deref for Rig {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Site {
    pub fn new(cluster: &'static Cluster, namespace: Namespace<'static>, timeout: Duration) -> Self {
        Self {
            client: cluster.admin(),
            cluster,
            namespace,
            timeout,
        }
    }

    pub fn jobs(&self) -> Api<Job> {
        self.api()
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub fn services(&self) -> Api<Service> {
        self.api()
    }

    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The path of the jobs of this namespace.
    pub fn path(&self) -> String {
        Job::url_path(&(), Some(&self.namespace))
    }

    pub async fn try_create(&self, job: &Value) -> Result<Job, kube::Error> {
        create(&self.client, &self.namespace, job).await
    }

    pub async fn create(&self, job: &Value) -> Job {
        self.try_create(job).await.unwrap()
    }

    /// Creates a job and waits for the names of all pods it is to have.
    pub async fn create_with_pods(&self, job: &Value) -> (Job, Vec<Pod>) {
        let created = self.create(job).await;
        let pods = self
            .wait_pods(created.name(), |pods| pods.len() == replicas(&created))
            .await;
        (created, pods)
    }

    /// Creates a job, lets all its pods run, and waits until it runs.
    pub async fn running(&self, job: &Value) -> Job {
        let (job, pods) = self.create_with_pods(job).await;
        self.set_phases(pods.iter().map(ResourceExt::name_any), &PodPhase::Running)
            .await;
        self.wait(job.name(), |job| job.is("Running")).await
    }

    /// Suspends a job, resumes it, lets all its pods run, and waits until it runs.
    pub async fn suspended_and_resumed(&self, name: &str, pods: usize) {
        self.patch(name, &suspend(true)).await;
        self.wait_pods(name, <[_]>::is_empty).await;
        self.wait(name, |job| job.is("Suspended")).await;
        self.patch(name, &suspend(false)).await;
        let pods = self.wait_pods(name, |all| all.len() == pods).await;
        self.set_phases(pods.iter().map(ResourceExt::name_any), &PodPhase::Running)
            .await;
        self.wait(name, |job| job.is("Running")).await;
    }

    /// Creates a job, lets it run and then succeed.
    pub async fn succeeded(&self, job: &Value) -> Job {
        let job = self.running(job).await;
        self.set_phase(&format!("{}-master-0", job.name()), &PodPhase::Succeeded)
            .await;
        self.wait(job.name(), |job| job.is("Succeeded")).await
    }

    pub async fn get(&self, name: &str) -> Job {
        self.jobs().get(name).await.unwrap()
    }

    pub async fn try_patch(&self, name: &str, patch: &Value) -> Result<Job, kube::Error> {
        self.jobs()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// A merge patch, as the page of the seed sends it.
    pub async fn patch(&self, name: &str, patch: &Value) -> Job {
        self.try_patch(name, patch).await.unwrap()
    }

    pub async fn wait(&self, name: &str, predicate: impl Fn(&Job) -> bool) -> Job {
        wait_for(&self.jobs(), name, self.timeout, predicate).await.unwrap()
    }

    pub async fn wait_finished(&self, name: &str) -> Job {
        self.wait(name, Job::finished).await
    }

    pub async fn wait_gone(&self, name: &str) {
        wait_gone(&self.jobs(), name, self.timeout).await.unwrap();
    }

    /// Waits for the pods of a job, sorted by name.
    pub async fn wait_pods(&self, job: &str, predicate: impl Fn(&[Pod]) -> bool) -> Vec<Pod> {
        wait_for_all(&self.pods(), &of_job(job), self.timeout, predicate)
            .await
            .unwrap()
    }

    /// Waits until exactly these pods of a job are left.
    pub async fn wait_pod_names(&self, job: &str, names: &[String]) {
        self.wait_pods(job, |pods| self::names(pods) == names).await;
    }

    /// Waits until exactly these services of a job are left.
    pub async fn wait_service_names(&self, job: &str, names: &[String]) {
        wait_for_all(&self.services(), &of_job(job), self.timeout, |services| {
            self::names(services) == names
        })
        .await
        .unwrap();
    }

    /// Whether the API server would let a pod in that asks for nothing.
    pub async fn lets_a_pod_in(&self) -> bool {
        let pod = json!({ "metadata": { "name": "any" },
            "spec": { "containers": [{ "name": "main", "image": "image" }] } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        match self.pods().create(&dry_run(), &pod).await {
            Ok(_) => true,
            Err(kube::Error::Api(_)) => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Waits until no pod is let in. The API server applies a policy a moment after it has stored it.
    pub async fn until_no_pod_is_let_in(&self) {
        until("no pod is let in", self.timeout, async || !self.lets_a_pod_in().await).await;
    }

    /// Limits how much of a resource the namespace may have, by a quota of its name, and waits until the limit holds.
    ///
    /// The API server enforces a quota a moment after it is stored, status and all. This one lets no Secret in either:
    /// when one is refused, so is what is beyond the limit.
    pub async fn quota(&self, resource: &str, limit: u32) {
        let quota = json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": { "name": resource },
            "spec": { "hard": { resource: limit.to_string(), "secrets": "0" } },
        });
        self.api::<ResourceQuota>()
            .patch(resource, &PatchParams::apply("test"), &Patch::Apply(&quota))
            .await
            .unwrap();
        let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "any" } })).unwrap();
        until("the quota is enforced", self.timeout, async || {
            let answer = self.api::<Secret>().create(&dry_run(), &secret).await;
            answer.is_err_and(|error| error.to_string().contains("exceeded quota"))
        })
        .await;
    }

    /// Names of the pods that a job has now.
    pub async fn pod_names(&self, job: &str) -> Vec<String> {
        names(&self.pods().list(&selected(job)).await.unwrap().items)
    }

    /// Names of the services that a job has now.
    pub async fn service_names(&self, job: &str) -> Vec<String> {
        names(&self.services().list(&selected(job)).await.unwrap().items)
    }

    /// Waits until the pod of this name is another one than `old`.
    pub async fn wait_replaced(&self, old: &Pod) -> Pod {
        wait_for(&self.pods(), &old.name_any(), self.timeout, |pod| {
            pod.uid() != old.uid()
        })
        .await
        .unwrap()
    }

    /// Waits until the deletion of this pod has begun, and sees to it that it ends.
    ///
    /// The API server deletes an ended pod in two steps, and gives up between them when the client of the request is
    /// gone, killed for example. The kubelet takes the second step then.
    pub async fn finish_deletion(&self, pod: &Pod) {
        let name = pod.name_any();
        let begun = |now: &Pod| now.uid() != pod.uid() || now.metadata.deletion_timestamp.is_some();
        let now = wait_for(&self.pods(), &name, self.timeout, begun).await.unwrap();
        if now.uid() == pod.uid() {
            let this = Preconditions {
                uid: pod.uid(),
                resource_version: None,
            };
            let parameters = DeleteParams::default().grace_period(0).preconditions(this);
            // It may be gone by now.
            let _ = self.pods().delete(&name, &parameters).await;
        }
    }

    pub async fn set_phase(&self, pod: &str, phase: &PodPhase) -> Pod {
        set_pod_phase(&self.client, &self.namespace, pod, phase, 0)
            .await
            .unwrap()
    }

    pub async fn set_phases(&self, pods: impl IntoIterator<Item = String>, phase: &PodPhase) {
        let pods: Vec<String> = pods.into_iter().collect();
        join_all(pods.iter().map(|pod| self.set_phase(pod, phase))).await;
    }

    /// Waits until the operator has acted on everything that was asked of the job before.
    ///
    /// It makes an edit that asks for nothing: without a gang scheduler `minAvailable` has no effect. The operator
    /// looks at one job in one task at a time, carries out what the look calls for, and only then stores the generation
    /// it looked at. So when that is stored, whatever was to happen because of what came before has happened.
    pub async fn settle(&self, name: &str) -> Job {
        let generation = self.get(name).await.metadata.generation.unwrap();
        let nothing = json!({ "spec": { "runPolicy": { "schedulingPolicy": { "minAvailable": generation } } } });
        let edited = self.patch(name, &nothing).await.metadata.generation.unwrap();
        self.wait(name, |job| job.status["observedGeneration"] == edited).await
    }

    /// Waits for an event about the object of this name, and returns its note.
    pub async fn wait_event(&self, about: &str, type_: &str, reason: &str) -> String {
        let matches = |event: &Event| is_about(event, about, type_, reason);
        let events = wait_for_all(&self.api::<Event>(), "", self.timeout, |events| {
            events.iter().any(matches)
        })
        .await
        .unwrap();
        let event = events.into_iter().find(matches).unwrap();
        event.note.unwrap_or_default()
    }

    /// A job with a finalizer, so that its deletion has a time: waits for it, removes the finalizer, and returns the
    /// time in seconds since the epoch.
    pub async fn wait_deleted(&self, name: &str) -> i64 {
        let job = self.wait(name, |job| job.metadata.deletion_timestamp.is_some()).await;
        self.patch(name, &json!({ "metadata": { "finalizers": null } })).await;
        job.metadata.deletion_timestamp.unwrap().0.as_second()
    }

    /// Seconds from the completion of a job, as it was stored then, to its deletion.
    pub async fn wait_expired(&self, finished: &Job) -> i64 {
        self.wait_deleted(finished.name()).await - finished.second("completionTime").unwrap()
    }

    /// How many requests of which verb and resource the operator has made in this namespace, its lists and watches
    /// aside: they are not made for one job.
    pub fn requests(&self, audit: &Audit) -> BTreeMap<String, usize> {
        let entries = audit.entries(&AuditFilter {
            user: Some(OPERATOR),
            namespace: Some(&self.namespace),
            ..AuditFilter::default()
        });
        let mut counts = BTreeMap::new();
        for entry in entries.unwrap() {
            if !matches!(entry.verb.as_str(), "list" | "watch") {
                *counts.entry(format!("{} {}", entry.verb, entry.resource)).or_default() += 1;
            }
        }
        counts
    }

    /// The requests of the operator in this namespace that changed something.
    pub fn writes(&self) -> AuditFilter<'_> {
        AuditFilter {
            user: Some(OPERATOR),
            namespace: Some(&self.namespace),
            writes: true,
            ..AuditFilter::default()
        }
    }
}

/// Merge patch: a finalizer, so that the time of deletion can be read.
pub fn finalizer() -> Value {
    json!({ "metadata": { "finalizers": ["pytorchjob-test/deletion-is-read"] } })
}

/// Starts an operator for one namespace, and waits until it is ready.
pub async fn operator(kubeconfig: &Path, namespace: &str, arguments: &[&str]) -> Operator {
    let mut all = vec!["--namespace", namespace];
    all.extend(arguments);
    let operator = Operator::start(Path::new(BINARY), kubeconfig, &all).unwrap();
    operator.ready().await.unwrap();
    operator
}

/// Asks again and again, until the answer is yes: for what nothing announces.
pub async fn until(what: &str, limit: Duration, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            sleep(PAUSE).await;
        }
    };
    let asked = timeout(limit, asking).await;
    assert!(asked.is_ok(), "{what}: not within {limit:?}");
}

/// Asks what the answer would be, and changes nothing.
pub fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

/// Stores a job.
pub async fn create(client: &Client, namespace: &str, job: &Value) -> Result<Job, kube::Error> {
    let body = serde_json::to_vec(job).unwrap();
    let request = Request::new(Job::url_path(&(), Some(namespace)))
        .create(&PostParams::default(), body)
        .unwrap();
    client.request(request).await
}

/// Runs a subcommand that needs no cluster, with this on its standard input.
pub async fn offline(arguments: &[&str], input: &str) -> Output {
    run(Path::new(BINARY), arguments, input).await
}

/// Runs a program to its end, with this on its standard input.
pub async fn run(program: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

/// Clusters of single tests that run at once. More would take so much of a small machine that tests of times fail.
const OWN_CLUSTERS: usize = 2;

/// A cluster for one test. It ends with the thread of the test.
pub async fn own_cluster(options: Options) -> &'static Cluster {
    struct Ends(
        &'static Cluster,
        #[expect(dead_code, reason = "held")] SemaphorePermit<'static>,
    );
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    static RUNNING: Semaphore = Semaphore::const_new(OWN_CLUSTERS);
    thread_local! {
        static OWN: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    }
    let permit = RUNNING.acquire().await.unwrap();
    let cluster = file_cluster(options).await;
    OWN.with_borrow_mut(|own| own.push(Ends(cluster, permit)));
    cluster
}

/// The same without the definition of the jobs, for a test that installs one itself.
pub async fn cluster_without_definition() -> &'static Cluster {
    let options = Options {
        crds: Vec::new(),
        ..Options::default()
    };
    own_cluster(options).await
}

/// A cluster for the tests of one file. Like the shared one it ends with the process.
pub async fn file_cluster(options: Options) -> &'static Cluster {
    Box::leak(Box::new(Cluster::start(options).await.unwrap()))
}

/// The kubeconfig of the account that `config/rbac` installs, on the shared cluster.
pub async fn shipped_identity(cluster: &'static Cluster) -> PathBuf {
    static SHARED: OnceCell<PathBuf> = OnceCell::const_new();
    SHARED.get_or_init(|| install_identity(cluster)).await.clone()
}

/// Installs `config/rbac`, and returns the kubeconfig of its account.
pub async fn install_identity(cluster: &'static Cluster) -> PathBuf {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kubeflow" } });
    Api::<KubeNamespace>::all(cluster.admin())
        .patch("kubeflow", &PatchParams::apply("test"), &Patch::Apply(&namespace))
        .await
        .unwrap();
    let rbac = repository().join("config/rbac").display().to_string();
    cluster
        .kubectl(&["apply", "--server-side", "--namespace=kubeflow", "-k", &rbac])
        .await
        .unwrap();
    let account = User::ServiceAccount {
        namespace: "kubeflow",
        name: "pytorchjob-operator",
    };
    cluster.kubeconfig(account).await.unwrap()
}

/// The answer of the API server to a request that it refused.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}

/// Names of objects, in their order.
pub fn names<K: Resource>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

/// The names of a job's replicas, sorted: `master-0` stands for `JOB-master-0`.
pub fn replica_names(job: &str, replicas: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = replicas.iter().map(|replica| format!("{job}-{replica}")).collect();
    names.sort();
    names
}

/// A pod that failed with this exit code.
pub fn failed(exit_code: i32) -> PodPhase {
    PodPhase::Failed {
        exit_code,
        reason: "Error".to_owned(),
        message: String::new(),
    }
}

/// A pod that was evicted.
pub fn evicted() -> PodPhase {
    PodPhase::Evicted {
        reason: "Evicted".to_owned(),
        message: "The node was low on resource: memory.".to_owned(),
    }
}

/// Selects what belongs to a job.
pub fn of_job(job: &str) -> String {
    format!("training.kubeflow.org/job-name={job}")
}

pub fn is_about(event: &Event, about: &str, type_: &str, reason: &str) -> bool {
    event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(about)
        && event.type_.as_deref() == Some(type_)
        && event.reason.as_deref() == Some(reason)
}

fn selected(job: &str) -> kube::api::ListParams {
    kube::api::ListParams::default().labels(&of_job(job))
}

fn replicas(job: &Job) -> usize {
    let specs = job.spec["pytorchReplicaSpecs"].as_object().unwrap();
    let replicas = specs.values().map(|spec| spec["replicas"].as_u64().unwrap_or(1));
    usize::try_from(replicas.sum::<u64>()).unwrap()
}
