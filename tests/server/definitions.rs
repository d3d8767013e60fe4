//! A definition that is not ours, as Kubeflow's, drops the fields that it does not know, of the status and of
//! templates.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use pytorchjob_operator::api::{crd, names};
use pytorchjob_test_cluster::{AuditFilter, not_applicable};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{End, Rig, cluster_without_definition, install_identity};

/// The fields of the status that Kubeflow's definition has.
const KUBEFLOWS: [&str; 5] = [
    "completionTime",
    "conditions",
    "lastReconcileTime",
    "replicaStatuses",
    "startTime",
];

fn definition() -> Value {
    let mut definition = serde_json::to_value(crd()).unwrap();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let status = schema["properties"]["status"]["properties"].as_object_mut().unwrap();
    status.retain(|field, _| KUBEFLOWS.contains(&field.as_str()));
    assert_eq!(status.len(), KUBEFLOWS.len());
    // Kubeflow's has no rules, and one may not read a field that is not there.
    schema.as_object_mut().unwrap().remove("x-kubernetes-validations");
    definition
}

#[tokio::test]
async fn a_status_that_the_definition_prunes_is_said_once_and_not_written_again() {
    let cluster = cluster_without_definition().await;
    let Some(audit) = cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    cluster.install_crd(&definition().to_string()).await.unwrap();
    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;

    rig.running(&job("pruned", 1)).await;
    rig.patch("pruned", &json!({ "metadata": { "labels": { "seen": "yes" } } }))
        .await;
    // Meanwhile the status of the first would be written some times a second.
    for fence in ["one", "two", "three"] {
        rig.succeeded(&job(fence, 1)).await;
    }
    let statuses = AuditFilter {
        subresource: Some("status"),
        name_prefix: Some("pruned"),
        ..rig.writes()
    };
    let written = audit.entries(&statuses).unwrap().len();
    println!("statuses written: {written}");
    assert!((3..=5).contains(&written), "{written}");
    let said = rig.wait_event("pruned", "Warning", "StatusFieldsPruned").await;
    assert!(
        said.contains("observedGeneration, ready") && said.contains("kubectl apply"),
        "{said}"
    );
    let metrics = rig.operator.metrics().await.unwrap();
    assert!(metrics.contains(r#"pytorchjob_operator_pruned_status_fields_total{field="ready"}"#));
    assert_eq!(rig.operator.log().matches("drops status fields").count(), 1);
}

fn hashes(pods: &[Pod]) -> Vec<String> {
    pods.iter()
        .map(|pod| pod.labels()[names::LABEL_POD_TEMPLATE_HASH].clone())
        .collect()
}

fn uids(pods: &[Pod]) -> Vec<Option<String>> {
    pods.iter().map(ResourceExt::uid).collect()
}

#[tokio::test]
async fn running_pods_outlive_a_definition_that_prunes_a_field_of_their_template_and_the_edits_after_it() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    cluster
        .install_crd(&serde_json::to_value(crd()).unwrap().to_string())
        .await
        .unwrap();
    let mut rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    let worker = json!({ "replicas": 2, "template": { "spec": { "containers": [
        { "name": "pytorch", "image": "registry.example/training:v1", "stdin": true },
    ] } } });
    let elastic = json!({ "spec": {
        "pytorchReplicaSpecs": { "Master": null, "Worker": worker },
        "elasticPolicy": { "minReplicas": 1, "maxReplicas": 3 },
    } });
    rig.running(&with(job("elastic", 2), &elastic)).await;
    // Now the pods are older than the spec.
    rig.patch(
        "elastic",
        &json!({ "spec": { "runPolicy": { "activeDeadlineSeconds": 100_000 } } }),
    )
    .await;
    let before = rig.wait_pods("elastic", |pods| pods.len() == 2).await;

    let mut pruning = definition();
    let container = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/pytorchReplicaSpecs\
        /additionalProperties/properties/template/properties/spec/properties/containers/items/properties";
    let container = pruning.pointer_mut(container).unwrap().as_object_mut().unwrap();
    assert!(container.remove("stdin").is_some());
    cluster.install_crd(&pruning.to_string()).await.unwrap();
    // Whoever has seen the spec under both definitions knows that nobody has edited it. This one has not.
    rig.end_operator(End::Stop).await;
    rig.go_on().await;
    let told = rig.wait_pods("elastic", |pods| {
        hashes(pods).iter().all(|hash| !hashes(&before).contains(hash))
    });
    assert_eq!(uids(&told.await), uids(&before));

    rig.patch(
        "elastic",
        &json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": 3 } } } }),
    )
    .await;
    rig.wait_pods("elastic", |pods| pods.len() == 3).await;
    rig.succeeded(&job("fence", 1)).await;
    let after = rig.wait_pods("elastic", |pods| pods.len() == 3).await;
    assert_eq!(uids(&after)[..2], uids(&before));
    assert!(rig.get("elastic").await.condition("Suspended").is_none());
}

#[tokio::test]
async fn a_running_job_that_was_stored_without_a_number_of_workers_can_be_scaled_under_ours_and_is_not_edited_by_it() {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    let shipped = serde_json::to_value(crd()).unwrap();
    // Kubeflow's has no default.
    let mut without = shipped.clone();
    let replicas = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/pytorchReplicaSpecs\
        /additionalProperties/properties/replicas";
    let replicas = without.pointer_mut(replicas).unwrap().as_object_mut().unwrap();
    assert!(replicas.remove("default").is_some());
    cluster.install_crd(&without.to_string()).await.unwrap();
    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    let unnamed = json!({ "spec": {
        "pytorchReplicaSpecs": { "Master": null, "Worker": { "replicas": null } },
        "elasticPolicy": { "minReplicas": 1, "maxReplicas": 3 },
    } });
    rig.running(&with(job("unnamed", 1), &unnamed)).await;
    let before = rig.wait_pods("unnamed", |pods| pods.len() == 1).await;
    assert!(rig.jobs().get_scale("unnamed").await.is_err());

    cluster.install_crd(&shipped.to_string()).await.unwrap();
    // The API server serves the new definition a moment after it has stored it.
    let scale = loop {
        if let Ok(scale) = rig.jobs().get_scale("unnamed").await {
            break scale;
        }
    };
    assert_eq!(scale.spec.unwrap().replicas, Some(1));
    let edited = rig
        .patch("unnamed", &json!({ "metadata": { "labels": { "seen": "yes" } } }))
        .await;
    assert_eq!(edited.metadata.generation, Some(1));
    rig.succeeded(&job("fence", 1)).await;
    let after = rig.wait_pods("unnamed", |pods| pods.len() == 1).await;
    assert_eq!(uids(&after), uids(&before));
    let three = json!({ "spec": { "replicas": 3 } });
    rig.jobs()
        .patch_scale("unnamed", &PatchParams::default(), &Patch::Merge(&three))
        .await
        .unwrap();
    rig.wait_pods("unnamed", |pods| pods.len() == 3).await;
}
