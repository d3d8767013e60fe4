//! The processes of the control plane and their command lines.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::access::Access;
use crate::binaries::locate;
use crate::node::{API_SERVER, Kubeconfigs, SERVICES};
use crate::ports::free_port;
use crate::process::Process;
use crate::supervisor::supervisor;
use crate::tokens::Tokens;

/// Each start of a process must be done in this time. A loaded machine needs ten seconds.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// How often a starting process is asked whether it is ready. Nothing announces it.
const POLL: Duration = Duration::from_millis(25);

/// The controllers that the tests need. No kubelet runs, so nothing else would have work to do.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
    clusterrole-aggregation-controller,resourcequota-controller,endpoints-controller,endpointslice-controller,\
    horizontal-pod-autoscaler-controller";

/// What a control plane is started with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Features {
    /// Kubernetes' own gang scheduling.
    pub(crate) gang_scheduling: bool,
    /// A kubelet will come, so all controllers have work to do, and pods ask for the API server.
    pub(crate) kubelet: bool,
}

impl Features {
    /// Where the API server listens.
    const fn address(self) -> &'static str {
        if self.kubelet { API_SERVER } else { "127.0.0.1" }
    }

    /// A port to try.
    fn port(self) -> u16 {
        // The Service `kubernetes` has this port, and nobody translates it.
        if self.kubelet { 443 } else { free_port() }
    }
}

/// What turns Kubernetes' own gang scheduling on.
const GANG_SCHEDULING: &str = "--feature-gates=GenericWorkload=true";

/// Requests are logged once, when they are answered; a watch when it begins as well. See [`crate::Audit`].
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "omitStages": ["RequestReceived"],
  "rules": [
    { "level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"] },
    { "level": "Metadata" }
  ]
}"#;

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
        let served = start_api_server(&directory, &tokens.admin, features, || features.port()).await?;
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
        self.api_server = api_server(&self.directory, self.port, self.features)?;
        ready(&self.api_server, access).await
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
        access(&self.directory, self.features.address(), self.port, token)
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

/// A kube-apiserver that serves.
struct Served {
    process: Process,
    port: u16,
    access: Access,
}

/// Asks again and again until `ready` says yes, the process has ended or it has had its time. An answer that does not
/// come does not keep the end from being noticed.
async fn poll_until(process: &Process, ready: impl AsyncFn() -> Result<bool, Error>) -> Result<(), Error> {
    let poll = async {
        while !ready().await? {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        _ = process.exited() => process.check_running(),
        result = tokio::time::timeout(START_TIMEOUT, poll) => {
            result.unwrap_or_else(|_| Err(process.late("was not ready within", START_TIMEOUT)))
        }
    }
}

async fn start_etcd(directory: &Path) -> Result<Process, Error> {
    let socket = directory.join("etcd.sock");
    let arguments = [
        format!("--data-dir={}", directory.join("etcd").display()),
        // A socket in our own directory can collide with nobody's.
        format!("--listen-client-urls=unix://{}", socket.display()),
        // etcd refuses to advertise a socket. No client asks for what is advertised, and no peer will come.
        "--advertise-client-urls=http://127.0.0.1:0".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:0".to_owned(),
        "--initial-cluster=default=http://127.0.0.1:0".to_owned(),
        // The data is worth nothing after the test, and waiting for the disk is most of the time of a write.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let etcd = Process::start(&locate("etcd")?, &arguments, &directory.join("etcd.log"))?;
    poll_until(&etcd, async || Ok(UnixStream::connect(&socket).is_ok())).await?;
    Ok(etcd)
}

/// Starts kube-apiserver on the first of `ports` that nobody else has taken, and waits until the API is served.
async fn start_api_server(
    directory: &Path,
    token: &str,
    features: Features,
    mut ports: impl FnMut() -> u16,
) -> Result<Served, Error> {
    loop {
        let port = ports();
        let process = api_server(directory, port, features)?;
        match first_served(&process, directory, features.address(), port, token).await {
            Ok(access) => return Ok(Served { process, port, access }),
            Err(Error::Exited { log, .. }) if log.contains("address already in use") => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until a server that makes its certificate first is ready. Whoever else has taken the port may answer
/// meanwhile, so nothing is believed that does not come with this certificate.
async fn first_served(
    process: &Process,
    directory: &Path,
    address: &str,
    port: u16,
    token: &str,
) -> Result<Access, Error> {
    // The key is written after the certificate.
    poll_until(process, async || Ok(directory.join("apiserver.key").exists())).await?;
    let access = access(directory, address, port, token).await?;
    ready(process, &access).await?;
    Ok(access)
}

/// Waits until the server that `access` is for says that it is ready.
async fn ready(process: &Process, access: &Access) -> Result<(), Error> {
    let answer = async || {
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .expect("a constant request");
        Ok(access.client()?.request_text(request).await.is_ok())
    };
    poll_until(process, answer).await
}

/// Access to the server whose certificate is in `directory`, with one of its tokens.
async fn access(directory: &Path, address: &str, port: u16, token: &str) -> Result<Access, Error> {
    let url = format!("https://{address}:{port}");
    Access::new(&url, &directory.join("apiserver.crt"), token).await
}

fn api_server(directory: &Path, port: u16, features: Features) -> Result<Process, Error> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=unix://{}", file("etcd.sock")),
        format!("--bind-address={}", features.address()),
        format!("--advertise-address={}", features.address()),
        // A loopback address is not allowed in the endpoints of the `kubernetes` Service, and nobody looks at others.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!(
            "--service-cluster-ip-range={}",
            if features.kubelet { SERVICES } else { "10.0.0.0/16" }
        ),
        // The server makes its own certificate here, and the key of that serves for service account tokens too.
        format!("--cert-dir={}", directory.display()),
        format!("--service-account-signing-key-file={}", file("apiserver.key")),
        format!("--service-account-key-file={}", file("apiserver.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        // As on OpenShift: whoever sets blockOwnerDeletion needs the right to update the owner's finalizers.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.json")),
        format!("--audit-log-path={}", file("audit.log")),
        // In MiB: one file without rotation, so that a reader's position stays valid.
        "--audit-log-maxsize=100000".to_owned(),
    ];
    if features.kubelet {
        // The name of a node is nobody's address.
        arguments.push("--kubelet-preferred-address-types=InternalIP".to_owned());
    } else {
        // It taints new nodes as not ready, and the controller that would take the taint off does not run.
        arguments.push("--disable-admission-plugins=TaintNodesByCondition".to_owned());
    }
    if features.gang_scheduling {
        arguments.push(GANG_SCHEDULING.to_owned());
        arguments.push("--runtime-config=scheduling.k8s.io/v1beta1=true".to_owned());
    }
    Process::start(
        &locate("kube-apiserver")?,
        &arguments,
        &directory.join("kube-apiserver.log"),
    )
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_api_server_whose_port_somebody_else_has_taken_is_started_on_another_one() {
        let directory = supervisor().directory("taken").unwrap();
        let tokens = Tokens::random().unwrap();
        fs::write(directory.join("tokens.csv"), tokens.file()).unwrap();
        fs::write(directory.join("audit-policy.json"), AUDIT_POLICY).unwrap();
        let _etcd = start_etcd(&directory).await.unwrap();
        // It listens, so connecting to it succeeds, and it never answers.
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap().port();

        let mut ports = iter::once(taken).chain(iter::repeat_with(free_port));
        let served = start_api_server(&directory, &tokens.admin, Features::default(), || ports.next().unwrap())
            .await
            .unwrap();

        assert_ne!(served.port, taken);
        assert_eq!(served.process.exit_status(), None);
        assert!(served.access.client().unwrap().apiserver_version().await.is_ok());
    }
}
