//! The lives of jobs that our own policies decide about.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use pytorchjob_operator::platform::clock;
use serde_json::{Value, json};

use crate::job::{job, job_with_policy, with};
use crate::observer::Kind;
use crate::scenarios::{KILLED, policy, succeed};
use crate::stage::{JOB, Stage, Stuck, is};

/// Annotation of the job: the pod of this name is not started.
pub const PENDING: &str = "test/pending";
/// Annotation of the job: the node of the pod with this UID is gone.
pub const LOST: &str = "test/lost";

/// Says it with an annotation, or takes it back.
fn annotation(name: &str, value: &Value) -> Value {
    json!({ "metadata": { "annotations": { name: value } } })
}

/// A worker fails so, and runs again in another pod.
async fn fail_and_run(stage: &Stage, code: i32) -> Result<(), Stuck> {
    let old = stage.pod("worker-0");
    stage.exit("worker-0", code).await;
    stage.running(2, &old).await
}

/// One rank fails twice.
pub async fn twice(stage: &Stage) -> Result<(), Stuck> {
    let limit = policy(&json!({ "backoffLimit": 2 }));
    stage.create(&with(job_with_policy(JOB, 1, "ExitCode"), &limit)).await;
    stage.running(2, &[]).await?;
    fail_and_run(stage, KILLED).await?;
    fail_and_run(stage, KILLED).await?;
    succeed(stage).await
}

/// The whole job starts again once, and has failed once too often within the window then.
pub async fn window(stage: &Stage) -> Result<(), Stuck> {
    let window = json!({ "restartScope": "Job", "restartWindow": { "restarts": 1, "seconds": 3600 } });
    stage.create(&with(job(JOB, 1), &policy(&window))).await;
    stage.running(2, &[]).await?;
    let old = stage.pods();
    stage.exit("worker-0", 1).await;
    stage.running(2, &old).await?;
    stage.exit("worker-0", 1).await;
    stage.finished().await
}

/// The exit code that [`rules`] ignores.
const IGNORED: i32 = 9;

/// One failure is not counted, and another is the end.
pub async fn rules(stage: &Stage) -> Result<(), Stuck> {
    let is = |code: i32| json!({ "operator": "In", "values": [code] });
    let rules = json!([
        { "exitCodes": is(IGNORED), "action": "Ignore" },
        { "exitCodes": is(3), "action": "FailJob" },
    ]);
    let rules = policy(&json!({ "failurePolicy": { "rules": rules }, "backoffLimit": 1 }));
    stage.create(&with(job(JOB, 1), &rules)).await;
    stage.running(2, &[]).await?;
    fail_and_run(stage, IGNORED).await?;
    stage.exit("worker-0", 3).await;
    stage.finished().await
}

/// A rank stands still, and is replaced.
pub async fn stall(stage: &Stage) -> Result<(), Stuck> {
    let progress = json!({ "file": "/ckpt", "deadlineSeconds": 10, "startupSeconds": 1, "action": "Restart" });
    let progress = policy(&json!({ "progressPolicy": progress, "backoffLimit": 1 }));
    stage.create(&with(job(JOB, 1), &progress)).await;
    stage.running(2, &[]).await?;
    let old = stage.pod("worker-0");
    stand_still(stage, "worker-0").await;
    stage.running(2, &old).await?;
    stage
        .wait("the stall to be over", |state| !is(state, "Stalled"))
        .await?;
    succeed(stage).await
}

/// The readiness probe of a replica has failed for a minute, on a node whose clock is behind.
async fn stand_still(stage: &Stage, replica: &str) {
    let behind = Time(clock::now().saturating_sub(SignedDuration::from_mins(1)).unwrap());
    let pod = format!("{JOB}-{replica}");
    let stored = stage.space.state();
    let mut container = stored.get(Kind::Pod, &pod).unwrap()["status"]["containerStatuses"][0].clone();
    container["ready"] = json!(false);
    container["state"]["running"]["startedAt"] = json!(behind);
    let unready = |type_: &str| json!({ "type": type_, "status": "False", "lastTransitionTime": behind });
    let status = json!({ "status": { "containerStatuses": [container],
        "conditions": [unready("Ready"), unready("ContainersReady")] } });
    let pods = Api::<Pod>::namespaced(stage.client.clone(), &stage.namespace);
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(status))
        .await
        .unwrap();
}

/// The job gives its resources back, because a pod does not start, and tries again when it is edited. The deadline is set
/// when the pods are there: of one that is over before, there would be none.
pub async fn startup(stage: &Stage) -> Result<(), Stuck> {
    let pending = annotation(PENDING, &json!(format!("{JOB}-worker-0")));
    let graceful = policy(&json!({ "gracefulStopSeconds": 30 }));
    stage.create(&with(with(job(JOB, 1), &graceful), &pending)).await;
    stage
        .wait("one pod to run and one to wait", |state| {
            let job = state.get(Kind::Job, JOB);
            job.is_some_and(|job| job["status"]["ready"] == "1/2") && state.all(Kind::Pod).count() == 2
        })
        .await?;
    let deadline = json!({ "startupDeadlineSeconds": 1, "startupDeadlineAction": "Suspend" });
    stage.edit(&policy(&deadline)).await;
    stage
        .wait("the job to give up", |state| {
            is(state, "Suspended") && state.all(Kind::Pod).next().is_none()
        })
        .await?;
    stage.edit(&annotation(PENDING, &Value::Null)).await;
    stage.edit(&policy(&json!({ "startupDeadlineSeconds": 3600 }))).await;
    stage.running(2, &[]).await?;
    succeed(stage).await
}

/// A rank is killed, and its next pod has to go elsewhere.
pub async fn exclusion(stage: &Stage) -> Result<(), Stuck> {
    let exclusion = json!({ "afterFailures": 1, "windowSeconds": 3600, "max": 1 });
    let exclusion = policy(&json!({ "nodeExclusion": exclusion, "backoffLimit": 1 }));
    stage
        .create(&with(job_with_policy(JOB, 1, "ExitCode"), &exclusion))
        .await;
    stage.running(2, &[]).await?;
    fail_and_run(stage, KILLED).await?;
    succeed(stage).await
}

/// How long [`lost`] waits for a pod.
const UNREACHABLE: i64 = 1;

/// A pod is deleted whose node is gone.
pub async fn lost(stage: &Stage) -> Result<(), Stuck> {
    let unreachable = policy(&json!({ "unreachableSeconds": UNREACHABLE }));
    stage.create(&with(job(JOB, 1), &unreachable)).await;
    stage.running(2, &[]).await?;
    let old = stage.pod("worker-0");
    stage.edit(&annotation(LOST, &json!(old[0]))).await;
    stage
        .wait("the node to be gone", |state| {
            let job = state.get(Kind::Job, JOB);
            job.is_some_and(|job| job["metadata"]["annotations"][LOST] == old[0])
        })
        .await?;
    let pods = Api::<Pod>::namespaced(stage.client.clone(), &stage.namespace);
    let grace = DeleteParams::default().grace_period(1);
    pods.delete(&format!("{JOB}-worker-0"), &grace).await.unwrap();
    stage.running(2, &old).await?;
    succeed(stage).await
}
