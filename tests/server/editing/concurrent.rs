//! Several editors at once, the operator being one of them.

use futures::future::join_all;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use pytorchjob_operator::api::{ConditionType, PyTorchJob};
use pytorchjob_test_cluster::PodPhase;
use serde_json::{Value, json};

use crate::editing::rig::{Rig, answer, bare, elastic, finished, is, status};

const REPLICAS: [&str; 2] = ["master-0", "worker-0"];
const EDITORS: usize = 12;
const EDITS: usize = 5;

#[tokio::test]
async fn twelve_editors_lose_no_edit_to_each_other_or_to_the_operator() {
    let (rig, _operator) = Rig::with_operator("editors").await;
    rig.create("job", bare()).await;
    rig.until_pods("job", &REPLICAS).await;
    let edit = async |editor: usize| {
        for number in 1..=EDITS {
            let label = json!({ "metadata": { "labels": { format!("editor-{editor}"): number.to_string() } } });
            let policy = json!({ "spec": { "runPolicy": { "backoffLimit": editor * 100 + number } } });
            rig.edit("job", if number % 2 == 0 { policy } else { label }).await;
        }
    };
    // Meanwhile the pods change their phases, and with them the operator the status.
    let kubelet = async {
        for replica in REPLICAS {
            rig.report("job", replica, PodPhase::Running).await;
        }
    };
    tokio::join!(join_all((0..EDITORS).map(edit)), kubelet);
    let job = rig.until_observed("job").await;
    for editor in 0..EDITORS {
        let label = job.labels().get(&format!("editor-{editor}")).map(String::as_str);
        assert_eq!(label, Some("5"), "the last label of editor {editor}");
    }
    assert!(
        job.spec.backoff_limit().is_some_and(|limit| limit % 100 == 4),
        "the last limit of some editor"
    );
    rig.until("job", |job| is(job, ConditionType::Running)).await;
}

#[tokio::test]
async fn an_editor_who_read_before_somebody_else_wrote_gets_409() {
    let (rig, _operator) = Rig::with_operator("stale").await;
    rig.create("job", bare()).await;
    rig.run("job", &REPLICAS).await;
    rig.until_observed("job").await;
    let stale = rig.raw().get("job").await.unwrap();
    rig.edit("job", json!({ "spec": { "backoffLimit": 1 } })).await;
    let mut mine = stale;
    mine.data["spec"]["backoffLimit"] = json!(2);
    let refusal = answer(rig.raw().replace("job", &PostParams::default(), &mine).await).unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (409, "Conflict"));
    assert_eq!(rig.until_observed("job").await.spec.backoff_limit(), Some(1));
}

#[tokio::test]
async fn two_managers_conflict_with_each_other_and_never_with_the_operator() {
    let (rig, _operator) = Rig::with_operator("managers").await;
    let apply = async |manager: &str, spec: &Value, force: bool| {
        let object = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "job" }, "spec": spec });
        let mut parameters = PatchParams::apply(manager);
        parameters.force = force;
        answer(rig.jobs.patch("job", &parameters, &Patch::Apply(&object)).await)
    };
    let mut owner = elastic(2, 1, 3);
    owner["backoffLimit"] = json!(3);
    apply("owner", &owner, false).await.unwrap();
    rig.run("job", &["worker-0", "worker-1"]).await;

    let other = json!({ "backoffLimit": 5 });
    let conflict = apply("other", &other, false).await.unwrap_err();
    assert_eq!(
        (conflict.code, conflict.reason.as_str()),
        (409, "Conflict"),
        "{}",
        conflict.message
    );
    assert_eq!(rig.job("job").await.spec.backoff_limit(), Some(3));
    apply("other", &json!({ "ttlSecondsAfterFinished": 7200 }), false)
        .await
        .unwrap();
    owner["backoffLimit"] = json!(4);
    apply("owner", &owner, false).await.unwrap();
    apply("other", &merged_other(), true).await.unwrap();
    let job = rig.until_observed("job").await;
    assert_eq!(
        (job.spec.backoff_limit(), job.spec.ttl_seconds_after_finished()),
        (Some(6), Some(7200))
    );

    let fields = job.managed_fields();
    assert!(fields.len() >= 3, "{fields:?}");
    for entry in fields
        .iter()
        .filter(|entry| !["owner", "other"].contains(&entry.manager.as_deref().unwrap_or_default()))
    {
        assert_eq!(entry.subresource.as_deref(), Some("status"), "{entry:?}");
        let fields = &entry.fields_v1.as_ref().unwrap().0;
        assert_eq!(
            fields.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["f:status"],
            "{entry:?}"
        );
    }
}

fn merged_other() -> Value {
    json!({ "backoffLimit": 6, "ttlSecondsAfterFinished": 7200 })
}

#[tokio::test]
async fn edits_that_race_with_the_status_of_the_operator_are_neither_lost_nor_hold_the_job_up() {
    let (rig, _operator) = Rig::with_operator("race").await;
    rig.create("job", bare()).await;
    rig.until_pods("job", &REPLICAS).await;
    for round in 1..=4 {
        let edit = rig.edit("job", json!({ "spec": { "activeDeadlineSeconds": 7200 + round } }));
        let phase = rig.report("job", "master-0", PodPhase::Running);
        let restart = rig.fail("job", "worker-0");
        let (edited, (), ()) = tokio::join!(edit, phase, restart);
        let observed = rig
            .until("job", |job| {
                status(job).observed_generation >= edited.metadata.generation
                    && status(job).restarts == Some(i32::try_from(round).unwrap())
            })
            .await;
        assert_eq!(observed.spec.active_deadline_seconds(), Some(7200 + round));
        // Once the failed pod is gone, the pod of its name is the next one.
        rig.until("job", |job| status(job).replaced_pods.is_empty()).await;
        rig.until_pods("job", &REPLICAS).await;
    }
    rig.report("job", "master-0", PodPhase::Succeeded).await;
    rig.until("job", finished).await;
}

#[tokio::test]
async fn kubectl_wait_works_after_a_patch_in_every_phase_the_operator_works_in() {
    let (rig, _operator) = Rig::with_operator("wait").await;
    rig.create("job", bare()).await;
    let namespace = rig.namespace.name().to_owned();
    let patch_and_wait = async |limit: usize| {
        let patch = format!(r#"{{"spec":{{"backoffLimit":{limit}}}}}"#);
        let output = "jsonpath={.metadata.generation}";
        let arguments = [
            "patch",
            "pytorchjob",
            "job",
            "--namespace",
            &namespace,
            "--type",
            "merge",
            "-p",
            &patch,
            "-o",
            output,
        ];
        let generation = rig.cluster.kubectl(&arguments).await.unwrap();
        let condition = format!("--for=jsonpath={{.status.observedGeneration}}={}", generation.trim());
        let arguments = [
            "wait",
            "pytorchjob",
            "job",
            "--namespace",
            &namespace,
            &condition,
            "--timeout=60s",
        ];
        rig.cluster.kubectl(&arguments).await.unwrap();
    };
    patch_and_wait(1).await;
    rig.run("job", &REPLICAS).await;
    patch_and_wait(2).await;
    rig.suspend("job", true).await;
    rig.until_bare("job").await;
    patch_and_wait(3).await;
    rig.suspend("job", false).await;
    rig.run("job", &REPLICAS).await;
    rig.report("job", "master-0", PodPhase::Succeeded).await;
    rig.until("job", finished).await;
    patch_and_wait(4).await;
    let arguments = [
        "wait",
        "pytorchjob",
        "job",
        "--namespace",
        &namespace,
        "--for=condition=Succeeded",
        "--timeout=60s",
    ];
    rig.cluster.kubectl(&arguments).await.unwrap();
    let job: PyTorchJob = rig.job("job").await;
    assert_eq!(status(&job).observed_generation, job.metadata.generation);
}
