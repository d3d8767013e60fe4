//! What is deleted is what was meant, and there is a reason.

use serde_json::Value;

use super::objects::{is_of_ended_attempt, policy, rests, stored_job, terminal, time};
use super::{Job, Laws, Sent};
use crate::simulation::api_server::Store;
use crate::simulation::api_server::request::Target;
use crate::simulation::nodes::{Life, Nodes, deleting, owner, pods, running, uid};
use crate::simulation::policies::{ignores, may_be_forced, restarts_otherwise};
use crate::simulation::process::wall;

impl Laws {
    pub(super) fn deleted(&mut self, sent: &Sent<'_>, store: &Store, nodes: &Nodes) -> Result<(), String> {
        let object = sent.before.as_ref().ok_or("what is not there was deleted")?;
        let what = format!("{} {}", sent.target.key.resource.plural, sent.target.key.name);
        names_its_uid(sent)?;
        let options: Value = serde_json::from_slice(&sent.request.body).unwrap_or_default();
        let Some(job_uid) = owner(object) else {
            let excused = self.was_left_unnoticed(object, sent).then_some(());
            return excused.ok_or_else(|| format!("{what} was deleted although no job controls it"));
        };
        let Some(job) = self
            .jobs
            .get_mut(job_uid)
            .filter(|job| job.namespace == sent.target.key.namespace)
        else {
            return Err(format!(
                "{what} was deleted although a job of another namespace controls it"
            ));
        };
        job.asked_to_go.insert(uid(object).to_owned());
        if options["gracePeriodSeconds"] == 0 && job.restored.is_none() {
            let Some(stored) = stored_job(store, &job.namespace, job_uid) else {
                let knew = job.leaves.is_some_and(|(since, version)| {
                    self.knowledge[sent.replica].has_to_know(job_uid, since, version, sent.at)
                });
                return if knew {
                    Err(format!(
                        "{what} was deleted by force, and the operator knew that its job is gone"
                    ))
                } else {
                    Ok(())
                };
            };
            return may_be_forced(object, stored, sent.now).map_err(|why| format!("{what} was deleted {why}"));
        }
        let Some(stored) = stored_job(store, &job.namespace, job_uid).filter(|_| job.restored.is_none() && !job.edited)
        else {
            return Ok(());
        };
        if sent.target.key.resource.plural != "pods" {
            return is_in_use(object, stored, store).map_err(|why| format!("{what} was deleted {why}"));
        }
        if job.unwanted.is_some() {
            return is_to_stay(object, stored).map_err(|why| format!("{what} was deleted {why}"));
        }
        let life = nodes.lives.get(uid(object)).cloned().unwrap_or_default();
        needed(object, stored, &life).map_err(|why| format!("{what} was deleted {why}"))
    }

    /// Whether the job of an object began to be deleted, leaving the object behind, and the operator did not have to
    /// know that when it sent the request.
    pub(super) fn was_left_unnoticed(&self, object: &Value, sent: &Sent<'_>) -> bool {
        let name = &object["metadata"]["labels"]["training.kubeflow.org/job-name"];
        let of_job = |job: &Job| job.namespace == sent.target.key.namespace && *name == job.name;
        let knowledge = &self.knowledge[sent.replica];
        let mut left = self.jobs.iter().filter(|(_, job)| of_job(job));
        left.any(|(uid, job)| {
            job.leaves
                .is_some_and(|(since, version)| !knowledge.has_to_know(uid, since, version, sent.at))
        })
    }
}

/// What is deleted is the object that was meant, and not another one of its name.
pub(super) fn names_its_uid(sent: &Sent<'_>) -> Result<(), String> {
    let options: Value = serde_json::from_slice(&sent.request.body).unwrap_or_default();
    let Target { key, .. } = sent.target;
    if options["preconditions"]["uid"].is_null() {
        return Err(format!(
            "{} {} was deleted without its UID",
            key.resource.plural, key.name
        ));
    }
    Ok(())
}

/// The service of a pod that runs stays while its job works.
fn is_in_use(service: &Value, job: &Value, store: &Store) -> Result<(), String> {
    let works = !terminal(job) && !rests(job) && !deleting(job);
    let name = &service["metadata"]["name"];
    let namespace = job["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut pods = pods(store, namespace).map(|(_, pod)| pod);
    let runs = |pod: &Value| pod["metadata"]["name"] == *name && owner(pod) == Some(uid(job)) && running(pod);
    if works && service["kind"] == "Service" && pods.any(|pod| runs(pod) && !deleting(pod)) {
        return Err("although its pod runs".into());
    }
    Ok(())
}

/// The pods of a finished job stay where it says so.
fn is_to_stay(pod: &Value, job: &Value) -> Result<(), String> {
    let stays = policy(job, "cleanPodPolicy") == "None" && terminal(job) && !deleting(job);
    if stays && !deleting(pod) {
        return Err("although its job keeps it".into());
    }
    Ok(())
}

/// Whether there was a reason to delete a pod of a job that works.
fn needed(pod: &Value, job: &Value, life: &Life) -> Result<(), String> {
    let status = &job["status"];
    let replaced = status["replacedPods"].as_array().into_iter().flatten();
    let counted = replaced.into_iter().any(|uid| *uid == pod["metadata"]["uid"]);
    let ignored = ignores(job, life);
    let uncounted = life.failed() && pod["status"]["phase"] == "Failed" && !counted && !ignored;
    if uncounted && !restarts_in_place(job) && !is_of_ended_attempt(pod, job) {
        return Err("before its failure was counted".into());
    }
    let policy = &job["spec"]["runPolicy"];
    let restarted = status["restarts"].as_i64().unwrap_or(0) > 0;
    let whole = match (policy["restartScope"] == "Job", policy["restartStrategy"] == "InPlace") {
        (true, false) => is_of_ended_attempt(pod, job),
        // What cannot start again in its pod is replaced.
        (true, true) => restarted,
        (false, _) => restarts_otherwise(job) && restarted,
    };
    if !whole && life.ended.is_none() && !life.stopped {
        return Err("for no reason".into());
    }
    Ok(())
}

/// Whether a restart in place goes on: whatever fails meanwhile counts no more.
fn restarts_in_place(job: &Value) -> bool {
    let attempts = job["status"]["attempts"].as_array();
    let newest = attempts.and_then(|attempts| attempts.last());
    let begins = newest.is_some_and(|newest| newest["runningSince"].is_null());
    job["spec"]["runPolicy"]["restartStrategy"] == "InPlace" && begins
}

pub(super) fn deleted_job(sent: &Sent<'_>) -> Result<(), String> {
    let job = sent.before.as_ref().ok_or("a job was deleted that is not there")?;
    let options: Value = serde_json::from_slice(&sent.request.body).unwrap_or_default();
    let bound = &options["preconditions"];
    if bound["uid"].is_null() || bound["resourceVersion"].is_null() {
        return Err("a job was deleted without preconditions".into());
    }
    let done = time(&job["status"]["completionTime"]).ok_or("a job was deleted before it had ended")?;
    let seconds = policy(job, "ttlSecondsAfterFinished")
        .as_i64()
        .ok_or("a job without TTL was deleted")?;
    if wall(sent.now).as_second() < done.as_second() + seconds {
        return Err("a job was deleted before its TTL".into());
    }
    Ok(())
}
