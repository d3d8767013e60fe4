//! What a job's objects are built from: its templates, the environment of its replicas, and the objects themselves.

mod affinity;
pub(crate) mod autoscaler;
mod builder;
pub(crate) mod elastic_env;
pub(crate) mod env;
mod in_place;
mod pod;
pub(crate) mod pod_group;
mod progress_probe;
mod service;
pub(crate) mod template;
pub mod template_hash;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use self::builder::{Builder, child_labels};
pub use self::in_place::{ask_again, resize};
use crate::api::{ChildKind, ChildRef};
use crate::planner::gang::GangScheduler;
use crate::planner::plan::Contents;

impl Builder<'_> {
    /// The object as it is to be created; nothing where the job asks for none.
    #[must_use]
    pub fn build(&self, child: ChildRef) -> Option<Value> {
        match (child.kind, child.replica) {
            (ChildKind::Pod, Some(replica)) => Some(pod::build(self, replica.type_, replica.index)),
            (ChildKind::Service, Some(replica)) => Some(service::build(self, replica.type_, replica.index)),
            (ChildKind::HorizontalPodAutoscaler, None) => autoscaler::build(self),
            (kind, None) => Some(pod_group::build(self, self.gang(kind)?)),
            _ => None,
        }
    }

    /// The gang scheduler, if this is the kind of its PodGroups.
    fn gang(&self, kind: ChildKind) -> Option<&GangScheduler> {
        let scheduler = self.settings.gang.as_ref().map(|gang| &gang.scheduler);
        scheduler.filter(|scheduler| scheduler.kind() == kind)
    }
}

/// What writes `contents` into the object of this kind with this UID: a JSON patch.
#[must_use]
pub fn patch(contents: &Contents, kind: ChildKind, uid: &str) -> Value {
    let mut patch = vec![json!({ "op": "test", "path": "/metadata/uid", "value": uid })];
    patch.extend(match contents {
        Contents::PodGroup(spec) => pod_group::patch(spec, kind),
        Contents::Autoscaler(spec) => autoscaler::patch(spec),
        Contents::TemplateHash(label) => vec![template_hash::patch(label)],
    });
    Value::Array(patch)
}
