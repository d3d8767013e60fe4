//! A definition that is not ours, as Kubeflow's, drops the fields of the status that it does not know.

use pytorchjob_operator::api::crd;
use pytorchjob_test_cluster::{AuditFilter, Options, not_applicable};
use serde_json::{Value, json};

use crate::job::job;
use crate::rig::{Rig, install_identity, own_cluster};

/// Fields of ours in the status.
const OURS: [&str; 6] = [
    "completedIndexes",
    "firstFailure",
    "observedGeneration",
    "ready",
    "replacedPods",
    "restarts",
];

fn definition() -> Value {
    let mut definition = serde_json::to_value(crd()).unwrap();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let status = schema["properties"]["status"]["properties"].as_object_mut().unwrap();
    status.retain(|field, _| !OURS.contains(&field.as_str()));
    definition
}

#[tokio::test]
async fn a_status_that_the_definition_prunes_is_said_once_and_not_written_again() {
    let options = Options {
        crds: Vec::new(),
        ..Options::default()
    };
    let cluster = own_cluster(options).await;
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
