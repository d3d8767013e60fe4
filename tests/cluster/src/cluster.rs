//! A cluster to test against.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use rustix::process::Signal;
use tokio::sync::OnceCell;

use crate::access::{Access, service_account_token};
use crate::api_server::Features;
use crate::control_plane::ControlPlane;
use crate::node::Namespaces;
use crate::supervisor::supervisor;
use crate::{Audit, Backup, Error, Namespace, Node, Options, Process, User, nodes, wait_for};

/// Names a kubeconfig of an existing cluster to run the tests against, instead of a control plane of our own.
pub const EXISTING_CLUSTER: &str = "PYTORCHJOB_TEST_KUBECONFIG";

/// The service account controller makes `default` in every namespace, and no pod is admitted without it.
const SERVICE_ACCOUNT_TIMEOUT: Duration = Duration::from_mins(1);

/// A running Kubernetes API server, ours or an existing one. Ours ends when this is dropped, and when this process
/// ends.
#[derive(Debug)]
pub struct Cluster {
    node: Option<Node>,
    plane: Option<ControlPlane>,
    access: Access,
    directory: PathBuf,
    admin_kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts a control plane, or reaches the existing cluster that [`EXISTING_CLUSTER`] names.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let mut namespaces = None;
        let (plane, access, directory) = if let Some(path) = env::var_os(EXISTING_CLUSTER) {
            (
                None,
                Access::from_file(Path::new(&path)).await?,
                supervisor().directory("existing")?,
            )
        } else {
            if options.real_node {
                // The API server listens at its end of the link to the node.
                namespaces = Some(Namespaces::create().await?);
            }
            let features = Features {
                gang_scheduling: options.gang_scheduling,
                kubelet: options.real_node,
            };
            let (plane, access) = ControlPlane::start(features).await?;
            let directory = plane.directory.clone();
            (Some(plane), access, directory)
        };
        let admin_kubeconfig = directory.join("admin.kubeconfig");
        access.write(&admin_kubeconfig)?;
        let mut cluster = Self {
            node: None,
            plane,
            access,
            directory,
            admin_kubeconfig,
        };
        for path in &options.crds {
            let yaml = fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
            cluster.install_crd(&yaml).await?;
        }
        cluster.start_controllers(options.nodes, options.real_node).await?;
        if let (Some(namespaces), Some(plane)) = (namespaces, &cluster.plane) {
            let kubeconfigs = plane.node_kubeconfigs().await?;
            cluster.node = Some(Node::start(namespaces, kubeconfigs, cluster.admin()).await?);
        }
        Ok(cluster)
    }

    /// The cluster that the tests of one binary share, with [`Options::default`].
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_init(async || Self::start(Options::default()).await.expect("start a test cluster"))
            .await
    }

    /// A second shared cluster, with one node that KWOK plays: for tests in which pods run by themselves.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn shared_with_node() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        let options = Options {
            nodes: 1,
            ..Options::default()
        };
        SHARED
            .get_or_init(async || Self::start(options).await.expect("start a test cluster with a node"))
            .await
    }

    async fn start_controllers(&mut self, nodes: u32, real_node: bool) -> Result<(), Error> {
        let admin = self.admin();
        let Some(plane) = &mut self.plane else { return Ok(()) };
        plane.start_controller_manager().await?;
        if nodes > 0 || real_node {
            plane.start_scheduler().await?;
        }
        if nodes > 0 {
            plane.start_kwok(nodes::STAGES).await?;
            nodes::create(admin, nodes).await?;
        }
        let ready = self.service_account_ready("default").await;
        // A component that has ended is a better explanation than what it has not done.
        self.check_running()?;
        ready
    }

    async fn service_account_ready(&self, namespace: &str) -> Result<(), Error> {
        let api = Api::<ServiceAccount>::namespaced(self.admin(), namespace);
        wait_for(&api, "default", SERVICE_ACCOUNT_TIMEOUT, |_| true)
            .await
            .map(drop)
    }

    /// Whether the control plane is ours, with an audit log and processes to look at and to disturb.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.plane.is_some()
    }

    /// Fails when a process of the control plane has ended. An existing cluster is not looked at.
    pub fn check_running(&self) -> Result<(), Error> {
        self.plane.as_ref().map_or(Ok(()), ControlPlane::check_running)
    }

    /// A new client that may do everything. It belongs to the tokio runtime it is made on: make one per test.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.access
            .client()
            .expect("a client was made of this configuration at the start")
    }

    /// A new client that sends `token`, valid or not.
    pub async fn client_as_token(&self, token: &str) -> Result<Client, Error> {
        self.access.with_token(token).await?.client()
    }

    /// A new client for a user.
    pub async fn client(&self, user: User<'_>) -> Result<Client, Error> {
        match user {
            User::Admin => self.access.client(),
            _ => self.client_as_token(&self.token(user).await?).await,
        }
    }

    /// Writes a kubeconfig for a user, and returns its path.
    pub async fn kubeconfig(&self, user: User<'_>) -> Result<PathBuf, Error> {
        let path = match user {
            User::Admin => return Ok(self.admin_kubeconfig.clone()),
            User::Unprivileged => self.directory.join("unprivileged.kubeconfig"),
            User::ServiceAccount { namespace, name } => self.directory.join(format!("{namespace}-{name}.kubeconfig")),
        };
        self.access.with_token(&self.token(user).await?).await?.write(&path)?;
        Ok(path)
    }

    /// A bearer token of a user. An existing cluster has tokens of service accounts only.
    pub async fn token(&self, user: User<'_>) -> Result<String, Error> {
        let tokens = self.plane.as_ref().map(|plane| &plane.tokens);
        match (user, tokens) {
            (User::ServiceAccount { namespace, name }, _) => service_account_token(self.admin(), namespace, name).await,
            (User::Admin, Some(tokens)) => Ok(tokens.admin.clone()),
            (User::Unprivileged, Some(tokens)) => Ok(tokens.unprivileged.clone()),
            (_, None) => Err(Error::Kubeconfig {
                name: format!("{user:?}"),
                reason: format!("{EXISTING_CLUSTER} is set, and tokens of its users are not known"),
            }),
        }
    }

    /// The kubeconfig of the administrator.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// The address of the API server, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.access.url()
    }

    /// The certificate that vouches for the API server, as PEM; `None` on an existing cluster.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        self.plane.as_ref().map(|plane| plane.directory.join("apiserver.crt"))
    }

    /// Where the files of the cluster are: logs, kubeconfigs. Removed with the cluster.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new namespace, its name beginning with `prefix`, ready for pods.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace<'_>, Error> {
        let generate_name = Some(format!("{prefix}-"));
        let namespace = KubeNamespace {
            metadata: ObjectMeta {
                generate_name,
                ..ObjectMeta::default()
            },
            ..KubeNamespace::default()
        };
        let created = Api::all(self.admin())
            .create(&PostParams::default(), &namespace)
            .await
            .map_err(Error::kube(format!("create Namespace {prefix}-*")))?;
        let namespace = Namespace {
            name: created.name_any(),
            cluster: self,
        };
        self.service_account_ready(&namespace).await?;
        Ok(namespace)
    }

    /// Sets a mark in the audit log, to count requests from here on; `None` on an existing cluster.
    pub fn audit(&self) -> Result<Option<Audit>, Error> {
        self.plane
            .as_ref()
            .map(|plane| Audit::mark(plane.directory.join("audit.log")))
            .transpose()
    }

    /// The real node, if there is one.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The processes of our control plane; none for an existing cluster.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.plane.iter().flat_map(ControlPlane::processes)
    }

    /// Ends the processes of our control plane, as when it is dropped.
    pub fn end(&self) {
        if !supervisor().kept() {
            self.node.iter().for_each(Node::end);
            self.processes().for_each(|process| process.signal(Signal::KILL));
        }
    }

    /// A process of our control plane by the name of its program, for its use of the machine and its log.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes().find(|process| process.name() == name)
    }

    /// Kills our API server and starts it again at the same address; its data stay. Does nothing to an existing
    /// cluster.
    pub async fn restart_api_server(&mut self) -> Result<(), Error> {
        match &mut self.plane {
            Some(plane) => plane.restart_api_server(&self.access).await,
            None => Ok(()),
        }
    }

    /// Copies what our etcd has stored; `None` on an existing cluster.
    pub async fn back_up_etcd(&self) -> Result<Option<Backup>, Error> {
        match &self.plane {
            Some(plane) => plane.back_up_etcd().await.map(Some),
            None => Ok(None),
        }
    }

    /// Leads our etcd back to a copy, with `--mark-compacted` and this `--bump-revision` if there is one, and starts the
    /// API server again at the same address. Does nothing to an existing cluster.
    pub async fn restore_etcd(&mut self, backup: Backup, bump: Option<u64>) -> Result<(), Error> {
        match &mut self.plane {
            Some(plane) => plane.restore_etcd(backup, bump, &self.access).await,
            None => Ok(()),
        }
    }
}

/// Says why a test does nothing here: it needs a control plane of our own, and runs against an existing cluster.
pub fn not_applicable(reason: &str) {
    eprintln!("not applicable: {reason} ({EXISTING_CLUSTER} is set)");
}
