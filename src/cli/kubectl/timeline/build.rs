//! The timeline of a job, from the objects and the events that tell of it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{JobStatus, PyTorchJob, Replica, ReplicaType, names};
use crate::cli::kubectl::observation::{Observation, owns};
use crate::cli::kubectl::pod::Pod;
use crate::cli::kubectl::stage::Stage;
use crate::cli::kubectl::timeline::job::{far, limits, remarks, row};
use crate::cli::kubectl::timeline::model::{Mark, Row, Timeline};
use crate::cli::kubectl::timeline::replica::Known;
use crate::cli::kubectl::timeline::told::Told;
use crate::planner::{finished, state};

/// The part of the length that a finished job goes on, so that it is seen how its pods ended.
const TAIL: i32 = 12;

impl Timeline {
    /// What the objects and the events tell.
    pub(super) fn of(observation: &Observation) -> Result<Self, String> {
        let job = observation.job()?;
        let status = job.status.clone().unwrap_or_default();
        let told = events(observation, &job);
        let of_job: Vec<&Told> = told.iter().filter(|told| told.kind == names::KIND).collect();
        let begin = job
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(observation.time, |Time(at)| *at);
        let known = known(&status, &told, begin, observation.time);
        let rows = replicas(observation, &job, &told, known);
        let mut said = remarks(&status, &of_job);
        let silent: Vec<&str> = rows
            .iter()
            .filter(|row| row.spans.is_empty())
            .map(|row| row.name.as_str())
            .collect();
        if !silent.is_empty() {
            said.push(format!("No pod and no event tells of {}.", silent.join(", ")));
        }
        said.extend(observation.unread.iter().map(|unread| format!("Not read: {unread}")));
        let (near, distant): (Vec<Mark>, Vec<Mark>) = limits(&job, &status)
            .into_iter()
            .partition(|limit| is_near(limit, begin, known));
        said.extend(distant.iter().map(|limit| far(limit, observation.time)));
        Ok(Self {
            job: ["namespace", "name"]
                .map(|field| observation.job["metadata"][field].as_str().unwrap_or_default())
                .join("/"),
            state: state(&status)
                .map_or("without status", |state| state.as_str())
                .to_owned(),
            begin,
            known,
            end: near.iter().map(|limit| limit.at).chain([known]).max().unwrap_or(known),
            rows: [row(&job, &status, &of_job, &ran(&rows, &status), known)]
                .into_iter()
                .chain(rows)
                .collect(),
            limits: near,
            remarks: said,
        })
    }
}

/// The events that are about this job and not about an earlier one of its name, the oldest first.
fn events(observation: &Observation, job: &PyTorchJob) -> Vec<Told> {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let mut told: Vec<Told> = observation.events.iter().filter_map(Told::of).collect();
    told.retain(|told| told.kind != names::KIND || told.uid == uid);
    told.sort_by_key(|told| told.at);
    told
}

/// Of a job that goes on, until now. One that has ended goes on a little, and until its pods are gone.
fn known(status: &JobStatus, told: &[Told], begin: Timestamp, now: Timestamp) -> Timestamp {
    let Some(Time(completed)) = status.completion_time.clone().filter(|_| finished(status)) else {
        return now;
    };
    let last = told
        .iter()
        .map(|told| told.at)
        .chain([completed])
        .max()
        .unwrap_or(completed);
    let tail = (completed.duration_since(begin) / TAIL).max(SignedDuration::from_secs(1));
    last.checked_add(tail).unwrap_or(now).min(now)
}

/// Whether a limit is so near that everything else can still be seen beside it.
fn is_near(limit: &Mark, begin: Timestamp, known: Timestamp) -> bool {
    limit.at.duration_since(known) <= known.duration_since(begin) / 2
}

/// When what makes the job run was started: the Master, or without one any worker.
fn ran(rows: &[Row], status: &JobStatus) -> Vec<Timestamp> {
    let master = ReplicaType::Master.label();
    let leads = |row: &&Row| row.name.starts_with(master) || !rows.iter().any(|row| row.name.starts_with(master));
    let spans = rows.iter().filter(leads).flat_map(|row| &row.spans);
    let started = spans.filter(|span| span.stage == Stage::Running).map(|span| span.from);
    let ended = status.completion_time.as_ref().map(|Time(at)| *at);
    started.filter(|at| ended.is_none_or(|ended| *at < ended)).collect()
}

/// A row for each replica that the spec asks for, and for each of which anything is known.
fn replicas(observation: &Observation, job: &PyTorchJob, told: &[Told], known: Timestamp) -> Vec<Row> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let pods = observation.pods.iter().filter(|pod| owns(uid, pod));
    let pods = pods.filter_map(|pod| serde_json::from_value::<Pod>(pod.clone()).ok());
    let pods = pods.filter_map(|pod| Some((Replica::parse(name, pod.metadata.name.as_deref()?)?, pod)));
    let pods: BTreeMap<Replica, Pod> = pods.collect();
    let of_job: Vec<&Told> = told.iter().filter(|told| told.kind == names::KIND).collect();
    let mut of_pods: BTreeMap<Replica, Vec<&Told>> = BTreeMap::new();
    for event in told.iter().filter(|told| told.kind == "Pod") {
        if let Some(replica) = Replica::parse(name, &event.name) {
            of_pods.entry(replica).or_default().push(event);
        }
    }
    let desired = ReplicaType::ALL.into_iter();
    let desired = desired.flat_map(|type_| (0..job.spec.replicas(type_)).map(move |index| Replica { type_, index }));
    let all: BTreeSet<Replica> = desired
        .chain(pods.keys().copied())
        .chain(of_pods.keys().copied())
        .collect();
    let completed = job.status.as_ref().and_then(|status| status.completion_time.as_ref());
    let has_master = job.spec.replicas(ReplicaType::Master) > 0;
    let row = |replica: Replica| {
        let known = Known {
            pod: &replica.name(name),
            now: pods.get(&replica),
            events: of_pods.remove(&replica).unwrap_or_default(),
            of_job: &of_job,
            completed: completed.map_or(known, |Time(at)| *at),
            end: known,
        };
        Row {
            name: format!("{}-{}", replica.type_.label(), replica.index),
            rank: Some(replica.rank(has_master)),
            ..known.row()
        }
    };
    all.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::names::reason;

    /// So many seconds after the job was created.
    fn at(second: i64) -> String {
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        begin
            .checked_add(SignedDuration::from_secs(second))
            .unwrap()
            .to_string()
    }

    fn job(spec: &Value, status: &Value) -> Value {
        let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
        let mut job = json!({
            "metadata": { "name": "train", "namespace": "team", "uid": "u", "creationTimestamp": at(0) },
            "spec": { "pytorchReplicaSpecs": { "Master": { "template": template }, "Worker": { "template": template } } },
            "status": status,
        });
        spec.as_object()
            .unwrap()
            .iter()
            .for_each(|(field, value)| job["spec"][field] = value.clone());
        job
    }

    /// Scheduled a second after it was created, if at all.
    fn pod(name: &str, uid: &str, created: i64, mut status: Value) -> Value {
        if status["conditions"][0]["type"] == "PodScheduled" {
            status["conditions"][0]["lastTransitionTime"] = at(created + 1).into();
        }
        json!({
            "metadata": { "name": name, "uid": uid, "creationTimestamp": at(created),
                "ownerReferences": [{ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "train", "uid": "u" }] },
            "spec": { "nodeName": "node-0", "containers": [{ "name": "pytorch" }] }, "status": status,
        })
    }

    fn status(phase: &str, state: &Value) -> Value {
        json!({
            "phase": phase,
            "conditions": [{ "type": "PodScheduled", "status": "True" }],
            "containerStatuses": [{ "name": "pytorch", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state }],
        })
    }

    fn ran(from: i64, until: i64, code: i32) -> Value {
        json!({ "terminated": { "exitCode": code, "startedAt": at(from), "finishedAt": at(until) } })
    }

    fn told(second: i64, about: [&str; 3], reason: &str, note: &str) -> Value {
        let [kind, name, uid] = about;
        json!({ "eventTime": at(second), "reason": reason, "note": note,
            "regarding": { "kind": kind, "name": name, "uid": uid, "fieldPath": "spec.containers{pytorch}" } })
    }

    fn timeline(now: i64, job: Value, pods: &[Value], events: &[Value]) -> Timeline {
        let observation = Observation {
            pods: pods.to_vec(),
            events: events.to_vec(),
            ..Observation::new(job, at(now).parse().unwrap())
        };
        Timeline::of(&observation).unwrap()
    }

    /// A line for each row, with seconds.
    fn outline(timeline: &Timeline) -> Vec<String> {
        let second = |at: Timestamp| at.duration_since(timeline.begin).as_secs();
        let line = |row: &Row| {
            let spans = row
                .spans
                .iter()
                .map(|span| format!(" {} {}-{}", span.stage.word(), second(span.from), second(span.until)));
            let marks = row
                .marks
                .iter()
                .map(|mark| format!(" {}{}", mark.kind.letter(), second(mark.at)));
            row.name.clone() + ":" + &spans.chain(marks).collect::<String>()
        };
        timeline.rows.iter().map(line).collect()
    }

    const JOB: [&str; 3] = ["PyTorchJob", "train", "u"];

    #[test]
    fn pods_that_are_gone_are_told_by_events_and_those_that_exist_by_themselves() {
        let first = ["Pod", "train-worker-0", "first"];
        let conditions = json!([
            { "type": "Running", "status": "False", "reason": reason::RUNNING, "lastTransitionTime": at(30) },
            { "type": "Succeeded", "status": "True", "reason": reason::SUCCEEDED, "lastTransitionTime": at(60) },
        ]);
        let done = json!({ "conditions": conditions, "completionTime": at(60), "restarts": 1 });
        let failed =
            "PyTorchJob train is restarting because 1 Worker replica(s) failed. train-worker-0 exited with code 1.";
        let events = [
            told(
                1,
                JOB,
                reason::CREATED_POD,
                "Created pods: train-master-0, train-worker-0",
            ),
            told(2, first, "Scheduled", ""),
            told(3, first, "Pulling", ""),
            told(8, first, "Pulled", ""),
            told(9, first, "Started", ""),
            told(20, JOB, reason::RESTARTING, failed),
            told(21, JOB, reason::DELETED_POD, "Deleted pod: train-worker-0"),
            told(23, JOB, reason::CREATED_POD, "Created pod: train-worker-0"),
            told(1, ["PyTorchJob", "train", "an earlier one"], reason::SUSPENDED, ""),
        ];
        let pods = [
            pod("train-master-0", "m", 1, status("Succeeded", &ran(9, 60, 0))),
            pod("train-worker-0", "second", 22, status("Succeeded", &ran(25, 59, 0))),
        ];
        let timeline = timeline(3600, job(&json!({}), &done), &pods, &events);
        assert_eq!(
            outline(&timeline),
            [
                "job: queued 0-9 running 9-20 restarting 20-30 running 30-60 succeeded 60-65 R20",
                "master-0: queued 1-2 scheduled 2-9 running 9-60 succeeded 60-65",
                "worker-0: queued 1-2 scheduled 2-3 pulling 3-8 scheduled 8-9 running 9-20 failed 20-21 terminating 21-22 \
                 queued 22-23 scheduled 23-25 running 25-59 succeeded 59-65 R20",
            ]
        );
        assert_eq!(
            (timeline.job.as_str(), timeline.state.as_str()),
            ("team/train", "Succeeded")
        );
        assert_eq!(timeline.remarks, [""; 0]);
        assert_eq!(
            timeline.rows.iter().map(|row| row.rank).collect::<Vec<_>>(),
            [None, Some(0), Some(1)]
        );
    }

    #[test]
    fn a_pod_says_what_it_is_at_how_it_ended_and_when_its_container_was_started_again() {
        let sandbox = |mut status: Value| {
            let ready = json!({ "type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": at(4) });
            status["conditions"].as_array_mut().unwrap().push(ready);
            status
        };
        let running = json!({ "running": { "startedAt": at(31) } });
        let mut restarted = status("Running", &running);
        restarted["containerStatuses"][0]["restartCount"] = 1.into();
        restarted["containerStatuses"][0]["lastState"] = ran(5, 20, 1);
        let mut often = restarted.clone();
        often["containerStatuses"][0]["restartCount"] = 4.into();
        let mut deleted = pod(
            "train-master-0",
            "m",
            1,
            status("Running", &json!({ "running": { "startedAt": at(5) } })),
        );
        deleted["metadata"]["deletionTimestamp"] = at(70).into();
        deleted["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        let evicted = json!({ "phase": "Failed", "reason": "Evicted", "conditions": [
            { "type": "PodScheduled", "status": "True" },
            { "type": "Ready", "status": "False", "lastTransitionTime": at(33) }] });
        let waits = json!({ "waiting": { "reason": "ContainerCreating" } });
        let master = |status: Value| pod("train-master-0", "m", 1, status);
        for (pod, events, expected) in [
            (master(json!({})), vec![], "queued 1-50"),
            (master(status("Pending", &waits)), vec![], "queued 1-2 scheduled 2-50"),
            (
                master(sandbox(status("Pending", &waits))),
                vec![],
                "queued 1-2 scheduled 2-4 pulling 4-50",
            ),
            (
                master(restarted),
                vec![],
                "queued 1-2 scheduled 2-5 running 5-20 restarting 20-31 running 31-50 R20",
            ),
            (
                master(often),
                vec![told(3, ["Pod", "train-master-0", "m"], "Started", "")],
                "queued 1-2 scheduled 2-3 running 3-20 restarting 20-31 running 31-50 R20",
            ),
            (
                master(status("Failed", &ran(5, 20, 137))),
                vec![],
                "queued 1-2 scheduled 2-5 running 5-20 failed 20-50",
            ),
            (master(evicted), vec![], "queued 1-2 scheduled 2-33 failed 33-50"),
            (
                deleted,
                vec![],
                "queued 1-2 scheduled 2-5 running 5-40 terminating 40-50",
            ),
        ] {
            let timeline = timeline(50, job(&json!({}), &json!({})), &[pod], &events);
            assert_eq!(outline(&timeline)[1], format!("master-0: {expected}"));
        }
    }

    #[test]
    fn a_suspension_is_in_the_row_of_the_job_and_limits_are_shown_when_they_are_near() {
        let events = [told(20, JOB, reason::SUSPENDED, ""), told(30, JOB, reason::RESUMED, "")];
        let suspension = |now| format!("job: queued 0-20 suspended 20-30 queued 30-31 running 31-{now}");
        for (deadline, now, near, remark) in [
            (Some(60), 80, Some(90), None),
            (Some(60), 200, Some(90), None),
            (
                Some(3600),
                80,
                None,
                Some("Deadline: in 59m, at 2026-01-01T01:00:30Z (activeDeadlineSeconds: 3600)."),
            ),
            (None, 80, None, None),
        ] {
            let running =
                json!({ "type": "Running", "status": "True", "reason": reason::RUNNING, "lastTransitionTime": at(31) });
            let status = json!({ "startTime": at(30), "conditions": [running] });
            let timeline = timeline(
                now,
                job(&json!({ "activeDeadlineSeconds": deadline }), &status),
                &[],
                &events,
            );
            assert_eq!(outline(&timeline)[0], suspension(now));
            let shown: Vec<String> = timeline.limits.iter().map(|limit| limit.at.to_string()).collect();
            assert_eq!(shown, near.map(at).into_iter().collect::<Vec<_>>());
            let end = at(near.unwrap_or(now).max(now));
            assert_eq!(timeline.end.to_string(), end, "the axis goes on to the limit");
            assert_eq!(
                timeline
                    .remarks
                    .iter()
                    .rfind(|said| said.starts_with("Deadline"))
                    .map(String::as_str),
                remark
            );
        }
        let done = json!([{ "type": "Succeeded", "status": "True", "reason": reason::SUCCEEDED, "lastTransitionTime": at(60) }]);
        let status = json!({ "conditions": done, "completionTime": at(60) });
        let timeline = timeline(
            61,
            job(&json!({ "ttlSecondsAfterFinished": 20 }), &status),
            &[],
            &events,
        );
        assert_eq!(
            (timeline.limits[0].kind.letter(), timeline.limits[0].at.to_string()),
            ('T', at(80))
        );
    }

    #[test]
    fn a_restart_of_a_worker_does_not_end_the_running_of_the_job_that_its_condition_tells_in_seconds() {
        let restarted = json!({ "eventTime": "2026-01-01T00:00:20.700Z", "reason": reason::RESTARTING, "note": "",
            "regarding": { "kind": "PyTorchJob", "name": "train", "uid": "u" } });
        let running =
            json!({ "type": "Running", "status": "True", "reason": reason::RUNNING, "lastTransitionTime": at(20) });
        let master = pod(
            "train-master-0",
            "m",
            1,
            status("Running", &json!({ "running": { "startedAt": at(9) } })),
        );
        let status = json!({ "conditions": [running], "restarts": 1 });
        let timeline = timeline(50, job(&json!({}), &status), &[master], &[restarted]);
        assert_eq!(outline(&timeline)[0], "job: queued 0-9 running 9-50 R20");
    }

    #[test]
    fn what_nobody_knows_any_more_is_said() {
        let failure = json!({ "pod": "train-worker-0", "exitCode": 137, "reason": "OOMKilled", "node": "node-1" });
        let conditions = json!([{ "type": "Failed", "status": "True", "reason": reason::FAILED, "message": "m", "lastTransitionTime": at(60) }]);
        let status =
            json!({ "conditions": conditions, "completionTime": at(60), "restarts": 3, "firstFailure": failure });
        let timeline = timeline(86_400, job(&json!({}), &status), &[], &[]);
        assert_eq!(
            outline(&timeline),
            ["job: queued 0-60 failed 60-65", "master-0:", "worker-0:"]
        );
        assert_eq!(
            timeline.remarks,
            [
                "The first failure was that of train-worker-0 with exit code 137 (OOMKilled) on node-1.",
                "3 restarts are counted, and events tell of 0. The API server forgets events after its --event-ttl, an hour by default.",
                "No pod and no event tells of master-0, worker-0.",
            ]
        );
    }
}
