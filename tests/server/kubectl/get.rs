//! `get`.

use std::process::Stdio;
use std::time::Duration;

use pytorchjob_test_cluster::{PodPhase, bind_pod};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::job::{job, with};
use crate::kubectl::Viewer;
use crate::rig::Rig;

/// The words of each line.
fn words(table: &str) -> Vec<String> {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    table.lines().map(line).collect()
}

#[tokio::test]
async fn get_has_the_habits_of_kubectl_get_and_needs_no_right_but_to_view() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    let namespace = rig.namespace.name();

    let (success, table, error) = viewer.run(&["get"]).await;
    assert_eq!((success, table.as_str()), (true, ""), "{error}");
    assert_eq!(error, format!("No resources found in {namespace} namespace.\n"));

    let labelled = json!({ "metadata": { "labels": { "team": "vision" } } });
    rig.running(&with(job("trains", 1), &labelled)).await;
    rig.create_with_pods(&job("starts", 2)).await;
    bind_pod(&rig.client, &rig.namespace, "starts-master-0", "node-0")
        .await
        .unwrap();

    let (success, table, error) = viewer.run(&["get"]).await;
    assert!(success, "{error}");
    let rows = words(&table);
    assert_eq!(rows[0], "NAME STATE READY RESTARTS AGE PROGRESS");
    let age = |row: &str| row.split(' ').nth(4).unwrap().to_owned();
    assert_eq!(rows[1], format!("starts Created 0/3 0 {} 1/3 scheduled", age(&rows[1])));
    assert_eq!(rows[2], format!("trains Running 2/2 0 {}", age(&rows[2])));
    assert!(age(&rows[1]).ends_with('s'), "{table}");

    for (arguments, expected) in [
        (
            &["get", "-l", "team=vision", "-o", "name"][..],
            "pytorchjob.kubeflow.org/trains\n",
        ),
        (
            &["get", "-o", "name"],
            "pytorchjob.kubeflow.org/starts\npytorchjob.kubeflow.org/trains\n",
        ),
    ] {
        let (success, printed, error) = viewer.run(arguments).await;
        assert_eq!((success, printed.as_str()), (true, expected), "{error}");
    }
    let (_, wide, _) = viewer.run(&["get", "trains", "-o", "wide", "--no-headers"]).await;
    assert!(
        wide.ends_with("PyTorchJob trains is running.\n") && wide.lines().count() == 1,
        "{wide}"
    );

    let (_, one, _) = viewer.run(&["get", "trains", "-o", "json"]).await;
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (&one["kind"], &one["metadata"]["name"]),
        (&json!("PyTorchJob"), &json!("trains"))
    );
    let (_, all, _) = viewer.run(&["get", "-o", "yaml"]).await;
    let all: Value = serde_saphyr::from_str(&all).unwrap();
    assert_eq!(all["items"][0]["kind"], "PyTorchJob", "what kubectl apply takes");

    let (success, table, error) = viewer.run(&["get", "nothing", "trains"]).await;
    assert!(
        !success && words(&table).len() == 2,
        "what there is, is printed: {table}"
    );
    assert!(
        error.contains("cannot get PyTorchJob nothing: ") && error.contains("not found"),
        "{error}"
    );
    let (success, _, error) = viewer.run(&["get", "-A"]).await;
    assert!(
        !success && error.contains("at the cluster scope"),
        "who may not, is told so: {error}"
    );
    let (success, _, error) = viewer.run(&["get", "-A", "--watch"]).await;
    assert!(
        !success && error.contains("at the cluster scope"),
        "also before it waits for ever: {error}"
    );
}

#[tokio::test]
async fn get_watch_adds_a_line_for_each_change_of_a_job_or_its_pods() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    rig.create_with_pods(&job("train", 0)).await;
    rig.create(&job("another", 0)).await;
    let mut watch = viewer
        .command(&["get", "train", "nothing", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(Duration::from_secs(30), lines.next_line()).await;
        words(&line.expect("a line in time").unwrap().unwrap()).remove(0)
    };
    // A line may come between two writes of what is one change to the person who looks.
    let mut until = async |parts: [&str; 2]| {
        let mut seen = Vec::new();
        while !seen
            .last()
            .is_some_and(|line: &String| parts.iter().all(|part| line.contains(part)))
        {
            assert!(seen.len() < 5, "{parts:?} is not in {seen:?}");
            seen.push(next().await);
            assert!(!seen.last().unwrap().contains("another"), "{seen:?}");
        }
    };
    until(["NAME", "PROGRESS"]).await;
    until(["train Created 0/1", "0/1 scheduled"]).await;
    let mut errors = BufReader::new(watch.stderr.take().unwrap()).lines();
    let error = errors.next_line().await.unwrap().unwrap();
    assert!(error.starts_with("cannot get PyTorchJob nothing: "), "{error}");
    rig.set_phase("train-master-0", &PodPhase::Running).await;
    until(["train Running", "1/1"]).await;
    rig.set_phase("train-master-0", &PodPhase::Succeeded).await;
    until(["train Succeeded", "1/1"]).await;
    rig.jobs()
        .delete("train", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    until(["train Deleted", "1/1"]).await;
}
