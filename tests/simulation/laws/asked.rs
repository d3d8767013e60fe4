//! A pod is asked to start again in place for an attempt that is stored, and no more often than it takes.

use serde_json::Value;

use super::objects::{attempt, stored_job};
use super::{Job, Laws, Sent};
use crate::simulation::api_server::Store;
use crate::simulation::nodes::{asked_to_restart, backs_off, deleting, ends, expected_ends, owner, pods, running, uid};

impl Laws {
    /// A pod was asked to start again in place.
    pub(super) fn asked(&mut self, sent: &Sent<'_>, store: &Store) -> Result<(), String> {
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
}

impl Job {
    /// A step was made that asks the container of a pod to start again for this attempt: once, and once more if it has
    /// failed since and all others have ended.
    pub(super) fn step_asked(
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
}

/// Whether the container of the pod runs, and was asked to start again.
fn has_yet_to_end(pod: &Value) -> bool {
    running(pod) && !deleting(pod) && !backs_off(pod) && asked_to_restart(pod)
}
