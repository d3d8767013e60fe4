//! A job and everything that decisions about it are made from, as objects of the API: what `record` prints and `replay`
//! reads.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{ChildKind, PyTorchJob, names};
use crate::cache::ObjectView;
use crate::planner::{Child, Gang, GangScheduler, Plan, Pod, Settings, World, plan, template_hash};

/// What stands in the place of what may be secret.
const BLANK: &str = "…";

/// What stands in the message of a condition before something that the job waits for.
const WAITING: &str = " Waiting: ";
/// The same before what is not as it should be, and what the job does not wait for.
const WARNING: &str = " Warning: ";
/// How the operator begins to say that a creation was refused.
const REFUSAL: &str = "cannot create ";

/// Annotations of pods that decisions are made from, and in which there is nothing of the user.
const KEPT: [&str; 5] = [
    names::ANNOTATION_ATTEMPT,
    names::ANNOTATION_EXCLUDED_NODES,
    names::ANNOTATION_IN_PLACE,
    names::ANNOTATION_PROGRESS_DEADLINE,
    names::SAFE_TO_FORCE,
];

/// The objects, and when they were read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Observation {
    /// When they were read.
    pub time: Timestamp,
    /// The job.
    pub job: Value,
    /// Its pods.
    pub pods: Vec<Value>,
    /// Whatever else it owns, with `apiVersion` and `kind`.
    pub others: Vec<Value>,
    /// Events about the job and its pods, those that are gone included, the newest last.
    pub events: Vec<Value>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
    /// The quotas of the namespace: name, spec and status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Value>,
    /// What Kueue says of the job: name, queue and status of its Workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Value>,
}

/// The same as decisions see it.
pub(super) struct Facts {
    pub job: PyTorchJob,
    pub pods: Vec<Pod>,
    /// What the kubelet says of each pod, by its name.
    pub statuses: BTreeMap<String, PodStatus>,
    pub others: Vec<Child>,
    /// The PodGroups among the others, as they are stored.
    pub groups: Vec<Value>,
    pub quotas: Vec<Value>,
    pub workloads: Vec<Value>,
    pub settings: Settings,
    pub now: Timestamp,
    /// Type, reason and note of the events, the newest last.
    pub events: Vec<[String; 3]>,
    pub unread: Vec<String>,
}

impl Observation {
    /// A job of which nothing else is known yet.
    pub(super) fn new(job: Value, time: Timestamp) -> Self {
        Self {
            time,
            job,
            pods: Vec::new(),
            others: Vec::new(),
            events: Vec::new(),
            unread: Vec::new(),
            quotas: Vec::new(),
            workloads: Vec::new(),
        }
    }

    /// The objects of a kind.
    pub(super) fn of_kind(&mut self, kind: ChildKind) -> &mut Vec<Value> {
        match kind {
            ChildKind::Pod => &mut self.pods,
            _ => &mut self.others,
        }
    }

    /// The job.
    pub(super) fn job(&self) -> Result<PyTorchJob, String> {
        serde_json::from_str(&self.job.to_string())
            .map_err(|error| format!("the job cannot be read, so no operator can run it: {error}"))
    }

    /// Decodes the objects. An object of another owner is nobody's business here.
    pub(super) fn facts(&self) -> Result<Facts, String> {
        let job = self.job()?;
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let owned = |object: &&Value| owns(&uid, object);
        let view = |object: &Value| serde_json::from_value::<ObjectView>(object.clone()).ok();
        let pods = self.pods.iter().filter(owned).filter_map(view);
        let mut pods: Vec<Pod> = pods.map(|view| view.observe_pod().fact).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        let others = self.others.iter().filter(owned);
        let is_group = |object: &&Value| kind_of(object).is_some_and(ChildKind::is_pod_group);
        let groups = others.clone().filter(is_group).cloned().collect();
        let others = others.filter_map(|object| Some((kind_of(object)?, view(object)?)));
        let mut others: Vec<Child> = others.map(|(kind, view)| view.observe(kind).fact).collect();
        others.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        Ok(Facts {
            settings: settings(&job, &others),
            job,
            pods,
            statuses: self.pods.iter().filter(owned).filter_map(status).collect(),
            others,
            groups,
            quotas: self.quotas.clone(),
            workloads: self.workloads.clone(),
            now: self.time,
            events: self.events.iter().map(event).collect(),
            unread: self.unread.clone(),
        })
    }

    /// Blanks what may be secret: values of variables, arguments, and annotations. Pods go on to be those of the
    /// templates, which are others then.
    pub(super) fn blank(&mut self) {
        let before = hash(&self.job);
        let objects = self.pods.iter_mut().chain(&mut self.others);
        objects.chain([&mut self.job]).for_each(blank);
        let after = hash(&self.job);
        for pod in &mut self.pods {
            let label = pod["metadata"]["labels"].get_mut(names::LABEL_POD_TEMPLATE_HASH);
            if let (Some(Value::String(label)), Some(before), Some(after)) = (label, &before, &after) {
                *label = label.replace(before, after);
            }
        }
    }
}

impl Facts {
    /// What an operator would decide now; or, where something that it decides by could not be read, that nobody knows.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        let autoscaled = self.job.spec.elastic_policy.is_some();
        let matters = |kind: &ChildKind| *kind != ChildKind::HorizontalPodAutoscaler || autoscaled;
        let unread = ChildKind::ALL.into_iter().filter(matters);
        let unread = unread.filter(|kind| self.is_unread(kind.plural()));
        let mut unread: Vec<String> = unread.map(|kind| format!("{}s", kind.kind())).collect();
        // All kinds of PodGroups have one name.
        unread.dedup();
        match unread.as_slice() {
            [] => Ok(plan(&self.world())),
            unread => Err(format!(
                "What happens next is not known without its {}.",
                unread.join(" and ")
            )),
        }
    }

    /// Whether somebody has asked for the deletion of the job.
    pub(super) fn is_being_deleted(&self) -> bool {
        self.job.metadata.deletion_timestamp.is_some()
    }

    /// Whether objects of this plural could not be read: that there are none here says nothing of the cluster.
    pub(super) fn is_unread(&self, plural: &str) -> bool {
        let mut unread = self.unread.iter().filter_map(|unread| unread.split(':').next());
        unread.any(|unread| unread == plural)
    }

    pub(super) fn world(&self) -> World<'_> {
        World {
            job: &self.job,
            pods: &self.pods,
            others: &self.others,
            // As long as it is true, the status tells of it.
            refusal: waits(&self.job).find(|wait| wait.starts_with(REFUSAL)),
            definition_may_differ: true,
            compared_generation: None,
            settings: &self.settings,
            now: self.now,
        }
    }
}

/// Whether an object belongs to the job of this UID.
pub(super) fn owns(uid: &str, object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
}

/// The hash of the templates, as pods bear it.
fn hash(job: &Value) -> Option<String> {
    let job: PyTorchJob = serde_json::from_str(&job.to_string()).ok()?;
    Some(template_hash::label(template_hash::current(&job.spec), None))
}

/// The kind of an object, if jobs own such.
pub(super) fn kind_of(object: &Value) -> Option<ChildKind> {
    let is = |kind: &ChildKind| object["apiVersion"] == kind.api_version().as_str() && object["kind"] == kind.kind();
    ChildKind::ALL.into_iter().find(is)
}

/// What the stored status says that the job waits for, or that it does not get.
pub(super) fn waits(job: &PyTorchJob) -> impl Iterator<Item = &str> {
    let conditions = job.status.iter().flat_map(|status| &status.conditions);
    let messages = conditions.filter_map(|condition| condition.message.as_deref());
    messages.flat_map(|message| message.split(WAITING).flat_map(|part| part.split(WARNING)).skip(1))
}

/// What the operator was started with can be told from what it made, and from what it says that it cannot make.
fn settings(job: &PyTorchJob, others: &[Child]) -> Settings {
    let schedulers = [
        GangScheduler::Volcano,
        GangScheduler::SchedulerPlugins(String::new()),
        GangScheduler::Kubernetes,
    ];
    let has_group = |kind: ChildKind| others.iter().any(|child| child.kind == kind);
    let lacks = |kind: ChildKind| format!("cluster has no PodGroups of {}", kind.api_version());
    let lacks_group = |kind: ChildKind| waits(job).any(|wait| wait.contains(&lacks(kind)));
    let mut gangs = schedulers.into_iter().map(|scheduler| Gang {
        served: has_group(scheduler.kind()),
        scheduler,
    });
    Settings {
        gang: gangs.find(|gang| gang.served || lacks_group(gang.scheduler.kind())),
        ..Settings::default()
    }
}

fn status(pod: &Value) -> Option<(String, PodStatus)> {
    let name = pod["metadata"]["name"].as_str()?;
    Some((name.to_owned(), PodStatus::deserialize(&pod["status"]).ok()?))
}

fn event(event: &Value) -> [String; 3] {
    ["type", "reason", "note"].map(|field| event[field].as_str().unwrap_or_default().to_owned())
}

fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A variable has a name and a value. So have a few other things, such as sysctls, headers of probes and
            // options of DNS: their values are blanked too.
            if fields.contains_key("name")
                && let Some(secret) = fields.get_mut("value")
            {
                *secret = BLANK.into();
            }
            for list in ["args", "command"] {
                if let Some(Value::Array(words)) = fields.get_mut(list) {
                    words.fill(BLANK.into());
                }
            }
            if let Some(Value::Object(annotations)) = fields.get_mut("annotations") {
                let others = annotations
                    .iter_mut()
                    .filter(|(name, _)| !KEPT.contains(&name.as_str()));
                others.for_each(|(_, text)| *text = BLANK.into());
            }
            fields.remove("managedFields");
            fields.values_mut().for_each(blank);
        }
        Value::Array(values) => values.iter_mut().for_each(blank),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_keeps_no_value_of_a_variable_no_argument_and_no_annotation() {
        let container = json!({
            "name": "pytorch", "image": "i", "command": ["sh", "-c", "secret"], "args": ["--token=secret"],
            "env": [{ "name": "TOKEN", "value": "secret" }, { "name": "FROM", "valueFrom": { "secretKeyRef": { "name": "s" } } }],
        });
        let template = json!({ "metadata": { "annotations": { "note": "secret", names::ANNOTATION_ATTEMPT: "2" } },
            "spec": { "containers": [container] } });
        let mut observation = Observation {
            job: json!({ "metadata": { "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "secret" } },
                "spec": { "pytorchReplicaSpecs": { "Master": { "template": template } } } }),
            pods: vec![template],
            ..Observation::new(Value::Null, Timestamp::UNIX_EPOCH)
        };
        observation.blank();
        let text = serde_json::to_string(&observation).unwrap();
        assert!(!text.contains("secret\""), "{text}");
        for kept in ["TOKEN", "pytorch", "\"image\":\"i\"", "secretKeyRef", "attempt\":\"2\""] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
