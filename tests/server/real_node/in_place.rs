//! `restartStrategy: InPlace` beside `Recreate`, with PyTorch on a real node.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::real_node::{IMAGE, node, site};
use crate::rig::Site;

/// Of the first two attempts the rank 1 dies after step 20; all note when that was, and when they made the first step of
/// an attempt.
const DIES_TWICE: &str = r#"
import os, signal, time
def note(what):
    with open("/state/notes", "a") as notes:
        notes.write(f"{os.environ['TRAINING_ATTEMPT']} {os.environ['RANK']} {what} {time.time():.3f}\n")
def stop(*_):
    note("stopped")
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
note("began")
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
for step in range(40):
    if step == 20 and rank == 1 and int(os.environ["TRAINING_ATTEMPT"]) < 3:
        note("died")
        os._exit(1)
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == size
    if step == 0:
        note("stepped")
    time.sleep(0.1)
"#;

/// A note of a rank: attempt, rank, what, and when in seconds.
type Note = (i32, i32, String, f64);

fn training(name: &str, strategy: &str, directory: &str) -> Value {
    let replica = |replicas: u32| {
        json!({
            "replicas": replicas, "restartPolicy": "OnFailure",
            "template": { "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": "pytorch", "image": IMAGE, "command": ["python3", "-c", DIES_TWICE],
                    "volumeMounts": [{ "name": "state", "mountPath": "/state" }],
                }],
                "volumes": [{ "name": "state", "hostPath": { "path": directory, "type": "DirectoryOrCreate" } }],
            } },
        })
    };
    let policy = json!({ "restartScope": "Job", "restartStrategy": strategy, "backoffLimit": 3 });
    json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": name },
        "spec": { "runPolicy": policy, "pytorchReplicaSpecs": { "Master": replica(1), "Worker": replica(2) } },
    })
}

/// Trains to the end with this strategy. Returns the pods that there were then, and what the ranks noted.
async fn train(site: &Site, name: &str, strategy: &str) -> (Vec<Pod>, Vec<Note>) {
    let directory = format!("/run/in-place/{}-{name}", site.namespace.name());
    site.create(&training(name, strategy, &directory)).await;
    let done = site.wait_finished(name).await;
    assert!(done.is("Succeeded"), "{}", done.status);
    assert_eq!(done.status["restarts"], 2, "{}", done.status);
    assert_eq!(done.status["firstFailure"]["rank"], 1, "{}", done.status);
    let numbers: Vec<_> = done.status["attempts"].as_array().unwrap().iter().collect();
    assert_eq!(numbers.len(), 3, "{}", done.status);
    let pods = site.wait_pods(name, |pods| pods.len() == 3).await;
    let notes = node(site.cluster)
        .run("cat", &[&format!("{directory}/notes")])
        .await
        .unwrap();
    let note = |line: &str| -> Note {
        let parts: Vec<_> = line.split(' ').collect();
        (
            parts[0].parse().unwrap(),
            parts[1].parse().unwrap(),
            parts[2].to_owned(),
            parts[3].parse().unwrap(),
        )
    };
    (pods, notes.lines().map(note).collect())
}

/// Seconds from the death of a rank in an attempt to the first step of all ranks in the next.
fn pauses(notes: &[Note]) -> Vec<f64> {
    let when = |attempt: i32, what: &str| {
        let such = notes.iter().filter(|note| note.0 == attempt && note.2 == what);
        such.map(|note| note.3).fold(0.0, f64::max)
    };
    [1, 2]
        .map(|attempt| when(attempt + 1, "stepped") - when(attempt, "died"))
        .to_vec()
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_training_starts_again_in_its_pods_and_sooner_than_in_new_ones() {
    let site = site().await;
    let (mut in_place, mut recreated) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let (pods, notes) = train(&site, &format!("place-{round}"), "InPlace").await;
        for pod in &pods {
            let status = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
            assert!(status.restart_count >= 2, "{} was restarted in place", pod.name_any());
            assert_eq!(pod.annotations()["training.kubeflow.org/attempt"], "3");
        }
        let ranks = |attempt: i32| -> BTreeSet<i32> {
            let stepped = notes.iter().filter(|note| note.0 == attempt && note.2 == "stepped");
            stepped.map(|note| note.1).collect()
        };
        for attempt in 1..=3 {
            assert_eq!(
                ranks(attempt),
                BTreeSet::from([0, 1, 2]),
                "each rank is told its attempt: {notes:?}"
            );
        }
        in_place.extend(pauses(&notes));
        let (_, notes) = train(&site, &format!("new-{round}"), "Recreate").await;
        recreated.extend(pauses(&notes));
    }
    let figures = BTreeMap::from([("InPlace", in_place), ("Recreate", recreated)]);
    eprintln!("seconds from the death of a rank to the first step of all three: {figures:.1?}");
    site.described("place-0", &["All replicas start again in place", "RestartedInPlace"])
        .await;
}
