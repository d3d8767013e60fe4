//! The laws that every write of an operator is held to as it reaches the API server.
//!
//! A request may be the fruit of what is no longer so. It is excused when the operator could not know: nothing that
//! says so was delivered to it early enough before it sent the request. What early enough means is said by
//! [`PASS`]: the longest that a plan is carried out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::api_server::request::Target;
use super::api_server::{Answer, Change, Object, Request, Resource, Store, finished};
use super::nodes::{
    Life, Nodes, asked_to_restart, backs_off, deleting, ends, expected_ends, owner, pods, running, uid,
};
use super::policies::{
    accounts, excluded, gave_up, ignores, may_be_forced, restarts_otherwise, stands_still, startup_is_over, window,
};
use super::process::{Millis, wall};
use crate::api::names;

/// The longest that requests of one plan are sent: five seconds for the last to begin, seven to wait for its turn.
const PASS: Millis = 12_500;
/// How often an object may be created again for a job that is gone before the operator has to ask itself why it goes.
const FOR_A_GHOST: u32 = 2;
/// A leader sends nothing later than this after it sent its last renewal.
const RENEW_DEADLINE: Millis = 10_000;

/// A request that an operator has sent, and what came of it.
pub(super) struct Sent<'a> {
    pub(super) replica: usize,
    pub(super) at: Millis,
    pub(super) now: Millis,
    pub(super) request: &'a Request,
    pub(super) target: &'a Target,
    /// What was stored there before.
    pub(super) before: Option<Object>,
    pub(super) code: u16,
}

impl Sent<'_> {
    /// Whether it is a patch of an object with another UID than is stored there, which Kubernetes refuses as it does a
    /// malformed one.
    fn tests_another(&self) -> bool {
        let operations: Value = serde_json::from_slice(&self.request.body).unwrap_or_default();
        let mut operations = operations.as_array().into_iter().flatten();
        let stored = self.before.as_ref().map(|object| &object["metadata"]["uid"]);
        operations.any(|step| {
            step["op"] == "test" && step["path"] == "/metadata/uid" && stored.is_some_and(|uid| step["value"] != *uid)
        })
    }
}

/// What is known of the jobs and of what the operators know.
#[derive(Clone, Debug, Default)]
pub(super) struct Laws {
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) knowledge: Vec<Knowledge>,
    /// When etcd was last restored.
    pub(super) restored: Option<Millis>,
    /// Pods whose node had no room for a step that they were asked for, until they are asked for another.
    pub(super) deferred: BTreeSet<String>,
    /// Whether pods have to be admitted as gangs.
    pub(super) gangs: bool,
    pub(super) broken: Option<String>,
}

/// What is known of a job that is or was.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Since when it is to have no new pods, and from which version on.
    unwanted: Option<(Millis, u64)>,
    /// Since when it is on its way out, and from which version on.
    leaves: Option<(Millis, u64)>,
    gone: bool,
    /// Since when it has so many replicas of a role, and from which version on.
    sizes: BTreeMap<&'static str, (u64, Millis, u64)>,
    /// The image of its templates, since when, and from which version on.
    image: Option<(Value, Millis, u64)>,
    /// Whether an edit may ever have taken pods away.
    edited: bool,
    /// When etcd was last restored while it was there: the operator may have seen what that undid.
    restored: Option<Millis>,
    restarts: i64,
    /// When each of them was counted.
    restarted: Vec<Millis>,
    /// Nodes that new pods have ever had to stay away from.
    excluded: BTreeSet<String>,
    /// Failures that no pod shows: of containers that were restarted in place, and those that a restore of etcd undid.
    pub(super) unseen: i64,
    /// Pods that had succeeded, which a restore of etcd undid.
    successes_undone: i64,
    created_for_ghost: BTreeMap<String, u32>,
    /// How often the container of a pod was asked to start again for an attempt, and how often it then was to have
    /// ended by that.
    asked_to_restart: BTreeMap<(String, i64), (u32, i64)>,
    /// Pods whose deletion an operator has asked for.
    asked_to_go: BTreeSet<String>,
    /// Whether the gang of its pods is admitted.
    admitted: bool,
    /// Writes of operators for it.
    pub(super) writes: u32,
}

/// What has been delivered to an operator.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    /// When its process began, or its leadership: it reads before it acts on anything that is older.
    base: Millis,
    /// The newest version of a job, by UID, and when it was delivered.
    told: BTreeMap<String, Vec<(Millis, u64)>>,
    /// When it sent the last renewal of the lease that was carried out.
    renewed: Option<Millis>,
    /// For which versions of jobs a status of its was refused, and when it was told so.
    refuted: BTreeMap<Refuted, Millis>,
}

/// Path of the status of a job, and the version of the job that is no longer stored.
pub(super) type Refuted = (String, String);

/// What a conflict says.
pub(super) fn refuted(request: &Request, answer: &Answer) -> Option<Refuted> {
    status_of(request).filter(|_| answer.code == 409)
}

/// Which status a request writes, and for which version of the job.
fn status_of(request: &Request) -> Option<Refuted> {
    Some((request.path.clone(), bound_to(request)?))
}

/// The version that a status is bound to.
fn bound_to(request: &Request) -> Option<String> {
    let patch: Value = serde_json::from_slice(&request.body).ok()?;
    let mut parts = patch.as_array()?.iter();
    let bound = parts.find(|part| part["path"] == "/metadata/resourceVersion")?;
    Some(bound["value"].as_str()?.to_owned())
}

impl Knowledge {
    pub(super) fn begin(now: Millis) -> Self {
        Self {
            base: now,
            ..Self::default()
        }
    }

    fn told(&mut self, now: Millis, job: &Value) {
        let versions = self.told.entry(uid(job).to_owned()).or_default();
        let newest = versions.last().map_or(0, |(_, version)| *version);
        if version(job) > newest {
            versions.push((now, version(job)));
        }
    }

    /// Whether a request sent then has to reckon with what is so since that time, and from that version on.
    fn has_to_know(&self, job: &str, since: Millis, version: u64, sent: Millis) -> bool {
        if sent < since {
            return false;
        }
        let told = || {
            let versions = self.told.get(job).into_iter().flatten();
            let mut early = versions.filter(|(at, _)| at + PASS < sent);
            early.any(|(_, told)| *told >= version)
        };
        since < self.base || told()
    }
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    version.parse().unwrap_or(0)
}

pub(super) fn condition<'a>(job: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = job["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

pub(super) fn is_true(job: &Value, type_: &str) -> bool {
    condition(job, type_).is_some_and(|condition| condition["status"] == "True")
}

/// Whether the job has an outcome.
pub(super) fn terminal(job: &Value) -> bool {
    is_true(job, "Succeeded") || is_true(job, "Failed")
}

pub(super) fn suspended(job: &Value) -> bool {
    job["spec"]["runPolicy"]["suspend"] == true
}

/// Whether the job is to have no pods although it has not finished.
pub(super) fn rests(job: &Value) -> bool {
    suspended(job) || gave_up(job)
}

pub(super) fn replicas(job: &Value, role: &str) -> u64 {
    let spec = &job["spec"]["pytorchReplicaSpecs"][role];
    if spec.is_null() {
        return 0;
    }
    spec["replicas"].as_u64().unwrap_or(1)
}

/// The image of the training container in a pod or in what pods are made from. All replicas have the same.
fn image(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["image"]
}

/// The image that the pods of a job are to have.
fn image_of_templates(job: &Value) -> Option<&Value> {
    let mut replicas = job["spec"]["pytorchReplicaSpecs"].as_object()?.values();
    replicas.next().map(|replica| image(&replica["template"]))
}

/// A pod of the job that is older than its templates and has not been asked to go.
pub(super) fn of_another_image<'a>(job: &Value, mut pods: impl Iterator<Item = &'a Value>) -> Option<&'a Value> {
    let wanted = image_of_templates(job)?;
    pods.find(|pod| owner(pod) == Some(uid(job)) && !deleting(pod) && image(pod) != wanted)
}

/// A policy in either spelling.
pub(super) fn policy<'a>(job: &'a Value, name: &str) -> &'a Value {
    let flat = &job["spec"][name];
    if flat.is_null() {
        &job["spec"]["runPolicy"][name]
    } else {
        flat
    }
}

/// Role and index of a pod.
pub(super) fn replica_of(object: &Value) -> Option<(&'static str, u64)> {
    let labels = &object["metadata"]["labels"];
    let role = match labels["training.kubeflow.org/replica-type"].as_str()? {
        "master" => "Master",
        "worker" => "Worker",
        _ => return None,
    };
    let index = labels["training.kubeflow.org/replica-index"].as_str()?.parse().ok()?;
    Some((role, index))
}

impl Laws {
    fn breaks(&mut self, law: String) {
        self.broken.get_or_insert(law);
    }

    /// Something was delivered to an operator that shows a job.
    pub(super) fn told(&mut self, replica: usize, now: Millis, body: &Value) {
        let knowledge = &mut self.knowledge[replica];
        match body["kind"].as_str() {
            Some("PyTorchJob") => knowledge.told(now, body),
            Some("PyTorchJobList") => {
                for job in body["items"].as_array().into_iter().flatten() {
                    knowledge.told(now, job);
                }
            }
            _ => {}
        }
    }

    /// An operator has been told that it leads, by the answer to what it sent then.
    pub(super) fn leads(&mut self, replica: usize, sent: Millis, now: Millis) {
        let knowledge = &mut self.knowledge[replica];
        let lapsed = knowledge.renewed.is_none_or(|renewed| renewed + RENEW_DEADLINE < sent);
        if lapsed {
            knowledge.base = now;
        }
        // An answer may be later than that to what was sent after it.
        knowledge.renewed = knowledge.renewed.max(Some(sent));
    }

    /// Takes in a change of a job, whoever made it.
    pub(super) fn changed(&mut self, change: &Change, now: Millis) {
        let job = &change.after;
        let known = self.jobs.entry(uid(job).to_owned()).or_default();
        known.namespace.clone_from(&change.key.namespace);
        known.name.clone_from(&change.key.name);
        known.gone = change.gone;
        known.edited |= change.before.as_ref().is_some_and(|before| takes_away(before, job));
        known.take_in(job, change.version, now, change.gone);
    }

    /// etcd was restored: what was is again.
    pub(super) fn restored(
        &mut self,
        jobs: &BTreeMap<String, Job>,
        [undone, kept]: [&Nodes; 2],
        store: &Store,
        now: Millis,
    ) {
        self.restored = Some(now);
        for knowledge in &mut self.knowledge {
            knowledge.told.clear();
            knowledge.refuted.clear();
        }
        let writes: BTreeMap<_, _> = self.jobs.iter().map(|(uid, job)| (uid.clone(), job.writes)).collect();
        let mut known = jobs.clone();
        for (uid, job) in &self.jobs {
            // What was created since has never been.
            known.entry(uid.clone()).or_insert_with(|| Job {
                gone: true,
                ..job.clone()
            });
        }
        for (uid, job) in &mut known {
            // An operator may have seen them.
            let unseen = self.jobs.get(uid).map_or(job.unseen, |job| job.unseen);
            job.unseen = unseen + undone.failures_of(uid) - kept.failures_of(uid);
            let before = self.jobs.get(uid).map_or(0, |job| job.successes_undone);
            job.successes_undone = before + undone.successes_of(uid) - kept.successes_of(uid);
            job.writes = writes.get(uid).copied().unwrap_or_default();
            job.restored = Some(now);
            job.created_for_ghost.clear();
            job.asked_to_restart.clear();
            job.unwanted = job.unwanted.map(|(_, version)| (now, version));
            job.leaves = job.leaves.map(|(_, version)| (now, version));
            job.image = job.image.take().map(|(image, _, version)| (image, now, version));
            job.sizes.values_mut().for_each(|(_, since, _)| *since = now);
            if job.gone {
                job.unwanted = Some((now, store.version()));
                job.leaves = Some((now, store.version()));
            }
        }
        self.jobs = known;
    }

    /// Holds a request to the laws whose sender has ended before it arrived. What the sender knew is not kept; a status
    /// is held to what is stored, and what was created or deleted has to say whose it is.
    pub(super) fn landed(&mut self, sent: &Sent<'_>, store: &Store, nodes: &Nodes) {
        if sent.code >= 300 {
            return;
        }
        let plural = sent.target.key.resource.plural;
        let result = match sent.request.method.as_str() {
            "PATCH" if sent.target.status => self.status(sent, store, nodes),
            "POST" if !matches!(plural, "events" | "leases") => self.of_a_job(sent, store).map(drop),
            "DELETE" => names_its_uid(sent),
            _ => Ok(()),
        };
        if let Err(law) = result {
            self.breaks(law);
        }
    }

    /// Holds what an operator has sent to the laws.
    pub(super) fn sent(&mut self, sent: &Sent<'_>, store: &Store, nodes: &Nodes) {
        let plural = sent.target.key.resource.plural;
        if plural == "events" {
            return;
        }
        if matches!(sent.code, 400 | 405 | 415 | 422) && !sent.tests_another() {
            self.breaks(format!(
                "a request is malformed: {} {}",
                sent.request.method, sent.request.path
            ));
        }
        if plural == "leases" || !sent.request.mutates() {
            return;
        }
        self.is_fenced(sent);
        self.is_learnt(sent);
        if sent.code >= 300 {
            return;
        }
        let created = sent.request.method == "POST";
        let result = match (sent.request.method.as_str(), plural) {
            ("PATCH", "pytorchjobs") if sent.target.status => self.status(sent, store, nodes),
            ("DELETE", "pytorchjobs") => deleted_job(sent),
            (_, "pytorchjobs") => Err("an operator writes a job beside its status".to_owned()),
            ("POST", _) => self.created(sent, store),
            ("DELETE", _) => self.deleted(sent, store, nodes),
            ("PATCH", "pods") => self.asked(sent, store),
            _ => Ok(()),
        };
        let about = if created {
            store.get(&created_key(sent))
        } else {
            sent.before.as_ref()
        };
        let job = about.map(|object| {
            if plural == "pytorchjobs" {
                uid(object)
            } else {
                owner(object).unwrap_or("")
            }
        });
        if let Some(job) = job.and_then(|job| self.jobs.get_mut(job)) {
            job.writes += 1;
        }
        if let Err(law) = result {
            self.breaks(law);
        }
    }

    /// A status was refused because the job has changed, and the operator was told.
    pub(super) fn refuted(&mut self, replica: usize, now: Millis, refuted: Option<Refuted>) {
        let known = &mut self.knowledge[replica].refuted;
        known.extend(refuted.map(|refuted| (refuted, now)));
    }

    /// Who was told that a version of a job is no longer stored does not write a status for it again.
    fn is_learnt(&mut self, sent: &Sent<'_>) {
        if sent.target.key.resource.plural != "pytorchjobs" {
            return;
        }
        let refuted = &self.knowledge[sent.replica].refuted;
        let told = status_of(sent.request).and_then(|bound| refuted.get(&bound));
        if told.is_some_and(|told| *told < sent.at) {
            self.breaks(format!(
                "{} was sent again for a version that was refuted",
                sent.request.path
            ));
        }
    }

    /// Volcano has admitted this group, or it goes.
    pub(super) fn admitted(&mut self, group: &Value, admitted: bool) {
        if let Some(job) = owner(group).and_then(|job| self.jobs.get_mut(job)) {
            job.admitted = admitted;
        }
    }

    fn is_fenced(&mut self, sent: &Sent<'_>) {
        let renewed = self.knowledge[sent.replica].renewed;
        if renewed.is_some_and(|renewed| sent.at > renewed + RENEW_DEADLINE) {
            self.breaks(format!(
                "{} {} was sent after the renew deadline",
                sent.request.method, sent.request.path
            ));
        }
    }

    /// What was created, and the UID of its job.
    fn of_a_job(&self, sent: &Sent<'_>, store: &Store) -> Result<(Object, String), String> {
        let key = created_key(sent);
        let object = store.get(&key).cloned().ok_or("nothing was created")?;
        let what = format!("{} {}", key.resource.plural, key.name);
        let job_uid = owner(&object)
            .ok_or_else(|| format!("{what} was created without an owner"))?
            .to_owned();
        match self.jobs.get(&job_uid) {
            None => Err(format!("{what} was created for a job that never was")),
            Some(job) if job.namespace != key.namespace => {
                Err(format!("{what} was created for a job of another namespace"))
            }
            Some(_) => Ok((object, job_uid)),
        }
    }

    fn created(&mut self, sent: &Sent<'_>, store: &Store) -> Result<(), String> {
        let (object, job_uid) = self.of_a_job(sent, store)?;
        let key = created_key(sent);
        let what = format!("{} {}", key.resource.plural, key.name);
        let knowledge = &self.knowledge[sent.replica];
        let job = self.jobs.get_mut(&job_uid).ok_or("it is there")?;
        if self.gangs && key.resource.plural == "pods" && !job.admitted && job.restored.is_none() {
            return Err(format!("{what} was created before its gang was admitted"));
        }
        if job.gone {
            if let Some((since, version)) = job.leaves
                && knowledge.has_to_know(&job_uid, since, version, sent.at)
            {
                return Err(format!(
                    "{what} was created for a job that is gone, and the operator knew"
                ));
            }
            let created = job.created_for_ghost.entry(what.clone()).or_default();
            *created += 1;
            if *created > FOR_A_GHOST {
                return Err(format!("{what} is created again and again for a job that is gone"));
            }
        } else if let Some((since, version)) = job.unwanted
            && knowledge.has_to_know(&job_uid, since, version, sent.at)
        {
            return Err(format!(
                "{what} was created {} ms after its job was suspended, ended or was deleted, and the operator knew",
                sent.at - since
            ));
        }
        if let Some((role, index)) = replica_of(&object)
            && let Some((size, since, version)) = job.sizes.get(role)
            && index >= *size
            && knowledge.has_to_know(&job_uid, *since, *version, sent.at)
        {
            return Err(format!("{what} was created although there are only {size} of its role"));
        }
        if let Some(node) = excluded(&object).find(|node| !job.excluded.contains(*node))
            && job.restored.is_none()
        {
            return Err(format!("{what} stays away from {node}, which is not stored"));
        }
        if let Some((wanted, since, version)) = &job.image
            && key.resource.plural == "pods"
            && image(&object) != wanted
            && knowledge.has_to_know(&job_uid, *since, *version, sent.at)
        {
            return Err(format!(
                "{what} was created with {}, and not with {wanted}",
                image(&object)
            ));
        }
        let policy = stored_job(store, &key.namespace, &job_uid).map(|job| &job["spec"]["runPolicy"]);
        // In place, each pod that cannot start again is replaced for itself. A restore of etcd brings earlier pods back.
        let whole = policy.is_some_and(|policy| policy["restartScope"] == "Job" && policy["restartStrategy"].is_null());
        if whole && key.resource.plural == "pods" && job.restored.is_none() {
            let pods = store.all(key.resource, &key.namespace);
            let earlier = |pod: &Value| attempt(pod) < attempt(&object);
            let mut left = pods.filter(|pod| running(pod) && job.asked_to_go.contains(uid(pod)) && earlier(pod));
            if let Some(left) = left.next() {
                let left = &left["metadata"]["name"];
                return Err(format!(
                    "{what} was created while {left} of the attempt before still runs"
                ));
            }
        }
        Ok(())
    }

    /// A pod was asked to start again in place.
    fn asked(&mut self, sent: &Sent<'_>, store: &Store) -> Result<(), String> {
        let key = &sent.target.key;
        let what = format!("pod {}", key.name);
        let (Some(before), Some(after)) = (&sent.before, store.get(key)) else {
            return Err(format!("{what} is not there and was asked to start again"));
        };
        let job_uid = owner(after).ok_or_else(|| format!("{what} was changed although no job controls it"))?;
        let Some(job) = self.jobs.get_mut(job_uid).filter(|job| job.namespace == key.namespace) else {
            return Err(format!(
                "{what} was changed although a job of another namespace controls it"
            ));
        };
        if let Some((since, version)) = job.unwanted
            && self.knowledge[sent.replica].has_to_know(job_uid, since, version, sent.at)
        {
            return Err(format!(
                "{what} was asked to start again for a job that was suspended or has ended"
            ));
        }
        let Some(stored) = stored_job(store, &key.namespace, job_uid).filter(|_| job.restored.is_none()) else {
            return Ok(());
        };
        let wanted = attempt(after).ok_or_else(|| format!("{what} is of no attempt"))?;
        let newest = stored["status"]["attempts"]
            .as_array()
            .and_then(|attempts| attempts.last()?["number"].as_i64());
        if newest.is_none_or(|newest| newest < wanted) {
            return Err(format!(
                "{what} was asked to start again for attempt {wanted}, which is not stored"
            ));
        }
        if before["spec"] != after["spec"] {
            // The operator may see late that there is room by now.
            let deferred = self.deferred.remove(uid(after));
            job.step_asked(before, after, wanted, deferred, store)
                .map_err(|why| format!("{what} was asked {why}"))?;
        }
        Ok(())
    }

    fn deleted(&mut self, sent: &Sent<'_>, store: &Store, nodes: &Nodes) -> Result<(), String> {
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
    fn was_left_unnoticed(&self, object: &Value, sent: &Sent<'_>) -> bool {
        let name = &object["metadata"]["labels"]["training.kubeflow.org/job-name"];
        let of_job = |job: &Job| job.namespace == sent.target.key.namespace && *name == job.name;
        let knowledge = &self.knowledge[sent.replica];
        let mut left = self.jobs.iter().filter(|(_, job)| of_job(job));
        left.any(|(uid, job)| {
            job.leaves
                .is_some_and(|(since, version)| !knowledge.has_to_know(uid, since, version, sent.at))
        })
    }

    fn status(&mut self, sent: &Sent<'_>, store: &Store, nodes: &Nodes) -> Result<(), String> {
        let before = sent
            .before
            .as_ref()
            .ok_or("a status was written for what is not there")?;
        let Some(after) = store.get(&sent.target.key) else {
            return Ok(());
        };
        if bound_to(sent.request).is_none() {
            return Err("a status was written without a resourceVersion".into());
        }
        ends_once(before, after, sent.now)?;
        let job = self.jobs.entry(uid(after).to_owned()).or_default();
        if job.restored.is_none() {
            startup_is_over(before, after, sent.now)?;
            accounts(after, sent.now)?;
            let own = nodes.lives.values().filter(|life| life.job == uid(after));
            stands_still(before, after, sent.now, own)?;
        }
        if !terminal(after) && after["status"]["observedGeneration"] == after["metadata"]["generation"] {
            // A suspension that has begun is carried out although the job is resumed.
            let may_be_told = rests(after) || is_true(before, "Suspended") || job.edited || job.restored.is_some();
            let told = is_true(after, "Suspended");
            if (suspended(after) && !told) || (told && !may_be_told) {
                return Err(format!(
                    "the job is suspended: {}, and its status says {told}",
                    suspended(after)
                ));
            }
            if suspended(after) && is_true(after, "Running") {
                return Err("the status says that a suspended job runs".into());
            }
            let pods = pods(store, &sent.target.key.namespace).map(|(_, pod)| pod);
            let alive = pods.filter(|pod| !finished(pod));
            if let Some(pod) = of_another_image(after, alive).filter(|_| is_true(after, "Running")) {
                return Err(format!("the job is said to run with {}", image(pod)));
            }
        }
        job.count(after, nodes)?;
        if job.restored.is_none() {
            job.within_window(after, sent.at)?;
        }
        let newly = is_true(after, "Succeeded") && !is_true(before, "Succeeded");
        if newly && job.successes_undone + nodes.successes_of(uid(after)) == 0 {
            return Err("the job has succeeded, and no pod of it has".into());
        }
        Ok(())
    }
}

fn stored_job<'a>(store: &'a Store, namespace: &'a str, id: &str) -> Option<&'a Object> {
    let mut jobs = store.all(Resource::named("pytorchjobs"), namespace);
    jobs.find(|job| uid(job) == id)
}

/// The attempt that a pod is of. The pods of a scale-down go while those of the same attempt come.
fn attempt(pod: &Value) -> Option<i64> {
    let annotation = &pod["metadata"]["annotations"][names::ANNOTATION_ATTEMPT];
    annotation.as_str()?.parse().ok()
}

fn created_key(sent: &Sent<'_>) -> super::api_server::Key {
    let mut key = sent.target.key.clone();
    let object: Value = serde_json::from_slice(&sent.request.body).unwrap_or_default();
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .clone_into(&mut key.name);
    key
}

impl Job {
    /// A step was made that asks the container of a pod to start again for this attempt: once, and once more if it has
    /// failed since and all others have ended.
    fn step_asked(
        &mut self,
        before: &Value,
        after: &Value,
        attempt: i64,
        deferred: bool,
        store: &Store,
    ) -> Result<(), String> {
        let (asked, expected) = self
            .asked_to_restart
            .entry((uid(after).to_owned(), attempt))
            .or_default();
        *asked += u32::from(!deferred);
        let once_more = *asked > 1 && !deferred;
        if once_more && (*asked > 2 || ends(before) <= *expected) {
            return Err(format!("again for attempt {attempt}"));
        }
        *expected = expected_ends(after);
        let first_time = |pod: &Value| {
            let asked = self.asked_to_restart.get(&(uid(pod).to_owned(), attempt));
            asked.is_some_and(|(asked, _)| *asked == 1)
        };
        let mut left = pods(store, &self.namespace).map(|(_, pod)| pod);
        let left = left.find(|pod| owner(pod) == owner(after) && has_yet_to_end(pod) && first_time(pod));
        match left.filter(|_| once_more) {
            Some(left) => Err(format!("once more before {} had ended", left["metadata"]["name"])),
            None => Ok(()),
        }
    }

    /// A status has counted restarts: none is forgotten, none made up, and there are no more than the limit allows.
    fn count(&mut self, job: &Value, nodes: &Nodes) -> Result<(), String> {
        let counted = job["status"]["restarts"].as_i64().unwrap_or(0);
        if counted < self.restarts {
            return Err(format!("restarts go back from {} to {counted}", self.restarts));
        }
        // A limit that was lowered may be below what was counted before.
        if let Some(limit) = policy(job, "backoffLimit").as_i64()
            && counted > limit.max(self.restarts)
        {
            return Err(format!("{counted} restarts are counted with a backoffLimit of {limit}"));
        }
        self.restarts = counted;
        let own = || nodes.lives.values().filter(|life| life.job == uid(job));
        let ignored = own().filter(|life| ignores(job, life)).count();
        let failed = nodes.failures_of(uid(job)) - i64::try_from(ignored).unwrap();
        if restarts_otherwise(job) {
            return Ok(());
        }
        if counted > failed + self.unseen {
            return Err(format!(
                "{counted} restarts are counted after {failed} failed pods and {} other failures",
                self.unseen
            ));
        }
        Ok(())
    }

    /// A job is not started again more often than its window allows, by the times at which the operator said so.
    fn within_window(&mut self, job: &Value, now: Millis) -> Result<(), String> {
        let known = i64::try_from(self.restarted.len()).unwrap();
        self.restarted.extend((known..self.restarts).map(|_| now));
        let Some((most, long)) = window(job) else { return Ok(()) };
        // Times are stored in whole seconds.
        let recent = self.restarted.iter().filter(|at| *at + long > now + 1_000).count();
        if recent > most {
            return Err(format!("{recent} restarts within {long} ms, more than {most}"));
        }
        Ok(())
    }

    fn take_in(&mut self, job: &Value, version: u64, now: Millis, gone: bool) {
        let excluded = job["status"]["excludedNodes"].as_array().into_iter().flatten();
        let names = excluded.filter_map(|node| node["name"].as_str());
        self.excluded.extend(names.map(str::to_owned));
        let wanted = !gone && !rests(job) && !terminal(job) && !deleting(job);
        self.unwanted = match (wanted, self.unwanted) {
            (true, _) => None,
            (false, Some(known)) => Some(known),
            (false, None) => Some((now, version)),
        };
        if gone || deleting(job) {
            self.leaves = self.leaves.or(Some((now, version)));
        }
        if let Some(image) = image_of_templates(job)
            && self.image.as_ref().is_none_or(|(known, ..)| known != image)
        {
            self.image = Some((image.clone(), now, version));
        }
        for role in ["Master", "Worker"] {
            let size = replicas(job, role);
            let known = self.sizes.entry(role).or_insert((size, now, version));
            if known.0 != size {
                *known = (size, now, version);
            }
        }
    }
}

/// A job ends once, with all that belongs to it in one write, and not before its deadline.
fn ends_once(before: &Value, after: &Value, now: Millis) -> Result<(), String> {
    if terminal(before) && outcome(before) != outcome(after) {
        return Err(format!(
            "an outcome was changed from {} to {}",
            outcome(before),
            outcome(after)
        ));
    }
    if is_true(after, "Succeeded") && is_true(after, "Failed") {
        return Err("a job has succeeded and failed".into());
    }
    if terminal(after) == after["status"]["completionTime"].is_null() {
        return Err("an outcome and its completionTime do not come together".into());
    }
    let expired = condition(after, "Failed").filter(|condition| {
        !terminal(before)
            && condition["message"]
                .as_str()
                .is_some_and(|text| text.contains("deadline"))
    });
    if expired.is_some() {
        let start = time(&after["status"]["startTime"]).ok_or("a deadline without a startTime")?;
        let seconds = policy(after, "activeDeadlineSeconds")
            .as_i64()
            .ok_or("a deadline that is not there")?;
        if wall(now).as_second() < start.as_second() + seconds {
            return Err("a deadline came early".into());
        }
    }
    Ok(())
}

fn outcome(job: &Value) -> Value {
    let word = |type_| condition(job, type_).cloned().unwrap_or_default();
    serde_json::json!([word("Succeeded"), word("Failed"), job["status"]["completionTime"]])
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// What is deleted is the object that was meant, and not another one of its name.
fn names_its_uid(sent: &Sent<'_>) -> Result<(), String> {
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

/// Whether this edit may take pods away.
fn takes_away(before: &Value, after: &Value) -> bool {
    before["spec"]["pytorchReplicaSpecs"] != after["spec"]["pytorchReplicaSpecs"] || rests(before) != rests(after)
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

/// Whether the attempt of the pod has ended: what fails of it later counts no more.
fn is_of_ended_attempt(pod: &Value, job: &Value) -> bool {
    let mut attempts = job["status"]["attempts"].as_array().into_iter().flatten();
    let of_pod = attempts.find(|known| known["number"].as_i64() == attempt(pod));
    of_pod.is_some_and(|of_pod| !of_pod["ended"].is_null())
}

fn deleted_job(sent: &Sent<'_>) -> Result<(), String> {
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

/// Whether the container of the pod runs, and was asked to start again.
fn has_yet_to_end(pod: &Value) -> bool {
    running(pod) && !deleting(pod) && !backs_off(pod) && asked_to_restart(pod)
}
