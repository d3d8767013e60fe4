//! `replicas`: which pods and services to create and to delete.

use crate::api::{ChildKind, ChildRef, Replica};
use crate::planner::child::Pod;
use crate::planner::plan::Action;
use crate::planner::policy::{failure_policy, restart_policy, restart_scope, restart_strategy, service_policy};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::world::World;

/// The changes that bring pods and services to the wanted number: deletions first, then creations, Master before
/// Worker, then by index; on scale-down the highest index goes first, and its service when the pod is gone.
///
/// The table of replicas is sized by the spec. Kubeflow sizes it by the highest index it sees, and so re-creates
/// replicas that were scaled down while a higher one is still terminating.
#[must_use]
pub(crate) fn reconcile(world: &World<'_>, completed: &CompletedIndexes) -> Vec<Action> {
    if world.is_restarting_as_a_whole() {
        return restart_scope::deletions(world);
    }
    let mut actions = restart_policy::replacements(world);
    actions.extend(restart_strategy::actions(world));
    actions.extend(disrupted(world, completed));
    let late = restart_scope::of_ended_attempts(world).into_iter();
    let late: Vec<_> = late.filter(|deletion| !actions.contains(deletion)).collect();
    actions.extend(late);
    actions.extend(surplus(world));
    if !waits_for_old_pods(world) {
        actions.extend(missing(world, ChildKind::Pod, |replica| !completed.contains(replica)));
        actions.extend(missing(world, ChildKind::Service, |replica| {
            service_policy::has_service(world.name(), &world.job.spec, replica)
        }));
    }
    actions
}

/// Whether all that is left are pods on their way out, as after suspend and resume, or after somebody deleted them all.
/// New pods wait until the old ones are gone, so that two generations never meet in one rendezvous. While others still
/// work, a terminating pod holds up its own replica only, because it keeps its name.
fn waits_for_old_pods(world: &World<'_>) -> bool {
    let ours = || world.pods.iter().filter(|pod| world.replica_of(&pod.name).is_some());
    ours().any(|pod| pod.terminating) && ours().all(|pod| pod.terminating)
}

fn surplus(world: &World<'_>) -> Vec<Action> {
    let undesired = |name: &str| world.replica_of(name).filter(|&replica| !world.is_desired(replica));
    let mut pods: Vec<_> = world
        .pods
        .iter()
        .filter(|pod| !pod.terminating)
        .filter_map(|pod| Some((undesired(&pod.name)?, pod)))
        .collect();
    pods.sort_by(|(a, _), (b, _)| b.cmp(a));
    let gone = |name: &str| world.pod(name).is_none();
    let services = world
        .others(ChildKind::Service)
        .filter(|service| !service.terminating && gone(&service.name) && undesired(&service.name).is_some());
    pods.into_iter()
        .map(|(_, pod)| Action::delete_pod(pod))
        .chain(services.map(Action::delete))
        .collect()
}

/// Deletions of pods that no replica needs and that still work although the job has finished: of a scale-down that the
/// end overtook, or created by a request of an operator that is dead. `cleanPodPolicy` is about the replicas.
pub(crate) fn left_over<'a>(world: &'a World<'_>) -> impl Iterator<Item = Action> + 'a {
    let undesired = |pod: &&Pod| {
        world
            .replica_of(&pod.name)
            .is_some_and(|replica| !world.is_desired(replica))
    };
    let working = world.pods.iter().filter(|pod| !pod.finished() && !pod.terminating);
    working.filter(undesired).map(Action::delete_pod)
}

/// Deletes the remnants of disruptions, so that their replicas can run again. They are replaced and not counted as
/// restarts.
fn disrupted(world: &World<'_>, completed: &CompletedIndexes) -> Vec<Action> {
    let counted = world.counted();
    let mut remnants: Vec<_> = world
        .desired_pods()
        .filter(|(replica, pod)| pod.is_disrupted_remnant() && !completed.contains(*replica))
        .filter(|(_, pod)| !counted.contains(pod) && !failure_policy::is_failure(world.job, pod))
        .collect();
    remnants.sort_by_key(|(replica, _)| *replica);
    remnants.into_iter().map(|(_, pod)| Action::delete_pod(pod)).collect()
}

/// Creates what is missing of a kind that each of these replicas has one of.
fn missing<'a>(
    world: &'a World<'_>,
    kind: ChildKind,
    needed: impl Fn(Replica) -> bool + 'a,
) -> impl Iterator<Item = Action> + 'a {
    world
        .desired()
        .filter(move |&replica| needed(replica))
        .map(move |replica| ChildRef::of_replica(kind, replica))
        .filter(|&child| !world.exists(child))
        .map(Action::Create)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CleanPodPolicy, Replica, ReplicaType};
    use crate::planner::fixture::{self, Scene, master_and_workers, workers};
    use crate::planner::policy::clean_pod_policy::clean_up;
    use crate::planner::{Phase, Plan};

    fn changes(scene: &Scene) -> Vec<String> {
        let actions = reconcile(&scene.world(), &CompletedIndexes::default());
        fixture::actions(&Plan {
            actions,
            ..Plan::default()
        })
    }

    /// A job of `wanted` workers that has `present` of them, each with its service.
    fn workers_present(wanted: u32, present: u32) -> Scene {
        let mut scene = workers(wanted).scene();
        for index in 0..present {
            let name = Replica::new(ReplicaType::Worker, index).name("job");
            scene.add_pod(&name).phase = Phase::Running;
            scene.add_service(&name);
        }
        scene
    }

    #[test]
    fn all_pods_are_created_then_all_services_master_first_then_by_index() {
        assert_eq!(
            changes(&master_and_workers(2).scene()),
            [
                "create pod master-0",
                "create pod worker-0",
                "create pod worker-1",
                "create service master-0",
                "create service worker-0",
                "create service worker-1",
            ]
        );
    }

    #[test]
    fn indexes_count_as_numbers_not_as_text() {
        let scene = workers(12).scene();
        let pods = changes(&scene)
            .into_iter()
            .filter(|line| line.starts_with("create pod"))
            .collect::<Vec<_>>();
        let expected: Vec<_> = (0..12).map(|index| format!("create pod worker-{index}")).collect();
        assert_eq!(pods, expected);
        let down = changes(&workers_present(8, 12));
        let pods: Vec<_> = down.iter().filter(|line| line.starts_with("delete pod")).collect();
        assert_eq!(
            pods,
            [
                "delete pod worker-11",
                "delete pod worker-10",
                "delete pod worker-9",
                "delete pod worker-8"
            ]
        );
    }

    #[test]
    fn a_complete_job_needs_nothing() {
        assert!(changes(&workers_present(3, 3)).is_empty());
    }

    #[test]
    fn only_what_is_missing_is_created() {
        let mut scene = workers_present(3, 3);
        scene.remove("job-worker-1");
        assert_eq!(changes(&scene), ["create pod worker-1"]);
        scene.others.remove(2);
        assert_eq!(changes(&scene), ["create pod worker-1", "create service worker-2"]);
    }

    #[test]
    fn scaling_down_deletes_the_highest_indexes_first_and_their_services_once_they_are_gone() {
        let mut scene = workers_present(1, 3);
        assert_eq!(changes(&scene), ["delete pod worker-2", "delete pod worker-1"]);
        scene.terminate("job-worker-1");
        scene.remove("job-worker-2");
        assert_eq!(changes(&scene), ["delete service worker-2"]);
    }

    #[test]
    fn b21_a_replica_scaled_down_is_not_created_again_while_a_higher_one_terminates() {
        let mut scene = workers_present(1, 4);
        scene.terminate("job-worker-3");
        scene.remove("job-worker-2");
        scene.terminate("job-worker-1");
        scene.others.truncate(1);
        assert!(changes(&scene).is_empty());
    }

    #[test]
    fn scaling_up_creates_the_new_indexes_and_leaves_the_others() {
        assert_eq!(
            changes(&workers_present(3, 2)),
            ["create pod worker-2", "create service worker-2"]
        );
    }

    #[test]
    fn a_terminating_replica_keeps_its_name_until_it_is_gone() {
        let mut scene = workers_present(2, 2);
        scene.terminate("job-worker-1");
        assert!(changes(&scene).is_empty());
        scene.bury();
        assert_eq!(changes(&scene), ["create pod worker-1"]);
    }

    #[test]
    fn new_pods_wait_until_the_last_of_an_old_generation_is_gone() {
        let mut scene = workers_present(3, 2);
        scene.everything(Phase::Running);
        scene.terminate("job-worker-0");
        scene.terminate("job-worker-1");
        assert!(changes(&scene).is_empty(), "worker 2 waits too");
        scene.remove("job-worker-0");
        assert!(changes(&scene).is_empty(), "one is left");
        scene.remove("job-worker-1");
        assert_eq!(changes(&scene).len(), 4, "three pods and the missing service");
    }

    #[test]
    fn a_pod_of_another_name_is_neither_waited_for_nor_deleted_while_the_job_works() {
        let mut scene = workers_present(2, 0);
        scene.add_pod("job-launcher-0").terminating = true;
        scene.add_pod("job-debug").phase = Phase::Running;
        assert_eq!(changes(&scene).len(), 4);
    }

    #[test]
    fn a_failed_pod_is_deleted_only_once_its_failure_is_stored() {
        let mut scene = workers_present(2, 2);
        scene.exit("job-worker-1", 1);
        assert!(changes(&scene).is_empty());
        let uid = scene.pod("job-worker-1").uid.clone();
        scene.job.status.get_or_insert_default().replaced_pods = vec![uid];
        assert_eq!(changes(&scene), ["delete pod worker-1"]);
    }

    #[test]
    fn a_failed_pod_that_is_both_counted_and_scaled_down_is_deleted_once() {
        let mut scene = workers_present(1, 2);
        scene.exit("job-worker-1", 1);
        let uid = scene.pod("job-worker-1").uid.clone();
        scene.job.status.get_or_insert_default().replaced_pods = vec![uid];
        assert_eq!(changes(&scene), ["delete pod worker-1"]);
    }

    #[test]
    fn suspension_deletes_every_pod_that_is_not_on_its_way_out_whatever_its_name_or_phase() {
        let mut scene = workers_present(3, 3);
        scene.add_pod("job-launcher-0");
        scene.phase("job-worker-0", Phase::Succeeded);
        scene.terminate("job-worker-1");
        scene.others[2].terminating = true;
        let actions = clean_up(&scene.world(), CleanPodPolicy::All);
        assert_eq!(
            fixture::actions(&Plan {
                actions,
                ..Plan::default()
            }),
            ["delete pod launcher-0", "delete pod worker-0", "delete pod worker-2",]
        );
    }
}
