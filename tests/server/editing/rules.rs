//! What the rules of the CRD must not let through, and what they must not hold up.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use pytorchjob_operator::api::{PyTorchJob, RULES, crd};
use pytorchjob_test_cluster::{Cluster, Options, forget_rules, not_applicable, wait_gone};
use serde_json::{Value, json};

use crate::editing::rig::{Rig, SOON, answer, bare, elastic, messages, template};
use crate::job::with;
use crate::rig::{dry_run, until};

/// A name that fits a job, and with `-worker-0` is too long for a service.
const LONG_NAME: &str = "a-name-of-fifty-eight-letters-that-leaves-no-room-for-any-";

fn refused(answer: Result<PyTorchJob, Box<kube::core::Status>>) -> Vec<String> {
    let status = answer.err().unwrap();
    assert_eq!(status.code, 422, "{}", status.message);
    messages(&status)
}

#[tokio::test]
async fn no_parent_can_be_replaced_by_one_that_lacks_what_is_immutable() {
    let rig = Rig::new("parents").await;
    rig.create("job", elastic(2, 1, 3)).await;
    let stored = rig.raw().get("job").await.unwrap();
    let put = async |spec: Value| {
        let mut object = stored.clone();
        object.data["spec"] = spec;
        messages(&answer(rig.raw().replace("job", &PostParams::default(), &object).await).unwrap_err())
    };
    let without_policy = with(elastic(2, 1, 3), &json!({ "elasticPolicy": null }));
    assert_eq!(
        put(without_policy).await,
        ["elasticPolicy of a job cannot change: edit Worker.replicas within its bounds, or create a new job"]
    );
    let other_type = json!({ "elasticPolicy": elastic(2, 1, 3)["elasticPolicy"], "pytorchReplicaSpecs": { "Master": { "template": template() } } });
    assert_eq!(
        put(other_type).await,
        [
            "elasticPolicy requires pytorchReplicaSpecs.Worker: only workers scale",
            "replica types of a job cannot be added or removed: create a new job"
        ]
    );
    assert_eq!(put(json!({})).await, ["Required value"]);
    assert_eq!(put(Value::Null).await, ["Required value"]);
    let no_types = with(elastic(2, 1, 3), &json!({ "pytorchReplicaSpecs": { "Worker": null } }));
    assert_eq!(
        put(no_types).await[0],
        "0: spec.pytorchReplicaSpecs in body should have at least 1 properties"
    );
}

/// The rules about templates let writes of the status pass unseen, and tell them by a status that changes.
#[tokio::test]
async fn a_status_in_the_same_body_carries_no_edit_of_a_template_through() {
    let rig = Rig::new("carried").await;
    rig.create("job", bare()).await;
    let condition = |type_: &str| {
        let time = "2026-01-01T00:00:00Z";
        json!({ "type": type_, "status": "True", "lastTransitionTime": time, "lastUpdateTime": time })
    };
    let status = |ready: &str, types: &[&str]| {
        let conditions: Vec<Value> = types.iter().map(|type_| condition(type_)).collect();
        json!({ "status": { "ready": ready, "conditions": conditions } })
    };
    let container = json!([{ "name": "pytorch", "image": "another" }]);
    let edit = json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "template": { "spec": { "containers": container } } } } } });
    let says = "template can change only while the job is suspended";
    // First none is stored, then one with other counts, then one with fewer conditions.
    for (stored, sent) in [
        (None, status("1/2", &["Created"])),
        (Some(status("0/2", &["Created"])), status("1/2", &["Created"])),
        (
            Some(status("1/2", &["Created"])),
            status("1/2", &["Created", "Running"]),
        ),
    ] {
        if let Some(stored) = stored {
            let params = PatchParams::default();
            rig.raw()
                .patch_status("job", &params, &Patch::Merge(stored))
                .await
                .unwrap();
        }
        let messages = refused(rig.patch("job", &with(edit.clone(), &sent)).await);
        assert!(
            messages.len() == 1 && messages[0].starts_with(says),
            "{sent}: {messages:?}"
        );
    }
    // And a write of the status changes no template, whatever it says of one.
    let sent = with(edit, &status("2/2", &["Created"]));
    let params = PatchParams::default();
    let before = rig.raw().get("job").await.unwrap().data["spec"].take();
    let stored = rig
        .raw()
        .patch_status("job", &params, &Patch::Merge(sent))
        .await
        .unwrap();
    assert_eq!(stored.data["status"]["ready"], "2/2");
    assert_eq!(stored.data["spec"], before);
}

#[tokio::test]
async fn what_is_absent_counts_as_what_it_means() {
    let rig = Rig::new("absent").await;
    rig.create("job", bare()).await;
    let worker = |worker: Value| json!({ "spec": { "pytorchReplicaSpecs": { "Worker": worker } } });
    rig.edit("job", worker(json!({ "replicas": 1, "restartPolicy": "OnFailure" })))
        .await;
    rig.edit("job", worker(json!({ "replicas": null, "restartPolicy": null })))
        .await;
    let manager = |manager: Value| json!({ "spec": { "runPolicy": { "managedBy": manager } } });
    rig.edit("job", manager(json!("kubeflow.org/training-operator"))).await;
    rig.edit("job", manager(Value::Null)).await;
    assert_eq!(
        refused(rig.patch("job", &worker(json!({ "replicas": 2 }))).await).len(),
        1
    );
    assert_eq!(
        refused(rig.patch("job", &worker(json!({ "restartPolicy": "Never" }))).await).len(),
        1
    );
}

#[tokio::test]
async fn removing_the_suspension_resumes_whatever_else_is_removed_with_it() {
    for patch in [
        json!({ "spec": { "runPolicy": null } }),
        json!({ "spec": { "runPolicy": { "suspend": null } } }),
    ] {
        let (rig, _operator) = Rig::with_operator("unsuspend").await;
        rig.create("job", with(bare(), &json!({ "runPolicy": { "suspend": true } })))
            .await;
        rig.edit("job", patch).await;
        assert_eq!(
            rig.raw().get("job").await.unwrap().data["spec"]["runPolicy"],
            json!({ "suspend": false })
        );
        rig.until_pods("job", &["master-0", "worker-0"]).await;
    }
}

#[tokio::test]
async fn both_spellings_change_together_or_one_is_removed() {
    let rig = Rig::new("spellings").await;
    for (policy, first, second) in [
        ("activeDeadlineSeconds", json!(100), json!(200)),
        ("backoffLimit", json!(1), json!(2)),
        ("cleanPodPolicy", json!("All"), json!("None")),
        ("ttlSecondsAfterFinished", json!(100), json!(200)),
    ] {
        let name = policy.to_lowercase();
        let both = |flat: &Value, nested: &Value| json!({ policy: flat, "runPolicy": { policy: nested } });
        rig.create(&name, with(bare(), &both(&first, &first))).await;
        let edit = |flat: &Value, nested: &Value| json!({ "spec": both(flat, nested) });
        let differ = format!(
            "{policy} and runPolicy.{policy} are the same setting and must not differ: remove one or set both to the same value"
        );
        assert_eq!(
            refused(rig.patch(&name, &edit(&first, &second)).await),
            std::slice::from_ref(&differ)
        );
        assert_eq!(refused(rig.patch(&name, &edit(&second, &first)).await), [differ]);
        rig.edit(&name, edit(&second, &second)).await;
        rig.edit(&name, edit(&Value::Null, &first)).await;
        rig.edit(&name, edit(&second, &Value::Null)).await;
    }
}

#[tokio::test]
async fn an_object_stored_without_the_rules_gets_its_outcome_and_can_be_labelled_and_let_go() {
    let cluster = Cluster::start(Options {
        crds: vec![],
        ..Options::default()
    })
    .await
    .unwrap();
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    let mut old = serde_json::to_value(crd()).unwrap();
    forget_rules(&mut old);
    cluster.install_crd(&old.to_string()).await.unwrap();
    let namespace = cluster.namespace("stored").await.unwrap();
    let client = cluster.admin();
    let raw: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &ApiResource::erase::<PyTorchJob>(&()));
    let name = LONG_NAME.trim_end_matches('-');
    let spec = with(
        bare(),
        &json!({ "backoffLimit": 1, "runPolicy": { "backoffLimit": 2 } }),
    );
    let object = json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": { "name": name, "finalizers": ["example.com/hold"] }, "spec": spec,
    });
    raw.create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
    cluster
        .install_crd(&serde_json::to_string(&crd()).unwrap())
        .await
        .unwrap();
    until_enforced(&raw).await;

    let patch = async |patch: Value| {
        let patch = Patch::Merge(patch);
        answer(raw.patch(name, &PatchParams::default(), &patch).await)
    };
    let status = json!({ "status": { "conditions": [{ "type": "Failed", "status": "True" }] } });
    let status = Patch::Merge(&status);
    answer(raw.patch_status(name, &PatchParams::default(), &status).await).unwrap();
    patch(json!({ "metadata": { "labels": { "team": "a" } } }))
        .await
        .unwrap();
    patch(json!({ "metadata": { "labels": { "team": "a" } } }))
        .await
        .unwrap();
    let refusal = patch(json!({ "spec": { "runPolicy": { "suspend": true } } }))
        .await
        .unwrap_err();
    assert_eq!(refusal.code, 422, "an edit of the spec must put it right");
    raw.delete(name, &kube::api::DeleteParams::background()).await.unwrap();
    patch(json!({ "metadata": { "finalizers": null } })).await.unwrap();
    let jobs: Api<PyTorchJob> = Api::namespaced(cluster.admin(), &namespace);
    wait_gone(&jobs, name, SOON).await.unwrap();
}

/// Waits until the API server applies the rules, which it does a moment after the CRD was changed.
async fn until_enforced(raw: &Api<DynamicObject>) {
    let spec = json!({ "pytorchReplicaSpecs": { "Master": { "template": template(), "replicas": 2 } } });
    let object = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "two-masters" }, "spec": spec });
    let object = serde_json::from_value(object).unwrap();
    until("two masters are refused", SOON, async || {
        answer(raw.create(&dry_run(), &object).await).is_err()
    })
    .await;
}

#[test]
fn every_message_says_what_is_allowed_or_what_to_do() {
    let advice = [": ", " must ", " needs ", " can change only "];
    for rule in RULES.iter() {
        assert!(
            advice.iter().any(|advice| rule.message.contains(advice)),
            "{}",
            rule.message
        );
        assert!(rule.message.len() < 300, "{}", rule.message);
    }
}

#[tokio::test]
async fn kubectl_explain_says_what_may_be_edited_and_when() {
    let cluster = Cluster::shared().await;
    for (path, expected) in [
        ("pytorchjob.spec", "Same as runPolicy.activeDeadlineSeconds."),
        ("pytorchjob.spec.runPolicy", "May be edited at any time"),
        ("pytorchjob.spec.runPolicy.suspend", "May be edited at any time"),
        ("pytorchjob.spec.runPolicy.managedBy", "Immutable"),
        ("pytorchjob.spec.elasticPolicy", "Immutable"),
        ("pytorchjob.spec.nprocPerNode", "only while the job is suspended"),
        (
            "pytorchjob.spec.pytorchReplicaSpecs.replicas",
            "only while the job is suspended",
        ),
        (
            "pytorchjob.spec.pytorchReplicaSpecs.template",
            "only while the job is suspended",
        ),
        ("pytorchjob.spec.pytorchReplicaSpecs.restartPolicy", "Immutable"),
    ] {
        let text = cluster.kubectl(&["explain", path]).await.unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(expected), "{path}: {text}");
    }
}

#[tokio::test]
async fn the_longest_name_leaves_room_for_as_many_workers_as_it_had() {
    let (rig, _operator) = Rig::with_operator("names").await;
    // Fits up to worker-9.
    let name = "a".repeat(63 - "-worker-9".len());
    rig.create(&name, elastic(10, 1, 20)).await;
    rig.until_observed(&name).await;
    let workers = |workers: u32| json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": workers } } } });
    let message = refused(rig.patch(&name, &workers(11)).await);
    assert_eq!(message.len(), 1);
    assert!(message[0].contains("fewer workers"), "{message:?}");
    let job = rig.edit(&name, workers(9)).await;
    assert_eq!(job.name_any(), name);
}
