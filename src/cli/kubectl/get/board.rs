//! The jobs and their pods as a watch tells of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use serde_json::Value;

use crate::cli::kubectl::get::job_now::{Columns, JobNow};
use crate::cli::kubectl::stage::PodNow;

/// Namespace and name.
pub(super) type Key = (String, String);

/// Objects of one kind.
#[derive(Debug)]
struct Objects<T> {
    known: BTreeMap<Key, T>,
    /// Those of a list that is not complete yet.
    listed: Option<BTreeSet<Key>>,
    complete: bool,
}

/// All that a table is made of.
#[derive(Debug, Default)]
pub(super) struct Board {
    jobs: Objects<JobNow>,
    pods: Objects<PodNow>,
    /// Whether pods cannot be read.
    without_pods: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            listed: None,
            complete: false,
        }
    }
}

impl<T> Objects<T> {
    fn feed(&mut self, event: Event<DynamicObject>, read: impl Fn(&Value) -> Option<T>) {
        match event {
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                let key = key(&object);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                let value = serde_json::to_value(&object).unwrap_or_default();
                let _before = match read(&value) {
                    Some(now) => self.known.insert(key, now),
                    None => self.known.remove(&key),
                };
            }
            Event::Delete(object) => {
                let _gone = self.known.remove(&key(&object));
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                self.known.retain(|key, _| listed.contains(key));
                self.complete = true;
            }
        }
    }
}

impl Board {
    /// A job is there, has changed or is gone.
    pub(super) fn job(&mut self, event: Event<DynamicObject>) {
        self.jobs.feed(event, |job| Some(JobNow::of(job)));
    }

    /// A pod is there, has changed or is gone.
    pub(super) fn pod(&mut self, event: Event<DynamicObject>) {
        self.pods.feed(event, PodNow::of);
    }

    /// Pods cannot be read, so nothing is said of them.
    pub(super) fn without_pods(&mut self) {
        self.without_pods = true;
    }

    /// Whether nothing is said of pods.
    pub(super) fn is_without_pods(&self) -> bool {
        self.without_pods
    }

    /// Whether all that exists is known.
    pub(super) fn is_complete(&self) -> bool {
        self.jobs.complete && (self.pods.complete || self.without_pods)
    }

    /// The rows of the table, sorted by namespace and name.
    pub(super) fn rows(&self, columns: Columns, now: Timestamp) -> BTreeMap<Key, Vec<String>> {
        let mut pods: BTreeMap<(&str, &str), Vec<&PodNow>> = BTreeMap::new();
        for ((namespace, _), pod) in &self.pods.known {
            pods.entry((namespace, &pod.job)).or_default().push(pod);
        }
        let row = |(key, job): (&Key, &JobNow)| {
            let pods = pods.get(&(key.0.as_str(), key.1.as_str()));
            let pods = pods.map_or(&[][..], Vec::as_slice);
            let pods = (!self.without_pods).then_some(pods);
            (key.clone(), job.cells(pods, columns, now))
        };
        self.jobs.known.iter().map(row).collect()
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::names;

    fn object(name: &str, job: Option<&str>) -> DynamicObject {
        let labels = job.map(|job| json!({ names::LABEL_JOB_NAME: job }));
        let object = json!({
            "metadata": { "name": name, "namespace": "team", "labels": labels },
            "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": 2, "template": {} } }, "nodeName": "n", "containers": [] },
            "status": { "phase": "Pending" },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_a_new_list_does_not_have_is_gone_and_pods_count_for_their_job() {
        let mut board = Board::default();
        let rows = |board: &Board| {
            let rows = board.rows(Columns::default(), Timestamp::UNIX_EPOCH);
            rows.into_values().map(|row| row.join("|")).collect::<Vec<_>>()
        };
        board.job(Event::Init);
        board.job(Event::InitApply(object("a", None)));
        board.job(Event::InitApply(object("b", None)));
        board.job(Event::InitDone);
        assert!(!board.is_complete(), "pods are not listed yet");
        board.pod(Event::Init);
        board.pod(Event::InitApply(object("a-worker-0", Some("a"))));
        board.pod(Event::InitDone);
        assert!(board.is_complete());
        let nothing = "0/2 created, 0/2 scheduled";
        assert_eq!(
            rows(&board),
            [
                "a|<none>|0/2|0|<none>|1/2 created, 1/2 scheduled".to_owned(),
                format!("b|<none>|0/2|0|<none>|{nothing}"),
            ]
        );
        board.pod(Event::Delete(object("a-worker-0", Some("a"))));
        board.job(Event::Init);
        board.job(Event::InitApply(object("a", None)));
        assert_eq!(rows(&board).len(), 2, "until the list is complete");
        board.job(Event::InitDone);
        assert_eq!(rows(&board), [format!("a|<none>|0/2|0|<none>|{nothing}")]);
        board.without_pods();
        assert_eq!(rows(&board), ["a|<none>|<none>|0|<none>|"]);
    }
}
