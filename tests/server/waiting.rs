//! What a job waits for is told in its status, while it lasts.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use pytorchjob_test_cluster::{AuditFilter, PodPhase, bind_pod, not_applicable, remove_pod, wait_for};
use serde_json::json;

use crate::job::{Job, job, with};
use crate::rig::{Rig, replica_names};

/// Longer than a pod has to be late before it counts as stuck.
const STUCK: Duration = Duration::from_mins(1);

/// What the job says that it waits for, at the end of the message of its state.
fn waits_for(job: &Job) -> Option<String> {
    let state = job
        .conditions()
        .into_iter()
        .rfind(|[_, status, ..]| *status == "True")?;
    Some(state[3].split_once(" Waiting: ")?.1.to_owned())
}

/// Checks that a job says within two seconds that its pods are not let in, and why.
async fn assert_refused(rig: &Rig, name: &str, why: &str) {
    let waiting = rig.wait(name, |job| waits_for(job).is_some()).await;
    let cause = waits_for(&waiting).unwrap();
    assert!(cause.starts_with("cannot create pod") && cause.contains(why), "{cause}");
    assert_eq!(waiting.outline(), ["Created"]);
    let told = waiting.condition("Created").unwrap()["lastUpdateTime"].clone();
    let told: Timestamp = serde_json::from_value(told).unwrap();
    let created = waiting.metadata.creation_timestamp.as_ref().unwrap().0;
    assert!(told.duration_since(created).as_secs() <= 2, "{told} after {created}");
}

/// Waits until a job that fails at this second after its start has failed: time for the pauses of others to grow.
async fn wait_seconds(rig: &Rig, name: &str, seconds: u32) {
    let clock = with(job(name, 0), &json!({ "spec": { "activeDeadlineSeconds": seconds } }));
    rig.create(&clock).await;
    rig.wait_finished(name).await;
}

#[tokio::test]
async fn a_quota_that_refuses_pods_is_in_the_status_within_two_seconds_until_it_is_raised() {
    let rig = Rig::start().await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    rig.quota("requests.cpu", 1).await;
    let container = json!([{ "name": "pytorch", "image": "i", "resources": { "requests": { "cpu": "2" } } }]);
    let template = json!({ "template": { "spec": { "containers": container } } });
    let large = with(
        job("limited", 0),
        &json!({ "spec": { "pytorchReplicaSpecs": { "Master": template } } }),
    );
    rig.create(&large).await;
    assert_refused(&rig, "limited", "exceeded quota: requests.cpu").await;

    wait_seconds(&rig, "clock", 4).await;
    let requests = |resource, subresource| AuditFilter {
        resource: Some(resource),
        subresource: Some(subresource),
        name_prefix: Some("limited"),
        ..rig.writes()
    };
    let attempts = audit.count(&requests("pods", "")).unwrap();
    let writes = audit.count(&requests("pytorchjobs", "status")).unwrap();
    assert!(attempts >= 4 && writes <= 2, "{writes} writes for {attempts} attempts");

    let quotas: Api<ResourceQuota> = rig.api();
    quotas.delete("requests.cpu", &DeleteParams::default()).await.unwrap();
    rig.wait_pod_names("limited", &replica_names("limited", &["master-0"]))
        .await;
    let job = rig.wait("limited", |job| waits_for(job).is_none()).await;
    assert_eq!(
        job.condition("Created").unwrap()["message"],
        "PyTorchJob limited is created."
    );
}

#[tokio::test]
async fn an_admission_policy_that_refuses_pods_is_told_in_its_words_until_it_is_gone() {
    let rig = Rig::start().await;
    let (admin, namespace) = (rig.cluster.admin(), rig.namespace.name());
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(admin);
    let name = format!("no-pods-{namespace}");
    let pods = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] }]);
    let policy = json!({ "metadata": { "name": name }, "spec": {
        "matchConstraints": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "resourceRules": pods,
        },
        "validations": [{ "expression": "false", "message": "no training before the review" }],
    } });
    let binding =
        json!({ "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] } });
    let params = PostParams::default();
    policies
        .create(&params, &serde_json::from_value(policy).unwrap())
        .await
        .unwrap();
    bindings
        .create(&params, &serde_json::from_value(binding).unwrap())
        .await
        .unwrap();
    rig.until_no_pod_is_let_in().await;

    rig.create(&job("reviewed", 0)).await;
    assert_refused(&rig, "reviewed", "no training before the review").await;

    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    policies.delete(&name, &DeleteParams::default()).await.unwrap();
    rig.wait_pod_names("reviewed", &replica_names("reviewed", &["master-0"]))
        .await;
    rig.wait("reviewed", |job| waits_for(job).is_none()).await;
}

#[tokio::test]
async fn a_terminating_pod_that_has_a_name_of_the_job_is_told_and_asked_for_ever_less_often() {
    let rig = Rig::start().await;
    let pod = json!({ "metadata": { "name": "taken-master-0" },
        "spec": { "schedulerName": "the-test", "containers": [{ "name": "main", "image": "image" }] } });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    rig.pods().create(&PostParams::default(), &pod).await.unwrap();
    bind_pod(&rig.client, &rig.namespace, "taken-master-0", "node")
        .await
        .unwrap();
    rig.pods()
        .delete("taken-master-0", &DeleteParams::default())
        .await
        .unwrap();

    rig.create(&job("taken", 0)).await;
    let waiting = rig.wait("taken", |job| waits_for(job).is_some()).await;
    let cause = waits_for(&waiting).unwrap();
    assert!(
        cause.contains("taken-master-0") && cause.contains("is controlled by nobody"),
        "{cause}"
    );
    wait_seconds(&rig, "clock", 4).await;
    let Some(audit) = rig.cluster.audit().unwrap() else {
        return not_applicable("counts requests in the audit log");
    };
    wait_seconds(&rig, "later-clock", 6).await;
    let attempts = AuditFilter {
        resource: Some("pods"),
        name_prefix: Some("taken"),
        ..rig.writes()
    };
    let attempts = audit.count(&attempts).unwrap();
    assert!(attempts <= 3, "{attempts} attempts in six seconds");

    remove_pod(&rig.client, &rig.namespace, "taken-master-0").await.unwrap();
    rig.settle("taken").await;
    rig.wait("taken", |job| waits_for(job).is_none()).await;
    assert_eq!(rig.pod_names("taken").await, ["taken-master-0"]);
}

#[tokio::test]
async fn a_pod_that_its_node_does_not_end_is_told_with_the_node_and_what_frees_it() {
    let rig = Rig::start().await;
    rig.create_with_pods(&job("stuck", 1)).await;
    for pod in ["stuck-master-0", "stuck-worker-0"] {
        bind_pod(&rig.client, &rig.namespace, pod, "lost-node").await.unwrap();
        rig.set_phase(pod, &PodPhase::Running).await;
    }
    let soon = DeleteParams::default().grace_period(1);
    rig.pods().delete("stuck-worker-0", &soon).await.unwrap();
    let told = wait_for(&rig.jobs(), "stuck", STUCK, |job| waits_for(job).is_some())
        .await
        .unwrap();
    let cause = waits_for(&told).unwrap();
    assert!(
        cause.starts_with("pod stuck-worker-0 on node lost-node should have ended by 20"),
        "{cause}"
    );
    assert!(cause.contains("kubectl delete pod stuck-worker-0 --force"), "{cause}");
    assert_eq!(told.outline(), ["Created", "Running"]);
    assert_eq!(rig.wait_event("stuck", "Warning", "PodStuckTerminating").await, cause);

    remove_pod(&rig.client, &rig.namespace, "stuck-worker-0").await.unwrap();
    rig.wait_pod_names("stuck", &replica_names("stuck", &["master-0", "worker-0"]))
        .await;
    let job = rig.wait("stuck", |job| waits_for(job).is_none()).await;
    assert_eq!(
        job.condition("Running").unwrap()["message"],
        "PyTorchJob stuck is running."
    );
}

#[tokio::test]
async fn a_pod_that_cannot_be_scheduled_or_started_is_named_in_the_status_until_it_runs() {
    let rig = Rig::start().await;
    rig.create_with_pods(&job("big", 1)).await;
    let says = async |status: serde_json::Value| {
        let patch = Patch::Strategic(json!({ "status": status }));
        let params = PatchParams::default();
        rig.pods().patch_status("big-worker-0", &params, &patch).await.unwrap();
    };
    says(
        json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu." }] }),
    )
    .await;
    let text = "pod big-worker-0: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";
    rig.wait("big", |job| waits_for(job).as_deref() == Some(text)).await;
    assert_eq!(rig.wait_event("big", "Warning", "Unschedulable").await, text);

    says(
        json!({ "conditions": [{ "type": "PodScheduled", "status": "True" }], "containerStatuses": [{
        "name": "pytorch", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } } }] }),
    )
    .await;
    let text = "pod big-worker-0: ImagePullBackOff: Back-off pulling image.";
    rig.wait("big", |job| waits_for(job).as_deref() == Some(text)).await;
    rig.wait_event("big", "Warning", "ImagePullBackOff").await;

    rig.set_phases(replica_names("big", &["master-0", "worker-0"]), &PodPhase::Running)
        .await;
    let job = rig
        .wait("big", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    assert_eq!(waits_for(&job), None);
    says(json!({ "conditions": [{ "type": "Ready", "status": "False" }] })).await;
    rig.wait("big", |job| job.status["ready"] == "1/2").await;
}
