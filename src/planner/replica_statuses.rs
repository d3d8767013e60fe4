//! `status.replicaStatuses` and `status.ready`: the pods, counted.

use std::collections::BTreeMap;

use super::world::{Phase, PodFact, World};
use crate::api::{ReplicaStatus, Role, names};

/// When the counts are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The job may run.
    Working,
    /// The job is suspended: every pod that has not ended is about to be deleted and holds resources until it is gone.
    Suspended,
}

/// Counts of each role the job has, in place of the stored ones.
///
/// `active` is what Kueue frees quota by, so it counts a pod until it is really gone. Kubeflow drops it to zero as soon as the job is
/// suspended, and counts a running pod that is being deleted as failed.
#[must_use]
pub fn counts(world: &World<'_>, moment: Moment) -> BTreeMap<String, ReplicaStatus> {
    roles(world)
        .map(|role| {
            let pods = || {
                world
                    .pods
                    .iter()
                    .filter(|pod| world.slot(&pod.name).is_some_and(|slot| slot.0 == role))
            };
            let number = |matches: &dyn Fn(&PodFact) -> bool| nonzero(pods().filter(|pod| matches(pod)).count());
            let status = ReplicaStatus {
                active: number(&|pod| holds_resources(pod, moment)),
                succeeded: number(&|pod| pod.phase == Phase::Succeeded),
                failed: number(&|pod| pod.phase == Phase::Failed),
                selector: Some(selector(world.name(), role)),
            };
            (role.key().to_owned(), status)
        })
        .collect()
}

/// The counts of a job that has its verdict: what succeeded and failed stays as it was then, even when the pods are cleaned up;
/// `active` follows the pods. Kubeflow reports running pods of a succeeded job as succeeded, and never corrects those of a failed one.
#[must_use]
pub fn final_counts(world: &World<'_>, stored: &BTreeMap<String, ReplicaStatus>) -> BTreeMap<String, ReplicaStatus> {
    let mut counts = counts(world, Moment::Working);
    for (role, status) in stored {
        let now = counts.entry(role.clone()).or_default();
        now.succeeded = now.succeeded.max(status.succeeded);
        now.failed = status.failed;
    }
    counts
}

/// Pods that run or have succeeded, out of all.
#[must_use]
pub fn ready(world: &World<'_>) -> String {
    let ready = |pod: &&PodFact| {
        (pod.running() || pod.phase == Phase::Succeeded) && world.slot(&pod.name).is_some_and(|slot| world.wants(slot))
    };
    format!(
        "{}/{}",
        world.pods.iter().filter(ready).count(),
        world.job.spec.total_replicas()
    )
}

/// The label selector of a role's pods, keys sorted, as in Kubeflow. The scale subresource hands it to autoscalers.
#[must_use]
pub fn selector(job: &str, role: Role) -> String {
    format!(
        "{}={job},{}={},{}={}",
        names::LABEL_JOB_NAME,
        names::LABEL_OPERATOR_NAME,
        names::CONTROLLER_NAME,
        names::LABEL_REPLICA_TYPE,
        role.label(),
    )
}

fn roles(world: &World<'_>) -> impl Iterator<Item = Role> {
    let spec = &world.job.spec;
    Role::ALL.into_iter().filter(move |&role| spec.replica(role).is_some())
}

fn holds_resources(pod: &PodFact, moment: Moment) -> bool {
    match moment {
        Moment::Working => pod.phase == Phase::Running || (pod.terminating && !pod.finished()),
        Moment::Suspended => !pod.finished(),
    }
}

/// Zero counts are left out, as in Kubeflow.
fn nonzero(count: usize) -> Option<i32> {
    i32::try_from(count).ok().filter(|&count| count > 0)
}
