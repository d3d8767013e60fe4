//! What must hold in every version of everything that is stored, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::observer::{Kind, Record, State};
use crate::stage::{has, is_deleted, second, uid};

/// What a history does against the laws. What stray requests created is nobody's decision.
pub fn violations(history: &[Record], strays: &BTreeSet<String>) -> Vec<String> {
    let mut replay = Replay {
        strays,
        state: State::default(),
        jobs: BTreeMap::new(),
        pods: BTreeSet::new(),
        found: Vec::new(),
    };
    for record in history {
        match record.kind {
            Kind::Job if !record.gone => replay.job(record),
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

    fn pod(&mut self, record: &Record) {
        let pod = record.object.as_ref();
        let Some(owner) = owner(pod) else { return };
        if self.pods.insert(uid(pod)) && !self.strays.contains(&uid(pod)) {
            self.created(record, &owner);
        }
        let Some(job) = self.jobs.get_mut(&owner) else { return };
        let alive = self.state.all(Kind::Job).any(|(_, job)| uid(job) == owner);
        let ended = finished(&job.object) || !alive || suspends(&job.object);
        let failed = pod["status"]["phase"] == "Failed";
        if failed && !ended && (record.gone || is_deleted(pod)) && is_wanted(&job.object, pod) {
            job.replaced.insert(uid(pod));
            let counted = count(&job.object["status"]["restarts"]);
            let whole = job.object["spec"]["runPolicy"]["restartScope"] == "Job";
            if counted < if whole { 1 } else { job.replaced.len() as u64 } {
                self.report(record, "S4: a failed pod is deleted before its failure is counted");
            }
        }
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

fn finished(job: &Value) -> bool {
    has(job, "Succeeded") || has(job, "Failed")
}

/// The verdict with its reason and message, and its time.
fn outcome(job: &Value) -> (Vec<[Value; 4]>, Value) {
    let conditions = job["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let verdicts = conditions
        .iter()
        .filter(|entry| matches!(entry["type"].as_str(), Some("Succeeded" | "Failed")) && entry["status"] == "True");
    let verdicts =
        verdicts.map(|entry| ["type", "reason", "message", "lastTransitionTime"].map(|field| entry[field].clone()));
    (verdicts.collect(), job["status"]["completionTime"].clone())
}

fn suspends(job: &Value) -> bool {
    job["spec"]["runPolicy"]["suspend"] == true
}

fn count(number: &Value) -> u64 {
    number.as_u64().unwrap_or_default()
}

/// The UID of the job that controls a pod.
fn owner(pod: &Value) -> Option<String> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let controller = owners.iter().find(|owner| owner["controller"] == true)?;
    Some(uid_of(controller))
}

fn uid_of(reference: &Value) -> String {
    reference["uid"].as_str().unwrap_or_default().to_owned()
}

/// Role and index.
fn place(pod: &Value) -> (String, u64) {
    let label = |name: &str| pod["metadata"]["labels"][format!("training.kubeflow.org/{name}")].as_str();
    let index = label("replica-index").and_then(|index| index.parse().ok());
    (
        label("replica-type").unwrap_or_default().to_owned(),
        index.unwrap_or(u64::MAX),
    )
}

fn is_wanted(job: &Value, pod: &Value) -> bool {
    let (role, index) = place(pod);
    let specs = job["spec"]["pytorchReplicaSpecs"].as_object();
    let spec = specs
        .into_iter()
        .flatten()
        .find(|(name, _)| name.to_lowercase() == role);
    spec.is_some_and(|(_, spec)| index < spec["replicas"].as_u64().unwrap_or(1))
}

fn is_unfinished(pod: &Value) -> bool {
    !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}
