//! Gang scheduling, in both directions: `schedulingPolicy` of a PyTorchJob, and `podGroupPolicy` of a runtime.
//!
//! The gang scheduler is the operator's choice for a PyTorchJob and the runtime's for a `TrainJob`. Without a policy
//! there, Trainer makes no PodGroup and its nodes are placed one by one.

use serde_json::{Map, Value, json};

use crate::api::{PyTorchJob, SchedulingPolicy, names};
use crate::cli::convert::names::{PODS, QUEUE};
use crate::cli::convert::parts::{Loss, Parts};
use crate::cli::convert::unsupported;

const POLICY: &str = "spec.runPolicy.schedulingPolicy";
const COSCHEDULING: &str = "spec.podGroupPolicy.coscheduling";
const VOLCANO: &str = "spec.podGroupPolicy.volcano";
const TIMEOUT: &str = "scheduleTimeoutSeconds";
const ANNOTATIONS: &str = "spec.template.metadata.annotations";

/// Takes what a PyTorchJob says of its gang, and writes it into a runtime.
pub(super) fn written(job: &PyTorchJob, parts: &mut Parts, runtime: &mut Value) -> Vec<Loss> {
    let left: Option<Map<String, Value>> = parts.take_as(POLICY);
    let mut left = left.unwrap_or_default();
    // Charts write an unset field as an empty string.
    left.retain(|_, value| *value != "");
    let policy = job.spec.run_policy.scheduling_policy.as_ref();
    let Some(policy) = policy.filter(|_| !left.is_empty()) else {
        return Vec::new();
    };
    let mut losses = Vec::new();
    let scheduler = scheduler_of(runtime);
    if is_of_volcano(policy, scheduler.as_deref()) {
        let queue = left.remove("queue").unwrap_or_else(|| names::VOLCANO_QUEUE.into());
        if let (None, Some(pods)) = (scheduler, runtime.pointer_mut(PODS)) {
            pods["schedulerName"] = names::VOLCANO.into();
        }
        // Trainer takes it from the pods.
        let priority = runtime.pointer(PODS).and_then(|pods| pods.get("priorityClassName"));
        left.retain(|field, class| field != "priorityClass" || Some(&*class) != priority);
        runtime["spec"]["podGroupPolicy"] = json!({ "volcano": {} });
        runtime["spec"]["template"]["metadata"] = json!({ "annotations": { QUEUE: queue } });
    } else {
        losses.extend(scheduler.is_none().then(|| unsupported::scheduler(job)));
        let timeout = left.remove(TIMEOUT).map(|seconds| (TIMEOUT.to_owned(), seconds));
        runtime["spec"]["podGroupPolicy"] = json!({ "coscheduling": Map::from_iter(timeout) });
    }
    let nodes = job.spec.total_replicas();
    if left.get("minAvailable") == Some(&json!(nodes)) {
        left.remove("minAvailable");
    }
    losses.extend(left.keys().map(|field| unsupported::scheduling(POLICY, field, nodes)));
    losses
}

/// The scheduler that the pods of a runtime name.
fn scheduler_of(runtime: &Value) -> Option<String> {
    let name = runtime.pointer(PODS)?["schedulerName"].as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whether a gang is Volcano's: queues and priority classes are for it and not for the scheduler-plugins, and a
/// time-out is for these alone.
fn is_of_volcano(policy: &SchedulingPolicy, scheduler: Option<&str>) -> bool {
    let says = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let with_timeout = policy.schedule_timeout_seconds.is_some();
    says(&policy.queue) || scheduler == Some(names::VOLCANO) || !with_timeout && says(&policy.priority_class)
}

/// Takes the gang of a runtime, as `schedulingPolicy` of a PyTorchJob of as many nodes with this template.
pub(super) fn taken(runtime: &mut Parts, nodes: u32, template: &Value) -> (Option<Value>, Vec<Loss>) {
    let [coscheduling, volcano] = [COSCHEDULING, VOLCANO].map(|policy| runtime.get(policy).is_some());
    let timeout = runtime.take(&format!("{COSCHEDULING}.{TIMEOUT}"));
    let annotations: Option<Map<String, Value>> = runtime.take_as(ANNOTATIONS);
    let mut annotations = annotations.unwrap_or_default();
    let queue = annotations.remove(QUEUE);
    let path = runtime.path(ANNOTATIONS);
    let losses = annotations
        .keys()
        .map(|name| unsupported::by_kubeflow(format!("{path}.{name}")));
    // Whatever else says that there is a gang, all nodes are placed together by default.
    let alone = coscheduling && !volcano && timeout.is_none() && queue.is_none();
    let priority = template["spec"].get("priorityClassName").filter(|_| volcano);
    let fields = [
        (TIMEOUT, timeout),
        ("queue", queue.or_else(|| volcano.then(|| names::VOLCANO_QUEUE.into()))),
        ("priorityClass", priority.cloned()),
        ("minAvailable", alone.then(|| nodes.into())),
    ];
    let said = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let policy: Map<String, Value> = said.collect();
    ((!policy.is_empty()).then(|| policy.into()), losses.collect())
}
