//! What the continuous integration runs of this: a job with a Master and a Worker on a real kubelet, which find each other
//! by name, the operator being the one that the other tests run.

use pytorchjob_test_cluster::{Cluster, Options};

use crate::real_node::{job, with_worker};
use crate::rig::{Rig, install_identity};

#[tokio::test]
#[ignore = "needs a real node: make test-real-short"]
async fn the_shortest_job_runs_on_a_kubelet_and_its_worker_finds_the_master_by_name() {
    let options = Options {
        real_node: true,
        ..Options::default()
    };
    let cluster: &Cluster = Box::leak(Box::new(Cluster::start(options).await.unwrap()));
    cluster.node().unwrap().load_project_images().await.unwrap();
    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    let listens = "echo hello | nc -l -p 23456; sleep 1";
    let greets = "until nc $MASTER_ADDR $MASTER_PORT </dev/null | grep hello; do sleep 0.2; done";
    let mut job = with_worker(job("short", "OnFailure", listens), "OnFailure", greets);
    for role in ["Master", "Worker"] {
        let spec = &mut job["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"];
        spec["containers"][0]["image"] = "local/shell:1".into();
    }
    rig.create(&job).await;
    let done = rig.wait("short", |job| job.is("Succeeded")).await;
    assert!(done.status["restarts"].is_null(), "{}", done.status);
    let pods = rig.wait_pods("short", |pods| pods.len() == 2).await;
    let phase = |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    assert!(
        pods.iter().all(|pod| phase(pod).as_deref() == Some("Succeeded")),
        "{pods:?}"
    );
}
