//! Owner references that lie: whoever may create pods in one namespace has no say about the jobs of another.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use pytorchjob_test_cluster::{
    Cluster, Operator, Options, PodPhase, not_applicable, set_pod_phase, wait_for, wait_for_all, wait_gone,
};
use serde_json::json;

use crate::job::{Job, job};
use crate::rig::{BINARY, TIMEOUT, create, names, of_job};

#[tokio::test]
async fn a_pod_that_names_a_job_of_another_namespace_as_its_owner_has_no_effect_on_that_job() {
    // Of its own: an operator for all namespaces would work on the jobs of other tests as well.
    let cluster = Cluster::start(Options::default()).await.unwrap();
    if !cluster.is_ours() {
        return not_applicable("needs an operator for all namespaces");
    }
    let (theirs, forgers) = (
        cluster.namespace("theirs").await.unwrap(),
        cluster.namespace("forgers").await.unwrap(),
    );
    let operator = Operator::start(Path::new(BINARY), cluster.admin_kubeconfig(), &[]).unwrap();
    operator.ready().await.unwrap();
    let client = cluster.admin();
    let victim = create(&client, &theirs, &job("victim", 0)).await.unwrap();
    let (jobs, pods) = (
        Api::<Job>::namespaced(client.clone(), &theirs),
        Api::<Pod>::namespaced(client.clone(), &theirs),
    );
    let there = wait_for_all(&pods, &of_job("victim"), TIMEOUT, |pods: &[Pod]| pods.len() == 1)
        .await
        .unwrap();
    set_pod_phase(&client, &theirs, "victim-master-0", &PodPhase::Running, 0)
        .await
        .unwrap();
    wait_for(&jobs, "victim", TIMEOUT, |job| job.is("Running"))
        .await
        .unwrap();

    // The pod says of itself that it is the Master of the victim, and has succeeded.
    let mut forged = serde_json::to_value(&there[0]).unwrap();
    forged["metadata"] = json!({ "name": "victim-master-0", "labels": there[0].labels(),
        "ownerReferences": there[0].owner_references() });
    forged["status"] = json!({});
    let forged: Pod = serde_json::from_value(forged).unwrap();
    let forged_pods = Api::<Pod>::namespaced(client.clone(), &forgers);
    // The garbage collector removes it, since its owner is not in this namespace; sometimes before it has succeeded.
    loop {
        forged_pods.create(&PostParams::default(), &forged).await.unwrap();
        let succeeded = set_pod_phase(&client, &forgers, "victim-master-0", &PodPhase::Succeeded, 0).await;
        if succeeded.is_ok() {
            break;
        }
        wait_gone(&forged_pods, "victim-master-0", TIMEOUT).await.unwrap();
    }

    // A job that is created now is worked on after what came before.
    create(&client, &theirs, &job("fence", 0)).await.unwrap();
    wait_for_all(&pods, &of_job("fence"), TIMEOUT, |pods: &[Pod]| pods.len() == 1)
        .await
        .unwrap();
    let nothing = json!({ "spec": { "runPolicy": { "schedulingPolicy": { "minAvailable": 1 } } } });
    let edited = jobs
        .patch(
            "victim",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&nothing),
        )
        .await
        .unwrap();
    let observed = wait_for(&jobs, "victim", TIMEOUT, |job| {
        job.status["observedGeneration"] == json!(edited.metadata.generation)
    })
    .await
    .unwrap();
    assert!(
        observed.is("Running") && !observed.finished(),
        "{:?}",
        observed.conditions()
    );
    assert_eq!(observed.metadata.uid, victim.metadata.uid);
    let left = wait_for_all(&pods, &of_job("victim"), TIMEOUT, |pods: &[Pod]| !pods.is_empty())
        .await
        .unwrap();
    assert_eq!((names(&left), left[0].uid()), (names(&there), there[0].uid()));
}
