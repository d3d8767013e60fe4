//! The laws that every write of an operator is held to as it reaches the API server.
//!
//! A request may be the fruit of what is no longer so. It is excused when the operator could not know: nothing that
//! says so was delivered to it early enough before it sent the request. What early enough means is said by
//! [`PASS`]: the longest that a plan is carried out.

mod asked;
mod created;
mod deleted;
mod knowledge;
mod objects;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::created::created_key;
use self::deleted::{deleted_job, names_its_uid};
pub(super) use self::knowledge::{Knowledge, Refuted, refuted};
use self::objects::image_of_templates;
pub(super) use self::objects::{
    condition, is_true, of_another_image, policy, replica_of, replicas, rests, suspended, terminal, time,
};
use super::api_server::request::Target;
use super::api_server::{Change, Object, Request, Store};
use super::nodes::{Nodes, deleting, owner, uid};
use super::process::Millis;

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
    /// Whether a gang of its pods was ever admitted.
    admitted: bool,
    /// Writes of operators for it.
    pub(super) writes: u32,
}

impl Laws {
    fn breaks(&mut self, law: String) {
        self.broken.get_or_insert(law);
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
            knowledge.forget_versions();
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

    /// Volcano has admitted this group.
    pub(super) fn admitted(&mut self, group: &Value) {
        if let Some(job) = owner(group).and_then(|job| self.jobs.get_mut(job)) {
            job.admitted = true;
        }
    }
}

impl Job {
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

/// Whether this edit may take pods away.
fn takes_away(before: &Value, after: &Value) -> bool {
    before["spec"]["pytorchReplicaSpecs"] != after["spec"]["pytorchReplicaSpecs"] || rests(before) != rests(after)
}
