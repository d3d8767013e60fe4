//! kube-apiserver: its command line, and when it serves.

use std::path::Path;

use crate::Error;
use crate::access::Access;
use crate::binaries::locate;
use crate::node::{API_SERVER, SERVICES};
use crate::ports::free_port;
use crate::process::{Process, poll_until};

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
    pub(crate) const fn address(self) -> &'static str {
        if self.kubelet { API_SERVER } else { "127.0.0.1" }
    }

    /// A port to try.
    pub(crate) fn port(self) -> u16 {
        // The Service `kubernetes` has this port, and nobody translates it.
        if self.kubelet { 443 } else { free_port() }
    }
}

/// What turns Kubernetes' own gang scheduling on.
pub(crate) const GANG_SCHEDULING: &str = "--feature-gates=GenericWorkload=true";

/// Requests are logged when they arrive and when they are answered; a watch when it begins as well. See [`crate::Audit`].
pub(crate) const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "rules": [
    { "level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"] },
    { "level": "Metadata" }
  ]
}"#;

/// A kube-apiserver that serves.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) access: Access,
}

/// Starts kube-apiserver on the first of `ports` that nobody else has taken, and waits until the API is served.
pub(crate) async fn start(
    directory: &Path,
    token: &str,
    features: Features,
    mut ports: impl FnMut() -> u16,
) -> Result<Served, Error> {
    loop {
        let port = ports();
        let process = spawn(directory, port, features)?;
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
pub(crate) async fn ready(process: &Process, access: &Access) -> Result<(), Error> {
    let answer = async || {
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .expect("a constant request");
        Ok(access.client()?.request_text(request).await.is_ok())
    };
    poll_until(process, answer).await
}

/// Access to the server whose certificate is in `directory`, with one of its tokens.
pub(crate) async fn access(directory: &Path, address: &str, port: u16, token: &str) -> Result<Access, Error> {
    let url = format!("https://{address}:{port}");
    Access::new(&url, &directory.join("apiserver.crt"), token).await
}

/// Starts kube-apiserver, and waits for nothing.
pub(crate) fn spawn(directory: &Path, port: u16, features: Features) -> Result<Process, Error> {
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
    use std::net::TcpListener;
    use std::{fs, iter};

    use super::*;
    use crate::etcd::start_etcd;
    use crate::supervisor::supervisor;
    use crate::tokens::Tokens;

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
        let served = start(&directory, &tokens.admin, Features::default(), || ports.next().unwrap())
            .await
            .unwrap();

        assert_ne!(served.port, taken);
        assert_eq!(served.process.exit_status(), None);
        assert!(served.access.client().unwrap().apiserver_version().await.is_ok());
    }
}
