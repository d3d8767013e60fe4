//! Makes every cell of the table happen on the API server.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use pytorchjob_operator::api::JobStatus;
use serde_json::json;
use tokio::sync::Semaphore;

use super::base::Base;
use super::effect::arm;
use super::phase::Phase;
use super::{Cell, Row, rows};
use crate::editing::rig::{Rig, messages, status};

/// Jobs of one phase that are made ready and edited at the same time; how long their effects take does not count.
const AT_ONCE: usize = 3;

/// What must not change when an edit has no effect: the story told by the conditions, and what the job has.
#[derive(Debug, PartialEq)]
struct Live {
    status: JobStatus,
    pods: Vec<(String, Option<String>)>,
    services: Vec<(String, Option<String>)>,
}

/// One phase: its namespace, and the turns in which jobs are brought there.
struct Column {
    phase: Phase,
    rig: Rig,
    turns: Semaphore,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_happens() {
    let failures = join_all(Phase::ALL.map(column)).await.concat();
    assert!(
        failures.is_empty(),
        "{} cells failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Everything in one phase. Just created means that the operator has not seen the job when it is edited, so it starts
/// after the edits.
async fn column(phase: Phase) -> Vec<String> {
    let column = Arc::new(Column {
        phase,
        rig: Rig::new(phase.slug()).await,
        turns: Semaphore::new(AT_ONCE),
    });
    let late = phase == Phase::JustCreated;
    let mut operator = None;
    if !late {
        operator = Some(column.rig.start_operator().await);
    }
    let own: Vec<_> = (0..).zip(rows()).filter(|(_, row)| has_own_job(phase, row)).collect();
    let shared = tasks(bases().map(|base| {
        let column = Arc::clone(&column);
        (format!("{} {base:?}", phase.slug()), async move {
            column.shared(base).await;
        })
    }));
    let mut failures = Vec::new();
    if late {
        failures.extend(shared.await);
        failures.extend(tasks(own.iter().map(|&(number, row)| column.cell(number, row, true, false))).await);
        operator = Some(column.rig.start_operator().await);
        failures.extend(tasks(own.iter().map(|&(number, row)| column.cell(number, row, false, true))).await);
    } else {
        let own = tasks(own.iter().map(|&(number, row)| column.cell(number, row, true, true)));
        let (a, b) = tokio::join!(shared, own);
        failures.extend(a.into_iter().chain(b));
    }
    if let Some(operator) = operator.filter(|_| !failures.is_empty()) {
        eprintln!("{}: {}", phase.title(), operator.process().log_tail(200));
    }
    failures
}

/// Runs the tasks and returns what the failed ones say.
async fn tasks<F>(tasks: impl Iterator<Item = (String, F)>) -> Vec<String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let running = tasks.map(|(name, task)| async move {
        let result = tokio::spawn(task).await;
        result.err().map(|error| format!("{name}: {}", describe(error)))
    });
    join_all(running).await.into_iter().flatten().collect()
}

fn describe(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

fn bases() -> impl Iterator<Item = Base> {
    let bases: BTreeSet<Base> = rows().map(|row| row.base).collect();
    bases.into_iter()
}

/// Whether the cell changes its job for good, or is seen only in how the job starts.
fn has_own_job(phase: Phase, row: &Row) -> bool {
    match (row.cell)(phase) {
        Cell::Enforced(_) => true,
        Cell::NoEffect(_) => phase == Phase::JustCreated,
        Cell::Refused(_) => false,
    }
}

impl Column {
    /// A cell with a job of its own: the edit, and then its effect.
    fn cell(
        self: &Arc<Self>,
        number: usize,
        row: &'static Row,
        edit: bool,
        check: bool,
    ) -> (String, impl Future<Output = ()> + Send + 'static) {
        let column = Arc::clone(self);
        let job = format!("row-{number}");
        let name = format!("{}: {} ({}) on {job}", self.phase.title(), row.field, row.edit);
        (name, async move {
            if edit {
                let _turn = column.turns.acquire().await.unwrap();
                column.make(row.base, &job).await;
                if row.given != "{}" {
                    let given = serde_json::from_str(row.given).unwrap();
                    let given = arm(given, column.phase, &column.rig.job(&job).await);
                    column.rig.edit(&job, given).await;
                }
                column.rig.edit(&job, row.patch()).await;
            }
            match (row.cell)(column.phase) {
                Cell::Enforced(effect) if check => effect.check(&column.rig, row.base, column.phase, &job).await,
                Cell::NoEffect(_) if check => {
                    column.rig.run(&job, row.base.replicas()).await;
                    column.rig.until_services(&job, row.base.replicas()).await;
                }
                _ => {}
            }
        })
    }

    /// The cells of one base that leave the job as it was: refused ones, and those without effect, which are taken
    /// back.
    async fn shared(&self, base: Base) {
        let job = format!("{base:?}").to_lowercase();
        {
            let _turn = self.turns.acquire().await.unwrap();
            self.make(base, &job).await;
        }
        let first = self.live(&job).await;
        for row in rows().filter(|row| row.base == base && !has_own_job(self.phase, row)) {
            match (row.cell)(self.phase) {
                Cell::Refused(expected) => self.refused(&job, row, expected).await,
                _ => self.without_effect(&job, row).await,
            }
        }
        if self.phase != Phase::JustCreated && !self.phase.observed() {
            self.rig.fence().await;
            assert_eq!(self.live(&job).await, first, "{job} was touched");
        }
    }

    async fn make(&self, base: Base, job: &str) {
        let object = json!({ "metadata": self.phase.metadata(job), "spec": self.phase.spec(base) });
        self.rig.create_object(object).await;
        self.phase.reach(&self.rig, base, job).await;
    }

    async fn refused(&self, job: &str, row: &Row, expected: &[&str]) {
        let before = self.rig.job(job).await;
        let Err(refusal) = self.rig.patch(job, &row.patch()).await else {
            panic!("{} ({}): accepted, expected {expected:?}", row.field, row.edit);
        };
        assert_eq!(refusal.code, 422, "{} ({}): {}", row.field, row.edit, refusal.message);
        assert_eq!(messages(&refusal), expected, "{} ({})", row.field, row.edit);
        let after = self.rig.job(job).await;
        assert_eq!(
            after.metadata.generation, before.metadata.generation,
            "{} ({})",
            row.field, row.edit
        );
    }

    async fn without_effect(&self, job: &str, row: &Row) {
        let before = self.live(job).await;
        let spec = self.rig.raw().get(job).await.unwrap().data["spec"].clone();
        self.rig.edit(job, row.patch()).await;
        self.observed(job).await;
        assert_eq!(self.live(job).await, before, "{} ({})", row.field, row.edit);
        let metadata = self.phase.metadata(job);
        let back = json!([
            { "op": "replace", "path": "/spec", "value": spec },
            { "op": "add", "path": "/metadata/labels", "value": metadata["labels"] },
            { "op": "add", "path": "/metadata/annotations", "value": metadata["annotations"] },
        ]);
        let patch = Patch::Json::<()>(serde_json::from_value(back).unwrap());
        self.rig.jobs.patch(job, &PatchParams::default(), &patch).await.unwrap();
        self.observed(job).await;
    }

    async fn observed(&self, job: &str) {
        if self.phase.observed() {
            self.rig.until_observed(job).await;
        }
    }

    async fn live(&self, job: &str) -> Live {
        let mut status = status(&self.rig.job(job).await);
        // What tells that an edit was seen, and the counts, which are written late.
        status.observed_generation = None;
        status.replica_statuses.clear();
        status.ready = None;
        let selector = kube::api::ListParams::default().labels(&crate::rig::of_job(job));
        let pods = self.rig.pods_of(job).await;
        let services = self.rig.services.list(&selector).await.unwrap();
        Live {
            status,
            pods: pods
                .iter()
                .map(|pod| (pod.name_any(), pod.resource_version()))
                .collect(),
            services: services
                .iter()
                .map(|service| (service.name_any(), service.resource_version()))
                .collect(),
        }
    }
}
