//! When a job runs, and when it has succeeded. Kubeflow's rules: with a Master, the Master alone decides both; without one, all
//! workers must succeed, and any one of them suffices in an elastic job, where the others have nothing left to do.

use super::world::{Phase, World};
use crate::api::Role;

/// The message of the Succeeded condition, if the job has succeeded.
#[must_use]
pub fn succeeded(world: &World<'_>) -> Option<String> {
    let role = deciding_role(world)?;
    let wanted = world.job.spec.replicas(role) as usize;
    let done = count(world, role, |pod| pod.phase == Phase::Succeeded);
    let enough = match role {
        Role::Master => done >= wanted,
        Role::Worker => done >= wanted || (world.job.spec.elastic_policy.is_some() && done > 0),
    };
    enough.then(|| match role {
        Role::Master => format!("PyTorchJob {} is successfully completed.", world.name()),
        Role::Worker => format!(
            "PyTorchJob {}/{} successfully completed.",
            world.namespace(),
            world.name()
        ),
    })
}

/// The message of the Running condition, if the job runs.
#[must_use]
pub fn running(world: &World<'_>) -> Option<String> {
    let role = deciding_role(world)?;
    (count(world, role, super::PodFact::running) > 0).then(|| match role {
        Role::Master => format!("PyTorchJob {} is running.", world.name()),
        Role::Worker => format!("PyTorchJob {}/{} is running.", world.namespace(), world.name()),
    })
}

fn deciding_role(world: &World<'_>) -> Option<Role> {
    Role::ALL.into_iter().find(|&role| world.job.spec.replicas(role) > 0)
}

fn count(world: &World<'_>, role: Role, matches: impl Fn(&super::PodFact) -> bool) -> usize {
    let here = |pod: &&super::PodFact| {
        world
            .slot(&pod.name)
            .is_some_and(|slot| slot.0 == role && world.wants(slot))
    };
    world.pods.iter().filter(here).filter(|pod| matches(pod)).count()
}
