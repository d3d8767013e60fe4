//! `runPolicy.failurePolicy` on the API server.

use pytorchjob_test_cluster::PodPhase;
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{End, Rig, failed, names};

/// A pod that failed with code 1 and this end of its log.
fn failed_saying(message: &str) -> PodPhase {
    PodPhase::Failed {
        exit_code: 1,
        reason: "Error".to_owned(),
        message: message.to_owned(),
    }
}

fn with_rules(name: &str, rules: &Value) -> Value {
    let policy = json!({ "restartScope": "Job", "backoffLimit": 1, "failurePolicy": { "rules": rules } });
    with(job(name, 1), &json!({ "spec": { "runPolicy": policy } }))
}

#[tokio::test]
async fn an_import_error_fails_the_job_at_once_and_a_gpu_fault_is_one_restart() {
    let rig = Rig::start().await;
    let rules = json!([
        { "class": "ImportError", "action": "FailJob" },
        { "class": "GpuFault", "action": "Restart" },
    ]);
    let never = json!({ "Master": { "restartPolicy": "Never" }, "Worker": { "restartPolicy": "Never" } });
    let job = with(
        with_rules("rules", &rules),
        &json!({ "spec": { "pytorchReplicaSpecs": never } }),
    );
    let (_, before) = rig.create_with_pods(&job).await;
    rig.set_phases(names(&before), &PodPhase::Running).await;
    rig.wait("rules", |job| job.is("Running")).await;

    let ecc = failed_saying("RuntimeError: CUDA error: uncorrectable ECC error encountered");
    let old = rig.set_phase("rules-worker-0", &ecc).await;
    rig.wait_replaced(&old).await;
    let after = rig.wait_pods("rules", |pods| pods.len() == 2).await;
    rig.set_phases(names(&after), &PodPhase::Running).await;
    let running = rig
        .wait("rules", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    assert_eq!(running.status["restarts"], 1);
    assert_eq!(running.status["firstFailure"]["class"], "GpuFault");

    let import = failed_saying("ModuleNotFoundError: No module named 'flash_attn'");
    rig.set_phase("rules-master-0", &import).await;
    let failed = rig.wait_finished("rules").await;
    assert_eq!(
        failed.conditions().last().unwrap()[3],
        "PyTorchJob rules is failed because failurePolicy.rules[0] says FailJob. rules-master-0 exited with code 1 (Error). \
         It was ImportError."
    );
    assert_eq!(failed.status["restarts"], 1);
}

#[tokio::test]
async fn what_is_ignored_is_replaced_and_never_counted_over_a_crash_of_the_operator() {
    let mut rig = Rig::start().await;
    let rules = json!([{ "exitCodes": { "operator": "In", "values": [42] }, "action": "Ignore" }]);
    rig.running(&with_rules("ignored", &rules)).await;
    for _ in 0..3 {
        rig.end_operator(End::Kill).await;
        let old = rig.set_phase("ignored-worker-0", &failed(42)).await;
        rig.go_on().await;
        rig.wait_replaced(&old).await;
        rig.set_phase("ignored-worker-0", &PodPhase::Running).await;
    }
    let job = rig
        .wait("ignored", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    assert_eq!(
        (&job.status["restarts"], &job.status["firstFailure"]),
        (&Value::Null, &Value::Null)
    );
}
