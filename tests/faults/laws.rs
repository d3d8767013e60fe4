//! What must hold in every version of everything that is stored, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::objects::{
    attempt, count, excluded, excluded_by, finished, is_ignored, is_unfinished, is_wanted, newest_attempt, outcome,
    owner, place, suspends,
};
use crate::observer::{Kind, Record, State};
use crate::policies::LOST;
use crate::stage::{has, is_deleted, second, uid};

/// What a history does against the laws. What stray requests created is nobody's decision.
pub fn violations(history: &[Record], strays: &BTreeSet<String>) -> Vec<String> {
    let mut replay = Replay {
        strays,
        state: State::default(),
        jobs: BTreeMap::new(),
        pods: BTreeSet::new(),
        due: BTreeMap::new(),
        found: Vec::new(),
    };
    for record in history {
        match record.kind {
            Kind::Job if record.gone => replay.deleted(record),
            Kind::Job => replay.job(record),
            Kind::Pod => replay.pod(record),
            _ => {}
        }
        replay.state.apply(record);
        if matches!(record.kind, Kind::Job | Kind::Pod) {
            replay.claim(record);
        }
    }
    replay.found
}

struct Replay<'a> {
    strays: &'a BTreeSet<String>,
    state: State,
    /// By UID, as they were stored last.
    jobs: BTreeMap<String, Job>,
    /// UIDs of all pods so far.
    pods: BTreeSet<String>,
    /// By UID, when pods that are deleted should have ended.
    due: BTreeMap<String, i64>,
    found: Vec<String>,
}

struct Job {
    object: Value,
    /// Pods that failed and were deleted because of it.
    replaced: BTreeSet<String>,
}

impl Replay<'_> {
    fn report(&mut self, record: &Record, violation: &str) {
        let text = format!("{violation} ({:?} {} at {})", record.kind, record.name, record.version);
        self.found.push(text);
    }

    fn job(&mut self, record: &Record) {
        let now = record.object.as_ref();
        let mut broken = alone(now);
        let known = self.jobs.get(&uid(now));
        if let Some(known) = known {
            broken.extend(since(&known.object, now));
        }
        for violation in broken {
            self.report(record, violation);
        }
        let object = now.clone();
        self.jobs
            .entry(uid(now))
            .and_modify(|job| job.object = object.clone())
            .or_insert_with(|| Job {
                object,
                replaced: BTreeSet::new(),
            });
    }

    fn deleted(&mut self, record: &Record) {
        let job = record.object.as_ref();
        let ttl = job["spec"]["runPolicy"]["ttlSecondsAfterFinished"].as_i64();
        if let (Some(ttl), Some(end)) = (ttl, second(&job["status"]["completionTime"]))
            && record.heard < end + ttl
        {
            self.report(record, "S8: the job is deleted too early");
        }
    }

    fn pod(&mut self, record: &Record) {
        let pod = record.object.as_ref();
        let Some(owner) = owner(pod) else { return };
        if let Some(due) = second(&pod["metadata"]["deletionTimestamp"]) {
            // A deletion by force changes it.
            self.due.entry(uid(pod)).or_insert(due);
        }
        if record.gone && self.is_early(record) {
            self.report(record, "S1: a pod of a lost node is given up too early");
        }
        if self.pods.insert(uid(pod)) && !self.strays.contains(&uid(pod)) {
            self.created(record, &owner);
        }
        if let Some(job) = self.jobs.get(&owner)
            && attempt(pod) > newest_attempt(&job.object)
        {
            self.report(record, "S4: a pod is of an attempt that is not stored");
        }
        let Some(job) = self.jobs.get_mut(&owner) else { return };
        let alive = self.state.all(Kind::Job).any(|(_, job)| uid(job) == owner);
        let ended = finished(&job.object) || !alive || suspends(&job.object);
        let failed = pod["status"]["phase"] == "Failed" && !is_ignored(&job.object, pod);
        if failed && !ended && (record.gone || is_deleted(pod)) && is_wanted(&job.object, pod) {
            job.replaced.insert(uid(pod));
            let counted = count(&job.object["status"]["restarts"]);
            let whole = job.object["spec"]["runPolicy"]["restartScope"] == "Job";
            if counted < if whole { 1 } else { job.replaced.len() as u64 } {
                self.report(record, "S4: a failed pod is deleted before its failure is counted");
            }
        }
    }

    /// Whether a pod that only the operator can remove is gone before it may be.
    fn is_early(&self, record: &Record) -> bool {
        let mut jobs = self.jobs.values().map(|job| &job.object);
        let lost = jobs.find(|job| job["metadata"]["annotations"][LOST] == uid(&record.object));
        let seconds = lost.and_then(|job| job["spec"]["runPolicy"]["unreachableSeconds"].as_i64());
        let due = self.due.get(&uid(&record.object));
        matches!((seconds, due), (Some(seconds), Some(due)) if record.heard < due + seconds)
    }

    fn created(&mut self, record: &Record, owner: &str) {
        let pod = record.object.as_ref();
        let live = self.state.all(Kind::Pod).any(|(_, other)| {
            is_unfinished(other) && place(other) == place(pod) && self::owner(other).as_deref() == Some(owner)
        });
        if live && is_unfinished(pod) {
            self.report(record, "S1: a second live pod of one replica");
        }
        let Some(Job { object: job, .. }) = self.jobs.get(owner) else {
            return self.report(record, "S2: a pod of a job that there never was");
        };
        let known = job["status"]["observedGeneration"] == job["metadata"]["generation"];
        let broken = [
            (finished(job), "S3: a pod is created after the end"),
            (
                suspends(job) && has(job, "Suspended"),
                "S6: a pod is created while the job is suspended",
            ),
            (known && !is_wanted(job, pod), "S1: a pod outside of the replicas"),
            (
                excluded(pod) != excluded_by(job),
                "S4: a pod stays away from other nodes than are stored as excluded",
            ),
        ];
        for (_, violation) in broken.into_iter().filter(|(broken, _)| *broken) {
            self.report(record, violation);
        }
    }

    /// `active` is a claim on quota: it is never less than what runs or may run.
    fn claim(&mut self, record: &Record) {
        let Some((_, job)) = self.state.all(Kind::Job).next() else {
            return;
        };
        let mut short = Vec::new();
        for (role, _) in job["spec"]["pytorchReplicaSpecs"].as_object().into_iter().flatten() {
            let unfinished = self.state.all(Kind::Pod).filter(|(_, pod)| {
                let is_own = owner(pod).as_deref() == Some(&uid(job));
                is_own && is_unfinished(pod) && !self.strays.contains(&uid(pod)) && place(pod).0 == role.to_lowercase()
            });
            let (pods, active) = (
                unfinished.count() as u64,
                &job["status"]["replicaStatuses"][role]["active"],
            );
            if pods > count(active) {
                short.push(format!(
                    "claim: active of {role} is {active}, and {pods} pods are not finished"
                ));
            }
        }
        for violation in short {
            self.report(record, &violation);
        }
    }
}

/// What a stored job says against the laws by itself.
fn alone(job: &Value) -> Vec<&'static str> {
    let (status, policy) = (&job["status"], &job["spec"]["runPolicy"]);
    let mut found = Vec::new();
    if has(job, "Succeeded") && has(job, "Failed") {
        found.push("S3: two outcomes");
    }
    if finished(job) && !status["completionTime"].is_string() {
        found.push("S3: an outcome without a completionTime");
    }
    let limit = policy["backoffLimit"].as_u64();
    if limit.is_some_and(|limit| count(&status["restarts"]) > limit) {
        found.push("S4: more restarts than backoffLimit");
    }
    let window = &policy["restartWindow"]["restarts"];
    if window.is_u64() && count(&status["restarts"]) > count(window) {
        // No run is as long as the window.
        found.push("S4: more restarts than restartWindow");
    }
    if has(job, "Stalled") && (finished(job) || has(job, "Suspended")) {
        found.push("S4: a job stalls that does not run");
    }
    if let Some(deadline) = policy["activeDeadlineSeconds"].as_i64()
        && has(job, "Failed")
        && let (Some(start), Some(end)) = (second(&status["startTime"]), second(&status["completionTime"]))
        && end - start < deadline
    {
        found.push("S7: the deadline was early");
    }
    found
}

/// What a stored job says against the laws, after what it said before.
fn since(before: &Value, now: &Value) -> Vec<&'static str> {
    let (old, new) = (&before["status"], &now["status"]);
    let mut found = Vec::new();
    if finished(before) && outcome(before) != outcome(now) {
        found.push("S3: an outcome has changed");
    }
    if count(&new["restarts"]) < count(&old["restarts"]) {
        found.push("S4: restarts are forgotten");
    }
    let resumed = has(before, "Suspended") || has(now, "Suspended");
    if old["startTime"].is_string() && old["startTime"] != new["startTime"] && !resumed {
        found.push("S7: the start has moved");
    }
    let observed = |status: &Value| count(&status["observedGeneration"]);
    if observed(new) < observed(old) {
        found.push("S11: a status of an older generation");
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pytorchjob_operator::api::names;
    use serde_json::json;

    use super::*;
    use crate::job::with;

    /// A history of versions of a job and its pods, one after the other; `null` for the end of an object.
    fn history(versions: &[(Kind, &str, Value)]) -> Vec<Record> {
        let mut last = BTreeMap::new();
        let record = |(version, (kind, name, object)): (u64, &(Kind, &str, Value))| {
            let gone = object.is_null();
            if !gone {
                last.insert((*name).to_owned(), object.clone());
            }
            Record {
                version,
                kind: *kind,
                name: (*name).to_owned(),
                gone,
                heard: 1000,
                object: Arc::new(last[*name].clone()),
            }
        };
        (1..).zip(versions).map(record).collect()
    }

    /// A job of one master, with this status and these fields beside it.
    fn job(status: &Value, rest: &Value) -> (Kind, &'static str, Value) {
        let job = json!({
            "metadata": { "name": "job", "uid": "u", "generation": 1 },
            "spec": { "pytorchReplicaSpecs": { "Master": { "replicas": 1 } }, "runPolicy": { "backoffLimit": 1 } },
            "status": { "observedGeneration": 1, "replicaStatuses": { "Master": { "active": 1 } } },
        });
        let job = with(with(job, &json!({ "status": status })), rest);
        (Kind::Job, "job", job)
    }

    fn is_true(condition: &str) -> Value {
        json!([{ "type": condition, "status": "True" }])
    }

    fn pod(uid: &str, index: &str, phase: &str, deleted: bool) -> (Kind, &'static str, Value) {
        let labels =
            json!({ "training.kubeflow.org/replica-type": "master", "training.kubeflow.org/replica-index": index });
        let deletion = deleted.then_some("1970-01-01T00:10:00Z");
        let pod = json!({
            "metadata": { "name": uid, "uid": uid, "labels": labels, "deletionTimestamp": deletion,
                "ownerReferences": [{ "uid": "u", "controller": true }] },
            "status": { "phase": phase },
        });
        (Kind::Pod, if uid == "p" { "p" } else { "q" }, pod)
    }

    /// A job of so many attempts.
    fn attempts(newest: u32) -> (Kind, &'static str, Value) {
        job(&json!({ "attempts": [{ "number": newest }] }), &json!({}))
    }

    fn of_attempt(attempt: &str) -> (Kind, &'static str, Value) {
        annotated(names::ANNOTATION_ATTEMPT, attempt)
    }

    fn annotated(annotation: &str, value: &str) -> (Kind, &'static str, Value) {
        let (kind, name, pod) = pod("p", "0", "Running", false);
        let annotations = json!({ annotation: value });
        (
            kind,
            name,
            with(pod, &json!({ "metadata": { "annotations": annotations } })),
        )
    }

    /// What a history does against the laws, without where.
    fn broken(versions: &[(Kind, &str, Value)]) -> Vec<String> {
        let found = violations(&history(versions), &BTreeSet::new());
        let what = |law: &String| law.rsplit_once(" (").map(|(what, _)| what.to_owned());
        found.iter().filter_map(what).collect()
    }

    fn ended(rest: &Value) -> Value {
        with(
            json!({ "conditions": is_true("Succeeded"), "completionTime": "1970-01-01T00:16:00Z" }),
            rest,
        )
    }

    #[test]
    fn a_life_as_it_should_be_breaks_no_law() {
        let (created, none) = (job(&json!({}), &json!({})), json!({}));
        let counted = job(&json!({ "restarts": 1 }), &none);
        let life = [
            created,
            pod("p", "0", "Pending", false),
            pod("p", "0", "Failed", false),
            counted,
            pod("p", "0", "Failed", true),
            (Kind::Pod, "p", Value::Null),
            pod("q", "0", "Running", false),
            pod("q", "0", "Succeeded", false),
            job(&ended(&json!({ "restarts": 1 })), &none),
            (Kind::Job, "job", Value::Null),
        ];
        assert_eq!(broken(&life), [""; 0]);
        assert_eq!(broken(&[attempts(2), of_attempt("2")]), [""; 0]);
    }

    /// What is said, and a history of which it is.
    type Row = (&'static str, Vec<(Kind, &'static str, Value)>);

    fn with_policy(policy: &Value) -> Value {
        json!({ "spec": { "runPolicy": policy } })
    }

    /// Where pods are.
    fn of_pods() -> Vec<Row> {
        let plain = || job(&json!({}), &json!({}));
        let pending = || pod("p", "0", "Pending", false);
        let lost = json!({ "metadata": { "annotations": { LOST: "p" } } });
        // The pod should have ended 400 s before.
        let lost = with(lost, &with_policy(&json!({ "unreachableSeconds": 401 })));
        let suspended = json!({ "conditions": is_true("Suspended") });
        let suspended = job(&suspended, &with_policy(&json!({ "suspend": true })));
        let running = pod("q", "0", "Running", false);
        let terminating = pod("p", "0", "Running", true);
        vec![
            (
                "S1: a second live pod of one replica",
                vec![plain(), running, pending()],
            ),
            (
                "S1: a pod outside of the replicas",
                vec![plain(), pod("p", "1", "Succeeded", false)],
            ),
            (
                "S1: a pod of a lost node is given up too early",
                vec![job(&json!({}), &lost), terminating, (Kind::Pod, "p", Value::Null)],
            ),
            (
                "S2: a pod of a job that there never was",
                vec![pod("p", "0", "Succeeded", false)],
            ),
            (
                "S3: a pod is created after the end",
                vec![job(&ended(&json!({})), &json!({})), pending()],
            ),
            (
                "S6: a pod is created while the job is suspended",
                vec![suspended, pending()],
            ),
            (
                "claim: active of Master is null, and 1 pods are not finished",
                vec![job(&json!({ "replicaStatuses": null }), &json!({})), pending()],
            ),
        ]
    }

    /// What is counted, and what restarts are for.
    fn of_restarts() -> Vec<Row> {
        let none = json!({});
        let plain = || job(&none, &none);
        let restarts = |restarts: u32, rest: &Value| job(&json!({ "restarts": restarts }), rest);
        let failed = |deleted| pod("p", "0", "Failed", deleted);
        let window = with_policy(&json!({ "restartWindow": { "restarts": 0 } }));
        let stalls = json!([{ "type": "Stalled", "status": "True" }, { "type": "Failed", "status": "True" }]);
        let stalls = job(&ended(&json!({ "conditions": stalls })), &none);
        let excluding = annotated(names::ANNOTATION_EXCLUDED_NODES, "node");
        vec![
            (
                "S4: a failed pod is deleted before its failure is counted",
                vec![plain(), failed(false), failed(true)],
            ),
            (
                "S4: a pod is of an attempt that is not stored",
                vec![plain(), of_attempt("1")],
            ),
            (
                "S4: a pod is of an attempt that is not stored",
                vec![attempts(1), of_attempt("2")],
            ),
            ("S4: more restarts than backoffLimit", vec![restarts(2, &none)]),
            ("S4: more restarts than restartWindow", vec![restarts(1, &window)]),
            ("S4: a job stalls that does not run", vec![stalls]),
            (
                "S4: a pod stays away from other nodes than are stored as excluded",
                vec![plain(), excluding],
            ),
            ("S4: restarts are forgotten", vec![restarts(1, &none), plain()]),
        ]
    }

    /// What a status says, and when.
    fn of_statuses() -> Vec<Row> {
        let none = json!({});
        let plain = || job(&none, &none);
        let with_status = |status: &Value| job(status, &none);
        let both = json!([is_true("Succeeded")[0], is_true("Failed")[0]]);
        let at = |second: u32| with_status(&json!({ "startTime": format!("1970-01-01T00:00:{second:02}Z") }));
        let late = ended(&json!({ "conditions": is_true("Failed"), "startTime": "1970-01-01T00:15:52Z" }));
        let early = job(&late, &with_policy(&json!({ "activeDeadlineSeconds": 9 })));
        let kept = job(&ended(&none), &with_policy(&json!({ "ttlSecondsAfterFinished": 41 })));
        vec![
            ("S3: two outcomes", vec![with_status(&json!({ "conditions": both }))]),
            ("S3: an outcome has changed", vec![with_status(&ended(&none)), plain()]),
            (
                "S3: an outcome without a completionTime",
                vec![with_status(&json!({ "conditions": is_true("Failed") }))],
            ),
            ("S7: the deadline was early", vec![early]),
            ("S7: the start has moved", vec![at(1), at(2)]),
            (
                "S8: the job is deleted too early",
                vec![kept, (Kind::Job, "job", Value::Null)],
            ),
            (
                "S11: a status of an older generation",
                vec![plain(), with_status(&json!({ "observedGeneration": 0 }))],
            ),
        ]
    }

    #[test]
    fn each_law_is_broken_by_a_history() {
        for (law, versions) in [of_pods(), of_restarts(), of_statuses()].concat() {
            let broken = broken(&versions);
            assert!(broken.iter().any(|broken| broken == law), "{law}: {broken:?}");
        }
    }
}
