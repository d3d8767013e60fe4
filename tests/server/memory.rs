//! Jobs as large as the API server takes them do not take the operator beyond the memory that it is shipped with.

use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::core::PartialObjectMeta;
use pytorchjob_test_cluster::{Cluster, Operator, Options, not_applicable, wait_for_all};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{BINARY, create};

const JOBS: usize = 200;
/// Requests of the test under way at once.
const CONCURRENCY: usize = 8;
/// Of the 512 MiB that `config/manager` allows.
const LIMIT_MIB: u64 = 200;
/// On a machine that has other things to do.
const TIMEOUT: Duration = Duration::from_mins(2);

/// A job of one pod whose template has 1 MB: 3,500 paths that differ in sixteen digits.
fn large(name: &str) -> Value {
    let directory = format!("s3://{name}/").repeat(20);
    let digits = |index: u64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let variable =
        |index| json!({ "name": format!("SHARD_{index}"), "value": format!("{directory}{:016x}", digits(index)) });
    let variables: Vec<_> = (0..3_500).map(variable).collect();
    let container = json!({ "name": "pytorch", "image": "i", "env": variables });
    let template = json!({ "spec": { "schedulerName": "nobody", "containers": [container] } });
    with(
        job(name, 0),
        &json!({ "spec": { "pytorchReplicaSpecs": { "Master": { "template": template } } } }),
    )
}

async fn operator(cluster: &Cluster) -> Operator {
    let operator = Operator::start(Path::new(BINARY), cluster.admin_kubeconfig(), &[]).unwrap();
    operator.ready().await.unwrap();
    operator
}

fn peak(operator: &Operator, when: &str) -> u64 {
    let mib = operator.peak_rss_bytes().unwrap() >> 20;
    println!("peak {when}: {mib} MiB");
    mib
}

#[tokio::test]
#[ignore = "stores and reads hundreds of megabytes: make test-memory"]
async fn two_hundred_jobs_of_a_megabyte_stay_within_the_memory_limit_that_is_shipped() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    if !cluster.is_ours() {
        return not_applicable("needs an operator for all namespaces");
    }
    let namespace = cluster.namespace("large").await.unwrap();
    let client = cluster.admin();
    let running = operator(&cluster).await;
    stream::iter(0..JOBS)
        .for_each_concurrent(CONCURRENCY, async |index| {
            create(&client, &namespace, &large(&format!("large-{index}")))
                .await
                .unwrap();
        })
        .await;
    // Whole pods would take the test longer than the operator takes to make them.
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client.clone(), &namespace);
    wait_for_all(&pods, "", TIMEOUT, |pods| pods.len() == JOBS)
        .await
        .unwrap();
    assert!(peak(&running, "after creation") <= LIMIT_MIB);
    running.stop().await.unwrap();
    let restarted = operator(&cluster).await;
    assert!(peak(&restarted, "after a restart") <= LIMIT_MIB);
}
