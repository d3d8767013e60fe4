//! The job of the page "Update PyTorchJob", and the five patches of that page, as HTTP requests.

use http::Request;
use http::header::CONTENT_TYPE;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use pytorchjob_test_cluster::{AuditFilter, not_applicable, wait_for};
use serde_json::{Value, json};

use crate::job::{Job, job, with};
use crate::rig::{Rig, TIMEOUT};

fn sample() -> Value {
    serde_json::from_str(include_str!("seed.json")).unwrap()
}

/// PATCH as the page describes it; the body of the answer, which was 200.
async fn patch(rig: &Rig, name: &str, query: &str, body: &Value) -> String {
    let request = Request::patch(format!("{}/{name}{query}", rig.path()))
        .header(CONTENT_TYPE, "application/merge-patch+json")
        .body(body.to_string().into_bytes().into())
        .unwrap();
    let answer = rig.client.send(request).await.unwrap();
    let status = answer.status();
    let text = answer.into_body().collect_bytes().await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// The same; the job of the answer.
async fn patched(rig: &Rig, name: &str, body: &Value) -> Job {
    serde_json::from_str(&patch(rig, name, "", body).await).unwrap()
}

#[tokio::test]
async fn the_sample_job_is_accepted_unchanged_and_shows_the_status_of_the_page() {
    let rig = Rig::start().await;
    let created = rig.create(&sample()).await;

    let mut stored = created.spec.clone();
    assert_eq!(
        stored.as_object_mut().unwrap().remove("runPolicy"),
        Some(json!({ "suspend": false })),
        "the one default"
    );
    assert_eq!(stored, sample()["spec"]);

    let shown = rig.wait("pytorch-test", |job| job.is("Created")).await;
    assert_eq!(
        shown.conditions(),
        [[
            "Created",
            "True",
            "PyTorchJobCreated",
            "PyTorchJob pytorch-test is created."
        ]]
    );
    let started: Timestamp = shown.status["startTime"].as_str().unwrap().parse().unwrap();
    assert!(started >= created.metadata.creation_timestamp.unwrap().0);
    assert!(shown.status["replicaStatuses"]["Master"].is_object());
    assert_eq!(shown.spec, created.spec, "the operator does not write the spec");
}

#[tokio::test]
async fn the_pods_of_the_sample_job_have_what_the_template_says() {
    let rig = Rig::start().await;
    let (_, pods) = rig.create_with_pods(&sample()).await;
    for pod in &pods {
        let spec = serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap();
        assert_eq!(spec["imagePullSecrets"], json!([{ "name": "imagepull-secret" }]));
        let container = &spec["containers"][0];
        assert_eq!(
            container["resources"],
            json!({ "limits": { "cpu": "2", "memory": "4Gi" }, "requests": { "cpu": "2", "memory": "4Gi" } })
        );
        assert_eq!(container["command"], json!(["python", "/var/mnist.py"]));
        assert_eq!(container["args"], json!(["--backend", "gloo"]));
        assert_eq!(container["image"], "*.*.*.215:20202/gcs/pytorch-cpu:v1");
    }
    let policies: Vec<_> = pods
        .iter()
        .map(|pod| pod.spec.as_ref().unwrap().restart_policy.as_deref().unwrap())
        .collect();
    assert_eq!(policies, ["Never", "OnFailure"]);
}

#[tokio::test]
async fn each_patch_of_the_page_is_answered_with_200_and_takes_effect_on_the_live_job() {
    let rig = Rig::start().await;
    let name = "pytorch-test";
    rig.running(&sample()).await;

    let job = patched(
        &rig,
        name,
        &json!({ "metadata": { "labels": { "app": "other", "new": "label" } } }),
    )
    .await;
    assert_eq!(job.labels()["app"], "other");
    let selected = rig
        .jobs()
        .list(&ListParams::default().labels("new=label"))
        .await
        .unwrap();
    assert_eq!(selected.items.len(), 1);

    patched(
        &rig,
        name,
        &json!({ "metadata": { "annotations": { "note": "seen" } } }),
    )
    .await;
    assert_eq!(rig.get(name).await.annotations()["note"], "seen");

    patched(&rig, name, &json!({ "spec": { "activeDeadlineSeconds": 2 } })).await;
    let failed = rig.wait_finished(name).await;
    assert!(failed.is("Failed"));
    assert!(failed.duration() >= 2);
    // The policy is unset, and the job has failed: what ran has been stopped.
    rig.wait_pod_names(name, &[]).await;

    // A job that is kept as it is until the policies say otherwise.
    rig.succeeded(&with(
        job_named("kept"),
        &json!({ "spec": { "cleanPodPolicy": "None" } }),
    ))
    .await;
    assert_eq!(rig.pod_names("kept").await.len(), 2);
    patched(&rig, "kept", &json!({ "spec": { "cleanPodPolicy": "All" } })).await;
    rig.wait_pod_names("kept", &[]).await;

    patched(&rig, "kept", &json!({ "spec": { "ttlSecondsAfterFinished": 0 } })).await;
    rig.wait_gone("kept").await;
}

fn job_named(name: &str) -> Value {
    with(sample(), &json!({ "metadata": { "name": name } }))
}

#[tokio::test]
async fn pretty_true_prints_indented_and_without_it_the_answer_is_one_line() {
    let rig = Rig::start().await;
    rig.create(&sample()).await;
    let body = json!({ "metadata": { "labels": { "app": "test" } } });

    let plain = patch(&rig, "pytorch-test", "", &body).await;
    assert_eq!(plain.trim_end().lines().count(), 1);
    let pretty = patch(&rig, "pytorch-test", "?pretty=true", &body).await;
    assert!(pretty.contains("\n  \"metadata\": {\n    "), "{pretty}");
    let labels = |text: &str| serde_json::from_str::<Job>(text).unwrap().labels().clone();
    assert_eq!(labels(&pretty), labels(&plain));
}

#[tokio::test]
async fn a_label_patch_changes_neither_the_generation_nor_the_pods_nor_the_status() {
    let rig = Rig::start().await;
    rig.running(&job("labelled", 1)).await;
    let before = rig.settle("labelled").await;
    // The last event about it; events are published beside the work they tell of.
    rig.wait_event("labelled", "Normal", "SuccessfulCreatePod").await;
    let pods = rig.pods().list(&ListParams::default()).await.unwrap().items;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };

    let patched = patched(
        &rig,
        "labelled",
        &json!({ "metadata": { "labels": { "app": "test" } } }),
    )
    .await;
    assert_eq!(patched.metadata.generation, before.metadata.generation);
    let after = rig.settle("labelled").await;

    let mut expected = before.status;
    expected["observedGeneration"] = json!(after.metadata.generation);
    assert_eq!(after.status, expected, "only the marker of the test has changed");
    let status_writes = AuditFilter {
        resource: Some("pytorchjobs"),
        ..rig.writes()
    };
    wait_for(&rig.jobs(), "labelled", TIMEOUT, |_| {
        audit.count(&status_writes).unwrap() > 0
    })
    .await
    .unwrap();
    assert_eq!(
        audit.count(&rig.writes()).unwrap(),
        1,
        "the marker of the test, and nothing else"
    );
    let versions = |pods: &[k8s_openapi::api::core::v1::Pod]| -> Vec<_> {
        pods.iter()
            .map(|pod| (pod.name_any(), pod.resource_version()))
            .collect()
    };
    let pods_after = rig.pods().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(versions(&pods_after), versions(&pods));
}
