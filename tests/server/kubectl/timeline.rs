//! `timeline`, in the terminal and in a browser.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::PostParams;
use pytorchjob_test_cluster::{PodPhase, bind_pod, remove_pod};
use serde_json::json;

use crate::browser::Page;
use crate::job::{job, with};
use crate::kubectl::Viewer;
use crate::rig::Rig;

/// What a scheduler or a kubelet tells of a pod.
async fn tell(rig: &Rig, pod: &str, reason: &str, note: &str) {
    let uid = rig.pods().get(pod).await.unwrap().uid();
    let part = (reason != "Scheduled").then_some("spec.containers{pytorch}");
    let now = pytorchjob_operator::platform::clock::now().to_string();
    let event = json!({
        "metadata": { "generateName": format!("{pod}.") },
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": rig.namespace.name(),
            "uid": uid, "fieldPath": part },
        "reason": reason, "message": note, "type": "Normal",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1, "source": { "component": "kubelet" },
    });
    let event: Event = serde_json::from_value(event).unwrap();
    rig.api().create(&PostParams::default(), &event).await.unwrap();
}

async fn schedule(rig: &Rig, pod: &str, node: &str) {
    bind_pod(&rig.client, &rig.namespace, pod, node).await.unwrap();
    tell(rig, pod, "Scheduled", &format!("Successfully assigned {pod} to {node}")).await;
    tell(rig, pod, "Pulling", "Pulling image \"registry.example/training:v1\"").await;
}

async fn start(rig: &Rig, pod: &str) {
    tell(
        rig,
        pod,
        "Pulled",
        "Successfully pulled image \"registry.example/training:v1\"",
    )
    .await;
    tell(rig, pod, "Started", "Container started").await;
    rig.set_phase(pod, &PodPhase::Running).await;
}

/// A job of four pods, of which one starts late and one fails and is replaced; it succeeds before its deadline. Scheduler
/// and kubelet are played, the operator is not. `pace` is how long a step takes: a picture needs lengths.
async fn story(rig: &Rig, pace: Duration) {
    let policies =
        json!({ "spec": { "backoffLimit": 3, "cleanPodPolicy": "Running", "ttlSecondsAfterFinished": 3600 } });
    rig.create_with_pods(&with(job("train", 3), &policies)).await;
    let steps = async |count: u32| tokio::time::sleep(pace * count).await;
    steps(1).await;
    for pod in ["train-master-0", "train-worker-0", "train-worker-1"] {
        schedule(rig, pod, "node-0").await;
    }
    steps(2).await;
    for pod in ["train-master-0", "train-worker-0", "train-worker-1"] {
        start(rig, pod).await;
    }
    schedule(rig, "train-worker-2", "node-1").await;
    steps(3).await;
    start(rig, "train-worker-2").await;
    rig.wait("train", |job| job.is("Running")).await;
    steps(3).await;
    let failed = rig.pods().get("train-worker-1").await.unwrap();
    let oom_killed = PodPhase::Failed {
        exit_code: 137,
        reason: "OOMKilled".to_owned(),
        message: String::new(),
    };
    rig.set_phase("train-worker-1", &oom_killed).await;
    replaced(rig, &failed).await;
    steps(1).await;
    schedule(rig, "train-worker-1", "node-1").await;
    steps(1).await;
    start(rig, "train-worker-1").await;
    rig.wait("train", |job| job.is("Running")).await;
    steps(4).await;
    let job = rig.get("train").await;
    let started: Timestamp = job.status["startTime"].as_str().unwrap().parse().unwrap();
    let worked = pytorchjob_operator::platform::clock::now().duration_since(started);
    let deadline = (worked + SignedDuration::from_secs(8)).as_secs();
    rig.patch("train", &json!({ "spec": { "activeDeadlineSeconds": deadline } }))
        .await;
    rig.set_phase("train-worker-0", &PodPhase::Succeeded).await;
    rig.set_phase("train-master-0", &PodPhase::Succeeded).await;
    rig.wait("train", |job| job.is("Succeeded")).await;
    let stopped = |pods: &[Pod]| {
        pods.iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
            .count()
            == 2
    };
    rig.wait_pods("train", stopped).await;
    rig.wait_event("train", "Normal", "PyTorchJobSucceeded").await;
    rig.wait_event("train", "Normal", "SuccessfulDeletePod").await;
    steps(1).await;
}

/// A pod that is bound and has ended vanishes when the operator deletes it.
async fn replaced(rig: &Rig, pod: &Pod) {
    rig.finish_deletion(pod).await;
    rig.wait_replaced(pod).await;
}

#[tokio::test]
async fn timeline_tells_of_a_finished_job_and_of_pods_that_are_gone_and_needs_no_right_but_to_view() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    story(&rig, Duration::ZERO).await;
    for pod in ["train-worker-1", "train-worker-2"] {
        remove_pod(&rig.client, &rig.namespace, pod).await.unwrap();
    }

    let output = viewer
        .command(&["timeline", "train"])
        .env("COLUMNS", "100")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8(output.stderr).unwrap());
    let name = format!("{}/train: Succeeded\n", rig.namespace.name());
    for part in [
        name.as_str(),
        "RANK  REPLICA   0s",
        "R restart",
        "The first failure was that of train-worker-1 with exit code 137 (OOMKilled) on node-0.",
        "TTL: in 59m",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(
        row("master-0").starts_with("   0") && row("master-0").contains('✓'),
        "{text}"
    );
    assert!(
        row("worker-1").starts_with("   2") && row("worker-1").contains('R'),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "colours are for terminals");

    // The record of it tells the same, without a cluster.
    let (_, record, _) = viewer.run(&["record", "train"]).await;
    let file = viewer.directory.path().join("record.json");
    fs::write(&file, record).unwrap();
    let file = file.display().to_string();
    let page = viewer.directory.path().join("timeline.html").display().to_string();
    let (success, said, error) = viewer.run(&["timeline", "-f", &file, "--html", &page]).await;
    assert!(success && said.contains(&page), "{said}{error}");
    let page = fs::read_to_string(page).unwrap();
    for part in [
        "worker-2: ",
        "<title>restart at ",
        "class=\"succeeded\"",
        "exited with code 137",
    ] {
        assert!(page.contains(part), "{part:?} is not in:\n{page}");
    }

    let (success, _, error) = viewer.run(&["timeline", "nothing"]).await;
    assert!(!success && error.contains("cannot get PyTorchJob"), "{error}");
    let (success, _, error) = viewer
        .run(&["timeline", "train", "--html", "/nowhere/timeline.html"])
        .await;
    assert!(
        !success && error.contains("cannot write /nowhere/timeline.html"),
        "{error}"
    );
}

/// How many pixels of a picture have these colours.
fn pixels(file: &Path, colours: [[u8; 3]; 2]) -> [usize; 2] {
    let mut reader = png::Decoder::new(BufReader::new(File::open(file).unwrap()))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let each = info.color_type.samples();
    colours.map(|colour: [u8; 3]| pixels.chunks(each).filter(|pixel| pixel[..3] == colour).count())
}

#[tokio::test]
#[ignore = "needs Chromium: make test-timeline"]
async fn a_browser_shows_the_page_of_a_timeline_in_light_and_in_dark() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    story(&rig, Duration::from_millis(1500)).await;
    let directory = viewer.directory.path();
    let file = directory.join("timeline.html");
    let (success, _, error) = viewer
        .run(&["timeline", "train", "--html", file.to_str().unwrap()])
        .await;
    assert!(success, "{error}");
    let page = Page { directory, file: &file };

    let shown = page.shown().await;
    for part in [
        "<th scope=\"row\">master-0</th>",
        "<th scope=\"row\">worker-2</th>",
        "<title>worker-1: pulling",
        "<line class=\"deadline\"",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    assert_eq!(
        shown.matches("<title>worker-1: running").count(),
        2,
        "before and after its failure:\n{shown}"
    );
    // The background, and what runs, as `page.css` has them.
    let schemes = [
        ("light", [[0xff; 3], [0x1a, 0x9a, 0x6c]]),
        ("dark", [[0x0d, 0x11, 0x17], [0x2f, 0xb5, 0x83]]),
    ];
    for (scheme, colours) in schemes {
        let name = format!("timeline-{scheme}.png");
        let [background, running] = pixels(&page.picture(&name, scheme, [960, 400]).await, colours);
        assert!(
            background > 100_000 && running > 5_000,
            "{scheme}: {background} and {running} pixels"
        );
    }
}
