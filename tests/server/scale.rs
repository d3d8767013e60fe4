//! The `scale` subresource, by which `kubectl scale` and autoscalers change `Worker.replicas`.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::job::{job, with};
use crate::rig::{Rig, refusal, replica_names};

async fn scale(rig: &Rig, name: &str, replicas: i32) -> Result<(), kube::Error> {
    let patch = json!({ "spec": { "replicas": replicas } });
    let answer = rig
        .jobs()
        .patch_scale(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    answer.map(drop)
}

#[tokio::test]
async fn a_running_job_without_elastic_policy_is_not_scaled_and_the_answer_says_what_to_do() {
    let rig = Rig::start().await;
    rig.running(&job("fixed", 2)).await;
    let refused = refusal(scale(&rig, "fixed", 3).await);
    assert_eq!(refused.code, 422);
    assert!(
        refused.message.contains("can change only while the job is suspended")
            && refused.message.contains("set spec.runPolicy.suspend to true first"),
        "{}",
        refused.message
    );
    let job = rig.settle("fixed").await;
    assert_eq!(job.spec["pytorchReplicaSpecs"]["Worker"]["replicas"], 2);
    assert_eq!(rig.pod_names("fixed").await.len(), 3);
}

#[tokio::test]
async fn a_suspended_job_is_scaled_and_resumes_with_the_new_world_size() {
    let rig = Rig::start().await;
    let suspended = json!({ "spec": { "runPolicy": { "suspend": true } } });
    rig.create(&with(job("suspended", 2), &suspended)).await;
    scale(&rig, "suspended", 1).await.unwrap();
    rig.patch("suspended", &json!({ "spec": { "runPolicy": { "suspend": false } } }))
        .await;
    let pods = rig.wait_pods("suspended", |pods| pods.len() == 2).await;
    for pod in pods {
        let variables = pod.spec.unwrap().containers[0].env.clone().unwrap();
        let world_size = variables.iter().find(|variable| variable.name == "WORLD_SIZE").unwrap();
        assert_eq!(world_size.value.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn an_elastic_job_is_scaled_within_its_bounds_while_it_runs() {
    let rig = Rig::start().await;
    let elastic = json!({ "spec": { "elasticPolicy": { "minReplicas": 1, "maxReplicas": 3 } } });
    rig.running(&with(job("elastic", 1), &elastic)).await;
    let shown = rig.jobs().get_scale("elastic").await.unwrap();
    assert_eq!(shown.spec.unwrap().replicas, Some(1));
    assert_eq!(
        shown.status.unwrap().selector.as_deref(),
        Some(
            "training.kubeflow.org/job-name=elastic,training.kubeflow.org/operator-name=pytorchjob-controller,\
             training.kubeflow.org/replica-type=worker"
        )
    );

    scale(&rig, "elastic", 3).await.unwrap();
    let all = replica_names("elastic", &["master-0", "worker-0", "worker-1", "worker-2"]);
    rig.wait_pod_names("elastic", &all).await;
    rig.wait_service_names("elastic", &all).await;
    scale(&rig, "elastic", 1).await.unwrap();
    rig.wait_pod_names("elastic", &all[..2]).await;
    rig.wait_service_names("elastic", &all[..2]).await;

    let refused = refusal(scale(&rig, "elastic", 4).await);
    assert_eq!(refused.code, 422);
    assert!(
        refused.message.contains("elasticPolicy.maxReplicas"),
        "{}",
        refused.message
    );
    let refused = refusal(scale(&rig, "elastic", 0).await);
    assert_eq!(refused.code, 422);
}
