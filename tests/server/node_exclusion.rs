//! `runPolicy.nodeExclusion` on the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use pytorchjob_test_cluster::{PodPhase, bind_pod};
use serde_json::{Value, json};

use crate::job::{Job, job, with};
use crate::rig::{End, Rig};

const WORKER: &str = "picky-worker-0";

/// A job whose workers have to be in a zone, and stay away from nodes after two failures.
fn picky(scope: &str) -> Value {
    let zone = json!([{ "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] }]);
    let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": zone } });
    let worker = json!({ "template": { "spec": { "affinity": { "nodeAffinity": required } } } });
    let policy = json!({ "afterFailures": 2, "windowSeconds": 3_600, "max": 2 });
    let spec = json!({ "runPolicy": { "nodeExclusion": policy, "restartScope": scope },
        "pytorchReplicaSpecs": { "Worker": worker } });
    with(job("picky", 1), &json!({ "spec": spec }))
}

/// The terms that the pod requires of its node.
fn terms(pod: &Pod) -> Value {
    let affinity = serde_json::to_value(pod.spec.as_ref().unwrap().affinity.as_ref().unwrap()).unwrap();
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].clone()
}

async fn run(rig: &Rig) -> Job {
    let pods = rig.wait_pods("picky", |pods| pods.len() == 2).await;
    rig.set_phases(crate::rig::names(&pods), &PodPhase::Running).await;
    rig.wait("picky", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await
}

/// The worker runs on this node, and fails there of its GPU while no operator is there. Returns the one that follows.
async fn fail_on(rig: &mut Rig, node: &str) -> Pod {
    run(rig).await;
    bind_pod(&rig.client, &rig.namespace, WORKER, node).await.unwrap();
    let gpu = PodPhase::Failed {
        exit_code: 1,
        reason: "Error".to_owned(),
        message: "RuntimeError: CUDA error: uncorrectable ECC error encountered".to_owned(),
    };
    rig.end_operator(End::Kill).await;
    let old = rig.set_phase(WORKER, &gpu).await;
    rig.go_on().await;
    rig.wait_replaced(&old).await
}

fn away_from(node: &str) -> Value {
    json!([{
        "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }],
        "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": [node] }],
    }])
}

#[tokio::test]
async fn a_node_where_a_rank_failed_twice_gets_no_new_pod_over_crashes_of_the_operator() {
    for scope in ["Replica", "Job"] {
        let mut rig = Rig::start().await;
        rig.create(&picky(scope)).await;
        let first = fail_on(&mut rig, "bad-node").await;
        assert!(
            !terms(&first).to_string().contains("bad-node"),
            "{scope}: once is not twice"
        );
        let second = fail_on(&mut rig, "bad-node").await;
        assert_eq!(terms(&second), away_from("bad-node"), "{scope}");
        let job = run(&rig).await;
        let excluded = &job.status["excludedNodes"];
        assert_eq!(
            (&excluded[0]["name"], &excluded[0]["because"], &excluded[1]),
            (
                &json!("bad-node"),
                &json!("2 failures within 3600 s, the last of picky-worker-0 (GpuFault)"),
                &Value::Null
            ),
            "{scope}"
        );
        let told = rig.wait_event("picky", "Warning", "NodeExcluded").await;
        assert!(
            told.starts_with("New pods do not go to node bad-node until 20"),
            "{told}"
        );
        assert_eq!(job.status["restarts"], 2);
        // What the operator has put into the pod is no edit of the template.
        let settled = rig.settle("picky").await;
        assert!(settled.is("Running"), "{:?}", settled.outline());
        let pods = rig.wait_pods("picky", |pods| pods.len() == 2).await;
        assert!(pods.iter().any(|pod| pod.uid() == second.uid()));
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_scheduled_without_the_node_goes_back_there_and_counts_no_restart() {
    let mut rig = Rig::start().await;
    rig.create(&picky("Replica")).await;
    fail_on(&mut rig, "bad-node").await;
    let waiting = fail_on(&mut rig, "bad-node").await;
    let minutes_ago = k8s_openapi::jiff::SignedDuration::from_mins(6);
    let since = pytorchjob_operator::platform::clock::now() - minutes_ago;
    let conditions = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() }]);
    let patch = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
    rig.pods()
        .patch_status(WORKER, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let new = rig.wait_replaced(&waiting).await;
    assert!(!terms(&new).to_string().contains("bad-node"));
    assert_eq!(
        rig.wait_event("picky", "Warning", "NodeReadmitted").await,
        "Node bad-node is excluded no longer: pod picky-worker-0 cannot be scheduled without it, or at all, for 300 s."
    );
    let job = run(&rig).await;
    assert_eq!(
        (&job.status["excludedNodes"], &job.status["restarts"]),
        (&Value::Null, &json!(2))
    );
}
