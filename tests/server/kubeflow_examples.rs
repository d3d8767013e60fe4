//! The examples that users of Kubeflow begin with.

use std::fs;

use futures::future::join_all;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use pytorchjob_test_cluster::{PodPhase, repository, wait_for};
use serde_json::Value;

use crate::job::Job;
use crate::rig::{Rig, TIMEOUT, names, replica_names};

fn examples() -> Vec<Value> {
    let path = repository().join("tests/server/kubeflow_examples.yaml");
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The example of this name.
pub fn example(name: &str) -> Value {
    let named = |manifest: &Value| manifest["metadata"]["name"] == name;
    examples().into_iter().find(named).unwrap()
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut variables = containers[0].env.iter().flatten().rev();
    variables.find(|variable| variable.name == name)?.value.clone()
}

/// Lets the job run to its end, and returns what its first pod was given.
async fn run(rig: &Rig, manifest: &Value) -> (Job, Pod) {
    let running = rig.running(manifest).await;
    let pods = rig.wait_pods(running.name(), |_| true).await;
    if !running.spec["elasticPolicy"]["metrics"].is_null() {
        let autoscalers: Api<HorizontalPodAutoscaler> = rig.api();
        wait_for(&autoscalers, running.name(), TIMEOUT, |_| true).await.unwrap();
    }
    rig.set_phases(pods.iter().map(ResourceExt::name_any), &PodPhase::Succeeded)
        .await;
    let finished = rig.wait_finished(running.name()).await;
    (finished, pods.into_iter().next().unwrap())
}

#[tokio::test]
async fn the_nine_examples_of_kubeflow_apply_and_run_to_their_end() {
    let rig = Rig::start().await;
    let examples = examples();
    let ended = join_all(examples.iter().map(|manifest| run(&rig, manifest))).await;
    for (job, _) in &ended {
        assert!(job.is("Succeeded"), "{}: {:?}", job.name(), job.conditions());
    }
    let facts = |name: &str, variables: &[&str]| -> Vec<Option<String>> {
        let (_, pod) = ended.iter().find(|(job, _)| job.name() == name).unwrap();
        variables.iter().map(|variable| self::variable(pod, variable)).collect()
    };
    let some = |values: &[&str]| values.iter().map(|&value| Some(value.to_owned())).collect::<Vec<_>>();
    // These read the plain variables; the ones that call torchrun without an argument need torchrun's.
    let plain = ["MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"];
    assert_eq!(
        facts("sendrecv", &plain),
        some(&["sendrecv-master-0", "23456", "0", "4"])
    );
    let torchrun = ["PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR"];
    assert_eq!(
        facts("cpu-demo", &torchrun),
        some(&["2", "2", "0", "cpu-demo-master-0"])
    );
    let elastic = ["PET_NNODES", "PET_RDZV_BACKEND", "PET_MAX_RESTARTS", "LOGLEVEL"];
    assert_eq!(facts("elastic-echo", &elastic), some(&["1:2", "c10d", "100", "DEBUG"]));
    assert_eq!(facts("elastic-imagenet", &elastic[..3]), some(&["1:3", "c10d", "100"]));

    let mut pods = names(&rig.pods().list(&ListParams::default()).await.unwrap().items);
    pods.retain(|name| name.starts_with("sendrecv"));
    let all = ["master-0", "worker-0", "worker-1", "worker-2"];
    assert_eq!(
        pods,
        replica_names("sendrecv", &all),
        "cleanPodPolicy is unset, so the pods of a success stay"
    );
}
