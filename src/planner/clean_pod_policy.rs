//! `cleanPodPolicy`: what is deleted once the job has its verdict.

use super::decision::Action;
use super::world::{PodFact, World};
use crate::api::CleanPodPolicy;

/// The policy in force.
///
/// Kubeflow's default is None, under which the pods of a job that failed, or ran into its deadline, go on holding their GPUs. Here
/// an unset policy keeps the pods of a job that succeeded, and of one that failed stops what still runs and keeps what has
/// finished, whose logs say why. An explicit policy does exactly what it says.
#[must_use]
pub fn effective(policy: Option<CleanPodPolicy>, failed: bool) -> CleanPodPolicy {
    policy.unwrap_or(if failed {
        CleanPodPolicy::Running
    } else {
        CleanPodPolicy::None
    })
}

/// The deletions that remain. Running includes pods that are pending, as in Kubeflow. A service goes with its pod, or after it when
/// the pod is gone already; Kubeflow leaks the latter.
#[must_use]
pub fn clean_up(world: &World<'_>, policy: CleanPodPolicy) -> Vec<Action> {
    let goes = |pod: &&PodFact| match policy {
        CleanPodPolicy::All => true,
        CleanPodPolicy::Running => !pod.finished(),
        CleanPodPolicy::None => false,
    };
    let pods = world.pods.iter().filter(goes).filter(|pod| !pod.terminating);
    let stays = |name: &str| world.pod(name).is_some_and(|pod| !goes(&pod));
    let services = world
        .services
        .iter()
        .filter(|service| !service.terminating && !stays(&service.name));
    pods.map(|pod| Action::DeletePod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
    })
    .chain(services.map(|service| Action::DeleteService {
        name: service.name.clone(),
        uid: service.uid.clone(),
    }))
    .collect()
}
