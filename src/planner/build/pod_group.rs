//! The PodGroup of a job, for a gang scheduler, and what makes a pod a member of it.
//!
//! Volcano's and the coscheduling plugin's as in Kubeflow, but for three things. Of pods of the same priority,
//! `minResources` counts the Master first, where Kubeflow's order is random; an elastic job needs as few workers as its
//! elasticPolicy says, not all; and the annotation of `kubectl apply` stays on the job.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use crate::api::{ChildKind, PyTorchJob, ReplicaType, SchedulingPolicy, names};
use crate::planner::amount::Amount;
use crate::planner::build::builder::{Builder, job_labels};
use crate::planner::build::template;
use crate::planner::child::PodGroupSpec;
use crate::planner::gang::{Gang, GangScheduler};

/// The PodGroup, named like the job, with the annotations of the job.
#[must_use]
pub(super) fn build(builder: &Builder<'_>, scheduler: &GangScheduler) -> Value {
    let job = builder.job;
    let mut metadata = builder.metadata(builder.name(), job_labels(builder.name()));
    let annotations: Map<String, Value> = job
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| *key != names::LAST_APPLIED)
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), Value::Object(annotations));
    }
    let kind = scheduler.kind();
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind(),
        "metadata": metadata,
        "spec": whole_spec(job, scheduler, &builder.settings.priorities),
    })
}

fn whole_spec(job: &PyTorchJob, scheduler: &GangScheduler, priorities: &BTreeMap<String, i32>) -> Value {
    let PodGroupSpec {
        min_member,
        min_resources,
    } = spec(job, scheduler, priorities);
    let policy = policy(job);
    let priority_class = policy.priority_class.filter(|name| !name.is_empty());
    let min_resources = min_resources
        .filter(|resources| !resources.is_empty())
        .map(|resources| texts(&resources));
    let queue = policy.queue.filter(|queue| !queue.is_empty());
    let fields = match scheduler {
        GangScheduler::Volcano => json!({
            "minMember": min_member,
            "minResources": min_resources,
            "queue": queue.as_deref().unwrap_or(names::VOLCANO_QUEUE),
            "priorityClassName": priority_class,
        }),
        GangScheduler::SchedulerPlugins(_) => json!({
            "minMember": min_member,
            "minResources": min_resources,
            "scheduleTimeoutSeconds": policy.schedule_timeout_seconds,
        }),
        GangScheduler::Kubernetes => json!({
            "schedulingPolicy": { "gang": { "minCount": min_member } },
            "disruptionMode": { "all": {} },
            // The scheduler ranks a group by its own priority, whatever that of its pods.
            "priorityClassName": priority_class.or_else(|| priority_class_of_pods(job)),
        }),
    };
    let fields = fields.as_object().cloned().unwrap_or_default();
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// The part of the PodGroup that an edit of the job can change.
#[must_use]
pub fn spec(job: &PyTorchJob, scheduler: &GangScheduler, priorities: &BTreeMap<String, i32>) -> PodGroupSpec {
    spec_of(job, scheduler, priorities, min_member(job))
}

/// The same for so many pods that are placed together.
#[must_use]
pub(crate) fn spec_of(
    job: &PyTorchJob,
    scheduler: &GangScheduler,
    priorities: &BTreeMap<String, i32>,
    members: u32,
) -> PodGroupSpec {
    PodGroupSpec {
        min_member: Some(i32::try_from(members).unwrap_or(i32::MAX)),
        min_resources: scheduler
            .has_min_resources()
            .then(|| min_resources(job, members, priorities)),
    }
}

/// The same for pods that are placed one by one.
#[must_use]
pub(crate) fn spec_of_one(scheduler: &GangScheduler) -> PodGroupSpec {
    PodGroupSpec {
        min_member: Some(1),
        min_resources: scheduler.has_min_resources().then(BTreeMap::new),
    }
}

/// What writes `spec` into the PodGroup of this kind, as operations of a JSON patch, which replace a map as a whole.
#[must_use]
pub(super) fn patch(spec: &PodGroupSpec, kind: ChildKind) -> Vec<Value> {
    let PodGroupSpec {
        min_member,
        min_resources,
    } = spec;
    let member = match kind {
        ChildKind::KubernetesPodGroup => "/spec/schedulingPolicy/gang/minCount",
        _ => "/spec/minMember",
    };
    let mut patch = vec![json!({ "op": "add", "path": member, "value": min_member })];
    let resources = min_resources.as_ref().map(texts);
    patch.extend(resources.map(|value| json!({ "op": "add", "path": "/spec/minResources", "value": value })));
    patch
}

/// Makes the pod of a role a member of the job's PodGroup, and leaves it to the gang scheduler unless its template
/// names another.
pub(crate) fn decorate(pod: &mut Value, gang: &Gang, job: &str, role: ReplicaType) {
    match &gang.scheduler {
        GangScheduler::Volcano => {
            let annotations = &mut pod["metadata"]["annotations"];
            annotations[names::VOLCANO_GROUP] = json!(job);
            annotations[names::VOLCANO_TASK] = json!(role.label());
        }
        GangScheduler::SchedulerPlugins(_) => pod["metadata"]["labels"][names::COSCHEDULING_GROUP] = json!(job),
        // Where it has no PodGroups, a pod of one would never be scheduled.
        GangScheduler::Kubernetes if gang.served => pod["spec"]["schedulingGroup"] = json!({ "podGroupName": job }),
        GangScheduler::Kubernetes => {}
    }
    if let Some(scheduler) = gang.scheduler.scheduler_name()
        && template::scheduler_name(pod).is_none()
    {
        pod["spec"]["schedulerName"] = json!(scheduler);
    }
}

fn policy(job: &PyTorchJob) -> SchedulingPolicy {
    job.spec.run_policy.scheduling_policy.clone().unwrap_or_default()
}

/// `minAvailable`, or all replicas. No scheduler has groups of none.
#[must_use]
pub(crate) fn min_member(job: &PyTorchJob) -> u32 {
    let available = policy(job).min_available.and_then(|pods| u32::try_from(pods).ok());
    available.unwrap_or_else(|| fewest_replicas(job)).max(1)
}

fn fewest_replicas(job: &PyTorchJob) -> u32 {
    ReplicaType::ALL
        .into_iter()
        .map(|role| job.spec.fewest_replicas(role))
        .sum()
}

/// What the user says must be free, or what the first `members` pods ask for: those of the higher priority class first,
/// as in Kubeflow, and of the same the Master.
fn min_resources(job: &PyTorchJob, members: u32, priorities: &BTreeMap<String, i32>) -> BTreeMap<String, Amount> {
    if let Some(given) = policy(job).min_resources {
        let amounts = given.into_iter();
        return amounts
            .filter_map(|(resource, Quantity(text))| Some((resource, Amount::parse(&text)?)))
            .collect();
    }
    let mut left = members;
    let mut amounts: BTreeMap<String, Vec<Amount>> = BTreeMap::new();
    let mut roles: Vec<_> = ReplicaType::ALL
        .into_iter()
        .zip(template::of_roles(&job.spec))
        .collect();
    roles.sort_by_key(|(_, template)| Reverse(template.as_ref().map_or(0, |template| priority(template, priorities))));
    for (role, template) in roles {
        let pods = job.spec.replicas(role).min(left);
        left -= pods;
        let requests = template.iter().flat_map(requests).filter(|_| pods > 0);
        for (resource, amount) in requests {
            amounts.entry(resource).or_default().push(amount * pods);
        }
    }
    let sums = amounts.into_iter();
    sums.map(|(resource, amounts)| (resource, amounts.into_iter().sum()))
        .collect()
}

/// The value of the priority class that the template names; 0 without one that exists, as in Kubeflow.
fn priority(template: &Value, priorities: &BTreeMap<String, i32>) -> i32 {
    let class = template.pointer("/spec/priorityClassName").and_then(Value::as_str);
    class.and_then(|class| priorities.get(class)).copied().unwrap_or(0)
}

/// The requests of the containers; the limits of a container that has no requests at all.
fn requests(template: &Value) -> Vec<(String, Amount)> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let amounts = |container: &Value| {
        let of = |field: &str| {
            container["resources"][field]
                .as_object()
                .filter(|amounts| !amounts.is_empty())
        };
        of("requests").or_else(|| of("limits")).cloned().unwrap_or_default()
    };
    let all = containers.into_iter().flatten().flat_map(amounts);
    all.filter_map(|(resource, value)| Some((resource, Amount::of(&value)?)))
        .collect()
}

/// The priority class that all templates name, if they agree.
fn priority_class_of_pods(job: &PyTorchJob) -> Option<String> {
    let templates = template::of_roles(&job.spec);
    let mut names = templates.iter().flatten().map(|template| {
        let name = template.pointer("/spec/priorityClassName").and_then(Value::as_str);
        name.filter(|name| !name.is_empty())
    });
    let first = names.next()??;
    names.all(|name| name == Some(first)).then(|| first.to_owned())
}

fn texts(resources: &BTreeMap<String, Amount>) -> Value {
    resources
        .iter()
        .map(|(resource, amount)| (resource.clone(), json!(amount.to_string())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::build;
    use crate::planner::fixture::master;
    use crate::planner::plan::Contents;

    #[test]
    fn an_update_replaces_what_an_edit_changes_and_names_the_uid() {
        let requests = json!({ "requests": { "cpu": "1" } });
        let job = master().container(ReplicaType::Master, "/resources", requests);
        let job = job.build();
        let patch = |scheduler: &GangScheduler| {
            let contents = Contents::PodGroup(spec(&job, scheduler, &BTreeMap::new()));
            build::patch(&contents, scheduler.kind(), "u")
        };
        let test = json!({ "op": "test", "path": "/metadata/uid", "value": "u" });
        for scheduler in [GangScheduler::Volcano, GangScheduler::SchedulerPlugins("s".into())] {
            assert_eq!(
                patch(&scheduler),
                json!([
                    test,
                    { "op": "add", "path": "/spec/minMember", "value": 1 },
                    { "op": "add", "path": "/spec/minResources", "value": { "cpu": "1" } },
                ])
            );
        }
        assert_eq!(
            patch(&GangScheduler::Kubernetes),
            json!([test, { "op": "add", "path": "/spec/schedulingPolicy/gang/minCount", "value": 1 }])
        );
    }
}
