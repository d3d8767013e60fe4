//! `restartPolicy` and `backoffLimit` on live pods.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt as _;
use kube::api::{EvictParams, PostParams};
use pytorchjob_test_cluster::{PodPhase, User, bind_pod, remove_pod, wait_for};
use serde_json::{Value, json};

use crate::job::{Job, job_with_policy, with};
use crate::rig::{End, Rig, TIMEOUT, evicted, failed, operator};

async fn pod(rig: &Rig, name: &str) -> Pod {
    rig.pods().get(name).await.unwrap()
}

/// Fails a pod and waits until the operator has replaced it and the new one runs.
async fn fail_and_see_replaced(rig: &Rig, job: &str, pod_name: &str, how: &PodPhase) -> Job {
    let old = rig.set_phase(pod_name, how).await;
    let new = rig.wait_replaced(&old).await;
    assert_eq!(new.owner_references()[0].uid, old.owner_references()[0].uid);
    rig.set_phase(pod_name, &PodPhase::Running).await;
    rig.wait(job, |job| job.is("Running") && !job.is("Restarting")).await
}

#[tokio::test]
async fn under_never_a_failed_replica_fails_the_job() {
    let rig = Rig::start().await;
    rig.running(&job_with_policy("never", 2, "Never")).await;
    rig.set_phase("never-worker-1", &failed(1)).await;
    let job = rig.wait_finished("never").await;
    assert_eq!(
        job.conditions(),
        [
            ["Created", "True", "PyTorchJobCreated", "PyTorchJob never is created."],
            ["Running", "False", "PyTorchJobRunning", "PyTorchJob never is running."],
            [
                "Failed",
                "True",
                "PyTorchJobFailed",
                "PyTorchJob never is failed because 1 Worker replica(s) failed. never-worker-1 exited with code 1 (Error)."
            ],
        ]
    );
    assert!(job.second("completionTime") >= job.second("startTime"));
    let mut first = job.status["firstFailure"].clone();
    assert!(first["finishedAt"].take().is_string());
    assert_eq!(
        first,
        json!({ "pod": "never-worker-1", "replicaType": "Worker", "index": 1, "rank": 2, "container": "pytorch", "exitCode": 1,
            "reason": "Error", "class": "Unknown", "finishedAt": null })
    );
    rig.wait_event("never", "Warning", "PyTorchJobFailed").await;
}

/// A pod that fails as a whole, though its containers would restart in place.
async fn failed_pods_are_replaced_and_counted_under(policy: &str) {
    let rig = Rig::start().await;
    rig.running(&job_with_policy("replaced", 1, policy)).await;
    let old = rig.set_phase("replaced-worker-0", &evicted()).await;
    rig.wait_replaced(&old).await;
    let note = rig.wait_event("replaced", "Warning", "PyTorchJobRestarting").await;
    assert_eq!(
        note,
        "PyTorchJob replaced is restarting because 1 Worker replica(s) failed. replaced-worker-0 failed (Evicted)."
    );
    let job = rig.wait("replaced", |job| job.is("Running")).await;
    assert_eq!(job.status["restarts"], 1);
    assert_eq!(job.outline(), ["Created", "Running"]);
    assert_eq!(job.status["firstFailure"]["reason"], "Evicted");
    assert_eq!(job.status["completionTime"], Value::Null);
}

#[tokio::test]
async fn under_on_failure_a_failed_pod_is_replaced_and_counted() {
    failed_pods_are_replaced_and_counted_under("OnFailure").await;
}

#[tokio::test]
async fn under_always_a_failed_pod_is_replaced_and_counted() {
    failed_pods_are_replaced_and_counted_under("Always").await;
}

#[tokio::test]
async fn under_exit_code_a_signal_replaces_the_pod() {
    let rig = Rig::start().await;
    rig.running(&job_with_policy("signal", 1, "ExitCode")).await;
    let old = pod(&rig, "signal-master-0").await;
    assert_eq!(old.spec.as_ref().unwrap().restart_policy.as_deref(), Some("Never"));
    let other = pod(&rig, "signal-worker-0").await;

    rig.set_phase("signal-master-0", &failed(137)).await;
    let restarting = rig.wait("signal", |job| job.is("Restarting")).await;
    assert_eq!(restarting.outline(), ["Created", "Restarting"]);
    assert_eq!(
        restarting.conditions()[1],
        [
            "Restarting",
            "True",
            "PyTorchJobRestarting",
            "PyTorchJob signal is restarting because 1 Master replica(s) failed. signal-master-0 exited with code 137 (Error)."
        ]
    );
    rig.wait_replaced(&old).await;
    rig.set_phase("signal-master-0", &PodPhase::Running).await;
    let job = rig.wait("signal", |job| job.is("Running")).await;
    assert_eq!(job.outline(), ["Created", "Running"]);
    assert_eq!(job.status["restarts"], 1);
    assert_eq!(
        pod(&rig, "signal-worker-0").await.uid(),
        other.uid(),
        "the other replica is left alone"
    );
}

#[tokio::test]
async fn under_exit_code_a_program_error_fails_the_job_with_a_completion_time() {
    let rig = Rig::start().await;
    rig.running(&job_with_policy("error", 1, "ExitCode")).await;
    rig.set_phase("error-worker-0", &failed(1)).await;
    let job = rig.wait_finished("error").await;
    assert_eq!(
        job.conditions().last().unwrap(),
        &[
            "Failed",
            "True",
            "PyTorchJobFailed",
            "job \"error\" is failing because \"Worker\" replica(s) failed. error-worker-0 exited with code 1 (Error)."
        ]
    );
    assert!(job.second("completionTime").is_some(), "Kubeflow sets none (W3)");
    // And so its TTL comes.
    rig.patch("error", &json!({ "spec": { "ttlSecondsAfterFinished": 0 } }))
        .await;
    rig.wait_gone("error").await;
}

#[tokio::test]
async fn backoff_limit_holds_although_the_operator_is_killed_after_each_count() {
    let mut rig = Rig::start().await;
    let limited = with(
        job_with_policy("limited", 0, "ExitCode"),
        &json!({ "spec": { "backoffLimit": 2 } }),
    );
    rig.running(&limited).await;
    for restarts in 1..=2 {
        let old = rig.set_phase("limited-master-0", &failed(137)).await;
        rig.wait("limited", |job| job.status["restarts"] == restarts).await;
        rig.end_operator(End::Kill).await;
        rig.go_on().await;
        rig.finish_deletion(&old).await;
        rig.wait_replaced(&old).await;
        rig.set_phase("limited-master-0", &PodPhase::Running).await;
        let job = rig.wait("limited", |job| job.is("Running")).await;
        assert_eq!(job.status["restarts"], restarts, "counted once");
    }
    rig.set_phase("limited-master-0", &failed(137)).await;
    let job = rig.wait_finished("limited").await;
    assert_eq!(
        job.why(),
        "Job limited has failed because it has reached the specified backoff limit (2): 3 restarts"
    );
    assert!(job.is("Failed"));
}

/// An account that may do what the operator does, but delete nothing: what it counts, it cannot carry out.
pub(crate) async fn without_deletion(rig: &Rig) -> std::path::PathBuf {
    let name = json!({ "name": "without-deletion" });
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": name })).unwrap();
    let role: Role = serde_json::from_value(json!({
        "metadata": name,
        "rules": [
            { "apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs/status"], "verbs": ["patch"] },
            { "apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        ],
    }))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": name,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "without-deletion" },
        "subjects": [{ "kind": "ServiceAccount", "name": "without-deletion", "namespace": rig.namespace.name() }],
    }))
    .unwrap();
    let parameters = PostParams::default();
    rig.api().create(&parameters, &account).await.unwrap();
    rig.api().create(&parameters, &role).await.unwrap();
    rig.api().create(&parameters, &binding).await.unwrap();
    let account = User::ServiceAccount {
        namespace: &rig.namespace,
        name: "without-deletion",
    };
    rig.cluster.kubeconfig(account).await.unwrap()
}

#[tokio::test]
async fn a_failure_counted_by_an_operator_that_ends_before_it_deletes_is_not_counted_again() {
    let mut rig = Rig::start().await;
    rig.running(&job_with_policy("counted", 1, "ExitCode")).await;
    rig.end_operator(End::Stop).await;
    let old = rig.set_phase("counted-worker-0", &failed(137)).await;

    let crippled = operator(&without_deletion(&rig).await, &rig.namespace, &[]).await;
    let note = rig.wait_event("counted", "Warning", "FailedDeletePod").await;
    assert!(note.contains("counted-worker-0"), "{note}");
    crippled.kill().await;
    let job = rig.get("counted").await;
    assert_eq!(job.status["restarts"], 1);
    assert_eq!(job.status["replacedPods"], json!([old.uid().unwrap()]));

    rig.go_on().await;
    rig.wait_replaced(&old).await;
    rig.set_phase("counted-worker-0", &PodPhase::Running).await;
    let job = rig.wait("counted", |job| job.is("Running")).await;
    assert_eq!(job.status["restarts"], 1);
    assert_eq!(job.status["replacedPods"], Value::Null);
}

#[tokio::test]
async fn a_drained_node_does_not_fail_a_job_whose_replicas_never_restart() {
    let rig = Rig::start().await;
    let (_, pods) = rig.create_with_pods(&job_with_policy("drained", 1, "Never")).await;
    let old = &pods[1];
    bind_pod(&rig.client, &rig.namespace, "drained-worker-0", "node")
        .await
        .unwrap();
    for pod in &pods {
        rig.set_phase(&pod.name_any(), &PodPhase::Running).await;
    }
    rig.wait("drained", |job| job.is("Running") && job.count("Worker", "active") == 1)
        .await;

    // kubectl drain evicts; the kubelet ends the containers, reports that they failed, and removes the pod.
    rig.pods()
        .evict("drained-worker-0", &EvictParams::default())
        .await
        .unwrap();
    rig.set_phase("drained-worker-0", &failed(143)).await;
    wait_for(&rig.jobs(), "drained", TIMEOUT, |job| {
        job.count("Worker", "failed") == 1
    })
    .await
    .unwrap();
    let job = rig.settle("drained").await;
    assert_eq!(job.outline(), ["Created", "Running"]);
    remove_pod(&rig.client, &rig.namespace, "drained-worker-0")
        .await
        .unwrap();

    rig.wait_replaced(old).await;
    let job = rig.settle("drained").await;
    assert_eq!(job.outline(), ["Created", "Running"]);
    assert_eq!(job.status["restarts"], Value::Null, "it was no failure of the training");
}

#[tokio::test]
async fn every_replacement_counts_towards_the_limit_whoever_failed() {
    let rig = Rig::start().await;
    let limited = with(
        job_with_policy("sum", 2, "OnFailure"),
        &json!({ "spec": { "runPolicy": { "backoffLimit": 1 } } }),
    );
    rig.running(&limited).await;
    let job = fail_and_see_replaced(&rig, "sum", "sum-worker-0", &evicted()).await;
    assert_eq!(job.status["restarts"], 1);
    rig.set_phase("sum-worker-1", &evicted()).await;
    let job = rig.wait_finished("sum").await;
    assert!(job.why().contains("backoff limit"), "{}", job.why());
}
