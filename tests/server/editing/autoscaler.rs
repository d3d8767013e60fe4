//! Horizontal pod autoscalers, run by the controller of Kubernetes itself on metrics that the tests give.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{not_applicable, wait_for};
use serde_json::{Value, json};

use crate::editing::rig::{Rig, SOON, active, elastic, template};
use crate::job::with;

/// The pods' metrics as the metrics server serves them, but stored: the autoscaler's controller asks for them by the
/// selector of the `scale` subresource, and does not care who answers.
fn pod_metrics() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "pods.metrics.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "unapproved, a metrics server for tests" },
        },
        "spec": {
            "group": "metrics.k8s.io",
            "names": { "plural": "pods", "kind": "PodMetrics" },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    })
}

/// Says that each of these pods uses that much of a processor.
async fn use_cpu(rig: &Rig, pods: &[Pod], usage: &str) {
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics"),
        "pods",
    );
    let metrics: Api<DynamicObject> = Api::namespaced_with(rig.client.clone(), &rig.namespace, &kind);
    for pod in pods {
        let object = json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": { "name": pod.name_any(), "labels": pod.labels() },
            "timestamp": clock::now(), "window": "0s",
            "containers": [{ "name": "pytorch", "usage": { "cpu": usage } }],
        });
        let apply = PatchParams::apply("metrics-server").force();
        metrics
            .patch(&pod.name_any(), &apply, &Patch::Apply(&object))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_autoscaler_that_a_job_asks_for_scales_its_workers_by_what_they_use() {
    let (rig, _operator) = Rig::with_operator("autoscaler").await;
    if !rig.cluster.is_ours() {
        return not_applicable("makes up the metrics of pods");
    }
    rig.cluster.install_crd(&pod_metrics().to_string()).await.unwrap();
    let cpu = json!({ "name": "cpu", "target": { "type": "AverageValue", "averageValue": "100m" } });
    let asks = json!({
        "elasticPolicy": { "metrics": [{ "type": "Resource", "resource": cpu }] },
        "pytorchReplicaSpecs": { "Master": { "template": template() } },
    });
    rig.create("job", with(elastic(2, 1, 5), &asks)).await;
    rig.run("job", &["master-0", "worker-0", "worker-1"]).await;

    // The master's 900m must not count, or there would be more than four.
    let pods = rig.pods_of("job").await;
    use_cpu(&rig, &pods[..1], "900m").await;
    use_cpu(&rig, &pods[1..], "200m").await;
    let four = ["master-0", "worker-0", "worker-1", "worker-2", "worker-3"];
    rig.until_pods("job", &four).await;
    rig.run("job", &four).await;
    let job = rig.until("job", |job| active(job, "Worker") == 4).await;
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(rig.client.clone(), &rig.namespace);
    let autoscaler = autoscalers.get("job").await.unwrap();
    assert_eq!(autoscaler.owner_references()[0].uid, job.uid().unwrap());

    use_cpu(&rig, &rig.pods_of("job").await, "25m").await;
    rig.until_pods("job", &["master-0", "worker-0"]).await;
    assert_eq!(
        rig.pods_of("job").await[0].uid(),
        pods[0].uid(),
        "the master was disturbed"
    );
}

#[tokio::test]
async fn an_autoscaler_that_goes_beyond_the_bounds_is_refused_and_says_why() {
    let (rig, _operator) = Rig::with_operator("beyond").await;
    rig.create("job", elastic(2, 1, 3)).await;
    rig.run("job", &["worker-0", "worker-1"]).await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "by-hand" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job" },
            "minReplicas": 3, "maxReplicas": 10,
        },
    });
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(rig.client.clone(), &rig.namespace);
    let autoscaler = serde_json::from_value(autoscaler).unwrap();
    autoscalers.create(&PostParams::default(), &autoscaler).await.unwrap();
    rig.run("job", &["worker-0", "worker-1", "worker-2"]).await;

    let beyond = Patch::Merge(json!({ "spec": { "minReplicas": 4 } }));
    autoscalers
        .patch("by-hand", &PatchParams::default(), &beyond)
        .await
        .unwrap();
    let refused = wait_for(&autoscalers, "by-hand", SOON, |autoscaler: &HorizontalPodAutoscaler| {
        able_to_scale(autoscaler).is_some_and(|(able, _)| able == "False")
    })
    .await
    .unwrap();
    let (_, message) = able_to_scale(&refused).unwrap();
    assert!(message.contains("elasticPolicy.maxReplicas"), "{message}");
    rig.until_pods("job", &["worker-0", "worker-1", "worker-2"]).await;
}

/// Whether the autoscaler can scale, and what it says about that.
fn able_to_scale(autoscaler: &HorizontalPodAutoscaler) -> Option<(String, String)> {
    let conditions = autoscaler.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == "AbleToScale")?;
    Some((condition.status.clone(), condition.message.clone().unwrap_or_default()))
}
