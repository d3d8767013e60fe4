//! A namespace of its own for each test.

use std::ops::Deref;
use std::thread;

use kube::Api;
use kube::api::DeleteParams;

use crate::{Cluster, Error};

/// A namespace that nobody else uses. It dereferences to its name.
///
/// On an existing cluster it is deleted when this is dropped; on one of ours it goes with the cluster, because deleting
/// it would only take time from the other tests. When the test has failed, the ends of the logs of the control plane
/// are printed.
#[derive(Debug)]
pub struct Namespace<'a> {
    pub(crate) name: String,
    pub(crate) cluster: &'a Cluster,
}

impl Namespace<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for Namespace<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            for process in self.cluster.processes() {
                eprintln!("{}", process.log_tail(20));
            }
        }
        if !self.cluster.is_ours() {
            // The runtime of the test may be ending, and a destructor cannot await: the request has a thread of its
            // own.
            let deleted = thread::scope(|scope| scope.spawn(|| delete(self.cluster, &self.name)).join());
            if !matches!(deleted, Ok(Ok(()))) {
                eprintln!("Namespace {} could not be deleted; remove it by hand", self.name);
            }
        }
    }
}

fn delete(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a runtime"))?;
    runtime.block_on(async {
        let api = Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.admin());
        api.delete(name, &DeleteParams::background())
            .await
            .map(drop)
            .map_err(Error::kube(format!("delete Namespace {name}")))
    })
}
