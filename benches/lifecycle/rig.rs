//! The control plane, and who works on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use pytorchjob_test_cluster::{
    Audit, AuditEntry, AuditFilter, Cluster, Operator, Options, Process, User, repository, training_operator,
};

use crate::Result;
use crate::definition::bare_beside;
use crate::recorder::Recorder;

/// Namespace of the two service accounts.
const ACCOUNTS: &str = "kubeflow";
/// The operator's account, and its cluster role.
pub const OPERATOR: &str = "pytorchjob-operator";
/// The null operator's.
pub const NULL_OPERATOR: &str = "null-operator";
/// The API server is at rest when it takes less processor time than this in a second.
const QUIET: Duration = Duration::from_millis(100);
/// Longest time until then.
const SETTLED: Duration = Duration::from_mins(4);
/// Kubeflow's operator without its limits, and with as many workers as it can use.
const LIFTED: [&str; 3] = [
    "--kube-api-qps=10000",
    "--kube-api-burst=10000",
    "--controller-threads=8",
];

/// Whose operator works, under whose definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Ours,
    Kubeflow,
}

/// A control plane with one node that takes any number of pods, and a recorder that sees what happens on it.
pub struct Rig {
    // Before the cluster, so that it ends before the cluster does.
    pub recorder: Recorder,
    pub cluster: Cluster,
    /// The user who creates jobs.
    pub admin: Client,
    pub side: Side,
}

impl Rig {
    /// Starts ours.
    pub async fn start() -> Result<Self> {
        Self::start_with(Side::Ours, with_bare_jobs(1)?).await
    }

    /// Starts ours without nodes, so without a scheduler as well.
    pub async fn start_without_nodes() -> Result<Self> {
        Self::start_with(Side::Ours, with_bare_jobs(0)?).await
    }

    /// Starts Kubeflow's, if it has been built.
    pub async fn start_kubeflows() -> Result<Option<Self>> {
        let Some(definition) = training_operator::definition() else {
            return Ok(None);
        };
        let options = Options {
            crds: vec![definition],
            nodes: 1,
            ..Options::default()
        };
        let rig = Self::start_with(Side::Kubeflow, options).await?;
        training_operator::install(&rig.cluster).await?;
        bind(&rig.admin, "training-operator", OPERATOR, "cluster-admin").await?;
        Ok(Some(rig))
    }

    async fn start_with(side: Side, options: Options) -> Result<Self> {
        let cluster = Cluster::start(options).await?;
        let admin = cluster.admin();
        grant(&cluster, &admin).await?;
        let recorder = Recorder::start(&cluster.admin()).await?;
        Ok(Self {
            recorder,
            cluster,
            admin,
            side,
        })
    }

    /// Starts the operator and waits until it is ready: ours with no flags but its kubeconfig and addresses, Kubeflow's
    /// with its limits lifted.
    pub async fn operator(&self) -> Result<Operator> {
        let kubeconfig = self.cluster.kubeconfig(account(OPERATOR)).await?;
        if self.side == Side::Kubeflow {
            return Ok(training_operator::start(&self.cluster, &kubeconfig, &LIFTED).await?);
        }
        let operator = Operator::start(binary(), &kubeconfig, &[])?;
        operator.ready().await?;
        Ok(operator)
    }

    /// Starts ours as one of several replicas, and does not wait for anything.
    pub async fn replica(&self) -> Result<Operator> {
        let kubeconfig = self.cluster.kubeconfig(account(OPERATOR)).await?;
        let namespace = format!("--leader-election-namespace={ACCOUNTS}");
        Ok(Operator::start(binary(), &kubeconfig, &["--leader-elect", &namespace])?)
    }

    /// The null operator's way to the API server.
    pub async fn null_client(&self) -> Result<Client> {
        Ok(self.cluster.client(account(NULL_OPERATOR)).await?)
    }

    /// A mark in the audit log.
    pub fn audit(&self) -> Result<Audit> {
        self.cluster
            .audit()?
            .ok_or_else(|| "the bench needs a control plane of its own, for its audit log".into())
    }

    /// Returns when the API server has little to do: Kubernetes' controllers take a while for what was written past it.
    pub async fn settled(&self) -> Result<()> {
        let settled = async {
            let mut before = self.api_server_cpu();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let now = self.api_server_cpu();
                if now.saturating_sub(before) < QUIET {
                    break;
                }
                before = now;
            }
        };
        let settled = tokio::time::timeout(SETTLED, settled).await;
        settled.map_err(|_| "the API server does not come to rest".into())
    }

    /// Processor time that the API server has used.
    pub fn api_server_cpu(&self) -> Duration {
        self.cluster
            .process("kube-apiserver")
            .and_then(Process::cpu_time)
            .unwrap_or_default()
    }
}

/// Requests of the operator since the mark, by verb, resource and answer, each with its number. Watches are no requests
/// of a job.
pub fn requests(audit: &Audit) -> Result<BTreeMap<String, u32>> {
    let mut requests = BTreeMap::new();
    let entries = entries(audit, OPERATOR, AuditFilter::default())?;
    for entry in entries.into_iter().filter(|entry| entry.verb != "watch") {
        let subresource = if entry.subresource.is_empty() { "" } else { "/" };
        let AuditEntry {
            verb,
            resource,
            subresource: name,
            code,
            ..
        } = entry;
        *requests
            .entry(format!("{verb} {resource}{subresource}{name} ({code})"))
            .or_default() += 1;
    }
    Ok(requests)
}

/// The writes of one of the operators to pods since the mark, and the time from the arrival of the first to the answer to
/// the last.
pub fn writes_to_pods(audit: &Audit, account: &'static str) -> Result<(u32, Duration)> {
    let filter = AuditFilter {
        resource: Some("pods"),
        writes: true,
        ..AuditFilter::default()
    };
    let entries = entries(audit, account, filter)?;
    let first = entries.iter().map(|entry| entry.received).min();
    let last = entries.iter().map(|entry| entry.answered).max();
    let ends = first.zip(last);
    let (first, last) = ends.ok_or_else(|| format!("{account} has written to no pod"))?;
    Ok((u32::try_from(entries.len())?, last.duration_since(first).try_into()?))
}

/// The matching requests of one of the operators since the mark.
fn entries(audit: &Audit, account: &'static str, filter: AuditFilter<'_>) -> Result<Vec<AuditEntry>> {
    let user = format!("system:serviceaccount:{ACCOUNTS}:{account}");
    let filter = AuditFilter {
        user: Some(&user),
        ..filter
    };
    Ok(audit.entries(&filter)?)
}

/// Prints the requests of a scenario, each with its number per job.
pub fn print(scenario: &str, requests: &BTreeMap<String, u32>, jobs: u32) {
    for (request, count) in requests {
        eprintln!(
            "{scenario}: {request}: {:.2} per job",
            f64::from(*count) / f64::from(jobs)
        );
    }
}

/// Those of the requests that only read, or those that do not, per job.
pub fn per_job(requests: &BTreeMap<String, u32>, reads: bool, jobs: u32) -> f64 {
    let is_read = |request: &str| request.starts_with("get ") || request.starts_with("list ");
    let matching = requests.iter().filter(|(request, _)| is_read(request) == reads);
    f64::from(matching.map(|(_, count)| count).sum::<u32>()) / f64::from(jobs.max(1))
}

/// The operator, built with the profile of the bench, which is that of a release.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pytorchjob-operator"))
}

fn account(name: &'static str) -> User<'static> {
    User::ServiceAccount {
        namespace: ACCOUNTS,
        name,
    }
}

fn with_bare_jobs(nodes: u32) -> Result<Options> {
    let mut options = Options {
        nodes,
        ..Options::default()
    };
    options.crds.push(bare_beside()?);
    Ok(options)
}

/// Gives the operator the account and the rights that are shipped, and the null operator any.
async fn grant(cluster: &Cluster, admin: &Client) -> Result<()> {
    let shipped = repository().join("config");
    cluster.apply_kustomize(&shipped.join("default/namespace.yaml")).await?;
    let rights = shipped.join("rbac").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-k", &rights]).await?;
    let metadata = ObjectMeta {
        name: Some(NULL_OPERATOR.to_owned()),
        ..ObjectMeta::default()
    };
    let account = ServiceAccount {
        metadata,
        ..ServiceAccount::default()
    };
    let create = PostParams::default();
    Api::namespaced(admin.clone(), ACCOUNTS)
        .create(&create, &account)
        .await?;
    bind(admin, NULL_OPERATOR, NULL_OPERATOR, "cluster-admin").await
}

/// Gives an account the rights of a cluster role.
async fn bind(admin: &Client, name: &str, account: &str, role: &str) -> Result<()> {
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(ACCOUNTS.to_owned()),
            ..Subject::default()
        }]),
    };
    Api::all(admin.clone()).create(&PostParams::default(), &binding).await?;
    Ok(())
}
