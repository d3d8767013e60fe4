//! Kubeflow's Python SDK as a client; `tests/sdk` has the cases.

use std::env;

use pytorchjob_test_cluster::repository;
use tokio::process::Command;

use crate::rig::Rig;

/// A Python that has what `tests/sdk/requirements.txt` names.
const PYTHON: &str = "SDK_PYTHON";

#[tokio::test]
#[ignore = "needs Python with Kubeflow's SDK: make test-sdk"]
async fn kubeflows_python_sdk_creates_waits_for_updates_and_deletes_jobs() {
    let python = env::var_os(PYTHON).unwrap_or_else(|| panic!("{PYTHON} names no Python: run make test-sdk"));
    let rig = Rig::start().await;
    let status = Command::new(python)
        .arg(repository().join("tests/sdk/test_sdk.py"))
        .arg("--verbose")
        .env("KUBECONFIG", rig.cluster.admin_kubeconfig())
        .env("NAMESPACE", rig.namespace.name())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    assert!(status.success(), "{status}");
}
