//! `replicas`: which pods and services to create and to delete.

use super::decision::Action;
use super::restart_policy;
use super::world::World;
use crate::api::Role;

/// The changes that bring pods and services to the wanted number: deletions first, then creations, Master before Worker, then by
/// index; on scale-down the highest index goes first.
///
/// The table of replicas is sized by the spec. Kubeflow sizes it by the highest index it sees, and so re-creates replicas that were
/// scaled down while a higher one is still terminating.
#[must_use]
pub fn reconcile(world: &World<'_>) -> Vec<Action> {
    let mut actions: Vec<Action> = restart_policy::replacements(world).collect();
    actions.extend(surplus(world));
    if !waits_for_old_pods(world) {
        actions.extend(
            missing(world, |name| world.pod(name).is_some()).map(|(role, index)| Action::CreatePod(role, index)),
        );
        actions.extend(
            missing(world, |name| world.service(name).is_some())
                .map(|(role, index)| Action::CreateService(role, index)),
        );
    }
    actions
}

/// Deletion of every pod and service of the job, for suspension.
#[must_use]
pub fn delete_all(world: &World<'_>) -> Vec<Action> {
    let pods = world.pods.iter().filter(|pod| !pod.terminating);
    let services = world.services.iter().filter(|service| !service.terminating);
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

/// Whether all that is left are pods on their way out, as after suspend and resume, or after somebody deleted them all. New pods
/// wait until the old ones are gone, so that two generations never meet in one rendezvous. While others still work, a terminating
/// pod holds up its own replica only, because it keeps its name.
fn waits_for_old_pods(world: &World<'_>) -> bool {
    let ours = || world.pods.iter().filter(|pod| world.slot(&pod.name).is_some());
    ours().any(|pod| pod.terminating) && ours().all(|pod| pod.terminating)
}

fn surplus(world: &World<'_>) -> Vec<Action> {
    let unwanted = |name: &str| world.slot(name).filter(|&slot| !world.wants(slot));
    let mut pods: Vec<_> = world
        .pods
        .iter()
        .filter(|pod| !pod.terminating)
        .filter_map(|pod| Some((unwanted(&pod.name)?, pod)))
        .collect();
    pods.sort_by(|(a, _), (b, _)| b.cmp(a));
    let services = world
        .services
        .iter()
        .filter(|service| !service.terminating && unwanted(&service.name).is_some());
    pods.into_iter()
        .map(|(_, pod)| Action::DeletePod {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        })
        .chain(services.map(|service| Action::DeleteService {
            name: service.name.clone(),
            uid: service.uid.clone(),
        }))
        .collect()
}

fn missing<'a>(world: &'a World<'_>, exists: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = (Role, u32)> + 'a {
    world
        .wanted()
        .filter(move |&(role, index)| !exists(&role.replica_name(world.name(), index)))
}
