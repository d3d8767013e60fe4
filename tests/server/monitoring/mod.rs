//! The dashboard and the alerts, on a real Prometheus that scrapes a real operator: `make test-monitoring` builds it.

mod dashboard;
mod load;

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pytorchjob_test_cluster::{Cluster, PodPhase, Process, free_port, repository};
use serde_json::Value;
use tokio::process::Command;

use self::dashboard::{Answer, Answered};
use crate::browser::Page;
use crate::job::{job, with};
use crate::rig::{Rig, shipped_identity};

fn read(name: &str) -> String {
    fs::read_to_string(repository().join("config/monitoring").join(name)).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The panels of the dashboard.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    list(&dashboard["panels"])
}

/// Every query of the dashboard and of the alerts.
fn queries() -> Vec<String> {
    let rules: Value = serde_saphyr::from_str(&read("rules.yaml")).unwrap();
    let panels = panels().into_iter().flat_map(|panel| list(&panel["targets"]));
    let rules = list(&rules["groups"])
        .into_iter()
        .flat_map(|group| list(&group["rules"]));
    panels
        .chain(rules)
        .map(|query| query["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// The answer of Prometheus to a query, as `promtool` prints it; the error is what Prometheus says.
async fn ask(url: &str, query: &str) -> Result<String, String> {
    promtool(&["query", "instant", url, query]).await
}

/// Every second's answer to a query, from a time in seconds since the epoch until now.
async fn ask_since(url: &str, query: &str, from: f64) -> Value {
    let start = format!("--start={from}");
    let arguments = ["query", "range", "--format=json", "--step=1s", &start, url, query];
    let answer = promtool(&arguments)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    serde_json::from_str(&answer).unwrap()
}

async fn promtool(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(repository().join("target/prometheus/promtool"))
        .args(arguments)
        .output()
        .await
        .expect("make test-monitoring builds target/prometheus");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// A Prometheus that has scraped the operator of a rig.
struct Prometheus {
    process: Process,
    url: String,
}

impl Prometheus {
    async fn start(directory: &Path, rig: &Rig) -> Self {
        let port = free_port();
        let prometheus = Self {
            process: prometheus(directory, rig, port),
            url: format!("http://127.0.0.1:{port}"),
        };
        tokio::time::timeout(Duration::from_mins(1), prometheus.scraped())
            .await
            .unwrap_or_else(|_| panic!("{}", prometheus.process.log_tail(20)));
        prometheus
    }

    async fn scraped(&self) {
        while !ask(&self.url, "pytorchjob_operator_jobs")
            .await
            .is_ok_and(|answer| !answer.trim().is_empty())
        {
            assert!(self.process.exit_status().is_none(), "{}", self.process.log_tail(20));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn prometheus(directory: &Path, rig: &Rig, port: u16) -> Process {
    let scrape = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{}]
scrape_configs: [{{ job_name: operator, static_configs: [{{ targets: ['{}'] }}] }}]
",
        repository().join("config/monitoring/rules.yaml").display(),
        rig.operator.metrics_address(),
    );
    let file = directory.join("prometheus.yaml");
    fs::write(&file, scrape).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", directory.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let program = repository().join("target/prometheus/prometheus");
    Process::start(&program, arguments, &directory.join("prometheus.log")).unwrap()
}

#[tokio::test]
#[ignore = "needs target/prometheus: make test-monitoring"]
async fn every_query_of_the_dashboard_and_the_alerts_runs_and_the_figures_are_those_of_the_jobs() {
    let rig = Rig::start().await;
    rig.running(&job("running", 1)).await;
    rig.succeeded(&job("done", 0)).await;
    let limit = serde_json::json!({ "spec": { "activeDeadlineSeconds": 1 } });
    rig.create(&with(job("late", 0), &limit)).await;
    rig.wait("late", |job| job.is("Failed")).await;
    let directory = tempfile::tempdir().unwrap();
    let Prometheus { process: _process, url } = Prometheus::start(directory.path(), &rig).await;

    for query in queries() {
        ask(&url, &query)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    for (query, expected) in [
        ("pytorchjob_operator_jobs{state=\"Running\"}", "=> 1 @"),
        ("pytorchjob_operator_jobs{state=\"Succeeded\"}", "=> 1 @"),
        ("pytorchjob_operator_jobs{state=\"Failed\"}", "=> 1 @"),
        ("pytorchjob_operator_job_start_seconds_count", "=> 2 @"),
        ("pytorchjob_operator_deadline_lateness_seconds_count", "=> 1 @"),
        ("pytorchjob_operator_deadline_lateness_seconds_sum < bool 1", "=> 1 @"),
    ] {
        let answer = ask(&url, query).await.unwrap();
        assert!(answer.contains(expected), "{query}: {answer}");
    }
    rig.set_phase("running-master-0", &PodPhase::Succeeded).await;
}

/// How many jobs there are: for a picture, and to see that every panel is drawn.
const MANY: u32 = 100;
const FEW: u32 = 12;

#[tokio::test]
#[ignore = "needs target/prometheus and Chromium: make test-dashboard"]
async fn a_browser_shows_the_dashboard_with_a_value_in_every_panel() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("dashboard").await.unwrap();
    let kubeconfig = shipped_identity(cluster).await;
    // The dashboard names the Lease of the shipped Deployment.
    let arguments = ["--leader-elect", "--leader-election-namespace=kubeflow"];
    let rig = Rig::start_with(cluster, namespace, kubeconfig, &arguments).await;
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(directory.path(), &rig).await;
    let from = pytorchjob_operator::platform::clock::now().as_second();
    let many = env::var_os("SCREENSHOTS").is_some();
    load::jobs(&rig, if many { MANY } else { FEW }).await;

    let from = f64::from(u32::try_from(from).unwrap());
    let panels = panels();
    let queries = panels.iter().flat_map(|panel| list(&panel["targets"]));
    let mut matrices = Vec::new();
    for query in queries {
        matrices.push(ask_since(&prometheus.url, query["expr"].as_str().unwrap(), from).await);
    }
    let mut matrices = matrices.iter();
    let answered = panels.iter().map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        let answers = targets.zip(matrices.by_ref()).map(|(query, matrix)| Answer {
            legend: query["legendFormat"].as_str().unwrap(),
            matrix,
        });
        Answered {
            panel,
            answers: answers.collect(),
        }
    });
    let answered: Vec<Answered> = answered.collect();
    let (html, size) = dashboard::page(&answered, from);
    let file = directory.path().join("dashboard.html");
    fs::write(&file, html).unwrap();

    let page = Page {
        directory: directory.path(),
        file: &file,
    };
    let shown = page.shown().await;
    for panel in &panels {
        let title = panel["title"].as_str().unwrap();
        assert!(shown.contains(title), "{title} is not in:\n{shown}");
    }
    assert!(!shown.to_lowercase().contains("no data"), "{shown}");
    for count in ["Jobs by state", "<output>1</output>", "Failed", "Succeeded"] {
        assert!(shown.contains(count), "{count} is not in:\n{shown}");
    }
    page.picture("dashboard.png", "light", size).await;
}
