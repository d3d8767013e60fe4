//! The examples of the repository, with PyTorch.

use kube::api::EvictParams;
use serde_json::json;

use crate::job::suspend;
use crate::kubectl::{plugin, text};
use crate::kubeflow_examples;
use crate::real_node::{IMAGE, node, site};
use crate::rig::{Site, run};

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn distributed_data_parallel_trains_to_the_end() {
    let site = site().await;
    site.example("ddp.yaml").await;
    site.wait("ddp", |job| job.is("Succeeded")).await;
    for replica in ["master-0", "worker-0", "worker-1"] {
        site.logged(&format!("ddp-{replica}"), "done, all 3 ranks agree").await;
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = site.cluster.admin_kubeconfig().display().to_string();
    let arguments = [
        "--kubeconfig",
        &kubeconfig,
        "--namespace",
        &site.namespace,
        "logs",
        "ddp",
        "--follow",
    ];
    let logs = run(&plugin(directory.path()), &arguments, "").await;
    let logs = text(&logs.stdout);
    for line in [
        "[master-0] rank 0: done, all 3 ranks agree",
        "[worker-0] rank 1: done, all 3 ranks agree",
        "[worker-1] rank 2: done, all 3 ranks agree",
    ] {
        assert!(logs.contains(line), "{line:?} is not in:\n{logs}");
    }
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn an_elastic_training_goes_on_without_a_worker_and_takes_it_in_again() {
    let site = site().await;
    site.example("elastic.yaml").await;
    site.logged("elastic-worker-0", "of 3, step 10").await;
    let lost = site.pod_running("elastic-worker-2").await;
    let survivors = ["elastic-worker-0", "elastic-worker-1"];
    let uids = async || [site.uid(survivors[0]).await, site.uid(survivors[1]).await];
    let before = uids().await;
    site.pods()
        .delete("elastic-worker-2", &kube::api::DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    site.pod_replaced(&lost).await;
    site.logged("elastic-worker-2", "of 3, step 10").await;
    assert_eq!(uids().await, before, "the others went on in their pods");
    let done = site.wait("elastic", |job| job.is("Succeeded")).await;
    assert_eq!(done.count("Worker", "failed"), 0);
    assert!(done.status["restarts"].is_null(), "{}", done.status);
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_suspended_training_has_saved_its_state_on_sigterm_and_goes_on_from_there() {
    let site = site().await;
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": format!("checkpoints-{}", site.namespace.name()) },
        "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany"],
            "hostPath": { "path": format!("/run/checkpoints/{}", site.namespace.name()), "type": "DirectoryOrCreate" },
        },
    });
    let file = site.cluster.directory().join("volume.json");
    std::fs::write(&file, volume.to_string()).unwrap();
    let file = file.display().to_string();
    site.cluster.kubectl(&["apply", "--filename", &file]).await.unwrap();

    site.example("checkpoint.yaml").await;
    site.wait("checkpoint", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    site.logged("checkpoint-worker-0", "begins with step 0").await;
    drain_a_worker(&site).await;
    site.patch("checkpoint", &suspend(true)).await;
    site.wait("checkpoint", |job| job.is("Suspended")).await;
    site.wait_pod_names("checkpoint", &[]).await;
    let path = format!("/run/checkpoints/{}/state.pt", site.namespace.name());
    node(site.cluster)
        .run("test", &["-s", &path])
        .await
        .expect("the state was saved");
    assert!(
        !site.get("checkpoint").await.finished(),
        "exit 0 after SIGTERM is no success"
    );

    site.patch("checkpoint", &suspend(false)).await;
    site.wait("checkpoint", |job| job.is("Succeeded")).await;
    let log = site.logged("checkpoint-master-0", "done after step 600").await;
    assert!(!log.contains("begins with step 0\n"), "{log}");
}

/// The Master of the example stops because the Worker was asked to. Both go on, and nothing is counted.
async fn drain_a_worker(site: &Site) {
    let master = site.pod_running("checkpoint-master-0").await;
    let worker = site.pod_running("checkpoint-worker-0").await;
    site.pods()
        .evict("checkpoint-worker-0", &EvictParams::default())
        .await
        .unwrap();
    site.pod_replaced(&master).await;
    site.pod_replaced(&worker).await;
    let log = site.logged("checkpoint-worker-0", "begins with step").await;
    assert!(!log.contains("begins with step 0\n"), "{log}");
    let job = site.get("checkpoint").await;
    assert!(!job.finished() && job.status["restarts"].is_null(), "{}", job.status);
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn the_examples_that_the_demo_leaves_out_train_to_their_end() {
    let site = site().await;
    for (job, logs, part) in [
        (
            "seed.yaml",
            ["pytorch-test-master-0", "pytorch-test-worker-0"],
            "step 200: loss 0.0",
        ),
        (
            "torchrun.yaml",
            ["torchrun-master-0", "torchrun-worker-0"],
            "the ranks add up to",
        ),
        (
            "kubeflow.yaml",
            ["kubeflow-master-0", "kubeflow-worker-2"],
            "step 59, rank",
        ),
    ] {
        site.example(job).await;
        let name = logs[0].trim_end_matches("-master-0");
        if name == "kubeflow" {
            site.wait(name, |job| job.is("Suspended")).await;
            // As Kueue does.
            site.patch(name, &suspend(false)).await;
        }
        let done = site.wait_finished(name).await;
        assert!(done.is("Succeeded"), "{job}: {}", done.status);
        for pod in logs {
            site.logged(pod, part).await;
        }
    }
}

/// Every process says how many there are.
const ALL_REDUCE: &str = r#"
import torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
print(f"rank {dist.get_rank()} of {int(total.item())}", flush=True)
dist.destroy_process_group()
"#;

/// Images and programs are ours; what tells the processes who they are is what the operator makes of the manifests.
#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn kubeflows_examples_that_need_neither_a_gpu_nor_data_form_their_groups_with_pytorch() {
    let site = site().await;
    // torchrun starts as many as there are CPUs, where nothing else is said.
    let auto = 2 * std::thread::available_parallelism().unwrap().get();
    for (name, processes) in [
        ("pytorch-simple", 2),
        ("sendrecv", 4),
        ("cpu-demo", 4),
        ("elastic-echo", auto),
    ] {
        let mut manifest = kubeflow_examples::example(name);
        for (_, replica) in manifest["spec"]["pytorchReplicaSpecs"].as_object_mut().unwrap() {
            let container = &mut replica["template"]["spec"]["containers"][0];
            let torchrun = container["command"][0] == "torchrun";
            let launcher: &[&str] = if torchrun { &["torchrun", "--no-python"] } else { &[] };
            container["command"] = [launcher, &["python3", "-c", ALL_REDUCE]].concat().into();
            container["image"] = IMAGE.into();
            container["imagePullPolicy"] = "IfNotPresent".into();
        }
        site.create(&manifest).await;
        let done = site.wait_finished(name).await;
        assert!(done.is("Succeeded"), "{name}: {}", done.status);
        let first = if name == "elastic-echo" { "worker-0" } else { "master-0" };
        site.logged(&format!("{name}-{first}"), &format!(" of {processes}"))
            .await;
    }
}

/// Fifty steps together; the rank 1 of the first attempt dies in the middle.
const DIES_ONCE: &str = r#"
import os, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
first = not os.path.exists("/state/died")
print(f"rank {rank}: begins", flush=True)
for step in range(50):
    if step == 20 and rank == 1 and first:
        open("/state/died", "w").close()
        os._exit(1)
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == size
    time.sleep(0.1)
print(f"rank {rank}: done", flush=True)
"#;

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_training_whose_members_are_fixed_starts_again_as_a_whole_when_one_rank_dies() {
    let site = site().await;
    let directory = format!("/run/died/{}", site.namespace.name());
    let replica = |replicas: u32| {
        json!({
            "replicas": replicas, "restartPolicy": "OnFailure",
            "template": { "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "pytorch", "image": IMAGE, "command": ["python3", "-c", DIES_ONCE],
                    "volumeMounts": [{ "name": "state", "mountPath": "/state" }],
                }],
                "volumes": [{ "name": "state", "hostPath": { "path": directory, "type": "DirectoryOrCreate" } }],
            } },
        })
    };
    let job = json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "fixed" },
        "spec": {
            "runPolicy": { "restartScope": "Job", "backoffLimit": 3 },
            "pytorchReplicaSpecs": { "Master": replica(1), "Worker": replica(2) },
        },
    });
    site.create(&job).await;
    let done = site.wait_finished("fixed").await;
    assert!(done.is("Succeeded"), "{}", done.status);
    // The others die of it, one way or another: it is one restart all the same.
    assert_eq!(done.status["restarts"], 1, "{}", done.status);
    assert_eq!(done.status["firstFailure"]["exitCode"], 1);
    site.described("fixed", &["All replicas start again"]).await;
}
