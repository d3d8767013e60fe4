//! What the story is played on: a control plane, the operator in it, and `kubectl`.

use std::env;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use pytorchjob_operator::api::{PyTorchJob, names};
use pytorchjob_test_cluster::{
    Audit, AuditFilter, Cluster, Operator, Options, User, repository, wait_for, wait_for_all, wait_gone,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::Failure;
use crate::terminal::Terminal;

/// The account that the shipped Deployment runs under.
const ACCOUNT: User<'_> = User::ServiceAccount {
    namespace: "kubeflow",
    name: "pytorchjob-operator",
};
/// The same account, as the API server calls it.
const ACCOUNT_NAME: &str = "system:serviceaccount:kubeflow:pytorchjob-operator";
/// The job of `examples/seed.yaml`.
pub const JOB: &str = "pytorch-test";
const NAMESPACE: &str = "default";

/// The running control plane and operator. Both end with this process.
pub struct Stage {
    pub terminal: Terminal,
    cluster: Cluster,
    operator: Option<Operator>,
    audit: Option<Audit>,
}

impl Stage {
    /// Starts a control plane with one simulated node.
    pub async fn new(terminal: Terminal) -> Result<Self, Failure> {
        let begun = Instant::now();
        let options = Options {
            crds: Vec::new(),
            nodes: 1,
            ..Options::default()
        };
        let cluster = terminal
            .during(
                "etcd, API server, controllers and a node",
                None,
                Box::pin(Cluster::start(options)),
            )
            .await?;
        if !cluster.is_ours() {
            return Err("the demo runs in a cluster of its own: unset PYTORCHJOB_TEST_KUBECONFIG".into());
        }
        let version = cluster.admin().apiserver_version().await?;
        terminal.done(
            &format!("Kubernetes {} with a node that KWOK plays", version.git_version),
            begun.elapsed(),
        );
        Ok(Self {
            terminal,
            cluster,
            operator: None,
            audit: None,
        })
    }

    /// Installs what `config/default` installs on a real cluster.
    pub async fn install(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        let applied = self
            .kubectl(&["apply", "--server-side", "-k", "config/default"])
            .await?;
        self.cluster.established("pytorchjobs.kubeflow.org").await?;
        self.terminal.done(
            &format!(
                "{} objects: the definition of PyTorchJob, RBAC, the Deployment",
                applied.lines().count()
            ),
            begun.elapsed(),
        );
        Ok(())
    }

    /// Runs the operator with the token of its ServiceAccount, and so with the rights of the shipped RBAC and no
    /// others.
    pub async fn start_operator(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let arguments = ["--leader-elect", "--leader-election-namespace=kubeflow"];
        self.terminal.command("pytorchjob-operator", &arguments);
        self.audit = self.cluster.audit()?;
        let kubeconfig = self.cluster.kubeconfig(ACCOUNT).await?;
        let operator = Operator::start(&binary()?, &kubeconfig, &arguments)?;
        self.terminal
            .during("filling the caches", None, operator.ready())
            .await?;
        self.operator = Some(operator);
        self.terminal
            .done(&format!("ready, as {ACCOUNT_NAME}"), begun.elapsed());
        Ok(())
    }

    /// Shows a `kubectl` command as a user would type it, runs it as administrator and returns its output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Failure> {
        let words: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        let (patch, others): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--patch="));
        let patch: Vec<&str> = patch.into_iter().map(String::as_str).collect();
        let others: Vec<&str> = others.into_iter().map(String::as_str).collect();
        self.terminal.command(&format!("kubectl {}", others.join(" ")), &patch);
        let work = self.cluster.kubectl(arguments);
        Ok(self.terminal.during("kubectl", None, work).await?)
    }

    /// `kubectl patch` of the job, the way the seed's page has it: a merge patch.
    pub async fn patch(&self, patch: &Value) -> Result<(), Failure> {
        let patch = format!("--patch={patch}");
        self.kubectl(&["patch", "pytorchjob", JOB, "--type=merge", &patch])
            .await?;
        Ok(())
    }

    /// Waits by watching until the job is as wanted, for at most `limit`. `end` is when it should happen, if that is
    /// known.
    pub async fn until(
        &self,
        what: &str,
        end: Option<Instant>,
        limit: Duration,
        wanted: impl Fn(&PyTorchJob) -> bool,
    ) -> Result<PyTorchJob, Failure> {
        let jobs = self.jobs();
        let work = wait_for(&jobs, JOB, until_end(end) + limit, wanted);
        let job = self.terminal.during(what, end, work).await;
        Ok(job.map_err(|error| format!("{what}: {error}"))?)
    }

    /// The same of another job.
    pub async fn until_of(
        &self,
        job: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&PyTorchJob) -> bool,
    ) -> Result<PyTorchJob, Failure> {
        let jobs = self.jobs();
        let found = self
            .terminal
            .during(what, None, wait_for(&jobs, job, limit, wanted))
            .await;
        Ok(found.map_err(|error| format!("{what}: {error}"))?)
    }

    /// A command that is to be refused. Returns what the user is told.
    pub async fn refused(&self, arguments: &[&str]) -> Result<String, Failure> {
        match self.kubectl(arguments).await {
            Ok(_) => Err(format!("`kubectl {}` must be refused", arguments.join(" ")).into()),
            // Behind the whole command.
            Err(refusal) => Ok(refusal.to_string().lines().skip(1).collect::<Vec<_>>().join("\n")),
        }
    }

    /// `kubectl pytorchjob`, which is the operator's binary under the name by which kubectl finds plugins.
    pub async fn plugin(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.terminal
            .command(&format!("kubectl pytorchjob {}", arguments.join(" ")), &[]);
        let plugin = self.cluster.directory().join("kubectl-pytorchjob");
        if !plugin.exists() {
            symlink(binary()?, &plugin)?;
        }
        let kubeconfig = self.kubeconfig();
        let output = tokio::process::Command::new(plugin)
            .args(arguments)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .output()
            .await?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits by watching until the job is gone, which should happen at `end`, and at most `limit` longer.
    pub async fn until_gone(&self, what: &str, end: Instant, limit: Duration) -> Result<(), Failure> {
        let jobs = self.jobs();
        let work = wait_gone(&jobs, JOB, until_end(Some(end)) + limit);
        let gone = self.terminal.during(what, Some(end), work).await;
        Ok(gone.map_err(|error| format!("{what}: {error}"))?)
    }

    /// The job, as it is now.
    pub async fn job(&self) -> Result<PyTorchJob, Failure> {
        Ok(self.jobs().get(JOB).await?)
    }

    /// Names and UIDs of the job's pods, by name.
    pub async fn pods(&self) -> Result<Vec<(String, String)>, Failure> {
        self.pods_of(JOB).await
    }

    /// The same of another job.
    pub async fn pods_of(&self, job: &str) -> Result<Vec<(String, String)>, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.admin(), NAMESPACE);
        let of_the_job = ListParams::default().labels(&format!("{}={job}", names::LABEL_JOB_NAME));
        let list = pods.list(&of_the_job).await?;
        Ok(list
            .iter()
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()))
            .collect())
    }

    /// Number of the job's services.
    pub async fn services(&self) -> Result<usize, Failure> {
        let services: Api<Service> = Api::namespaced(self.cluster.admin(), NAMESPACE);
        Ok(services.list(&of_the_job()).await?.items.len())
    }

    /// Waits by watching until no pod and no service of the job is left.
    pub async fn until_cleaned_up(&self, limit: Duration) -> Result<(), Failure> {
        let client = self.cluster.admin();
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let services: Api<Service> = Api::namespaced(client, NAMESPACE);
        let selector = selector();
        let work = async {
            wait_for_all(&pods, &selector, limit, <[Pod]>::is_empty).await?;
            wait_for_all(&services, &selector, limit, <[Service]>::is_empty).await
        };
        self.terminal.during("waiting for the pods to go", None, work).await?;
        Ok(())
    }

    /// The requests of the operator that changed something, without its lease: verb, resource and answer.
    pub fn writes(&self) -> Result<Vec<(String, String, u16)>, Failure> {
        let Some(audit) = &self.audit else {
            return Ok(Vec::new());
        };
        let filter = AuditFilter {
            user: Some(ACCOUNT_NAME),
            writes: true,
            ..AuditFilter::default()
        };
        let writes = audit.entries(&filter)?.into_iter();
        Ok(writes
            .filter(|entry| entry.resource != "leases")
            .map(|entry| {
                let slash = if entry.subresource.is_empty() { "" } else { "/" };
                (
                    entry.verb,
                    format!("{}{slash}{}", entry.resource, entry.subresource),
                    entry.code,
                )
            })
            .collect())
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.admin_kubeconfig().to_owned()
    }

    /// The end of the operator's log, for the person who has to find out why the story went wrong.
    pub fn operator_log(&self) -> Option<String> {
        self.operator.as_ref().map(|operator| operator.process().log_tail(15))
    }

    fn jobs(&self) -> Api<PyTorchJob> {
        Api::namespaced(self.cluster.admin(), NAMESPACE)
    }
}

/// Where the `kubectl` is that was built with the control plane.
pub fn kubectl_directory() -> PathBuf {
    env::var_os("KUBEBUILDER_ASSETS").map_or_else(|| repository().join("target/control-plane"), PathBuf::from)
}

/// The operator of the same build as this program: cargo puts examples into a directory beside the binaries.
fn binary() -> Result<PathBuf, Failure> {
    let program = env::current_exe()?;
    let directory = program.ancestors().nth(2).ok_or("the demo has no directory")?;
    let binary = directory.join("pytorchjob-operator");
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!(
            "{} is missing: run `make demo`, or `cargo build` first",
            binary.display()
        )
        .into())
    }
}

fn until_end(end: Option<Instant>) -> Duration {
    end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()))
}

/// The argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,".contains(letter);
    match argument.split_once('=') {
        _ if argument.chars().all(plain) => argument.to_owned(),
        Some((option, value)) if option.starts_with("--") => format!("{option}='{value}'"),
        _ => format!("'{argument}'"),
    }
}

fn selector() -> String {
    format!("{}={JOB}", names::LABEL_JOB_NAME)
}

fn of_the_job() -> ListParams {
    ListParams::default().labels(&selector())
}
