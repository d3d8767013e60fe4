//! `runPolicy.schedulingPolicy`: a PodGroup for the gang scheduler, if the operator works with one.
//!
//! The PodGroup exists exactly while the job may run, and before its pods do. Kubeflow writes it in every pass, does
//! not notice that it is gone, and looks at nothing else of the job while Volcano keeps it waiting.

use std::collections::BTreeSet;

use crate::api::names::reason;
use crate::api::{ChildKind, ChildRef, PyTorchJob, Replica, ReplicaType};
use crate::planner::build::{pod_group, template};
use crate::planner::child::{Child, Phase, Pod};
use crate::planner::gang::{Gang, GangScheduler};
use crate::planner::plan::{Action, Contents, Event};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::world::World;

/// Whose turn it is before pods can be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nobody's: pods are created.
    Pods,
    /// The PodGroup comes first, and this operator makes it.
    PodGroup,
    /// The scheduler has to admit the PodGroup, or somebody has to install the scheduler.
    Scheduler,
}

/// Whose turn it is.
#[must_use]
pub(crate) fn turn(world: &World<'_>) -> Turn {
    let Some(gang) = &world.settings.gang else {
        return Turn::Pods;
    };
    match (&gang.scheduler, living(world)) {
        // Pods that nothing else schedules wait for it; others run, and the job says that they are no gang.
        (GangScheduler::Kubernetes, _) if !gang.served => Turn::Pods,
        (_, _) if !gang.served => Turn::Scheduler,
        // Before Volcano has admitted the group, its pods would only take up the room of others.
        (GangScheduler::Volcano, group) if group.is_none_or(is_pending) => Turn::Scheduler,
        (_, None) => Turn::PodGroup,
        (_, Some(_)) => Turn::Pods,
    }
}

fn is_pending(group: &Child) -> bool {
    group.pod_group.as_ref().is_none_or(|group| group.pending)
}

/// Creates the PodGroup, or writes into it what the job asks for now.
#[must_use]
pub(crate) fn reconcile(world: &World<'_>, completed: &CompletedIndexes) -> Option<Action> {
    let gang = world.settings.gang.as_ref().filter(|gang| gang.served)?;
    let child = ChildRef::of_job(gang.scheduler.kind());
    let Some(group) = group(world) else {
        // Pods that are older than the flag need no group before one of them is replaced.
        let complete = || {
            world
                .desired()
                .all(|replica| world.exists(ChildRef::of_replica(ChildKind::Pod, replica)))
        };
        let has_member = || living_pods(world).any(|pod| pod.group == Some(child.kind));
        let needed = !has_pods_without_group(world, gang) || !complete() || has_member();
        return needed.then_some(Action::Create(child));
    };
    let spec = if has_pods_without_group(world, gang) {
        pod_group::spec_of_one(&gang.scheduler)
    } else {
        let members = members(world, &gang.scheduler, completed, group);
        pod_group::spec_of(world.job, &gang.scheduler, &world.settings.priorities, members)
    };
    let differs = group.pod_group.as_ref().is_none_or(|group| group.spec != spec);
    (differs && !group.terminating).then(|| Action::Update {
        child,
        uid: group.uid.clone(),
        contents: Contents::PodGroup(spec),
    })
}

/// How many pods are placed together: as many as the job says, but no more than are left once workers are done, whose
/// pods do not come again. A scheduler that has to place another pod would wait for theirs forever.
///
/// Most jobs end without a replacement, so the group is written while a pod waits to be placed, and not for each worker
/// that is done. What it says in between does no harm.
fn members(world: &World<'_>, scheduler: &GangScheduler, completed: &CompletedIndexes, group: &Child) -> u32 {
    let all = pod_group::min_member(world.job);
    let pod = |replica: Replica| world.pod(&replica.name(world.name()));
    let counted = |replica: Replica| scheduler.counts_succeeded_pods() && pod(replica).is_some();
    let kept = kept_successes(world);
    let is_done = |replica: &Replica| completed.contains(*replica) || kept.contains(replica);
    let (done, to_run): (Vec<_>, Vec<_>) = world.desired().partition(is_done);
    let absent = done.iter().filter(|&&replica| !counted(replica)).count();
    if absent == 0 {
        return all;
    }
    let left = u32::try_from(done.len() + to_run.len() - absent).unwrap_or(u32::MAX);
    let fewest = all.min(left).max(1);
    let stored = group.pod_group.as_ref().and_then(|group| group.spec.min_member);
    let stored = stored.and_then(|stored| u32::try_from(stored).ok());
    let waits = |replica: Replica| pod(replica).is_none_or(|pod| pod.phase == Phase::Pending);
    match stored {
        Some(stored) if !to_run.into_iter().any(waits) => stored.clamp(fewest, all),
        _ => fewest,
    }
}

/// Replicas whose pods have succeeded and stay. A worker of a job with a Master is done for as long as its pod is
/// there.
fn kept_successes(world: &World<'_>) -> BTreeSet<Replica> {
    if world.is_restarting_as_a_whole() {
        return BTreeSet::new();
    }
    let stays = |pod: &Pod| pod.succeeded() && !pod.terminating && !world.is_of_past_attempt(pod);
    let kept = world.desired_pods().filter(|(_, pod)| stays(pod));
    kept.map(|(replica, _)| replica).collect()
}

/// Whether pods of the job do not belong to its group. The scheduler does not count them, and would wait forever for a
/// gang of the others; so they are placed one by one until all belong to it.
fn has_pods_without_group(world: &World<'_>, gang: &Gang) -> bool {
    let kind = Some(gang.scheduler.kind());
    living_pods(world).any(|pod| pod.group != kind)
}

fn living_pods<'a>(world: &World<'a>) -> impl Iterator<Item = &'a Pod> {
    let pods = world.desired_pods().map(|(_, pod)| pod);
    pods.filter(|pod| !pod.finished() && !pod.terminating)
}

/// Deletes the PodGroup, of a job that is suspended or has finished.
#[must_use]
pub(crate) fn delete(world: &World<'_>) -> Option<Action> {
    living(world).map(Action::delete)
}

/// What the scheduler says of pods that it cannot place.
#[must_use]
pub(crate) fn unschedulable<'a>(world: &'a World<'_>) -> Option<&'a str> {
    living(world)?.pod_group.as_ref()?.unschedulable.as_deref()
}

/// Why the pods run without a gang although the operator is to make one.
#[must_use]
pub(crate) fn not_in_force(world: &World<'_>) -> Option<&'static str> {
    let gang = world.settings.gang.as_ref()?;
    match gang.scheduler {
        GangScheduler::Kubernetes if !gang.served => Some(
            "this cluster has no PodGroups of scheduling.k8s.io/v1beta1, which need the feature gate GenericWorkload \
             and --runtime-config",
        ),
        GangScheduler::Kubernetes if has_pods_without_group(world, gang) => Some(
            "its pods have no schedulingGroup. Either the API server drops it, because its feature gate \
             GenericWorkload is off, or they are older than the flag --gang-scheduler-name",
        ),
        _ => None,
    }
}

/// Tells the user that a template names another scheduler, which then has its pods.
#[must_use]
pub(crate) fn template_event(job: &PyTorchJob, gang: Option<&Gang>) -> Option<Event> {
    let ours = gang?.scheduler.scheduler_name()?;
    ReplicaType::ALL.into_iter().find_map(|role| {
        let template = template::parse(job.spec.replica(role)?);
        let other = template::scheduler_name(&template).filter(|name| *name != ours)?;
        Some(Event {
            warning: true,
            reason: reason::TEMPLATE_SCHEDULER,
            message: format!(
                "Another scheduler is specified when gang-scheduling is enabled and it will not be overwritten: \
                 template.spec.schedulerName of {role} is {other}, and that of the gang scheduler {ours}"
            ),
        })
    })
}

/// The PodGroup of the job.
fn group<'a>(world: &'a World<'_>) -> Option<&'a Child> {
    let kind = world.settings.gang.as_ref()?.scheduler.kind();
    world.others(kind).next()
}

/// The PodGroup, unless it is being deleted.
fn living<'a>(world: &'a World<'_>) -> Option<&'a Child> {
    group(world).filter(|group| !group.terminating)
}
