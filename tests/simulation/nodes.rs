//! The nodes: a scheduler, kubelets and what ends pods. What a pod really did is kept here, for the laws to compare with
//! what the operator makes of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::api_server::{Key, Resource, Store, finished, whole_second};
use super::process::{Millis, wall};
use crate::api::names;
use crate::planner::Mark;

/// Number of nodes.
pub(super) const NODES: u64 = 2;

/// What a pod really did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// UID of the job that made it.
    pub(super) job: String,
    /// Whether it was told to stop before it ended.
    pub(super) stopped: bool,
    /// How it ended.
    pub(super) ended: Option<End>,
    /// With which resources its container has started after an end. With these the kubelet backs off.
    pub(super) started_with: BTreeSet<String>,
    /// From when until when one run of its container was found not to write.
    pub(super) stands: Vec<(Millis, Millis)>,
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its container did, with this code.
    Exited(i32),
    /// As a whole.
    Evicted,
}

impl Life {
    /// Whether it did its work to the end.
    pub(super) fn succeeded(&self) -> bool {
        !self.stopped && self.ended == Some(End::Exited(0))
    }

    /// Whether it failed by itself.
    pub(super) fn failed(&self) -> bool {
        !self.stopped && self.ended.is_some_and(|end| end != End::Exited(0))
    }
}

/// All pods that ever were, by UID, and when nodes are back that are lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    pub(super) lives: BTreeMap<String, Life>,
    pub(super) back: BTreeMap<u64, Millis>,
}

impl Nodes {
    /// Until when the node of a pod is lost.
    pub(super) fn lost_until(&self, pod: &Value, now: Millis) -> Option<Millis> {
        let back = self.back.get(&node_of(pod))?;
        (*back > now).then_some(*back)
    }

    /// The container of a pod has started again.
    pub(super) fn restarted(&mut self, pod: &Value) {
        if let Some(life) = self.lives.get_mut(uid(pod)) {
            life.started_with.insert(resources(pod).to_string());
        }
    }

    /// Whether the kubelet starts the container of a pod at once although it has just failed.
    pub(super) fn starts_at_once(&self, pod: &Value) -> bool {
        let life = self.lives.get(uid(pod));
        !life.is_some_and(|life| life.started_with.contains(&resources(pod).to_string()))
    }

    /// Takes in whether a pod stands still.
    pub(super) fn changed(&mut self, before: Option<&Value>, after: &Value, now: Millis) {
        let (stood, stands) = (before.and_then(still), still(after));
        if stood == stands {
            return;
        }
        let life = self.lives.entry(uid(after).to_owned()).or_default();
        if let Some((_, until)) = life.stands.last_mut() {
            *until = now.min(*until);
        }
        if stands.is_some() {
            life.stands.push((now, Millis::MAX));
        }
    }

    /// Takes in a pod that was created.
    pub(super) fn born(&mut self, pod: &Value) {
        let life = Life {
            job: owner(pod).unwrap_or_default().to_owned(),
            ..Life::default()
        };
        self.lives.insert(uid(pod).to_owned(), life);
    }

    /// How many pods of a job have failed by themselves.
    pub(super) fn failures_of(&self, job: &str) -> i64 {
        self.count(job, Life::failed)
    }

    /// How many have done their work to the end.
    pub(super) fn successes_of(&self, job: &str) -> i64 {
        self.count(job, Life::succeeded)
    }

    fn count(&self, job: &str, such: impl Fn(&Life) -> bool) -> i64 {
        let lives = self.lives.values().filter(|life| life.job == job && such(life));
        i64::try_from(lives.count()).unwrap()
    }

    /// A pod is gone.
    pub(super) fn gone(&mut self, pod: &Value, now: Millis) {
        self.stop(pod);
        let life = self.lives.get_mut(uid(pod));
        if let Some((_, until)) = life.and_then(|life| life.stands.last_mut()) {
            *until = now.min(*until);
        }
    }

    /// A pod was told to stop.
    pub(super) fn stop(&mut self, pod: &Value) {
        let life = self.lives.entry(uid(pod).to_owned()).or_default();
        life.stopped |= life.ended.is_none();
    }
}

fn node_of(pod: &Value) -> u64 {
    uid(pod).bytes().map(u64::from).sum::<u64>() % NODES
}

pub(super) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// UID of the job that controls an object.
pub(super) fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let controls = |owner: &&Value| owner["controller"] == true && owner["kind"] == "PyTorchJob";
    owners.iter().find(controls)?["uid"].as_str()
}

/// Whether the deletion of an object has begun.
pub(super) fn deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

pub(super) fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && !has_ended(pod)
}

/// Whether the container has ended for good, and the kubelet has yet to say so of the pod.
pub(super) fn has_ended(pod: &Value) -> bool {
    let state = &pod["status"]["containerStatuses"][0]["state"];
    pod["status"]["phase"] == "Running" && !state["terminated"].is_null()
}

/// The pods of a namespace.
pub(super) fn pods<'a>(store: &'a Store, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
    let entries = store.entries(Resource::named("pods"), namespace);
    entries.map(|(key, pod)| (key, pod.as_ref()))
}

/// The scheduler has found a node.
pub(super) fn bound(pod: &mut Value) {
    pod["spec"]["nodeName"] = json!(format!("node-{}", node_of(pod)));
    pod["status"]["conditions"] = json!([{ "type": "PodScheduled", "status": "True" }]);
}

/// Whether the kubelet looks at what the pod writes.
pub(super) fn has_to_write(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][names::ANNOTATION_PROGRESS_DEADLINE].is_null()
}

/// The kubelet finds that nothing was written for too long.
pub(super) fn unready(pod: &mut Value, now: Millis) {
    let condition =
        |type_: &str| json!({ "type": type_, "status": "False", "lastTransitionTime": whole_second(wall(now)) });
    pod["status"]["conditions"] = json!([condition("Ready"), condition("ContainersReady")]);
}

/// Which run of its container does not write, if one does not.
pub(super) fn still(pod: &Value) -> Option<&Value> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let unready = |entry: &Value| entry["type"] == "ContainersReady" && entry["status"] == "False";
    let started = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    (conditions.iter().any(unready) && started.is_string()).then_some(started)
}

/// The containers run.
pub(super) fn started(pod: &mut Value, now: Millis) {
    let state = json!({ "running": { "startedAt": whole_second(wall(now)) } });
    pod["status"]["phase"] = json!("Running");
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
    pod["status"]["containerStatuses"] = json!([{ "name": "pytorch", "restartCount": 0, "state": state,
        "resources": resources(pod) }]);
}

/// What the container is to have.
fn resources(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["resources"]
}

/// Whether the container runs with other resources than it is to have.
pub(super) fn asked_to_restart(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["resources"] != *resources(pod)
}

/// Whether the container can start again in the pod because the operator asks for it.
pub(super) fn starts_in_place(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][names::ANNOTATION_IN_PLACE].is_null()
}

/// Whether the container has failed and the kubelet waits before it starts it again.
pub(super) fn backs_off(pod: &Value) -> bool {
    !pod["status"]["containerStatuses"][0]["state"]["waiting"].is_null()
}

/// The container has failed, and the kubelet waits before it starts it again.
pub(super) fn back_off(pod: &mut Value, code: i32, now: Millis) {
    let ended = terminated(pod, code, now);
    let container = &mut pod["status"]["containerStatuses"][0];
    container["lastState"] = ended;
    container["state"] = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
}

/// The kubelet has waited long enough, or was asked to start the container.
pub(super) fn starts_after_back_off(pod: &mut Value, now: Millis) {
    let ended = pod["status"]["containerStatuses"][0]["lastState"].clone();
    runs_again(pod, ended, now);
}

/// Whether the container has not ended since it was asked. Of one that has, and was started again just before the step,
/// nothing that is reported tells an end with code 0 because of the step from one when all is done.
pub(super) fn is_as_it_was_asked(pod: &Value) -> bool {
    ends(pod) < expected_ends(pod)
}

/// How often the container of the pod has ended.
pub(super) fn ends(pod: &Value) -> i64 {
    let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
    restarts.unwrap_or(0) + i64::from(backs_off(pod))
}

/// How often the container of the pod will have ended when it has started again as it was asked.
pub(super) fn expected_ends(pod: &Value) -> i64 {
    let mark = pod["metadata"]["annotations"][names::ANNOTATION_IN_PLACE].as_str();
    let asked = mark.and_then(|mark| mark.parse::<Mark>().ok()?.asked);
    asked.map_or(0, |asked| asked.restarts.into())
}

/// The kubelet does not change the resources for now, or ever.
pub(super) fn resize_pending(pod: &mut Value, reason: &str) {
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" },
        { "type": "PodResizePending", "status": "True", "reason": reason, "message": "the node is full",
            "observedGeneration": pod["metadata"]["generation"] }]);
}

/// The container was ended, and runs again with the resources that it is to have.
pub(super) fn restarted(pod: &mut Value, code: i32, now: Millis) {
    let ended = terminated(pod, code, now);
    runs_again(pod, ended, now);
}

fn runs_again(pod: &mut Value, ended: Value, now: Millis) {
    let again = resources(pod).clone();
    let container = &mut pod["status"]["containerStatuses"][0];
    start_again(container, ended, now);
    container["resources"] = again;
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
}

fn start_again(container: &mut Value, ended: Value, now: Millis) {
    container["restartCount"] = json!(container["restartCount"].as_i64().unwrap_or(0) + 1);
    container["lastState"] = ended;
    container["state"] = json!({ "running": { "startedAt": whole_second(wall(now)) } });
}

fn terminated(pod: &Value, code: i32, now: Millis) -> Value {
    let started = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    json!({ "terminated": { "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": started, "finishedAt": whole_second(wall(now)) } })
}

/// The container has ended. The kubelet starts it again where the pod's policy says so.
pub(super) fn exited(pod: &mut Value, code: i32, now: Millis, may_restart: bool) -> bool {
    let restarts = container_exited(pod, code, now, may_restart);
    if !restarts {
        ended(pod);
    }
    restarts
}

/// The same of the container alone: the kubelet says what it knows of it before it calls the pod ended.
pub(super) fn container_exited(pod: &mut Value, code: i32, now: Millis, may_restart: bool) -> bool {
    let ended = terminated(pod, code, now);
    let restarts = may_restart
        && match pod["spec"]["restartPolicy"].as_str() {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        };
    let container = &mut pod["status"]["containerStatuses"][0];
    if restarts {
        start_again(container, ended, now);
        return true;
    }
    container["state"] = ended;
    container["name"] = json!("pytorch");
    false
}

/// The pod has ended with its container.
pub(super) fn ended(pod: &mut Value) {
    let succeeded = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0;
    pod["status"]["phase"] = json!(if succeeded { "Succeeded" } else { "Failed" });
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "False" }]);
}

/// The pod has failed as a whole.
pub(super) fn evicted(pod: &mut Value, disruption: bool) {
    pod["status"]["phase"] = json!("Failed");
    pod["status"]["reason"] = json!("Evicted");
    if disruption {
        pod["status"]["conditions"] =
            json!([{ "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" }]);
    }
}

/// Whether a gang waits to be admitted.
pub(super) fn pending_group(group: &Value) -> bool {
    matches!(group["status"]["phase"].as_str(), None | Some("Pending"))
}

/// Whether a pod holds resources.
pub(super) fn alive(pod: &Value) -> bool {
    !finished(pod)
}
