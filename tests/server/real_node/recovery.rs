//! From a fault of one rank to training on: how long it takes, in new pods and in those that are there.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::EvictParams;
use serde_json::{Value, json};

use crate::job::with;
use crate::real_node::{IMAGE, node, site};
use crate::rig::Site;

/// In the first `FAULTS` attempts something happens to rank 1 after step 20, or to all from outside. All note when that
/// was, and when they made the first step of an attempt.
const TRAINS: &str = r#"
import os, signal, time
def note(what):
    with open("/state/notes", "a") as notes:
        notes.write(f"{os.environ['TRAINING_ATTEMPT']} {os.environ['RANK']} {what} {time.time():.3f}\n")
def stop(*_):
    note("stopped")
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
note("began")
faults = {
    "exit code 1": lambda: os._exit(1),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "out of memory": lambda: b"x" * (2 << 30),
    "SIGSTOP": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "drained": lambda: time.sleep(600),
    "from outside": lambda: None,
}
faulty = int(os.environ["TRAINING_ATTEMPT"]) <= int(os.environ["FAULTS"])
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
for step in range(10_000 if faulty else 40):
    if step == 20 and rank == 1 and faulty:
        note("fault")
        faults[os.environ["FAULT"]]()
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == size
    if step == 0:
        note("stepped")
    open("/tmp/progress", "w").close()
    time.sleep(0.1)
"#;

/// The first process of a container can be neither stopped nor killed from inside.
const SHELL: &str =
    r#"python3 -c "$TRAINS" & rank=$!; trap "kill -TERM $rank" TERM; wait $rank; code=$?; wait $rank; exit $code"#;

const FAULTS: [&str; 5] = ["exit code 1", "SIGKILL", "out of memory", "SIGSTOP", "drained"];

/// A note of a rank: attempt, rank, what, and when in seconds.
pub(super) type Note = (i32, i32, String, f64);

/// A training of three ranks in which something happens to one of them.
pub(super) struct Training<'a> {
    site: &'a Site,
    name: String,
}

impl<'a> Training<'a> {
    pub(super) fn new(site: &'a Site, name: String) -> Self {
        Self { site, name }
    }

    /// Where the notes of the ranks are, on each node those of its own.
    fn directory(&self) -> String {
        format!("/run/recovery/{}-{}", self.site.namespace.name(), self.name)
    }

    /// Its job: this happens in so many attempts.
    pub(super) fn job(&self, strategy: &str, fault: &str, faults: u32) -> Value {
        let replica = |replicas: u32| {
            json!({
                "replicas": replicas, "restartPolicy": "OnFailure",
                "template": { "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "pytorch", "image": IMAGE, "command": ["sh", "-c", SHELL],
                        "env": [
                            { "name": "TRAINS", "value": TRAINS },
                            { "name": "FAULT", "value": fault },
                            { "name": "FAULTS", "value": faults.to_string() },
                        ],
                        "resources": { "limits": { "memory": "1Gi" } },
                        "volumeMounts": [{ "name": "state", "mountPath": "/state" }],
                    }],
                    "volumes": [{ "name": "state", "hostPath": { "path": self.directory(), "type": "DirectoryOrCreate" } }],
                } },
            })
        };
        let mut policy = json!({ "restartScope": "Job", "restartStrategy": strategy, "backoffLimit": 5 });
        if fault == "SIGSTOP" {
            let progress =
                json!({ "file": "/tmp/progress", "deadlineSeconds": 10, "startupSeconds": 60, "action": "Restart" });
            policy = with(policy, &json!({ "progressPolicy": progress }));
        }
        json!({
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": self.name },
            "spec": { "runPolicy": policy, "pytorchReplicaSpecs": { "Master": replica(1), "Worker": replica(2) } },
        })
    }

    async fn start(site: &'a Site, name: String, strategy: &str, fault: &str, faults: u32) -> Self {
        let training = Self::new(site, name);
        site.create(&training.job(strategy, fault, faults)).await;
        training
    }

    /// Waits until rank 1 has noted that it comes to its fault, and returns its pod.
    pub(super) async fn at_fault(&self) -> String {
        let pod = format!("{}-worker-0", self.name);
        self.site.pod_running(&pod).await;
        let noted = "until grep -q fault /state/notes; do sleep 0.1; done";
        let exec = [
            "exec",
            &pod,
            "--namespace",
            &self.site.namespace,
            "--",
            "sh",
            "-c",
            noted,
        ];
        self.site.cluster.kubectl(&exec).await.unwrap();
        pod
    }

    /// Waits until rank 1 has noted its fault, and evicts its pod.
    async fn drain(&self) {
        let pod = self.at_fault().await;
        self.site.pods().evict(&pod, &EvictParams::default()).await.unwrap();
    }

    /// Waits until it has succeeded. Returns the pods that there are then.
    pub(super) async fn succeeds(&self) -> Vec<Pod> {
        let done = self.site.wait_finished(&self.name).await;
        assert!(done.is("Succeeded"), "{}", done.status);
        self.site.wait_pods(&self.name, |pods| pods.len() == 3).await
    }

    /// The notes of the ranks on the first node.
    pub(super) async fn notes(&self) -> Vec<Note> {
        let notes = format!("{}/notes", self.directory());
        let notes = node(self.site.cluster).run("cat", &[&notes]).await.unwrap();
        let note = |line: &str| -> Note {
            let parts: Vec<_> = line.split(' ').collect();
            let number = |part: &str| part.parse().unwrap();
            (
                number(parts[0]),
                number(parts[1]),
                parts[2].to_owned(),
                parts[3].parse().unwrap(),
            )
        };
        notes.lines().map(note).collect()
    }
}

/// The ranks that made a step in this attempt.
pub(super) fn ranks(notes: &[Note], attempt: i32) -> BTreeSet<i32> {
    let stepped = notes.iter().filter(|note| note.0 == attempt && note.2 == "stepped");
    stepped.map(|note| note.1).collect()
}

/// The number of attempts, of which there are to be so many, or one more: a container that the kubelet had started again
/// by itself may be too young to hear the signal of the step, and take the others along when its grace is over.
fn attempts(notes: &[Note], expected: i32) -> i32 {
    let last = notes.iter().map(|note| note.0).max().unwrap();
    assert!((expected..=expected + 1).contains(&last), "{notes:?}");
    last
}

/// When the last rank noted this in an attempt, in seconds since the epoch.
pub(super) fn when(notes: &[Note], attempt: i32, what: &str) -> f64 {
    let such = notes.iter().filter(|note| note.0 == attempt && note.2 == what);
    such.map(|note| note.3).fold(0.0, f64::max)
}

/// Seconds from the fault in the first attempt to the first step of the last rank in the last one.
fn pause(notes: &[Note], last: i32) -> f64 {
    when(notes, last, "stepped") - when(notes, 1, "fault")
}

/// What is always found out about a fault, and at which rank. Of a rank that says nothing, or that is drained, those that
/// lose it may be heard of first; of ranks that stop at one collective nobody can tell which one was frozen.
fn cause(fault: &str) -> Option<(&'static str, i32)> {
    match fault {
        "SIGKILL" => Some(("Killed", 1)),
        "out of memory" => Some(("OOMKilled", 1)),
        _ => None,
    }
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_training_starts_again_in_its_pods_once_and_once_more() {
    let site = site().await;
    let training = Training::start(&site, "twice".into(), "InPlace", "exit code 1", 2).await;
    let pods = training.succeeds().await;
    let notes = training.notes().await;
    let last = attempts(&notes, 3);
    for pod in pods {
        let status = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
        assert!(status.restart_count >= 2, "{} was restarted in place", pod.name_any());
        assert_eq!(pod.annotations()["training.kubeflow.org/attempt"], last.to_string());
    }
    let done = site.get("twice").await;
    assert_eq!(done.status["restarts"], last - 1, "{}", done.status);
    assert_eq!(done.status["firstFailure"]["rank"], 1, "{}", done.status);
    let stored = done.status["attempts"].as_array().unwrap();
    assert_eq!(stored.len(), usize::try_from(last).unwrap(), "{}", done.status);
    for attempt in [1, last] {
        assert_eq!(
            ranks(&notes, attempt),
            BTreeSet::from([0, 1, 2]),
            "each is told its attempt: {notes:?}"
        );
    }
    site.described("twice", &["All replicas start again in place", "RestartedInPlace"])
        .await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn training_goes_on_after_each_fault_of_one_rank_in_new_pods_and_in_place() {
    let site = site().await;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        for strategy in ["Recreate", "InPlace"] {
            let name = format!("{}-{number}", strategy.to_lowercase());
            let training = Training::start(&site, name.clone(), strategy, fault, 1).await;
            if fault == "drained" {
                training.drain().await;
            }
            site.wait(&name, |job| job.status["restarts"] == 1).await;
            let wide = ["get", "pytorchjob", &name, "--namespace", &site.namespace, "-o", "wide"];
            let wide = site.cluster.kubectl(&wide).await.unwrap();
            training.succeeds().await;
            let notes = training.notes().await;
            let last = attempts(&notes, 2);
            assert_eq!(
                ranks(&notes, last),
                BTreeSet::from([0, 1, 2]),
                "{fault}, {strategy}: {notes:?}"
            );
            let first = site.get(&name).await.status["firstFailure"].clone();
            let event = if fault == "drained" {
                "PodDisrupted"
            } else {
                "Restarting"
            };
            let described = site.described(&name, &["All replicas start again", event]).await;
            let (_, events) = described.split_once("Events:").unwrap();
            eprintln!(
                "{fault}, {strategy}: {:.1} s to the first step of all three\n{wide}{first}\n{events}",
                pause(&notes, last)
            );
            if let Some((class, rank)) = cause(fault) {
                assert_eq!(
                    (&first["class"], &first["rank"]),
                    (&class.into(), &rank.into()),
                    "{fault}, {strategy}"
                );
            }
        }
    }
}
