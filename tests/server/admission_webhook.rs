//! Admission webhooks of others that say nothing: their pods are gone, or a network policy swallows what is sent to them.

use std::fs;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use pytorchjob_test_cluster::not_applicable;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::job::{Job, job};
use crate::rig::{Rig, TIMEOUT, replica_names, until};

/// Longer than a pod takes that no webhook holds up, and less than one of these is waited for.
const HELD_UP: Duration = Duration::from_secs(5);

/// A webhook for the pods of a namespace, at an address that swallows what is sent to it.
struct Silent {
    configurations: Api<ValidatingWebhookConfiguration>,
    name: String,
    _address: (TcpListener, Vec<TcpStream>),
}

/// A listener that takes no connection, and as many as wait for it already: the kernel drops the request for another.
async fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (listener, waiting)
}

impl Silent {
    /// Returns when pods are held up.
    async fn register(rig: &Rig, failure_policy: &str, seconds: u32) -> Self {
        let address = full().await;
        let url = format!("https://{}/", address.0.local_addr().unwrap());
        let bundle = ByteString(fs::read(rig.cluster.ca().unwrap()).unwrap());
        let name = format!("silent.{}.example", rig.namespace.name());
        let configuration = json!({
            "metadata": { "name": name },
            "webhooks": [{
                "name": name,
                "clientConfig": { "url": url, "caBundle": bundle },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": rig.namespace.name() } },
                "failurePolicy": failure_policy,
                "timeoutSeconds": seconds,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        });
        let configurations = Api::all(rig.client.clone());
        let configuration = serde_json::from_value(configuration).unwrap();
        configurations
            .create(&PostParams::default(), &configuration)
            .await
            .unwrap();
        // The API server calls it a moment after it has stored it.
        until("a pod is held up", TIMEOUT, async || {
            timeout(HELD_UP, rig.lets_a_pod_in()).await.is_err()
        })
        .await;
        Self {
            configurations,
            name,
            _address: address,
        }
    }

    async fn unregister(self) {
        self.configurations
            .delete(&self.name, &DeleteParams::default())
            .await
            .unwrap();
    }
}

/// The messages of the conditions.
fn told(job: &Job) -> String {
    job.conditions()
        .iter()
        .map(|condition| condition[3])
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn pods_get_past_a_webhook_that_says_nothing_for_longer_than_a_pass_and_their_owner_is_told_meanwhile() {
    let rig = Rig::start().await;
    if !rig.cluster.is_ours() {
        return not_applicable("needs to be reached by the API server");
    }
    let webhook = Silent::register(&rig, "Ignore", 15).await;
    // Two more than are asked for at once.
    rig.create(&job("late", 5)).await;
    let note = rig.wait_event("late", "Warning", "FailedCreatePod").await;
    assert!(note.contains("an admission webhook may be slow or away"), "{note}");
    rig.wait("late", |job| {
        told(job).contains("an admission webhook may be slow or away")
    })
    .await;
    let workers: Vec<_> = (0..5).map(|index| format!("worker-{index}")).collect();
    let replicas: Vec<_> = std::iter::once("master-0")
        .chain(workers.iter().map(String::as_str))
        .collect();
    rig.wait_pod_names("late", &replica_names("late", &replicas)).await;
    webhook.unregister().await;
    rig.wait("late", |job| !told(job).contains("webhook")).await;
}

#[tokio::test]
async fn what_the_api_server_says_of_a_webhook_that_has_not_answered_is_told_and_ends_with_it() {
    let rig = Rig::start().await;
    if !rig.cluster.is_ours() {
        return not_applicable("needs to be reached by the API server");
    }
    let webhook = Silent::register(&rig, "Fail", 10).await;
    rig.create(&job("refused", 0)).await;
    rig.wait("refused", |job| told(job).contains("failed calling webhook"))
        .await;
    webhook.unregister().await;
    rig.wait_pod_names("refused", &replica_names("refused", &["master-0"]))
        .await;
    rig.wait("refused", |job| !told(job).contains("webhook")).await;
}
