//! Scaling elastic jobs.

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Resource as _, ResourceExt as _};
use pytorchjob_operator::api::{ConditionType, ReplicaType};
use pytorchjob_test_cluster::{bind_pod, wait_for_all};
use serde_json::{Value, json};

use crate::editing::rig::{Rig, SOON, active, answer, bare, elastic, is, messages, status};
use crate::rig::of_job;

const BOUNDS: &str = "Worker.replicas must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas";
const SELECTOR: &str = "training.kubeflow.org/job-name=job,training.kubeflow.org/operator-name=pytorchjob-controller,training.kubeflow.org/replica-type=worker";

/// An elastic job of three workers that run, between 1 and 5.
async fn three_workers(name: &str) -> (Rig, pytorchjob_test_cluster::Operator) {
    let (rig, operator) = Rig::with_operator(name).await;
    rig.create("job", elastic(3, 1, 5)).await;
    rig.run("job", &["worker-0", "worker-1", "worker-2"]).await;
    (rig, operator)
}

async fn scale(rig: &Rig, replicas: i32) -> Result<Scale, Box<kube::core::Status>> {
    let patch = json!({ "spec": { "replicas": replicas } });
    answer(
        rig.jobs
            .patch_scale("job", &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )
}

#[tokio::test]
async fn kubectl_scale_works_within_the_bounds_and_is_refused_beyond() {
    let (rig, _operator) = three_workers("kubectl-scale").await;
    let namespace = rig.namespace.name();
    let kubectl = async |replicas: &str| {
        rig.cluster
            .kubectl(&[
                "scale",
                "pytorchjob",
                "job",
                "--namespace",
                namespace,
                "--replicas",
                replicas,
            ])
            .await
    };
    kubectl("4").await.unwrap();
    rig.until_pods("job", &["worker-0", "worker-1", "worker-2", "worker-3"])
        .await;
    kubectl("1").await.unwrap();
    rig.until_pods("job", &["worker-0"]).await;
    rig.until_services("job", &["worker-0"]).await;
    for (replicas, message) in [("6", BOUNDS), ("0", "should be greater than or equal to 1")] {
        let refusal = kubectl(replicas).await.unwrap_err().to_string();
        assert!(refusal.contains(message), "{refusal}");
    }
}

#[tokio::test]
async fn the_scale_subresource_can_be_read_and_patched_and_put() {
    let (rig, _operator) = three_workers("subresource").await;
    rig.until("job", |job| active(job, "Worker") == 3).await;
    let mut read = rig.jobs.get_scale("job").await.unwrap();
    let status = read.status.clone().unwrap();
    assert_eq!((status.replicas, status.selector.as_deref()), (3, Some(SELECTOR)));
    assert_eq!(read.spec.as_ref().unwrap().replicas, Some(3));

    scale(&rig, 2).await.unwrap();
    rig.until_pods("job", &["worker-0", "worker-1"]).await;
    // The operator may write the status in between, and then a client reads again.
    loop {
        read = rig.jobs.get_scale("job").await.unwrap();
        read.spec.as_mut().unwrap().replicas = Some(4);
        match answer(rig.jobs.replace_scale("job", &PostParams::default(), &read).await) {
            Err(status) if status.code == 409 => {}
            other => break drop(other.unwrap()),
        }
    }
    rig.until_pods("job", &["worker-0", "worker-1", "worker-2", "worker-3"])
        .await;
    let refusal = scale(&rig, 6).await.unwrap_err();
    assert_eq!((refusal.code, messages(&refusal)), (422, vec![BOUNDS.to_owned()]));
}

#[tokio::test]
async fn scaling_a_job_that_is_not_elastic_is_refused_through_the_subresource_too() {
    let (rig, _operator) = Rig::with_operator("static").await;
    rig.create("job", bare()).await;
    rig.run("job", &["master-0", "worker-0"]).await;
    let refusal = scale(&rig, 2).await.unwrap_err();
    let message = "Worker.replicas of a job without elasticPolicy can change only while the job is suspended, since WORLD_SIZE of running pods cannot follow: set spec.runPolicy.suspend to true first, or in the same edit";
    assert_eq!((refusal.code, messages(&refusal)), (422, vec![message.to_owned()]));
    rig.suspend("job", true).await;
    rig.until_bare("job").await;
    scale(&rig, 2).await.unwrap();
    rig.suspend("job", false).await;
    let pods = rig.run("job", &["master-0", "worker-0", "worker-1"]).await;
    drop(pods);
    for pod in rig.pods_of("job").await {
        assert_eq!(variable(&pod, "WORLD_SIZE").as_deref(), Some("3"), "{}", pod.name_any());
    }
}

#[tokio::test]
async fn the_highest_index_goes_first_and_none_comes_back_while_a_higher_one_terminates() {
    let (rig, _operator) = three_workers("highest").await;
    for worker in ["job-worker-0", "job-worker-1", "job-worker-2"] {
        bind_pod(&rig.client, &rig.namespace, worker, "node").await.unwrap();
    }
    let kept = rig.pods.get("job-worker-0").await.unwrap().uid();
    rig.edit("job", workers(&json!(1))).await;
    wait_for_all(&rig.pods, &of_job("job"), SOON, |pods: &[Pod]| {
        pods.len() == 3
            && pods
                .iter()
                .filter(|pod| pod.meta().deletion_timestamp.is_some())
                .count()
                == 2
    })
    .await
    .unwrap();
    let kept_now = rig.pods.get("job-worker-0").await.unwrap();
    assert_eq!(
        (kept_now.uid(), kept_now.meta().deletion_timestamp.is_none()),
        (kept, true)
    );

    rig.bury("job", "worker-1").await;
    rig.fence().await;
    let names: Vec<String> = rig.pods_of("job").await.iter().map(Pod::name_any).collect();
    assert_eq!(names, ["job-worker-0", "job-worker-2"], "worker 1 came back");
    let counted = rig.until("job", |job| active(job, "Worker") == 2).await;
    assert_eq!(status(&counted).ready.as_deref(), Some("1/1"));
    rig.bury("job", "worker-2").await;
    rig.until_pods("job", &["worker-0"]).await;
    rig.until("job", |job| active(job, "Worker") == 1).await;
}

#[tokio::test]
async fn replicas_that_are_removed_count_as_one() {
    let (rig, _operator) = three_workers("null").await;
    rig.edit("job", workers(&Value::Null)).await;
    rig.until_pods("job", &["worker-0"]).await;
    let refusal = rig.patch("job", &workers(&json!(6))).await.unwrap_err();
    assert_eq!(messages(&refusal), [BOUNDS]);

    rig.create("two", elastic(2, 2, 3)).await;
    let refusal = rig.patch("two", &workers(&Value::Null)).await.unwrap_err();
    assert_eq!(messages(&refusal), [BOUNDS]);
}

#[tokio::test]
async fn the_selector_is_right_in_every_phase() {
    let (rig, _operator) = Rig::with_operator("selector").await;
    rig.create("job", elastic(2, 1, 3)).await;
    let selector_of = |job: &pytorchjob_operator::api::PyTorchJob| {
        status(job)
            .replica_statuses
            .get("Worker")
            .and_then(|counts| counts.selector.clone())
    };
    rig.until_pods("job", &["worker-0", "worker-1"]).await;
    let mut seen = vec![("pending", rig.until("job", |job| is(job, ConditionType::Created)).await)];
    seen.push(("running", rig.run("job", &["worker-0", "worker-1"]).await));
    rig.suspend("job", true).await;
    seen.push((
        "suspended",
        rig.until("job", |job| is(job, ConditionType::Suspended)).await,
    ));
    rig.until_bare("job").await;
    rig.suspend("job", false).await;
    seen.push(("resumed", rig.run("job", &["worker-0", "worker-1"]).await));
    rig.fail("job", "worker-0").await;
    rig.fail("job", "worker-1").await;
    seen.push((
        "restarting",
        rig.until("job", |job| is(job, ConditionType::Restarting)).await,
    ));
    rig.run("job", &["worker-0", "worker-1"]).await;
    rig.report("job", "worker-1", pytorchjob_test_cluster::PodPhase::Succeeded)
        .await;
    seen.push((
        "succeeded",
        rig.until("job", |job| is(job, ConditionType::Succeeded)).await,
    ));
    for (phase, job) in &seen {
        assert_eq!(selector_of(job).as_deref(), Some(SELECTOR), "{phase}");
    }
}

fn workers(replicas: &Value) -> Value {
    json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": replicas } } } })
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let environment = pod.spec.as_ref()?.containers[0].env.as_ref()?;
    environment.iter().find(|variable| variable.name == name)?.value.clone()
}

#[tokio::test]
async fn an_elastic_job_that_names_no_number_of_workers_can_be_scaled_and_whoever_applies_it_leaves_the_number_alone() {
    let (rig, _operator) = Rig::with_operator("unnamed").await;
    let mut applied = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "job" },
        "spec": elastic(1, 1, 5) });
    let worker = &mut applied["spec"]["pytorchReplicaSpecs"]["Worker"];
    worker.as_object_mut().unwrap().remove("replicas").unwrap();
    let apply = async |job: &Value| {
        let parameters = PatchParams::apply("somebody");
        rig.jobs.patch("job", &parameters, &Patch::Apply(job)).await.unwrap()
    };
    let created = apply(&applied).await;
    rig.run("job", &["worker-0"]).await;
    let read = rig.jobs.get_scale("job").await.unwrap();
    assert_eq!(read.spec.unwrap().replicas, Some(1));

    scale(&rig, 3).await.unwrap();
    rig.until_pods("job", &["worker-0", "worker-1", "worker-2"]).await;
    applied["spec"]["runPolicy"] = json!({ "backoffLimit": 3 });
    let edited = apply(&applied).await;
    assert_eq!(edited.spec.replicas(ReplicaType::Worker), 3);
    let generations = [created, edited].map(|job| job.metadata.generation);
    assert_eq!(
        generations,
        [Some(1), Some(3)],
        "each of the two edits, and nothing else"
    );
}
