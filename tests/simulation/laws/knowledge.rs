//! What an operator has to know when it sends a request.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Laws, PASS, RENEW_DEADLINE, Sent};
use crate::simulation::api_server::{Answer, Request};
use crate::simulation::nodes::uid;
use crate::simulation::process::Millis;

/// What has been delivered to an operator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
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
pub(crate) type Refuted = (String, String);

/// What a conflict says.
pub(crate) fn refuted(request: &Request, answer: &Answer) -> Option<Refuted> {
    status_of(request).filter(|_| answer.code == 409)
}

/// Which status a request writes, and for which version of the job.
pub(super) fn status_of(request: &Request) -> Option<Refuted> {
    Some((request.path.clone(), bound_to(request)?))
}

/// The version that a status is bound to.
pub(super) fn bound_to(request: &Request) -> Option<String> {
    let patch: Value = serde_json::from_slice(&request.body).ok()?;
    let mut parts = patch.as_array()?.iter();
    let bound = parts.find(|part| part["path"] == "/metadata/resourceVersion")?;
    Some(bound["value"].as_str()?.to_owned())
}

impl Knowledge {
    pub(crate) fn begin(now: Millis) -> Self {
        Self {
            base: now,
            ..Self::default()
        }
    }

    pub(super) fn told(&mut self, now: Millis, job: &Value) {
        let versions = self.told.entry(uid(job).to_owned()).or_default();
        let newest = versions.last().map_or(0, |(_, version)| *version);
        if version(job) > newest {
            versions.push((now, version(job)));
        }
    }

    /// Versions of before a restore say nothing about those since.
    pub(super) fn forget_versions(&mut self) {
        self.told.clear();
        self.refuted.clear();
    }

    /// Whether a request sent then has to reckon with what is so since that time, and from that version on.
    pub(super) fn has_to_know(&self, job: &str, since: Millis, version: u64, sent: Millis) -> bool {
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

impl Laws {
    /// Something was delivered to an operator that shows a job.
    pub(crate) fn told(&mut self, replica: usize, now: Millis, body: &Value) {
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
    pub(crate) fn leads(&mut self, replica: usize, sent: Millis, now: Millis) {
        let knowledge = &mut self.knowledge[replica];
        let lapsed = knowledge.renewed.is_none_or(|renewed| renewed + RENEW_DEADLINE < sent);
        if lapsed {
            knowledge.base = now;
        }
        // An answer may be later than that to what was sent after it.
        knowledge.renewed = knowledge.renewed.max(Some(sent));
    }

    /// A status was refused because the job has changed, and the operator was told.
    pub(crate) fn refuted(&mut self, replica: usize, now: Millis, refuted: Option<Refuted>) {
        let known = &mut self.knowledge[replica].refuted;
        known.extend(refuted.map(|refuted| (refuted, now)));
    }

    /// Who was told that a version of a job is no longer stored does not write a status for it again.
    pub(super) fn is_learnt(&mut self, sent: &Sent<'_>) {
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

    pub(super) fn is_fenced(&mut self, sent: &Sent<'_>) {
        let renewed = self.knowledge[sent.replica].renewed;
        if renewed.is_some_and(|renewed| sent.at > renewed + RENEW_DEADLINE) {
            self.breaks(format!(
                "{} {} was sent after the renew deadline",
                sent.request.method, sent.request.path
            ));
        }
    }
}
