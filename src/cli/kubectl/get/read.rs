//! Reads jobs and pods from a cluster.

use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams, TypeMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

use crate::api::{ChildKind, PyTorchJob, names};
use crate::cache::ObjectView;
use crate::cli::kubectl::get::board::Board;
use crate::cli::kubectl::get::job_now::Columns;
use crate::cli::kubectl::get::objects::{Format, printed};
use crate::cli::kubectl::get::table::Table;
use crate::cli::kubectl::read::{said, said_of_jobs};
use crate::cli::offline::Report;

/// Objects of one request of a list, as kubectl asks for them.
const PAGE: u32 = 500;

/// Which jobs.
#[derive(Clone)]
pub(super) struct Scope {
    pub client: Client,
    /// All namespaces without one.
    pub namespace: Option<String>,
    /// All jobs when empty.
    pub jobs: Vec<String>,
    pub selector: Option<String>,
}

fn not_got(name: &str, error: &kube::Error) -> String {
    format!("cannot get PyTorchJob {name}: {}", said_of_jobs(error))
}

impl Scope {
    /// Jobs as they are stored.
    pub(super) async fn objects(&self, format: Format) -> Result<Report, String> {
        let (jobs, missing) = self.jobs().await?;
        let jobs = jobs.iter().map(|job| serde_json::to_value(job).unwrap_or_default());
        Ok(Report {
            output: printed(jobs.collect(), self.jobs.len() == 1, format)?,
            invalid: !missing.is_empty(),
            remarks: missing,
        })
    }

    /// What is said of each job that was asked for by name and is not there. Of one that cannot be asked for a watch
    /// may tell all the same.
    pub(super) async fn absent(&self) -> Vec<String> {
        let (api, mut absent) = (self.job_api(), Vec::new());
        for name in &self.jobs {
            match api.get(name).await {
                Err(error) if matches!(&error, kube::Error::Api(status) if status.is_not_found()) => {
                    absent.push(not_got(name, &error));
                }
                _ => {}
            }
        }
        absent
    }

    /// The table.
    pub(super) async fn table(&self, columns: Columns, headings: bool, now: Timestamp) -> Result<Report, String> {
        let (jobs, missing) = self.jobs().await?;
        let invalid = !missing.is_empty();
        let mut remarks = missing;
        if jobs.is_empty() {
            remarks.extend((!invalid).then(|| self.nothing()));
            return Ok(Report {
                remarks,
                invalid,
                ..Report::default()
            });
        }
        let mut board = Board::default();
        for job in jobs {
            board.job(Event::Apply(job));
        }
        match list(&self.pod_api(), &ListParams::default().labels(&self.pod_selector())).await {
            Ok(pods) => {
                for pod in pods {
                    board.pod(Event::Apply(pod));
                }
            }
            Err(error) => {
                board.without_pods();
                remarks.push(no_pods(&format!("cannot list pods: {}", said(&error))));
            }
        }
        let headings = headings.then(|| columns.headings());
        let rows = board.rows(columns, now).into_values();
        let rows: Vec<Vec<String>> = headings.into_iter().chain(rows).collect();
        Ok(Report {
            output: Table::default().lines(&rows).join("\n") + "\n",
            remarks,
            invalid,
        })
    }

    /// What is said when there are none.
    pub(super) fn nothing(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("No resources found in {namespace} namespace."),
            None => "No resources found".to_owned(),
        }
    }

    /// The jobs, and what is wrong with those that were asked for and are not among them.
    async fn jobs(&self) -> Result<(Vec<DynamicObject>, Vec<String>), String> {
        let api = self.job_api();
        if self.jobs.is_empty() {
            let selected = ListParams::default().labels(self.selector.as_deref().unwrap_or_default());
            let jobs = list(&api, &selected).await;
            let jobs = jobs.map_err(|error| format!("cannot list PyTorchJobs: {}", said_of_jobs(&error)))?;
            return Ok((jobs.into_iter().map(with_kind).collect(), Vec::new()));
        }
        let (mut jobs, mut missing) = (Vec::new(), Vec::new());
        for name in &self.jobs {
            match api.get(name).await {
                Ok(job) => jobs.push(job),
                Err(error) => missing.push(not_got(name, &error)),
            }
        }
        Ok((jobs, missing))
    }

    pub(super) fn job_api(&self) -> Api<DynamicObject> {
        self.api(&ApiResource::erase::<PyTorchJob>(&()))
    }

    pub(super) fn pod_api(&self) -> Api<DynamicObject> {
        self.api(&ApiResource::erase::<ObjectView>(&ChildKind::Pod))
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        let client = self.client.clone();
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        }
    }

    /// Which jobs a watch asks for: the API server selects by one name at most.
    pub(super) fn job_watch(&self) -> watcher::Config {
        let config = watcher::Config::default().page_size(PAGE);
        match (self.jobs.as_slice(), &self.selector) {
            ([job], _) => config.fields(&format!("metadata.name={job}")),
            (_, Some(selector)) => config.labels(selector),
            _ => config,
        }
    }

    pub(super) fn pod_watch(&self) -> watcher::Config {
        watcher::Config::default().page_size(PAGE).labels(&self.pod_selector())
    }

    /// Whether a job is one of them.
    pub(super) fn has(&self, job: &str) -> bool {
        self.jobs.is_empty() || self.jobs.iter().any(|name| name == job)
    }

    fn pod_selector(&self) -> String {
        let label = names::LABEL_JOB_NAME;
        match self.jobs.as_slice() {
            [] => label.to_owned(),
            jobs => format!("{label} in ({})", jobs.join(",")),
        }
    }
}

/// All pages of a list.
async fn list(api: &Api<DynamicObject>, selected: &ListParams) -> Result<Vec<DynamicObject>, kube::Error> {
    let mut found = Vec::new();
    let mut page = selected.clone().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// Objects in a list do not say what they are.
pub(super) fn with_kind(mut job: DynamicObject) -> DynamicObject {
    job.types = Some(TypeMeta::resource::<PyTorchJob>());
    job
}

/// What is said when pods cannot be read.
pub(super) fn no_pods(why: &str) -> String {
    format!("PROGRESS is empty: {why}")
}
