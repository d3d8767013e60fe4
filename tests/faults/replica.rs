//! A replica of the operator behind its proxy. When it ends it is started again, as a kubelet would.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use pytorchjob_test_cluster::{Operator, Signal};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::proxy::{Handler, Proxy};
use crate::rig::BINARY;

/// One replica: it lives, and may be made to die, as often as a plan says.
pub struct Replica {
    kubeconfig: PathBuf,
    arguments: Vec<String>,
    present: Mutex<Option<Arc<Operator>>>,
    /// How many of its lives have begun.
    lives: watch::Sender<usize>,
    /// While it is not cancelled, it is started again.
    wanted: Mutex<CancellationToken>,
    /// Ends that nobody caused.
    ends: Mutex<Vec<String>>,
    serving: JoinHandle<()>,
}

impl Replica {
    /// A replica that does not run yet. Its files are in `directory`, under `name`.
    pub async fn new(
        client: Client,
        handler: Handler,
        directory: &Path,
        name: &str,
        arguments: Vec<String>,
    ) -> Arc<Self> {
        let (proxy, serving) = Proxy::start(client, handler).await;
        let kubeconfig = directory.join(format!("{name}.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": proxy.url() } }],
            "users": [{ "name": "proxy", "user": { "token": "given-by-the-proxy" } }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        Arc::new(Self {
            kubeconfig,
            arguments,
            present: Mutex::default(),
            lives: watch::Sender::new(0),
            wanted: Mutex::default(),
            ends: Mutex::default(),
            serving,
        })
    }

    /// Starts it, and starts it again whenever it has ended.
    pub fn start(self: &Arc<Self>) {
        let replica = self.clone();
        let wanted = CancellationToken::new();
        *self.wanted() = wanted.clone();
        tokio::spawn(async move {
            while !wanted.is_cancelled() {
                let operator = replica.live();
                let status = operator.process().exited().await;
                // A signal that ends it came from here.
                if let Some(code) = status.code().filter(|_| !wanted.is_cancelled()) {
                    let end = format!("ended by itself with {code}: {}", operator.process().log_tail(3));
                    replica.ends.lock().unwrap_or_else(PoisonError::into_inner).push(end);
                }
            }
        });
    }

    fn wanted(&self) -> MutexGuard<'_, CancellationToken> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Arc<Operator> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let operator = Arc::new(Operator::start(Path::new(BINARY), &self.kubeconfig, &arguments).unwrap());
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(operator.clone());
        self.lives.send_modify(|lives| *lives += 1);
        operator
    }

    /// The process of its present life.
    pub fn operator(&self) -> Option<Arc<Operator>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it. Returns when the next one has been started.
    pub async fn kill(&self) {
        let mut lives = self.lives.subscribe();
        let before = *lives.borrow_and_update();
        let Some(operator) = self.operator() else { return };
        operator.kill().await;
        if !self.wanted().is_cancelled() {
            let _started = lives.wait_for(|lives| *lives > before).await;
        }
    }

    /// Ends it as a kubelet does, for good.
    pub async fn stop(&self) {
        self.wanted().cancel();
        if let Some(operator) = self.operator() {
            // It may be frozen, or dead.
            operator.resume();
            let _ended = operator.stop().await;
        }
    }

    /// Ends it at once, for good.
    pub async fn end(&self) {
        self.wanted().cancel();
        if let Some(operator) = self.operator() {
            operator.process().signal(Signal::KILL);
            operator.process().exited().await;
        }
        self.serving.abort();
    }

    /// Ends that nobody caused.
    pub fn ends(&self) -> Vec<String> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The end of the log of its present life.
    pub fn log_tail(&self) -> String {
        let operator = self.operator();
        operator.map_or_else(String::new, |operator| operator.process().log_tail(25))
    }
}
