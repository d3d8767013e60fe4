//! Suspending and resuming, in time.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use pytorchjob_operator::api::{ConditionType, PyTorchJob};
use pytorchjob_test_cluster::{bind_pod, wait_for_all};
use serde_json::json;

use crate::editing::rig::{Rig, SOON, active, bare, conditions, finished, is, status};
use crate::job::with;
use crate::rig::of_job;

const REPLICAS: [&str; 2] = ["master-0", "worker-0"];

/// How long the storm of edits lasts, and how far apart they are.
const STORM: Duration = Duration::from_secs(30);
const GUST: Duration = Duration::from_millis(100);

#[tokio::test]
async fn e3_a_job_created_suspended_has_nothing_but_its_conditions() {
    let (rig, _operator) = Rig::with_operator("e3").await;
    rig.create("job", with(bare(), &json!({ "runPolicy": { "suspend": true } })))
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
async fn e4_suspend_and_resume_run_through_kubeflows_conditions_and_start_again() {
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
        "startTime is set again"
    );
}

#[tokio::test]
async fn e5_a_job_of_another_manager_is_left_alone_suspended_and_resumed() {
    let (rig, _operator) = Rig::with_operator("e5").await;
    let policy = json!({ "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue", "suspend": true } });
    rig.create("job", with(bare(), &policy)).await;
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
    let observed = rig
        .until("job", |job| status(job).observed_generation == job.metadata.generation)
        .await;
    assert!(is(&observed, ConditionType::Suspended), "until the old pods are gone");
    rig.bury("job", "worker-0").await;
    let one_left = rig.until("job", |job| active(job, "Worker") == 0).await;
    assert_eq!(active(&one_left, "Master"), 1, "the Master is still there");
    rig.fence().await;
    assert!(
        uids(&rig).await.is_subset(&old),
        "a new pod came before the last old one was gone"
    );

    rig.bury("job", "master-0").await;
    rig.until_pods("job", &REPLICAS).await;
    assert!(uids(&rig).await.is_disjoint(&old));
    assert_eq!(images(&rig).await, ["training:1", "training:2"]);
}

#[tokio::test]
async fn a_suspension_that_nobody_saw_is_made_up_for_when_templates_were_edited_in_it() {
    let (rig, operator) = Rig::with_operator("unseen").await;
    rig.create("job", bare()).await;
    rig.create("same", bare()).await;
    rig.run("same", &REPLICAS).await;
    rig.run("job", &REPLICAS).await;
    let (old, same) = (uids(&rig).await, rig.pods_of("same").await);
    operator.stop().await.unwrap();

    let containers = json!([{ "name": "pytorch", "image": "training:2" }]);
    let master = json!({ "template": { "spec": { "containers": containers } } });
    rig.suspend("job", true).await;
    rig.edit(
        "job",
        json!({ "spec": { "pytorchReplicaSpecs": { "Master": master } } }),
    )
    .await;
    for job in ["job", "same"] {
        rig.suspend(job, true).await;
        rig.suspend(job, false).await;
    }
    let _operator = rig.start_operator().await;
    until_replaced(&rig, &old).await;
    let running = rig.run("job", &REPLICAS).await;
    rig.until_services("job", &REPLICAS).await;
    assert_eq!(images(&rig).await, ["training:2", "training:1"]);
    assert_eq!(
        conditions(&running),
        [
            "Created=True(PyTorchJobCreated)",
            "Suspended=False(PyTorchJobResumed)",
            "Running=True(PyTorchJobRunning)"
        ]
    );
    rig.until_observed("same").await;
    let uid = |pods: &[Pod]| pods.iter().map(Pod::uid).collect::<Vec<_>>();
    assert_eq!(
        uid(&rig.pods_of("same").await),
        uid(&same),
        "pods whose template is the same run on"
    );
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
async fn a_storm_of_suspending_and_resuming_settles_without_pods_or_with_all_and_costs_no_more_than_it_asks_for() {
    let (rig, _operator) = Rig::with_operator("storm").await;
    rig.create("job", bare()).await;
    rig.run("job", &REPLICAS).await;
    let created = tokio::spawn(created(rig.pods.clone()));
    let (mut suspend, mut resumed) = (true, 0);
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < STORM {
        rig.suspend("job", suspend).await;
        resumed += usize::from(!suspend);
        suspend = !suspend;
        tokio::time::sleep(GUST).await;
    }
    rig.suspend("job", true).await;
    rig.until_bare("job").await;
    rig.until_observed("job").await;
    rig.until("job", |job| is(job, ConditionType::Suspended)).await;
    rig.fence().await;
    assert!(
        uids(&rig).await.is_empty(),
        "S6: a pod came while the job was suspended"
    );

    rig.suspend("job", false).await;
    resumed += 1;
    let running = rig.run("job", &REPLICAS).await;
    rig.until_services("job", &REPLICAS).await;
    assert_eq!(conditions(&running).last().unwrap(), "Running=True(PyTorchJobRunning)");
    assert_eq!(status(&running).restarts, None, "a suspension is no restart");

    rig.create("end", bare()).await;
    let created = tokio::time::timeout(SOON, created).await.unwrap().unwrap();
    let (replicas, others): (Vec<_>, Vec<_>) = created
        .iter()
        .partition(|name| ["job-master-0", "job-worker-0"].contains(&name.as_str()));
    assert!(others.is_empty(), "S1: {others:?} are no replicas");
    // The pods of the start, and those of each time it was resumed.
    assert!(
        replicas.len() <= (resumed + 1) * REPLICAS.len(),
        "{} pods for {resumed} resumptions",
        replicas.len()
    );
}

/// Follows the pods of the namespace until one of the job `end` comes, and gives the names of all pods that were
/// created for the job `job`.
async fn created(pods: Api<Pod>) -> Vec<String> {
    let (mut seen, mut names) = (BTreeSet::new(), Vec::new());
    let mut events = pin!(watcher(pods, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else {
            continue;
        };
        if pod.name_any().starts_with("end-") {
            break;
        }
        if pod.name_any().starts_with("job-") && seen.insert(pod.uid()) {
            names.push(pod.name_any());
        }
    }
    names
}

async fn uids(rig: &Rig) -> BTreeSet<String> {
    rig.pods_of("job")
        .await
        .iter()
        .filter_map(kube::ResourceExt::uid)
        .collect()
}

/// Waits until the job has all its pods and none of the old ones.
async fn until_replaced(rig: &Rig, old: &BTreeSet<String>) {
    wait_for_all(&rig.pods, &of_job("job"), SOON, |pods: &[Pod]| {
        pods.len() == REPLICAS.len() && pods.iter().all(|pod| pod.uid().is_some_and(|uid| !old.contains(&uid)))
    })
    .await
    .unwrap();
}

async fn images(rig: &Rig) -> Vec<String> {
    let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
    rig.pods_of("job").await.iter().map(image).collect()
}

async fn until_terminating(rig: &Rig) {
    wait_for_all(&rig.pods, &of_job("job"), SOON, |pods: &[Pod]| {
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
