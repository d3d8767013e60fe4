//! A real Kubernetes control plane for the tests, the demo and the bench.
//!
//! etcd, kube-apiserver and kube-controller-manager run as child processes on free local ports with their files in one
//! temporary directory; kube-scheduler and KWOK join them when nodes are asked for. `make control-plane` builds the
//! programs from the Go modules pinned in `go.mod`. Nothing outlives the process that started it, however that ends.
//!
//! ```no_run
//! # async fn test() -> Result<(), pytorchjob_test_cluster::Error> {
//! use pytorchjob_test_cluster::{Cluster, PodPhase, set_pod_phase};
//!
//! let cluster = Cluster::shared().await;
//! let client = cluster.admin();
//! let namespace = cluster.namespace("seed").await?;
//! // … create a job in `&namespace`, let the operator create its pods, and play the kubelet:
//! set_pod_phase(&client, &namespace, "pytorch-test-master-0", &PodPhase::Running, 0).await?;
//! # Ok(())
//! # }
//! ```

mod access;
mod api_server;
mod audit;
mod binaries;
mod cluster;
mod control_plane;
mod error;
mod etcd;
mod kubelet;
mod manifests;
mod namespace;
mod node;
mod nodes;
mod operator;
mod options;
mod ports;
mod process;
mod supervisor;
mod tokens;
pub mod training_operator;
mod wait;

pub use self::access::User;
pub use self::audit::{Audit, AuditEntry, AuditFilter};
pub use self::binaries::repository;
pub use self::cluster::{Cluster, EXISTING_CLUSTER, not_applicable};
pub use self::error::Error;
pub use self::etcd::Backup;
pub use self::kubelet::{PodPhase, bind_pod, remove_pod, set_pod_phase};
pub use self::manifests::forget_rules;
pub use self::namespace::Namespace;
pub use self::node::Node;
pub use self::operator::Operator;
pub use self::options::Options;
pub use self::ports::free_port;
pub use self::process::Process;
pub use self::supervisor::{Kept, keep_running};
pub use self::wait::{Watchable, wait_for, wait_for_all, wait_gone};
pub use rustix::process::Signal;
