//! Suspending and resuming, in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{WatchEvent, WatchParams};
use kube::{Resource as _, ResourceExt as _};
use pytorchjob_operator::api::{ConditionType, PyTorchJob};
use pytorchjob_test_cluster::{bind_pod, wait_for_all};
use serde_json::json;

use crate::rig::{Rig, SOON, active, bare, conditions, finished, is, merged, selector, status};

const REPLICAS: [&str; 2] = ["master-0", "worker-0"];

/// How long the storm of edits lasts, and how far apart they are.
const STORM: Duration = Duration::from_secs(10);
const GUST: Duration = Duration::from_millis(100);

#[tokio::test]
async fn e3_a_job_created_suspended_has_nothing_but_its_conditions() {
    let (rig, _operator) = Rig::with_operator("e3").await;
    rig.create("job", merged(bare(), &json!({ "runPolicy": { "suspend": true } })))
        .await;
    let job = rig.until("job", |job| is(job, ConditionType::Suspended)).await;
    assert_eq!(
        conditions(&job),
        ["Created=True(PyTorchJobCreated)", "Suspended=True(PyTorchJobSuspended)"]
    );
    assert_eq!(
        messages(&job),
        ["PyTorchJob job is created.", "PyTorchJob job is suspended."]
    );
    assert_eq!(status(&job).start_time, None);
    rig.fence().await;
    assert_eq!(
        rig.job("job").await.status,
        job.status,
        "nothing is written to a job that is settled"
    );
    rig.until_bare("job").await;
}

#[tokio::test]
async fn e4_suspend_and_resume_run_through_kubeflows_conditions_and_begin_anew() {
    let (rig, _operator) = Rig::with_operator("e4").await;
    rig.create("job", bare()).await;
    let running = rig.run("job", &REPLICAS).await;
    rig.until_services("job", &REPLICAS).await;
    assert_eq!(
        conditions(&running),
        ["Created=True(PyTorchJobCreated)", "Running=True(PyTorchJobRunning)"]
    );

    rig.suspend("job", true).await;
    rig.until_bare("job").await;
    let suspended = rig
        .until("job", |job| {
            is(job, ConditionType::Suspended) && active(job, "Master") + active(job, "Worker") == 0
        })
        .await;
    assert_eq!(
        conditions(&suspended),
        [
            "Created=True(PyTorchJobCreated)",
            "Running=False(PyTorchJobSuspended)",
            "Suspended=True(PyTorchJobSuspended)"
        ]
    );
    assert_eq!(
        status(&suspended).start_time,
        status(&running).start_time,
        "startTime stays"
    );

    // The times of the status are in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    rig.until_bare("job").await;
    rig.suspend("job", false).await;
    let resumed = rig.run("job", &REPLICAS).await;
    rig.until_services("job", &REPLICAS).await;
    assert_eq!(
        conditions(&resumed),
        [
            "Created=True(PyTorchJobCreated)",
            "Suspended=False(PyTorchJobResumed)",
            "Running=True(PyTorchJobRunning)"
        ]
    );
    assert_eq!(messages(&resumed)[1], "PyTorchJob job is resumed.");
    assert!(
        status(&resumed).start_time > status(&running).start_time,
        "startTime begins anew"
    );
}

#[tokio::test]
async fn e5_a_job_of_another_manager_is_left_alone_suspended_and_resumed() {
    let (rig, _operator) = Rig::with_operator("e5").await;
    let policy = json!({ "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue", "suspend": true } });
    rig.create("job", merged(bare(), &policy)).await;
    rig.fence().await;
    assert_eq!(rig.job("job").await.status, None);
    rig.suspend("job", false).await;
    rig.fence().await;
    assert_eq!(rig.job("job").await.status, None);
    rig.until_bare("job").await;
}

#[tokio::test]
async fn active_counts_pods_until_they_are_gone_and_new_ones_wait_for_the_last() {
    let (rig, _operator) = Rig::with_operator("overlap").await;
    rig.create("job", bare()).await;
    rig.until_pods("job", &REPLICAS).await;
    for replica in REPLICAS {
        bind_pod(&rig.client, &rig.namespace, &format!("job-{replica}"), "node")
            .await
            .unwrap();
    }
    rig.run("job", &REPLICAS).await;
    let old = uids(&rig).await;

    rig.suspend("job", true).await;
    let held = |job: &PyTorchJob| {
        is(job, ConditionType::Suspended) && active(job, "Master") == 1 && active(job, "Worker") == 1
    };
    rig.until("job", held).await;
    until_terminating(&rig).await;

    // Another image in the very edit that resumes: no old pod is left when the first new one comes.
    let containers = json!([{ "name": "pytorch", "image": "training:2" }]);
    let worker = json!({ "template": { "spec": { "containers": containers } } });
    let edit = json!({ "spec": { "runPolicy": { "suspend": false }, "pytorchReplicaSpecs": { "Worker": worker } } });
    rig.edit("job", edit).await;
    let resumed = rig
        .until("job", |job| status(job).observed_generation == job.metadata.generation)
        .await;
    assert!(!is(&resumed, ConditionType::Suspended));
    rig.bury("job", "worker-0").await;
    let one_left = rig.until("job", |job| active(job, "Worker") == 0).await;
    assert_eq!(active(&one_left, "Master"), 1, "the Master is still there");
    rig.fence().await;
    assert!(
        uids(&rig).await.is_subset(&old),
        "a new pod came before the last old one was gone"
    );

    rig.bury("job", "master-0").await;
    let pods = rig.until_pods("job", &REPLICAS).await;
    assert!(uids(&rig).await.is_disjoint(&old));
    let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
    assert_eq!(pods.iter().map(image).collect::<Vec<_>>(), ["training:1", "training:2"]);
}

#[tokio::test]
async fn the_deadline_does_not_count_while_the_job_is_suspended() {
    const SECONDS: i64 = 3;
    let (rig, _operator) = Rig::with_operator("deadline").await;
    rig.create("job", bare()).await;
    rig.run("job", &REPLICAS).await;
    rig.suspend("job", true).await;
    rig.until_bare("job").await;
    rig.edit("job", json!({ "spec": { "activeDeadlineSeconds": SECONDS } }))
        .await;
    rig.until_observed("job").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        !finished(&rig.job("job").await),
        "a suspended job has run into its deadline"
    );

    rig.suspend("job", false).await;
    let resumed = rig.until("job", |job| !is(job, ConditionType::Suspended)).await;
    let failed = rig.until("job", finished).await;
    let start = status(&resumed).start_time.unwrap().0;
    let ran = status(&failed)
        .completion_time
        .unwrap()
        .0
        .duration_since(start)
        .as_secs();
    assert!(ran >= SECONDS, "failed {ran} s after it was resumed");
}

#[tokio::test]
async fn a_storm_of_suspending_and_resuming_settles_and_never_shows_two_pods_of_one_replica_or_one_created_while_suspended()
 {
    let (rig, _operator) = Rig::with_operator("storm").await;
    rig.create("job", bare()).await;
    rig.run("job", &REPLICAS).await;
    let history = tokio::spawn(history(rig.pods.clone()));
    let mut suspend = true;
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < STORM {
        rig.suspend("job", suspend).await;
        suspend = !suspend;
        tokio::time::sleep(GUST).await;
    }
    rig.suspend("job", true).await;
    rig.until_bare("job").await;
    rig.until("job", |job| is(job, ConditionType::Suspended)).await;
    rig.until_observed("job").await;
    rig.suspend("job", false).await;
    let running = rig.run("job", &REPLICAS).await;
    rig.until_services("job", &REPLICAS).await;
    assert_eq!(conditions(&running).last().unwrap(), "Running=True(PyTorchJobRunning)");
    assert_eq!(status(&running).restarts, None, "a suspension is no restart");

    let marker = rig.create("end", bare()).await;
    rig.until_pods(&marker.name_any(), &REPLICAS).await;
    let problems = tokio::time::timeout(SOON, history).await.unwrap().unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}

/// Follows the pods of the namespace until one of the job `end` comes, and tells every moment at which a replica had two, and every
/// pod outside the replicas of the job.
async fn history(pods: kube::Api<Pod>) -> Vec<String> {
    let (mut alive, mut problems) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    let mut version = "0".to_owned();
    loop {
        let mut events = pods.watch(&WatchParams::default(), &version).await.unwrap().boxed();
        while let Some(Ok(event)) = events.next().await {
            let (pod, gone) = match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
                WatchEvent::Deleted(pod) => (pod, true),
                _ => continue,
            };
            version = pod.resource_version().unwrap_or_default();
            if pod.name_any().starts_with("end-") {
                return problems;
            }
            if !["job-master-0", "job-worker-0"].contains(&pod.name_any().as_str()) {
                problems.push(format!("{} is no replica", pod.name_any()));
            }
            let living = alive.entry(pod.name_any()).or_default();
            if gone {
                living.remove(&pod.uid().unwrap_or_default());
            } else {
                living.insert(pod.uid().unwrap_or_default());
            }
            if living.len() > 1 {
                problems.push(format!("{} lives twice: {living:?}", pod.name_any()));
            }
        }
    }
}

async fn uids(rig: &Rig) -> BTreeSet<String> {
    rig.pods_of("job")
        .await
        .iter()
        .filter_map(kube::ResourceExt::uid)
        .collect()
}

async fn until_terminating(rig: &Rig) {
    wait_for_all(&rig.pods, &selector("job"), SOON, |pods: &[Pod]| {
        pods.len() == REPLICAS.len() && pods.iter().all(|pod| pod.meta().deletion_timestamp.is_some())
    })
    .await
    .unwrap();
}

fn messages(job: &PyTorchJob) -> Vec<String> {
    status(job)
        .conditions
        .iter()
        .filter_map(|entry| entry.message.clone())
        .collect()
}
