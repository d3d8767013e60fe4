//! `pytorchjob_operator_jobs`: jobs by state, counted when somebody asks.

use std::collections::BTreeMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntGaugeVec, Opts};

use super::series::gauge;

/// Says how many jobs are in each state.
pub(super) type CountJobs = Box<dyn Fn() -> BTreeMap<&'static str, usize> + Send + Sync>;

/// The series, whose values are taken at each scrape.
pub(super) struct JobsByState {
    jobs: IntGaugeVec,
    count: CountJobs,
}

impl JobsByState {
    pub(super) fn new(count: CountJobs) -> Result<Self, Error> {
        let options = Opts::new(
            "pytorchjob_operator_jobs",
            "Jobs by state, as the STATE column shows it",
        );
        Ok(Self {
            jobs: IntGaugeVec::new(options, &["state"])?,
            count,
        })
    }
}

impl Collector for JobsByState {
    fn desc(&self) -> Vec<&Desc> {
        self.jobs.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A state that no job is in any more shows 0, so its line does not end at the last count.
        for (state, jobs) in (self.count)() {
            self.jobs.with_label_values(&[state]).set(gauge(jobs));
        }
        self.jobs.collect()
    }
}
