//! Kubeflow's operator, for those who stand beside it. `tests/training-operator/build.sh` builds it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::{Cluster, Error, Operator, free_port, repository};

/// What it patches its certificate into.
const WEBHOOKS: &str = "validator.training-operator.kubeflow.org";

/// It waits until the certificate of its webhooks is mounted in a fixed place; that of the API server does, in a mount
/// namespace of its own, for which root has to run this.
const SCRIPT: &str = r#"#!/usr/bin/env bash
set -e
if [ -z "${MOUNTED:-}" ]; then MOUNTED=1 exec unshare --mount "$0" "$@"; fi
# Its webhooks look for it below this.
export TMPDIR=/tmp
certificates=/tmp/k8s-webhook-server/serving-certs
mkdir -p "$certificates"
mount -t tmpfs none "$certificates"
cp "$(dirname "$0")/apiserver.crt" "$certificates/tls.crt"
cp "$(dirname "$0")/apiserver.key" "$certificates/tls.key"
exec "$PROGRAM" "$@"
"#;

/// Where it is built.
fn directory() -> PathBuf {
    repository().join("target/training-operator")
}

/// Its definition of PyTorchJobs; nothing while it has not been built.
#[must_use]
pub fn definition() -> Option<PathBuf> {
    let file = directory().join("kubeflow.org_pytorchjobs.yaml");
    file.exists().then_some(file)
}

/// The definitions of PyTorchJobs of its versions since 1.4, the oldest first; none while it has not been built.
#[must_use]
pub fn definitions() -> Vec<PathBuf> {
    let files = fs::read_dir(directory().join("definitions")).into_iter().flatten();
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    files
}

/// Starts it for PyTorchJobs, with `arguments` after what it cannot do without, and waits until it is ready. The
/// kubeconfig is to be that of an administrator.
pub async fn start(cluster: &Cluster, kubeconfig: &Path, arguments: &[&str]) -> Result<Operator, Error> {
    let script = cluster.directory().join("training-operator");
    if !script.exists() {
        write_script(&script).map_err(Error::io(format!("write {}", script.display())))?;
    }
    let port = format!("--webhook-server-port={}", free_port());
    let arguments: Vec<_> = ["--enable-scheme=pytorchjob", &port]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let operator = Operator::start(&script, kubeconfig, &arguments)?;
    operator.ready().await?;
    Ok(operator)
}

fn write_script(path: &Path) -> std::io::Result<()> {
    let program = directory().join("training-operator.v1");
    let script = SCRIPT.replace("$PROGRAM", &fs::canonicalize(program)?.display().to_string());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    file.write_all(script.as_bytes())
}

/// What it needs to be there: a place for its certificate in the namespace `kubeflow`, and a configuration to patch that
/// into. No request is for its webhook, whose address is that of a Service.
///
/// # Panics
///
/// When the webhook is not one, which would be a defect of the rig.
pub async fn install(cluster: &Cluster) -> Result<(), Error> {
    let create = PostParams::default();
    let metadata = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let secret = Secret {
        metadata: metadata("training-operator-webhook-cert"),
        ..Secret::default()
    };
    Api::namespaced(cluster.admin(), "kubeflow")
        .create(&create, &secret)
        .await
        .map_err(Error::kube("create the Secret of Kubeflow's operator"))?;
    let webhook = json!([{
        "name": WEBHOOKS, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
        "clientConfig": { "service": { "namespace": "kubeflow", "name": "training-operator" } },
        "rules": [{ "apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["none"] }],
    }]);
    let webhooks = ValidatingWebhookConfiguration {
        metadata: metadata(WEBHOOKS),
        webhooks: serde_json::from_value(webhook).expect("webhooks"),
    };
    Api::all(cluster.admin())
        .create(&create, &webhooks)
        .await
        .map_err(Error::kube(format!("create ValidatingWebhookConfiguration {WEBHOOKS}")))?;
    Ok(())
}
