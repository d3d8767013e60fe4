//! `docs/metrics.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use pytorchjob_operator::api::JobStep;
use pytorchjob_operator::platform::metrics::{EventFate, Metrics, Outcome};
use pytorchjob_test_cluster::repository;

use crate::support::page::{assert_same, page};

/// Every series that the operator gives a value, since one without is not exported.
fn all_metrics() -> Metrics {
    let metrics = Metrics::new().unwrap();
    for step in [
        JobStep::Created,
        JobStep::Deleted,
        JobStep::Successful,
        JobStep::Failed,
        JobStep::Restarted,
    ] {
        metrics.job(step, "ns");
    }
    metrics.job_ran(Duration::ZERO);
    metrics.deadline_exceeded(Duration::ZERO);
    metrics.job_spent("running", 1, 8);
    metrics.job_lost(1, 8);
    metrics.count_jobs(|| [("Running", 1)].into()).unwrap();
    metrics.reconcile_started().finished(Outcome::Error);
    metrics.set_leader("lease", true);
    metrics.request("GET", "pods", "200", Duration::ZERO);
    let queue = metrics.workqueue();
    queue.add("job");
    queue.take(&"job");
    queue.retry();
    metrics.watch_error("pods");
    metrics.relist("pods");
    metrics.undecodable("pods");
    metrics.set_cached("pods", 1);
    metrics.status_pruned("ready");
    metrics.events(EventFate::Published, 1);
    metrics
}

#[test]
#[cfg(target_os = "linux")]
fn every_metric_is_documented_with_its_type_and_labels() {
    let text = all_metrics().encode().unwrap();
    let labels = |name: &str| {
        let sample = text
            .lines()
            .find(|line| !line.starts_with('#') && line.starts_with(name))
            .unwrap();
        let inner = sample
            .split_once('{')
            .map_or("", |(_, rest)| rest.split('}').next().unwrap());
        let names: BTreeSet<&str> = inner.split(',').filter_map(|pair| pair.split('=').next()).collect();
        let names = names.into_iter().filter(|name| !name.is_empty() && *name != "le");
        names.collect::<Vec<_>>().join(", ")
    };
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let actual = types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        format!("{name} | {kind} | {}", labels(name))
    });
    let rows = page("docs/metrics.md").table("## Series");
    assert_same(
        "metrics",
        rows.into_iter().map(|row| row[..3].join(" | ")).collect(),
        actual.collect(),
    );
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let rows = page("docs/metrics.md").table("## Series");
    let series: BTreeSet<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    for file in [
        "config/monitoring/dashboard.json",
        "config/monitoring/rules.yaml",
        "tests/prometheus/alerts.yaml",
    ] {
        let text = std::fs::read_to_string(repository().join(file)).unwrap();
        let names = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let metric = |name: &&str| {
            [
                "_total", "_bucket", "_seconds", "_bytes", "_info", "_status", "_depth", "_jobs", "_objects",
            ]
            .iter()
            .any(|end| name.ends_with(end))
        };
        let mut found = 0;
        for name in names.filter(metric) {
            let known = series.contains(name) || name.strip_suffix("_bucket").is_some_and(|name| series.contains(name));
            assert!(known, "{file} names {name}, which docs/metrics.md does not have");
            found += 1;
        }
        assert!(found > 5, "{file}: {found}");
    }
}
