//! What is created is wanted, as far as the operator knows.

use serde_json::Value;

use super::objects::{attempt, image, replica_of, stored_job};
use super::{FOR_A_GHOST, Laws, Sent};
use crate::simulation::api_server::{Key, Object, Store};
use crate::simulation::nodes::{owner, running, uid};
use crate::simulation::policies::excluded;

impl Laws {
    /// What was created, and the UID of its job.
    pub(super) fn of_a_job(&self, sent: &Sent<'_>, store: &Store) -> Result<(Object, String), String> {
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

    pub(super) fn created(&mut self, sent: &Sent<'_>, store: &Store) -> Result<(), String> {
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
}

pub(super) fn created_key(sent: &Sent<'_>) -> Key {
    let mut key = sent.target.key.clone();
    let object: Value = serde_json::from_slice(&sent.request.body).unwrap_or_default();
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .clone_into(&mut key.name);
    key
}
