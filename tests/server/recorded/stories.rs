//! What becomes of jobs that set no field of ours.

use kube::api::{DeleteParams, Patch, PatchParams};
use pytorchjob_test_cluster::{Options, PodPhase};
use serde_json::{Value, json};

use crate::job::{job, job_with_policy, replica, suspend, with};
use crate::planner::GangScheduler;
use crate::recorded::{JOB, Stage, Story, resource};
use crate::rig::{evicted, failed, own_cluster};
use crate::scheduling_policy::definition;

const RUNNING: PodPhase = PodPhase::Running;
const SUCCEEDED: PodPhase = PodPhase::Succeeded;

/// A Master and a worker.
fn two() -> Value {
    job(JOB, 1)
}

/// The same with this `runPolicy`.
fn with_policy(policy: &Value) -> Value {
    with(two(), &json!({ "spec": { "runPolicy": policy } }))
}

fn workers(count: u32) -> Value {
    json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": count } } } })
}

#[tokio::test]
#[ignore = "it writes tests/recorded: make recorded"]
async fn worlds_of_jobs_without_our_fields_are_recorded() {
    let mut options = Options::default();
    options
        .crds
        .extend(["volcano.yaml", "scheduler-plugins.yaml"].map(definition));
    let stage = Stage::new(own_cluster(options).await);
    beginnings(&stage).await;
    troubles(&stage).await;
    failures(&stage).await;
    exit_codes(&stage).await;
    limits(&stage).await;
    suspensions(&stage).await;
    sizes(&stage).await;
    ends(&stage).await;
    stopped_pods(&stage).await;
    elastic(&stage).await;
    gangs(&stage).await;
}

async fn beginnings(stage: &Stage) {
    let story = stage.story(&two()).await;
    story.keep("created").await;
    story.step().await;
    story.keep("created-and-stored").await;
    story.settle().await;
    story.bind().await;
    story.pod("master-0", &RUNNING).await;
    story.keep("master-runs").await;
    story.settle().await;
    story.pod("worker-0", &RUNNING).await;
    story.keep("all-run").await;
    story.settle().await;
    story.keep("nothing-happens").await;

    let managed = with_policy(&json!({ "managedBy": "kueue.x-k8s.io/multikueue" }));
    stage.story(&managed).await.keep("managed-by-another").await;

    let finalizer = json!({ "metadata": { "finalizers": ["pytorchjob-test/deletion-is-read"] } });
    let story = stage.running(&with(two(), &finalizer)).await;
    story.site.jobs().delete(JOB, &DeleteParams::default()).await.unwrap();
    story.keep("job-is-deleted").await;
    story.edit(&json!({ "metadata": { "finalizers": null } })).await;
}

async fn troubles(stage: &Stage) {
    let story = stage.started(&two()).await;
    let unschedulable = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu." });
    story
        .pod_status("worker-0", &json!({ "conditions": [unschedulable] }))
        .await;
    story.keep("unschedulable").await;

    let story = stage.started(&two()).await;
    let waiting = json!({ "reason": "ImagePullBackOff", "message": "Back-off pulling image" });
    let waiting = json!({ "name": "pytorch", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": waiting } });
    let status = json!({ "phase": "Pending", "containerStatuses": [waiting] });
    story.pod_status("worker-0", &status).await;
    story.keep("image-cannot-be-pulled").await;

    let story = stage.running(&two()).await;
    let waiting = json!({ "reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container" });
    let waiting = json!({ "name": "pytorch", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
        "state": { "waiting": waiting }, "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } } });
    story
        .pod_status("worker-0", &json!({ "containerStatuses": [waiting] }))
        .await;
    story.keep("crash-loop").await;
}

async fn failures(stage: &Stage) {
    let story = stage.running(&two()).await;
    story.pod("worker-0", &failed(1)).await;
    story.keep("on-failure-worker-failed").await;
    story.step().await;
    story.keep("on-failure-worker-counted").await;
    story.settle().await;
    story.end().await;
    story.keep("on-failure-worker-gone").await;
    story.settle().await;
    story.bind().await;
    story.pod("worker-0", &RUNNING).await;
    story.keep("on-failure-worker-runs-again").await;

    for policy in ["Always", "Never"] {
        let title = policy.to_lowercase();
        let story = stage.running(&job_with_policy(JOB, 1, policy)).await;
        story.pod("master-0", &failed(137)).await;
        story.keep(&format!("{title}-master-failed")).await;
        if policy == "Never" {
            story.step().await;
            story.keep("never-master-failed-and-stored").await;
        }
    }
    let story = stage.running(&job_with_policy(JOB, 1, "Always")).await;
    story.pod("worker-0", &evicted()).await;
    story.keep("always-worker-evicted").await;
}

async fn exit_codes(stage: &Stage) {
    for code in [137, 1] {
        let story = stage.running(&job_with_policy(JOB, 1, "ExitCode")).await;
        story.pod("worker-0", &failed(code)).await;
        story.keep(&format!("exit-code-{code}")).await;
    }
}

async fn limits(stage: &Stage) {
    let story = stage.running(&with_policy(&json!({ "backoffLimit": 1 }))).await;
    story.restarted("worker-0", 1).await;
    story.keep("backoff-limit-container-restarted").await;
    story.settle().await;
    story.pod("worker-0", &failed(1)).await;
    story.keep("backoff-limit-reached").await;

    let policy = json!({ "activeDeadlineSeconds": 3600, "ttlSecondsAfterFinished": 600 });
    let mut story = stage.running(&with_policy(&policy)).await;
    story.keep("active-deadline-ahead").await;
    story.later = 4_000;
    story.keep("active-deadline-passed").await;
    story.settle().await;
    story.keep("ttl-ahead").await;
    story.later += 700;
    story.keep("ttl-passed").await;

    let flat = json!({ "spec": { "backoffLimit": 0, "activeDeadlineSeconds": 60, "cleanPodPolicy": "All" } });
    let story = stage.running(&with(two(), &flat)).await;
    story.pod("master-0", &failed(1)).await;
    story.keep("flat-policies").await;
}

async fn suspensions(stage: &Stage) {
    let story = stage.story(&with_policy(&json!({ "suspend": true }))).await;
    story.keep("created-suspended").await;
    story.settle().await;
    story.edit(&suspend(false)).await;
    story.keep("suspended-is-resumed").await;

    let story = stage.running(&two()).await;
    story.edit(&suspend(true)).await;
    story.keep("suspended").await;
    story.step().await;
    story.keep("suspended-and-stored").await;
    story.settle().await;
    story.end().await;
    story.settle().await;
    story.keep("suspended-without-pods").await;
    let container = json!([{ "name": "pytorch", "image": "registry.example/training:v2" }]);
    let template = json!({ "template": { "spec": { "containers": container } } });
    let image = json!({ "spec": { "pytorchReplicaSpecs": { "Master": template, "Worker": template } } });
    story.edit(&image).await;
    story.edit(&suspend(false)).await;
    story.step().await;
    story.keep("resumed-with-another-image").await;
}

async fn sizes(stage: &Stage) {
    let story = stage.running(&two()).await;
    story.edit(&with(workers(2), &suspend(true))).await;
    story.settle().await;
    story.end().await;
    story.settle().await;
    story.edit(&suspend(false)).await;
    story.keep("scaled-while-suspended").await;

    let only = json!({ "spec": { "pytorchReplicaSpecs": { "Master": null, "Worker": replica(2, "OnFailure") } } });
    let story = stage.story(&with(two(), &only)).await;
    story.step().await;
    story.keep("workers-only-created").await;
    story.settle().await;
    story.bind().await;
    story.run().await;
    story.pod("worker-1", &SUCCEEDED).await;
    story.keep("workers-only-one-succeeded").await;
    story.pod("worker-0", &SUCCEEDED).await;
    story.keep("workers-only-all-succeeded").await;
}

async fn ends(stage: &Stage) {
    for policy in [None, Some("All"), Some("Running"), Some("None")] {
        let title = policy.unwrap_or("unset").to_lowercase();
        let story = stage.running(&with_policy(&json!({ "cleanPodPolicy": policy }))).await;
        story.pod("master-0", &SUCCEEDED).await;
        if policy.is_none() {
            story.keep("succeeded").await;
        }
        story.step().await;
        story.keep(&format!("succeeded-clean-{title}")).await;
    }
}

async fn stopped_pods(stage: &Stage) {
    let target = json!({ "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler" });
    let story = stage.running(&two()).await;
    story.pod("worker-0", &failed(143)).await;
    story.pod_status("worker-0", &json!({ "conditions": [target] })).await;
    story.keep("preempted").await;

    let mut story = stage.running(&two()).await;
    story.delete("worker-0").await;
    story.keep("deleted-by-hand").await;
    story.settle().await;
    let ended = running_until_now_succeeded(&story).await;
    story.pod_status("worker-0", &ended).await;
    story.keep("deleted-by-hand-and-ends-with-0").await;
    story.end().await;
    story.keep("deleted-by-hand-and-gone").await;

    story = stage.running(&two()).await;
    let lost = json!({ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager" });
    story.delete("worker-0").await;
    story.pod_status("worker-0", &json!({ "conditions": [lost] })).await;
    story.later = 900;
    story.keep("node-gone").await;
}

/// The status of worker 0, of which all containers end with 0 a second after its deletion.
async fn running_until_now_succeeded(story: &Story) -> Value {
    let pod = story.site.pods().get(&format!("{JOB}-worker-0")).await.unwrap();
    let ends = pod.metadata.deletion_timestamp.unwrap();
    let terminated = json!({ "exitCode": 0, "reason": "Completed", "finishedAt": ends });
    let container = json!({ "name": "pytorch", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "running": null, "terminated": terminated } });
    json!({ "phase": "Succeeded", "containerStatuses": [container] })
}

async fn elastic(stage: &Stage) {
    let policy = json!({ "rdzvBackend": "c10d", "minReplicas": 1, "maxReplicas": 3, "maxRestarts": 5 });
    let spec = json!({ "Master": null, "Worker": replica(2, "OnFailure") });
    let spec = json!({ "spec": { "elasticPolicy": policy, "pytorchReplicaSpecs": spec } });
    let story = stage.story(&with(two(), &spec)).await;
    story.step().await;
    story.keep("elastic-created").await;
    story.settle().await;
    story.bind().await;
    story.run().await;
    story.edit(&workers(3)).await;
    story.keep("elastic-scaled-up").await;
    story.settle().await;
    story.bind().await;
    story.run().await;
    story.edit(&workers(1)).await;
    story.keep("elastic-scaled-down").await;

    let cpu = json!({ "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } });
    let metrics = json!([{ "type": "Resource", "resource": cpu }]);
    let metrics = json!({ "spec": { "elasticPolicy": { "metrics": metrics } } });
    let story = stage.story(&with(with(two(), &spec), &metrics)).await;
    story.step().await;
    story.keep("elastic-with-metrics").await;
}

/// A job whose templates name no scheduler.
fn gang() -> Value {
    let unset = json!({ "template": { "spec": { "schedulerName": null } } });
    let unset = json!({ "spec": { "pytorchReplicaSpecs": { "Master": unset, "Worker": unset } } });
    with(two(), &unset)
}

async fn gangs(stage: &Stage) {
    let story = stage.story(&gang()).await;
    story.group(GangScheduler::Volcano).await;
    story.step().await;
    story.keep("volcano-not-admitted").await;
    let admitted = json!({ "status": { "phase": "Inqueue" } });
    let groups = story.api(&resource("scheduling.volcano.sh/v1beta1", "PodGroup"));
    let patch = Patch::Merge(&admitted);
    groups.patch_status(JOB, &PatchParams::default(), &patch).await.unwrap();
    story.keep("volcano-admitted").await;
    story.settle().await;
    story
        .edit(&json!({ "spec": { "runPolicy": { "schedulingPolicy": { "minAvailable": 1 } } } }))
        .await;
    story.keep("volcano-min-available").await;

    let story = stage.story(&gang()).await;
    story.group(GangScheduler::SchedulerPlugins(String::new())).await;
    story.step().await;
    story.keep("scheduler-plugins-created").await;
    story.settle().await;
    story.edit(&suspend(true)).await;
    story.settle().await;
    story.keep("scheduler-plugins-suspended").await;
}
