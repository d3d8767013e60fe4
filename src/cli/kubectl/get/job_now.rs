//! A job as a line of the table.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::{ConditionType, JobStatus, PyTorchJobSpec, ReplicaType};
use crate::cli::kubectl::age::age;
use crate::cli::kubectl::stage::{PodNow, Stage};
use crate::planner::{finished, goodput, state};

/// What stands where there is nothing to say, as in `kubectl`.
const NONE: &str = "<none>";

/// Which columns a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// NAMESPACE, in front.
    pub namespace: bool,
    /// GOODPUT as of now, and WHY, the message of the state, at the end.
    pub why: bool,
}

/// What the table says of a job, its pods aside.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobNow {
    namespace: String,
    name: String,
    state: String,
    ready: Option<String>,
    restarts: i32,
    why: String,
    /// What its goodput is told from.
    status: JobStatus,
    created: Option<Timestamp>,
    /// How many pods it is to have; nothing if it cannot be read, or is to have none now.
    replicas: Option<usize>,
}

impl Columns {
    /// The headings.
    pub(super) fn headings(self) -> Vec<String> {
        let namespace = self.namespace.then_some("NAMESPACE");
        let always = ["NAME", "STATE", "READY", "RESTARTS", "AGE", "PROGRESS"];
        let wide = ["GOODPUT", "WHY"].into_iter().filter(|_| self.why);
        let headings = namespace.into_iter().chain(always).chain(wide);
        headings.map(ToOwned::to_owned).collect()
    }
}

impl JobNow {
    /// Reads a job. One that no operator can decode has a line too.
    pub(super) fn of(job: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &job["metadata"];
        let status: JobStatus = serde_json::from_value(job["status"].clone()).unwrap_or_default();
        // Not from the value: the templates are kept as text.
        let spec: Option<PyTorchJobSpec> = serde_json::from_str(&job["spec"].to_string()).ok();
        let runs = |spec: &PyTorchJobSpec| !spec.suspended() && !finished(&status);
        let replicas = |spec: PyTorchJobSpec| {
            let count = ReplicaType::ALL.map(|type_| spec.replicas(type_));
            usize::try_from(count.into_iter().fold(0, u32::saturating_add)).unwrap_or(usize::MAX)
        };
        let condition = state(&status).map(ConditionType::as_str);
        let mut conditions = status.conditions.iter();
        let entry = conditions.rfind(|entry| Some(entry.type_.as_str()) == condition);
        let message = entry.and_then(|entry| entry.message.as_deref());
        Self {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            state: match condition {
                _ if !metadata["deletionTimestamp"].is_null() => "Terminating",
                condition => condition.unwrap_or(NONE),
            }
            .to_owned(),
            why: message.unwrap_or(NONE).to_owned(),
            created: metadata["creationTimestamp"]
                .as_str()
                .and_then(|time| time.parse().ok()),
            replicas: spec.filter(runs).map(replicas),
            ready: status.ready,
            restarts: status.restarts.unwrap_or(0),
            status: JobStatus {
                conditions: status.conditions,
                start_time: status.start_time,
                accounting: status.accounting,
                ..JobStatus::default()
            },
        }
    }

    /// The cells of the line. Without pods, which may be forbidden to read, what they tell is left out.
    pub(super) fn cells(&self, pods: Option<&[&PodNow]>, columns: Columns, now: Timestamp) -> Vec<String> {
        let ready = || {
            let ready = pods?.iter().filter(|pod| pod.ready).count();
            self.replicas.map(|all| format!("{ready}/{all}"))
        };
        let age = self.created.map(|created| age(now.duration_since(created)));
        let namespace = columns.namespace.then(|| self.namespace.clone());
        let always = [
            self.name.clone(),
            self.state.clone(),
            self.ready.clone().or_else(ready).unwrap_or_else(|| NONE.to_owned()),
            self.restarts.to_string(),
            age.unwrap_or_else(|| NONE.to_owned()),
            pods.map(|pods| self.progress(pods)).unwrap_or_default(),
        ];
        let goodput = || goodput(&self.status, now).unwrap_or_else(|| NONE.to_owned());
        let wide = columns.why.then(|| [goodput(), self.why.clone()]);
        namespace
            .into_iter()
            .chain(always)
            .chain(wide.into_iter().flatten())
            .collect()
    }

    /// What its pods are at until all of them run, and what keeps them.
    fn progress(&self, pods: &[&PodNow]) -> String {
        let of = |stage: Stage| pods.iter().filter(|pod| pod.stage == stage).count();
        let starting = pods.iter().filter(|pod| pod.stage < Stage::Running).count();
        let mut said = Vec::new();
        if let Some(all) = self.replicas.filter(|all| starting > 0 || pods.len() < *all) {
            if pods.len() < all {
                said.push(format!("{}/{all} created", pods.len()));
            }
            said.push(format!("{}/{all} scheduled", pods.len() - of(Stage::Queued)));
        }
        let told = [
            Stage::Pulling,
            Stage::Initializing,
            Stage::Restarting,
            Stage::Terminating,
        ];
        let told = told.into_iter().map(|stage| (of(stage), stage.word()));
        let mut troubles: Vec<&str> = pods.iter().filter_map(|pod| pod.trouble).collect();
        troubles.sort_unstable();
        let troubles = troubles.chunk_by(|one, other| one == other);
        let troubles = troubles.map(|same| (same.len(), same[0]));
        let told = told.chain(troubles).filter(|(count, _)| *count > 0);
        said.extend(told.map(|(count, word)| format!("{count} {word}")));
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(stages: &[(Stage, Option<&'static str>)]) -> Vec<PodNow> {
        let pod = |(stage, trouble): &(Stage, Option<&'static str>)| PodNow {
            job: "train".to_owned(),
            stage: *stage,
            ready: *stage == Stage::Running,
            trouble: *trouble,
        };
        stages.iter().map(pod).collect()
    }

    #[test]
    fn a_wide_line_has_the_goodput_as_of_now() {
        let condition =
            |type_: &str, time: &str| json!({ "type": type_, "status": "True", "lastTransitionTime": time });
        let job = json!({
            "metadata": { "name": "train" },
            "status": {
                "startTime": "2026-01-01T00:00:00Z",
                "conditions": [condition("Created", "2026-01-01T00:00:00Z"), condition("Running", "2026-01-01T00:01:00Z")],
                "accounting": { "seconds": { "waiting": 60 } },
            },
        });
        let wide = Columns {
            why: true,
            ..Columns::default()
        };
        assert_eq!(wide.headings()[6..], ["GOODPUT", "WHY"]);
        let at = |now: &str| JobNow::of(&job).cells(None, wide, now.parse().unwrap())[6].clone();
        assert_eq!(at("2026-01-01T00:01:00Z"), "<none>", "it has not run for a second");
        assert_eq!(at("2026-01-01T00:10:00Z"), "90%");
    }

    fn cells(job: &Value, stages: &[(Stage, Option<&'static str>)]) -> String {
        let pods = pods(stages);
        let pods: Vec<&PodNow> = pods.iter().collect();
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        JobNow::of(job).cells(Some(&pods), Columns::default(), now).join("|")
    }

    #[test]
    fn a_line_says_what_the_status_says_and_what_the_pods_are_at() {
        use Stage::{Initializing, Pulling, Queued, Restarting, Running, Scheduled, Terminating};
        let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
        let job = |suspend: bool, status: Value| {
            json!({
                "metadata": { "name": "train", "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "runPolicy": { "suspend": suspend }, "pytorchReplicaSpecs": {
                    "Master": { "template": template }, "Worker": { "replicas": 3, "template": template } } },
                "status": status,
            })
        };
        let condition = |type_: &str| json!([{ "type": type_, "status": "True", "message": "m" }]);
        let running = json!({ "conditions": condition("Running"), "ready": "4/4", "restarts": 2 });
        let created = json!({ "conditions": condition("Created") });
        for (job, stages, expected) in [
            (
                job(false, json!({})),
                &[][..],
                "train|<none>|0/4|0|10m|0/4 created, 0/4 scheduled",
            ),
            (
                job(false, created.clone()),
                &[(Running, None), (Pulling, None), (Pulling, None), (Queued, None)],
                "train|Created|1/4|0|10m|3/4 scheduled, 2 pulling",
            ),
            (
                job(false, created.clone()),
                &[
                    (Scheduled, None),
                    (Initializing, None),
                    (Queued, Some("Unschedulable")),
                    (Queued, Some("Unschedulable")),
                ],
                "train|Created|0/4|0|10m|2/4 scheduled, 1 initializing, 2 Unschedulable",
            ),
            (
                job(false, running.clone()),
                &[(Running, None); 4],
                "train|Running|4/4|2|10m|",
            ),
            (
                job(false, running),
                &[
                    (Running, None),
                    (Running, None),
                    (Running, None),
                    (Restarting, Some("CrashLoopBackOff")),
                ],
                "train|Running|4/4|2|10m|1 restarting, 1 CrashLoopBackOff",
            ),
            (
                job(true, json!({ "conditions": condition("Suspended") })),
                &[(Terminating, None)],
                "train|Suspended|<none>|0|10m|1 terminating",
            ),
            (
                job(false, json!({ "conditions": condition("Failed"), "ready": "0/4" })),
                &[],
                "train|Failed|0/4|0|10m|",
            ),
        ] {
            assert_eq!(cells(&job, stages), expected);
        }
        let deleted =
            json!({ "metadata": { "name": "train", "deletionTimestamp": "2026-01-01T00:00:00Z" }, "spec": 1 });
        assert_eq!(
            cells(&deleted, &[]),
            "train|Terminating|<none>|0|<none>|",
            "whatever is in it"
        );
    }
}
