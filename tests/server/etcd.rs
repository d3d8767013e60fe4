//! etcd is away, or goes back to an earlier state.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use pytorchjob_operator::platform::clock;
use pytorchjob_test_cluster::{
    Cluster, Operator, Options, PodPhase, not_applicable, set_pod_phase, wait_for, wait_gone,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::job::{Job, job, suspend, with};
use crate::rig::{BINARY, TIMEOUT, create, until};

/// A replica of two, as the shipped Deployment has, that is not awaited.
fn replica(cluster: &Cluster, name: &str) -> Operator {
    let name = format!("--pod-name={name}");
    let arguments = ["--leader-elect", "--leader-election-namespace=default", &name];
    Operator::start(Path::new(BINARY), cluster.admin_kubeconfig(), &arguments).unwrap()
}

/// A replica by itself. Without an election: under load the way back takes longer than a lease is held.
fn alone(cluster: &Cluster) -> Operator {
    Operator::start(Path::new(BINARY), cluster.admin_kubeconfig(), &[]).unwrap()
}

#[tokio::test]
async fn an_outage_of_etcd_ends_the_leader_and_another_leads_soon_after_its_return() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let Some(etcd) = cluster.process("etcd") else {
        return not_applicable("stops etcd");
    };
    let (client, namespace) = (cluster.admin(), cluster.namespace("outage").await.unwrap());
    let leader = replica(&cluster, "first");
    leader.ready().await.unwrap();
    create(&client, &namespace, &job("before", 0)).await.unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let pod = wait_for(&pods, "before-master-0", TIMEOUT, |_| true).await.unwrap();
    set_pod_phase(&client, &namespace, "before-master-0", &PodPhase::Running, 0)
        .await
        .unwrap();
    let standby = replica(&cluster, "second");
    standby.ready().await.unwrap();

    etcd.pause();
    sleep(Duration::from_secs(20)).await;
    etcd.resume();
    let after = job("after", 0);
    until("a job is stored", TIMEOUT, async || {
        match create(&client, &namespace, &after).await {
            Ok(_) => true,
            // An attempt that got no answer may have stored it.
            Err(kube::Error::Api(status)) => status.is_already_exists(),
            Err(_) => false,
        }
    })
    .await;
    let back = Instant::now();
    wait_for(&pods, "after-master-0", TIMEOUT, |_| true).await.unwrap();
    println!(
        "from the return of etcd to the pod of the next job: {:?}",
        back.elapsed()
    );
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    let ended = leader.process().exited_within(TIMEOUT).await.unwrap();
    assert!(
        !ended.success() && leader.log().contains("leadership lost"),
        "{}",
        leader.log()
    );
    let leases = Api::<Lease>::namespaced(client.clone(), "default");
    let lease = leases.get("1ca428e5.training-operator.kubeflow.org").await.unwrap();
    assert!(lease.spec.unwrap().holder_identity.unwrap().starts_with("second"));
    assert_eq!(pods.get("before-master-0").await.unwrap().uid(), pod.uid());
}

/// Creates a job, lets it run, and returns its pod.
async fn running(client: &Client, name: &str) -> Pod {
    let clean = json!({ "spec": { "runPolicy": { "cleanPodPolicy": "None" } } });
    let (jobs, pods) = (
        Api::default_namespaced(client.clone()),
        Api::default_namespaced(client.clone()),
    );
    create(client, "default", &with(job(name, 0), &clean)).await.unwrap();
    let pod = format!("{name}-master-0");
    wait_for(&pods, &pod, TIMEOUT, |_: &Pod| true).await.unwrap();
    set_pod_phase(client, "default", &pod, &PodPhase::Running, 0)
        .await
        .unwrap();
    wait_for(&jobs, name, TIMEOUT, |job: &Job| job.is("Running"))
        .await
        .unwrap();
    pods.get(&pod).await.unwrap()
}

/// Gives a running job a deadline, so that the operator writes it then.
async fn written_after(jobs: &Api<Job>, name: &str, seconds: i64) {
    let ran = clock::now().as_second() - jobs.get(name).await.unwrap().second("startTime").unwrap();
    let deadline = json!({ "spec": { "runPolicy": { "activeDeadlineSeconds": ran + seconds } } });
    let patch = Patch::Merge(deadline);
    let edited = jobs.patch(name, &PatchParams::default(), &patch).await.unwrap();
    let known = |job: &Job| job.status["observedGeneration"] == edited.metadata.generation.unwrap();
    wait_for(jobs, name, TIMEOUT, known).await.unwrap();
}

/// A job goes on that was suspended after the backup, and one is gone that came after it. What the operator stores next
/// is refused, and shows an older version.
async fn is_restored(bump: Option<u64>) {
    let mut cluster = Cluster::start(Options::default()).await.unwrap();
    let (client, namespace) = (cluster.admin(), "default");
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let operator = alone(&cluster);
    operator.ready().await.unwrap();
    let kept = running(&client, "kept").await;
    running(&client, "late").await;
    let Some(backup) = cluster.back_up_etcd().await.unwrap() else {
        return not_applicable("restores etcd");
    };

    let patch = Patch::Merge(suspend(true));
    jobs.patch("kept", &PatchParams::default(), &patch).await.unwrap();
    wait_gone(&pods, "kept-master-0", TIMEOUT).await.unwrap();
    wait_for(&jobs, "kept", TIMEOUT, |job| job.is("Suspended"))
        .await
        .unwrap();
    create(&client, namespace, &job("undone", 0)).await.unwrap();
    wait_for(&pods, "undone-master-0", TIMEOUT, |_| true).await.unwrap();
    written_after(&jobs, "late", 8).await;
    cluster.restore_etcd(backup, bump).await.unwrap();
    let back = Instant::now();
    let ended = operator.process().exited_within(TIMEOUT).await.unwrap();
    let log = operator.log();
    assert!(
        !ended.success() && log.contains("restored to an earlier state"),
        "{log}"
    );
    println!(
        "from the return of the API server to the end of the operator: {:?}",
        back.elapsed()
    );

    let again = replica(&cluster, "first");
    again.ready().await.unwrap();
    create(&client, namespace, &job("after", 0)).await.unwrap();
    wait_for(&pods, "after-master-0", TIMEOUT, |_| true).await.unwrap();
    println!("to the pod of the next job: {:?}", back.elapsed());
    // The first one may have written a status by what it knew, before it noticed.
    let goes_on = |job: &Job| job.is("Running") && !job.is("Suspended");
    wait_for(&jobs, "kept", TIMEOUT, goes_on).await.unwrap();
    let mut there = pods.list(&ListParams::default()).await.unwrap().items;
    there.sort_by_key(ResourceExt::name_any);
    let names: Vec<_> = there.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["after-master-0", "kept-master-0", "late-master-0"]);
    assert_eq!(there[1].uid(), kept.uid());
}

#[tokio::test]
async fn after_a_restore_of_etcd_the_operator_starts_again_and_does_what_the_earlier_state_asks_for() {
    is_restored(Some(1_000_000)).await;
}

#[tokio::test]
async fn a_restore_that_gives_revisions_twice_is_noticed_by_the_first_job_that_is_written() {
    is_restored(None).await;
}
