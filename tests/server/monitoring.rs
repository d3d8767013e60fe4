//! The dashboard and the alerts, on a real Prometheus that scrapes a real operator: `make test-monitoring` builds it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pytorchjob_test_cluster::{PodPhase, Process, free_port, repository};
use serde_json::Value;
use tokio::process::Command;

use crate::job::{job, with};
use crate::rig::Rig;

/// Every query of the dashboard and of the alerts.
fn queries() -> Vec<String> {
    let read = |name: &str| fs::read_to_string(repository().join("config/monitoring").join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let rules: Value = serde_saphyr::from_str(&read("rules.yaml")).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let panels = list(&dashboard["panels"])
        .into_iter()
        .flat_map(|panel| list(&panel["targets"]));
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
    let output = Command::new(repository().join("target/prometheus/promtool"))
        .args(["query", "instant", url, query])
        .output()
        .await
        .expect("make test-monitoring builds target/prometheus");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
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
    let port = free_port();
    let prometheus = prometheus(directory.path(), &rig, port);
    let url = format!("http://127.0.0.1:{port}");

    let scraped = async {
        while !ask(&url, "pytorchjob_operator_jobs")
            .await
            .is_ok_and(|answer| !answer.trim().is_empty())
        {
            assert!(prometheus.exit_status().is_none(), "{}", prometheus.log_tail(20));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), scraped)
        .await
        .unwrap_or_else(|_| panic!("{}", prometheus.log_tail(20)));
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
