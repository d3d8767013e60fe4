//! `docs/metrics.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use pytorchjob_operator::api::JobStep;
use pytorchjob_operator::platform::metrics::{EventFate, Metrics, Outcome};

use crate::docs::page::{assert_same, page};

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
