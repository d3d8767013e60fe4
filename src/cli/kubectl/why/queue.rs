//! What Kueue says of a job that is for one of its queues.

use serde_json::Value;

use k8s_openapi::jiff::Timestamp;

use crate::api::names;
use crate::cli::kubectl::age::age;
use crate::cli::kubectl::observation::Facts;
use crate::cli::kubectl::read::WORKLOADS;
use crate::cli::kubectl::why::with_remedy;
use crate::planner::finished;

/// A line for each Workload of the job; of a job that is for a queue and has none, that.
pub(super) fn lines(facts: &Facts) -> Vec<String> {
    let labels = facts.job.metadata.labels.as_ref();
    let over = facts.job.status.as_ref().is_some_and(finished);
    let Some(queue) = labels
        .and_then(|labels| labels.get(names::KUEUE_QUEUE))
        .filter(|_| !over)
    else {
        return Vec::new();
    };
    if facts.workloads.is_empty() && !facts.is_unread(WORKLOADS) {
        let line = format!("It is for queue {queue}, and Kueue has made no Workload of it.");
        let remedy = "see whether Kueue runs, and whether its configuration names kubeflow.org/pytorchjob";
        return vec![with_remedy(&line, remedy)];
    }
    let of_workload = |workload: &Value| of_workload(workload, facts.now);
    facts.workloads.iter().map(of_workload).collect()
}

fn of_workload(workload: &Value, now: Timestamp) -> String {
    let name = workload["metadata"]["name"].as_str().unwrap_or_default();
    let queue = workload["spec"]["queueName"].as_str();
    let queue = queue.map(|queue| format!(" in queue {queue}")).unwrap_or_default();
    let evicted = condition(workload, "Evicted", "True");
    let evicted = evicted.map(|evicted| format!(" {}", told(evicted, "Evicted", now)));
    let evicted = evicted.unwrap_or_default();
    let start = format!("Workload {name}{queue}");
    if workload["spec"]["active"] == false {
        let remedy = format!("set spec.active of workload {name} to true, when its cause is gone");
        return with_remedy(&format!("{start} is deactivated.{evicted}"), &remedy);
    }
    if let Some(admitted) = condition(workload, "Admitted", "True") {
        return format!("{start}: {}", told(admitted, "Admitted", now));
    }
    if condition(workload, "QuotaReserved", "True").is_some() {
        return format!(
            "{start} has its quota and waits for admission checks.{}{evicted}",
            checks(workload)
        );
    }
    match condition(workload, "QuotaReserved", "False") {
        Some(waits) => format!("{start}: {}{evicted}", told(waits, "no quota", now)),
        None => format!("{start}: Kueue has not looked at it yet.{evicted}"),
    }
}

fn condition<'a>(workload: &'a Value, type_: &str, status: &str) -> Option<&'a Value> {
    let mut conditions = workload["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == type_ && condition["status"] == status)
}

/// What a condition says, in other words than its type.
fn told(condition: &Value, words: &str, now: Timestamp) -> String {
    let text = |field: &str| condition[field].as_str().filter(|text| !text.is_empty());
    let since = text("lastTransitionTime").and_then(|since| since.parse::<Timestamp>().ok());
    let since = since.map(|since| format!(" for {}", age(now.duration_since(since))));
    let why = text("reason").filter(|reason| *reason != words);
    let why = why.map(|reason| format!(" ({reason})"));
    let message = text("message").map(|message| format!(": {}", message.trim_end_matches('.')));
    let rest = [since, why, message].map(Option::unwrap_or_default).concat();
    format!("{words}{rest}.")
}

/// The checks that hold it.
fn checks(workload: &Value) -> String {
    let checks = workload["status"]["admissionChecks"].as_array();
    let waits = checks.into_iter().flatten().filter(|check| check["state"] != "Ready");
    let said = waits.map(|check| {
        let [name, state, message] =
            ["name", "state", "message"].map(|field| check[field].as_str().unwrap_or_default());
        format!(" {name}: {state}: {}", message.trim_end_matches('.'))
    });
    let said: Vec<String> = said
        .map(|check| format!("{}.", check.trim_end_matches([':', ' '])))
        .collect();
    said.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::kubectl::tests::{facts_of, job};

    fn queued(status: &Value) -> Value {
        let mut job = job(&json!({ "runPolicy": { "suspend": true } }), status);
        job["metadata"]["labels"] = json!({ names::KUEUE_QUEUE: "team-queue" });
        job
    }

    fn is(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({ "type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    fn workload(active: bool, conditions: &[Value]) -> Value {
        json!({ "metadata": { "name": "pytorchjob-train-1a2b" }, "spec": { "queueName": "team-queue", "active": active },
            "status": { "conditions": conditions, "admissionChecks": [
                { "name": "capacity", "state": "Pending", "message": "No nodes yet." },
                { "name": "budget", "state": "Ready" }, { "name": "third", "state": "Retry", "message": "" }] } })
    }

    #[test]
    fn a_workload_is_told_by_the_condition_that_says_most() {
        let pending = is(
            "QuotaReserved",
            "False",
            "Pending",
            "couldn't assign flavors to pod set worker.",
        );
        let reserved = is("QuotaReserved", "True", "QuotaReserved", "Quota reserved");
        let admitted = is("Admitted", "True", "Admitted", "The workload is admitted");
        let not_admitted = is("Admitted", "False", "NoReservation", "No reservation");
        let evicted = is("Evicted", "True", "Preempted", "Preempted to accommodate a workload");
        for (active, conditions, said) in [
            (true, vec![], ": Kueue has not looked at it yet."),
            (
                true,
                vec![pending.clone()],
                ": no quota for 10m (Pending): couldn't assign flavors to pod set worker.",
            ),
            (
                true,
                vec![evicted.clone(), not_admitted, pending],
                ": no quota for 10m (Pending): couldn't assign flavors to pod set worker. Evicted for 10m (Preempted): \
                 Preempted to accommodate a workload.",
            ),
            (
                true,
                vec![reserved.clone()],
                " has its quota and waits for admission checks. capacity: Pending: No nodes yet. third: Retry.",
            ),
            (
                true,
                vec![reserved, admitted],
                ": Admitted for 10m: The workload is admitted.",
            ),
            (
                false,
                vec![evicted],
                " is deactivated. Evicted for 10m (Preempted): Preempted to accommodate a workload.\n    To do: set \
                 spec.active of workload pytorchjob-train-1a2b to true, when its cause is gone",
            ),
        ] {
            let facts = facts_of(queued(&json!({})), |world| {
                world.workloads.push(workload(active, &conditions));
            });
            assert_eq!(
                lines(&facts),
                [format!("Workload pytorchjob-train-1a2b in queue team-queue{said}")]
            );
        }
    }

    #[test]
    fn a_job_for_a_queue_without_a_workload_waits_for_kueue_itself() {
        let said = lines(&facts_of(queued(&json!({})), |_| ()));
        assert!(said[0].starts_with("It is for queue team-queue, and Kueue has made no Workload of it.\n    To do: "));
        let unread = |world: &mut crate::cli::kubectl::observation::Observation| {
            world
                .unread
                .push("workloads: the cluster has no kueue.x-k8s.io".to_owned());
        };
        assert_eq!(lines(&facts_of(queued(&json!({})), unread)), [""; 0]);
        let done = json!({ "conditions": [{ "type": "Succeeded", "status": "True" }] });
        assert_eq!(lines(&facts_of(queued(&done), |_| ())), [""; 0]);
        assert_eq!(
            lines(&facts_of(job(&json!({}), &json!({})), |_| ())),
            [""; 0],
            "no queue"
        );
    }
}
