//! Which quota of the namespace keeps pods of a job out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::api::names::reason;
use crate::api::{ChildKind, PyTorchJob};
use crate::cli::kubectl::observation::Facts;
use crate::cli::kubectl::why::with_remedy;
use crate::planner::{Amount, wants_pods};

/// How the API server begins to say that a quota is too small, before its name.
const EXCEEDED: &str = "exceeded quota: ";
/// The number of pods, as quotas call it.
const PODS: [&str; 2] = ["pods", "count/pods"];
/// What any pod uses up, and what defaults of the namespace may have it ask for.
const OF_ANY_POD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What a quota may say before the name of a resource.
const SIDES: [&str; 2] = ["requests.", "limits."];

/// A line for each quota that is too small for what is missing of the job: the one that the API server named, or else
/// those that are used up.
pub(super) fn lines(facts: &Facts) -> Vec<String> {
    let world = facts.world();
    let mut names = world.desired().map(|replica| replica.name(world.name()));
    if !wants_pods(&facts.job) || names.all(|name| world.pod(&name).is_some()) {
        return Vec::new();
    }
    let refusing = refusal(facts).and_then(|refusal| of_refusal(&facts.quotas, &refusal));
    match refusing {
        Some(line) => vec![line],
        // Nobody knows whether any is missing.
        None if facts.is_unread(ChildKind::Pod.plural()) => Vec::new(),
        None => {
            let asked = asked(&facts.job);
            let used_up = |quota| used_up(quota, &asked);
            facts.quotas.iter().filter_map(used_up).collect()
        }
    }
}

/// The resources that pods of the job name, besides those of any pod.
fn asked(job: &PyTorchJob) -> BTreeSet<String> {
    let templates = job.spec.pytorch_replica_specs.values();
    let pods = templates.filter_map(|replica| replica.template.parse::<Value>().ok());
    let mut asked = BTreeSet::new();
    for pod in pods {
        let containers = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array());
        let containers = containers.into_iter().flatten().flatten();
        for part in containers.chain([&pod["spec"]]) {
            let amounts = ["requests", "limits"].map(|side| part["resources"][side].as_object());
            asked.extend(amounts.into_iter().flatten().flat_map(Map::keys).cloned());
        }
    }
    asked
}

/// What the API server said last of a quota: in the status as long as it is true, in an event before that is written.
fn refusal(facts: &Facts) -> Option<String> {
    let conditions = facts.job.status.iter().flat_map(|status| &status.conditions);
    let in_status = conditions
        .rev()
        .find_map(|condition| quoted(condition.message.as_deref()?));
    let events = facts.events.iter().rev();
    let mut events = events.filter(|[_, reason, _]| reason == reason::FAILED_CREATE_POD);
    in_status.or_else(|| quoted(&events.next()?[2]))
}

fn quoted(text: &str) -> Option<String> {
    text.split_once(EXCEEDED).map(|(_, quoted)| quoted.to_owned())
}

/// About the quota that a refusal names, as in `gpus, requested: pods=1, used: pods=2, limited: pods=2`. Other pods may
/// have ended since.
fn of_refusal(quotas: &[Value], refusal: &str) -> Option<String> {
    let (name, rest) = refusal.split_once(", requested: ")?;
    let (requested, _) = rest.split_once(", used: ")?;
    let quota = quotas.iter().find(|quota| quota["metadata"]["name"] == name)?;
    let asked: Vec<(&str, Amount)> = requested
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(resource, amount)| Some((resource, Amount::parse(amount)?)))
        .collect();
    let said = asked.iter().filter_map(|(resource, asked)| {
        let [used, hard] = of(quota, resource)?;
        Some(format!("{resource}: {used} of {hard} used, {asked} more asked for"))
    });
    let said: Vec<String> = said.collect();
    if said.is_empty() {
        return None;
    }
    let line = format!("ResourceQuota {name}: {}.", said.join("; "));
    let fits = asked.iter().all(|(resource, asked)| {
        of(quota, resource).is_none_or(|[used, hard]| [used, *asked].into_iter().sum::<Amount>() <= hard)
    });
    Some(if fits {
        format!("{line} There is room now; the operator tries again within five minutes, and at once after an edit.")
    } else {
        with_remedy(&line, REMEDY)
    })
}

const REMEDY: &str = "wait until others have ended, have the quota raised, or ask for less";

/// About a quota of which a resource is used up that the pods ask for. One for some pods only may be another's.
fn used_up(quota: &Value, asked: &BTreeSet<String>) -> Option<String> {
    let spec = &quota["spec"];
    if !spec["scopes"].is_null() || !spec["scopeSelector"].is_null() {
        return None;
    }
    let name = quota["metadata"]["name"].as_str()?;
    let resources = quota["status"]["hard"].as_object()?.keys();
    let of_pods = |resource: &&String| {
        let mut sides = SIDES.iter().filter_map(|side| resource.strip_prefix(side));
        let name = sides.next().unwrap_or(resource);
        PODS.contains(&resource.as_str()) || OF_ANY_POD.contains(&name) || asked.contains(name)
    };
    let used_up = resources.filter(of_pods).filter_map(|resource| {
        let [used, hard] = of(quota, resource)?;
        (used >= hard && hard > Amount::default()).then(|| format!("{resource}: {used} of {hard} used"))
    });
    let used_up: Vec<String> = used_up.collect();
    let line = format!("ResourceQuota {name} is used up: {}.", used_up.join("; "));
    (!used_up.is_empty()).then(|| with_remedy(&line, REMEDY))
}

/// How much of a resource is used, and how much may be.
fn of(quota: &Value, resource: &str) -> Option<[Amount; 2]> {
    let amount = |field: &str| Amount::of(&quota["status"][field][resource]);
    Some([amount("used").unwrap_or_default(), amount("hard")?])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::kubectl::tests::{facts_of, job};

    fn quota(name: &str, used: &Value, hard: &Value) -> Value {
        json!({ "metadata": { "name": name }, "spec": { "hard": hard }, "status": { "used": used, "hard": hard } })
    }

    fn created(message: &str) -> Value {
        json!({ "conditions": [{ "type": "Created", "status": "True", "message": message }] })
    }

    const TO_DO: &str = "\n    To do: wait until others have ended, have the quota raised, or ask for less";

    #[test]
    fn the_quota_that_the_api_server_named_is_said_with_what_is_used_now() {
        let message = "PyTorchJob train is created. Waiting: cannot create pod train-master-0: pods \"train-master-0\" is \
            forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8,requests.memory=64Gi, used: \
            requests.nvidia.com/gpu=2,requests.memory=1Gi, limited: requests.nvidia.com/gpu=8,requests.memory=64Gi";
        let hard = json!({ "requests.nvidia.com/gpu": "8", "requests.memory": "64Gi", "pods": "1" });
        let other = quota("other", &json!({ "pods": "1" }), &json!({ "pods": "1" }));
        for (used, said) in [
            (
                json!({ "requests.nvidia.com/gpu": "2", "requests.memory": "1Gi", "pods": "1" }),
                format!(
                    "ResourceQuota gpus: requests.nvidia.com/gpu: 2 of 8 used, 8 more asked for; \
                     requests.memory: 1Gi of 64Gi used, 64Gi more asked for.{TO_DO}"
                ),
            ),
            (
                json!({ "requests.nvidia.com/gpu": "0", "requests.memory": "0" }),
                "ResourceQuota gpus: requests.nvidia.com/gpu: 0 of 8 used, 8 more asked for; requests.memory: 0 of \
                 64Gi used, 64Gi more asked for. There is room now; the operator tries again within five minutes, and \
                 at once after an edit."
                    .to_owned(),
            ),
        ] {
            let quotas = [other.clone(), quota("gpus", &used, &hard)];
            let facts = facts_of(job(&json!({}), &created(message)), |world| {
                world.quotas.extend(quotas.clone());
            });
            assert_eq!(lines(&facts), [said.as_str()]);
            let facts = facts_of(job(&json!({}), &created("It is created.")), |world| {
                world.quotas.extend(quotas.clone());
                world.events = vec![json!({ "type": "Warning", "reason": "FailedCreatePod", "note": message })];
            });
            assert_eq!(lines(&facts), [said.as_str()], "by the event");
        }
    }

    #[test]
    fn without_a_refusal_the_quotas_are_said_of_which_what_pods_need_is_used_up() {
        let one =
            |resource: &str, used: &str, hard: &str| quota("q", &json!({ resource: used }), &json!({ resource: hard }));
        for (quota, said) in [
            (one("pods", "1", "1"), Some("pods: 1 of 1 used")),
            (one("pods", "1", "2"), None),
            (one("count/pods", "3", "2"), Some("count/pods: 3 of 2 used")),
            (one("requests.cpu", "1000m", "1"), Some("requests.cpu: 1 of 1 used")),
            (
                one("limits.memory", "1Gi", "1024Mi"),
                Some("limits.memory: 1Gi of 1Gi used"),
            ),
            (
                one("ephemeral-storage", "1Gi", "1Gi"),
                Some("ephemeral-storage: 1Gi of 1Gi used"),
            ),
            (one("secrets", "1", "1"), None),
            (one("requests.storage", "1Gi", "1Gi"), None),
            (
                one("fast.storageclass.storage.k8s.io/requests.storage", "1Gi", "1Gi"),
                None,
            ),
            (one("requests.nvidia.com/gpu", "8", "8"), None),
            (one("requests.nvidia.com/gpu", "0", "0"), None),
            (json!({ "metadata": { "name": "new" }, "spec": {} }), None),
        ] {
            let expected: Vec<String> = said
                .map(|said| format!("ResourceQuota q is used up: {said}.{TO_DO}"))
                .into_iter()
                .collect();
            let facts = facts_of(job(&json!({}), &created("It is created.")), |world| {
                world.quotas.push(quota.clone());
            });
            assert_eq!(lines(&facts), expected, "{quota}");
            let mut scoped = quota.clone();
            scoped["spec"]["scopes"] = json!(["BestEffort"]);
            assert_eq!(used_up(&scoped, &BTreeSet::new()), None);
        }
    }

    #[test]
    fn a_quota_of_devices_is_said_to_those_alone_whose_containers_name_them() {
        let quota = quota(
            "gpus",
            &json!({ "requests.nvidia.com/gpu": "8", "requests.amd.com/gpu": "8", "hugepages-2Mi": "1Gi" }),
            &json!({ "requests.nvidia.com/gpu": "8", "requests.amd.com/gpu": "8", "hugepages-2Mi": "1Gi" }),
        );
        let gpu = json!({ "limits": { "nvidia.com/gpu": 1 } });
        for (spec, said) in [
            (json!({ "containers": [{ "name": "pytorch" }] }), None),
            (
                json!({ "containers": [{ "name": "pytorch" }, { "name": "other", "resources": gpu }] }),
                Some("requests.nvidia.com/gpu: 8 of 8 used"),
            ),
            (
                json!({ "containers": [{ "name": "pytorch" }], "initContainers": [{ "name": "i", "resources": gpu }] }),
                Some("requests.nvidia.com/gpu: 8 of 8 used"),
            ),
            (
                json!({ "containers": [{ "name": "pytorch" }], "resources": { "requests": { "hugepages-2Mi": "1Gi" } } }),
                Some("hugepages-2Mi: 1Gi of 1Gi used"),
            ),
        ] {
            let mut job = job(&json!({}), &json!({}));
            job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"] = spec;
            let expected: Vec<String> = said
                .map(|said| format!("ResourceQuota gpus is used up: {said}.{TO_DO}"))
                .into_iter()
                .collect();
            let facts = facts_of(job, |world| world.quotas.push(quota.clone()));
            assert_eq!(lines(&facts), expected);
        }
    }

    #[test]
    fn no_quota_matters_to_a_job_that_has_its_pods_or_wants_none() {
        let full = || quota("q", &json!({ "pods": "1" }), &json!({ "pods": "1" }));
        let pod = json!({ "metadata": { "name": "train-master-0", "uid": "p", "ownerReferences": [{ "uid": "u" }] } });
        let complete = facts_of(job(&json!({}), &json!({})), |world| {
            world.quotas.push(full());
            world.pods.push(pod);
        });
        assert_eq!(lines(&complete), [""; 0]);
        let unread = facts_of(job(&json!({}), &json!({})), |world| {
            world.quotas.push(full());
            world.unread.push("pods: forbidden".to_owned());
        });
        assert_eq!(lines(&unread), [""; 0], "it may have them");
        let suspended = job(&json!({ "runPolicy": { "suspend": true } }), &json!({}));
        assert_eq!(lines(&facts_of(suspended, |world| world.quotas.push(full()))), [""; 0]);
        let failed = json!({ "conditions": [{ "type": "Failed", "status": "True" }] });
        assert_eq!(
            lines(&facts_of(job(&json!({}), &failed), |world| world.quotas.push(full()))),
            [""; 0]
        );
    }
}
