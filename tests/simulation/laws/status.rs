//! A status says what is so, and counts what was.

use serde_json::Value;

use super::knowledge::bound_to;
use super::objects::{condition, image, is_true, of_another_image, policy, rests, suspended, terminal, time};
use super::{Job, Laws, Sent};
use crate::simulation::api_server::{Store, finished};
use crate::simulation::nodes::{Nodes, pods, uid};
use crate::simulation::policies::{accounts, ignores, restarts_otherwise, stands_still, startup_is_over, window};
use crate::simulation::process::{Millis, wall};

impl Laws {
    pub(super) fn status(&mut self, sent: &Sent<'_>, store: &Store, nodes: &Nodes) -> Result<(), String> {
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

impl Job {
    /// A status has counted restarts: none is forgotten, none made up, and there are no more than the limit allows.
    pub(super) fn count(&mut self, job: &Value, nodes: &Nodes) -> Result<(), String> {
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
    pub(super) fn within_window(&mut self, job: &Value, now: Millis) -> Result<(), String> {
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
