//! `status.replacedPods`: pods whose failure is counted in `restarts` and that are not gone yet. Ours.

use std::collections::BTreeSet;

use crate::api::JobStatus;
use crate::planner::child::Pod;

/// The pods that a status has counted, to look up many: a power cut ends all of a job at once.
#[derive(Debug, Default)]
pub(crate) struct ReplacedPods<'a>(BTreeSet<&'a str>);

impl<'a> ReplacedPods<'a> {
    /// Those of this status.
    #[must_use]
    pub(crate) fn of(status: &'a JobStatus) -> Self {
        Self(status.replaced_pods.iter().map(String::as_str).collect())
    }

    /// Whether the pod is one of them.
    #[must_use]
    pub(crate) fn contains(&self, pod: &Pod) -> bool {
        self.contains_uid(&pod.uid)
    }

    /// Whether the pod of this UID is one of them.
    #[must_use]
    pub(crate) fn contains_uid(&self, uid: &str) -> bool {
        self.0.contains(uid)
    }
}

/// Forgets the pods that are gone; `pods` are there.
pub(crate) fn forget_gone(pods: &[Pod], status: &mut JobStatus) {
    if status.replaced_pods.is_empty() {
        return;
    }
    let there: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
    status.replaced_pods.retain(|uid| there.contains(uid.as_str()));
}
