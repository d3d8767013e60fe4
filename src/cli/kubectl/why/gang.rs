//! What the gang scheduler says of the PodGroup of a job.

use serde_json::Value;

use crate::api::ChildKind;
use crate::api::names::reason;
use crate::cli::kubectl::observation::{Facts, kind_of};
use crate::cli::kubectl::read::PODGROUPS;
use crate::cli::kubectl::why::with_remedy;
use crate::planner::{Child, PodGroup, wants_pods};

/// The condition of Kubernetes' own PodGroups.
const SCHEDULED: &str = "PodGroupInitiallyScheduled";
/// What to do where there is none.
const REMEDY: &str = "install a gang scheduler, and start the operator with --gang-scheduler-name";

/// A line for the PodGroup; of a job that is to have one and has none, that.
pub(super) fn lines(facts: &Facts) -> Vec<String> {
    let policy = &facts.job.spec.run_policy.scheduling_policy;
    let unread = facts.is_unread(PODGROUPS);
    if facts.groups.is_empty() && policy.is_some() && !unread && wants_pods(&facts.job) && !facts.pods.is_empty() {
        let line = "It has a schedulingPolicy and no PodGroup, so its pods are placed one by one.";
        return vec![with_remedy(line, REMEDY)];
    }
    let observed = |group: &Value| {
        let kind = kind_of(group)?;
        let name = group["metadata"]["name"].as_str()?;
        let is_it = |child: &&Child| child.kind == kind && child.name == name;
        let fact = facts.others.iter().find(is_it)?.pod_group.as_deref()?;
        Some(of_group(kind, group, fact))
    };
    facts.groups.iter().filter_map(observed).collect()
}

fn of_group(kind: ChildKind, group: &Value, fact: &PodGroup) -> String {
    let name = group["metadata"]["name"].as_str().unwrap_or_default();
    let phase = group["status"]["phase"].as_str().filter(|phase| !phase.is_empty());
    let state = phase.unwrap_or_else(|| state(kind, group));
    let members = fact.spec.min_member;
    let members = members.map(|pods| format!(", {pods} pods at once")).unwrap_or_default();
    let queue = group["spec"]["queue"].as_str();
    let queue = queue.map(|queue| format!(", in queue {queue}")).unwrap_or_default();
    let line = format!("PodGroup {name} of {}: {state}{members}{queue}.", kind.api_version());
    if let Some(message) = &fact.unschedulable {
        let line = format!("{line} {}: {}.", reason::UNSCHEDULABLE, message.trim_end_matches('.'));
        return with_remedy(
            &line,
            "free resources, add a node, or lower schedulingPolicy.minAvailable",
        );
    }
    if kind == ChildKind::VolcanoPodGroup && fact.pending {
        let remedy = "see whether Volcano runs, and whether its queue has room";
        return with_remedy(&format!("{line} Volcano has not admitted it."), remedy);
    }
    line
}

/// What is known of a PodGroup without a phase.
fn state(kind: ChildKind, group: &Value) -> &'static str {
    let conditions = group["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let scheduled = conditions.find(|condition| condition["type"] == SCHEDULED);
    match scheduled.map(|condition| &condition["status"]) {
        Some(status) if *status == "True" => "scheduled",
        Some(status) if *status == "False" => "not scheduled",
        _ if kind == ChildKind::VolcanoPodGroup => "no phase",
        _ => "the scheduler has not said anything of it",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::kubectl::tests::{facts_of, job};

    fn group(version: &str, spec: &Value, status: &Value) -> Value {
        json!({ "apiVersion": version, "kind": "PodGroup", "spec": spec, "status": status,
            "metadata": { "name": "train", "uid": "g", "ownerReferences": [{ "uid": "u" }] } })
    }

    #[test]
    fn each_gang_scheduler_says_in_its_own_way_how_far_it_is_and_what_keeps_the_gang() {
        let conditions = |type_: &str, status: &str| json!([{ "type": type_, "status": status, "reason": "r", "message": "2/3 do not fit" }]);
        let volcano = |status: &Value| {
            let spec = json!({ "minMember": 3, "queue": "research" });
            group("scheduling.volcano.sh/v1beta1", &spec, status)
        };
        let plugins = |status: &Value| group("scheduling.x-k8s.io/v1alpha1", &json!({ "minMember": 3 }), status);
        let kubernetes = |status: &Value| {
            let spec = json!({ "schedulingPolicy": { "gang": { "minCount": 3 } } });
            group("scheduling.k8s.io/v1beta1", &spec, status)
        };
        let (enlarge, look) = (
            "\n    To do: free resources, add a node, or lower schedulingPolicy.minAvailable",
            "\n    To do: see whether Volcano runs, and whether its queue has room",
        );
        for (group, said) in [
            (
                volcano(&json!({})),
                format!("no phase, 3 pods at once, in queue research. Volcano has not admitted it.{look}"),
            ),
            (
                volcano(&json!({ "phase": "Pending" })),
                format!("Pending, 3 pods at once, in queue research. Volcano has not admitted it.{look}"),
            ),
            (
                volcano(&json!({ "phase": "Inqueue", "conditions": conditions("Unschedulable", "True") })),
                format!("Inqueue, 3 pods at once, in queue research. Unschedulable: 2/3 do not fit.{enlarge}"),
            ),
            (
                volcano(&json!({ "phase": "Running", "conditions": conditions("Unschedulable", "True") })),
                "Running, 3 pods at once, in queue research.".to_owned(),
            ),
            (
                plugins(&json!({ "phase": "Scheduling" })),
                "Scheduling, 3 pods at once.".to_owned(),
            ),
            (
                plugins(&json!({})),
                "the scheduler has not said anything of it, 3 pods at once.".to_owned(),
            ),
            (
                kubernetes(&json!({ "conditions": conditions(SCHEDULED, "False") })),
                format!("not scheduled, 3 pods at once. Unschedulable: 2/3 do not fit.{enlarge}"),
            ),
            (
                kubernetes(&json!({ "conditions": conditions(SCHEDULED, "True") })),
                "scheduled, 3 pods at once.".to_owned(),
            ),
        ] {
            let version = group["apiVersion"].as_str().unwrap().to_owned();
            let facts = facts_of(job(&json!({}), &json!({})), |world| world.others.push(group));
            assert_eq!(lines(&facts), [format!("PodGroup train of {version}: {said}")]);
        }
    }

    #[test]
    fn a_gang_that_is_asked_for_and_not_made_is_said_unless_nobody_can_tell() {
        let asked = || {
            job(
                &json!({ "runPolicy": { "schedulingPolicy": { "minAvailable": 2 } } }),
                &json!({}),
            )
        };
        let pod =
            || json!({ "metadata": { "name": "train-master-0", "uid": "p", "ownerReferences": [{ "uid": "u" }] } });
        let facts = facts_of(asked(), |world| world.pods.push(pod()));
        assert!(lines(&facts)[0].starts_with("It has a schedulingPolicy and no PodGroup"));
        let unread = facts_of(asked(), |world| {
            world.pods.push(pod());
            world.unread.push("podgroups: forbidden".to_owned());
        });
        assert_eq!(lines(&unread), [""; 0]);
        assert_eq!(lines(&facts_of(asked(), |_| ())), [""; 0], "it has not been begun");
    }
}
