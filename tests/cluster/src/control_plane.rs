//! The processes of the control plane and their command lines.

use std::fs;
use std::path::PathBuf;

use crate::Error;
use crate::access::Access;
use crate::api_server::{self, AUDIT_POLICY, Features, GANG_SCHEDULING};
use crate::binaries::locate;
use crate::etcd::{self, Backup, start_etcd};
use crate::node::Kubeconfigs;
use crate::process::Process;
use crate::supervisor::supervisor;
use crate::tokens::Tokens;

/// The controllers that the tests need. No kubelet runs, so nothing else would have work to do.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
    clusterrole-aggregation-controller,resourcequota-controller,endpoints-controller,endpointslice-controller,\
    horizontal-pod-autoscaler-controller";

/// A running control plane. Fields are dropped in their order: clients of a server before the server.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    components: Vec<Process>,
    pub(crate) api_server: Process,
    etcd: Process,
    pub(crate) directory: PathBuf,
    pub(crate) tokens: Tokens,
    port: u16,
    features: Features,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if !supervisor().kept() {
            self.components.clear();
            // What is still open is removed with this process.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver, and waits until the API is served.
    pub(crate) async fn start(features: Features) -> Result<(Self, Access), Error> {
        let directory = supervisor().directory("cluster")?;
        let tokens = Tokens::random()?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))
        };
        write("tokens.csv", &tokens.file())?;
        write("audit-policy.json", AUDIT_POLICY)?;
        let etcd = start_etcd(&directory).await?;
        let served = api_server::start(&directory, &tokens.admin, features, || features.port()).await?;
        let plane = Self {
            components: Vec::new(),
            api_server: served.process,
            etcd,
            directory,
            tokens,
            port: served.port,
            features,
        };
        Ok((plane, served.access))
    }

    /// Starts kube-controller-manager. Its garbage collector learns of a new kind every 30 s only, so the kinds that
    /// tests own pods with are installed before.
    pub(crate) async fn start_controller_manager(&mut self) -> Result<(), Error> {
        let kubeconfig = self
            .write_kubeconfig("kube-controller-manager", &self.tokens.controller_manager)
            .await?;
        // Without it a PodGroup is never gone: the API server gives each a finalizer.
        let of_gangs = if self.features.gang_scheduling {
            ",podgroup-protection-controller"
        } else {
            ""
        };
        let controllers = if self.features.kubelet { "*" } else { CONTROLLERS };
        self.start_component(
            "kube-controller-manager",
            &[
                format!("--kubeconfig={}", kubeconfig.display()),
                format!("--controllers={controllers}{of_gangs}"),
                // Pods find it as `ca.crt` beside their token.
                format!("--root-ca-file={}", self.directory.join("apiserver.crt").display()),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                "--kube-api-qps=1000".to_owned(),
                "--kube-api-burst=1000".to_owned(),
                "--concurrent-gc-syncs=20".to_owned(),
                "--concurrent-namespace-syncs=10".to_owned(),
                // An autoscaler looks every 15 s otherwise, and waits for 5 min before it takes pods away.
                "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
                "--horizontal-pod-autoscaler-downscale-stabilization=0s".to_owned(),
                // A node that is silent for 50 s is unreachable otherwise.
                "--node-monitor-grace-period=20s".to_owned(),
            ],
        )
    }

    /// Starts kube-scheduler.
    pub(crate) async fn start_scheduler(&mut self) -> Result<(), Error> {
        let kubeconfig = self.write_kubeconfig("kube-scheduler", &self.tokens.scheduler).await?;
        let config = serde_json::json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": { "kubeconfig": kubeconfig, "qps": 1000, "burst": 1000 },
            "leaderElection": { "leaderElect": false },
        });
        let path = self.directory.join("kube-scheduler.json");
        fs::write(&path, config.to_string()).map_err(Error::io(format!("write {}", path.display())))?;
        self.start_component(
            "kube-scheduler",
            &[format!("--config={}", path.display()), "--secure-port=0".to_owned()],
        )
    }

    /// Starts KWOK with the stages in `stages`, for the nodes annotated `kwok.x-k8s.io/node: fake`.
    pub(crate) async fn start_kwok(&mut self, stages: &str) -> Result<(), Error> {
        let kubeconfig = self.write_kubeconfig("kwok", &self.tokens.kwok).await?;
        let path = self.directory.join("stages.yaml");
        fs::write(&path, stages).map_err(Error::io(format!("write {}", path.display())))?;
        self.start_component(
            "kwok",
            &[
                format!("--kubeconfig={}", kubeconfig.display()),
                format!("--config={}", path.display()),
                "--manage-all-nodes=false".to_owned(),
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake".to_owned(),
                // Beside a kubelet somebody watches whether the nodes live.
                format!(
                    "--node-lease-duration-seconds={}",
                    if self.features.kubelet { 40 } else { 0 }
                ),
            ],
        )
    }

    /// All processes, in the order of their start.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.etcd, &self.api_server].into_iter().chain(&self.components)
    }

    /// Fails when one of the processes has ended.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        self.processes().try_for_each(Process::check_running)
    }

    /// Kills kube-apiserver and starts it again at the same address with the same data and certificates.
    pub(crate) async fn restart_api_server(&mut self, access: &Access) -> Result<(), Error> {
        self.api_server.kill().await;
        self.api_server = api_server::spawn(&self.directory, self.port, self.features)?;
        api_server::ready(&self.api_server, access).await
    }

    /// Copies what etcd has stored.
    pub(crate) async fn back_up_etcd(&self) -> Result<Backup, Error> {
        etcd::back_up(&self.etcd, &self.directory).await
    }

    /// Leads etcd back to a copy, while no API server runs.
    pub(crate) async fn restore_etcd(
        &mut self,
        backup: Backup,
        bump: Option<u64>,
        access: &Access,
    ) -> Result<(), Error> {
        self.api_server.kill().await;
        etcd::end(&self.etcd).await?;
        etcd::restore(&self.directory, backup, bump).await?;
        self.etcd = start_etcd(&self.directory).await?;
        self.restart_api_server(access).await
    }

    /// What the programs of a node reach the API server by.
    pub(crate) async fn node_kubeconfigs(&self) -> Result<Kubeconfigs, Error> {
        Ok(Kubeconfigs {
            kubelet: self.write_kubeconfig("kubelet", &self.tokens.kubelet).await?,
            dns: self.write_kubeconfig("dns", &self.tokens.dns).await?,
        })
    }

    async fn write_kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join(format!("{name}.kubeconfig"));
        api_server::access(&self.directory, self.features.address(), self.port, token)
            .await?
            .write(&path)?;
        Ok(path)
    }

    fn start_component(&mut self, name: &str, arguments: &[String]) -> Result<(), Error> {
        let log = self.directory.join(format!("{name}.log"));
        let of_kubernetes = name.starts_with("kube-") && self.features.gang_scheduling;
        let gate = of_kubernetes.then(|| GANG_SCHEDULING.to_owned());
        let arguments: Vec<String> = arguments.iter().cloned().chain(gate).collect();
        self.components.push(Process::start(&locate(name)?, &arguments, &log)?);
        Ok(())
    }
}
