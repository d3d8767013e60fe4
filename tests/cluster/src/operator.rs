//! The operator as a child process, controlled the way a kubelet or an accident would.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use kube::{Client, Config};
use rustix::process::Signal;

use crate::ports::free_port;
use crate::supervisor::supervisor;
use crate::{Error, Process};

/// From start to ready, on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How often a starting operator is asked whether it is ready. Nothing announces it.
const POLL: Duration = Duration::from_millis(10);

/// As long as Kubernetes gives a pod by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A running operator. It is killed when this is dropped; when the test has failed, the end of its log is printed.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    metrics: SocketAddr,
    probes: SocketAddr,
}

impl Operator {
    /// Starts `binary` with a kubeconfig, free ports for metrics and probes, and `arguments` after them.
    pub fn start(binary: &Path, kubeconfig: &Path, arguments: &[&str]) -> Result<Self, Error> {
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (metrics, probes) = (address(), address());
        let mut all = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--metrics-bind-address={metrics}"),
            format!("--health-probe-bind-address={probes}"),
        ];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let log = supervisor().directory("operator")?.join("operator.log");
        Ok(Self {
            process: Process::start(binary, &all, &log)?,
            metrics,
            probes,
        })
    }

    /// Waits until `/readyz` says yes. Fails with the end of the log when the operator ends before or takes too long.
    pub async fn ready(&self) -> Result<(), Error> {
        let poll = async {
            while self.probe("/readyz").await.is_err() {
                self.process.check_running()?;
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        let late = || self.process.late("was not ready within", START_TIMEOUT);
        tokio::time::timeout(START_TIMEOUT, poll)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// The answer of the probe server to a GET of `path`; an error unless the status is 2xx.
    pub async fn probe(&self, path: &str) -> Result<String, Error> {
        get(self.probes, path).await
    }

    /// Where the metrics are.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// The metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, Error> {
        get(self.metrics, "/metrics").await
    }

    /// Ends the operator with SIGTERM, as a kubelet does, and waits until it has ended.
    pub async fn stop(&self) -> Result<ExitStatus, Error> {
        self.process.signal(Signal::TERM);
        self.process.exited_within(STOP_TIMEOUT).await
    }

    /// Ends the operator with SIGKILL: no time to clean up.
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// Freezes the operator: it holds what it holds, and does nothing, until [`Operator::resume`].
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Goes on after [`Operator::pause`].
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Resident memory in bytes; `None` when the operator has ended.
    #[must_use]
    pub fn rss_bytes(&self) -> Option<u64> {
        self.process.rss_bytes()
    }

    /// The largest resident memory so far in bytes; `None` when the operator has ended.
    #[must_use]
    pub fn peak_rss_bytes(&self) -> Option<u64> {
        self.process.peak_rss_bytes()
    }

    /// User and system time used so far, in steps of 10 ms; `None` when the operator has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        self.process.cpu_time()
    }

    /// Everything the operator has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process itself.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.process.log_tail(60));
        }
    }
}

/// The body of the answer to a plain HTTP request. kube's client serves for it: it turns other statuses into errors.
async fn get(address: SocketAddr, path: &str) -> Result<String, Error> {
    let attempt = format!("GET http://{address}{path}");
    let url = http::Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query("/")
        .build();
    let config = Config::new(url.expect("a socket address is an authority"));
    let client = Client::try_from(config).map_err(Error::kube(attempt.as_str()))?;
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| Error::Manifest(format!("{attempt}: {error}")))?;
    client.request_text(request).await.map_err(Error::kube(attempt))
}
