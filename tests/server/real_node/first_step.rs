//! From `kubectl apply` to the first step of a training: who spends the time.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::time::Instant;

use crate::real_node::site;
use crate::rig::Site;

const PODS: [&str; 3] = ["ddp-master-0", "ddp-worker-0", "ddp-worker-1"];

/// How long it takes until all pods of the job are so.
async fn all(site: &Site, since: Instant, so: impl Fn(&Pod) -> bool) -> Duration {
    site.wait_pods("ddp", |pods| pods.len() == PODS.len() && pods.iter().all(&so))
        .await;
    since.elapsed()
}

fn runs(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let mut states = statuses.filter_map(|status| status.state.as_ref());
    states.any(|state| state.running.is_some() || state.terminated.is_some())
}

/// What the operator's pods say of their memory, in bytes.
async fn memory(site: &Site) -> Vec<u64> {
    let pods = Api::<Pod>::namespaced(site.client.clone(), "kubeflow");
    let ours = ListParams::default().labels("app.kubernetes.io/name=pytorchjob-operator");
    let mut resident = Vec::new();
    for pod in pods.list(&ours).await.unwrap() {
        let name = pod.metadata.name.unwrap();
        let url = format!("/api/v1/namespaces/kubeflow/pods/{name}:8080/proxy/metrics");
        let metrics = site.cluster.kubectl(&["get", "--raw", &url]).await.unwrap();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        resident.push(line.unwrap().parse().unwrap());
    }
    resident
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn the_operators_part_of_the_way_to_the_first_step_is_the_least_and_its_memory_is_small() {
    let site = site().await;
    let begin = Instant::now();
    site.example("ddp.yaml").await;
    let created = all(&site, begin, |_| true).await;
    let scheduled = all(&site, begin, |pod| {
        pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
    })
    .await;
    let started = all(&site, begin, runs).await;
    site.logged(PODS[0], "step 0").await;
    let stepped = begin.elapsed();
    let memory = memory(&site).await;
    println!(
        "ddp.yaml: kubectl and operator until all pods exist {created:.2?}, scheduler {:.2?}, kubelet until all containers \
         run {:.2?}, PyTorch until the first step {:.2?}; {stepped:.2?} in all. Operator: {memory:?} bytes resident",
        scheduled.saturating_sub(created),
        started.saturating_sub(scheduled),
        stepped.saturating_sub(started),
    );
    assert!(created * 2 < stepped, "{created:?} of {stepped:?}");
    // The limit for memory of the shipped Deployment is 512 MiB.
    assert!(
        memory.len() == 2 && memory.iter().all(|bytes| *bytes < 64 << 20),
        "{memory:?}"
    );
    site.wait("ddp", |job| job.is("Succeeded")).await;
}
