//! `cleanPodPolicy`: what is deleted once the job has finished.

use crate::api::{ChildKind, CleanPodPolicy};
use crate::planner::child::Pod;
use crate::planner::plan::Action;
use crate::planner::world::World;

/// The policy in force.
///
/// Kubeflow's default is None, under which the pods of a job that failed, or ran into its deadline, go on holding their
/// GPUs. Here an unset policy keeps the pods of a job that succeeded, and of one that failed stops what still runs and
/// keeps what has finished, whose logs say why. An explicit policy does exactly what it says. A job that Kubeflow's
/// operator failed before it was taken over keeps what that left running.
#[must_use]
pub(crate) fn effective(policy: Option<CleanPodPolicy>, failed: bool) -> CleanPodPolicy {
    policy.unwrap_or(if failed {
        CleanPodPolicy::Running
    } else {
        CleanPodPolicy::None
    })
}

/// The deletions that remain. Running includes pods that are pending, as in Kubeflow. The services of pods that are
/// gone, whoever deleted them, go when no pod is terminating any more: until then pods find each other, to save a
/// checkpoint together for example. Kubeflow deletes a service together with its pod, and leaks it when the pod is gone
/// already.
#[must_use]
pub(crate) fn clean_up(world: &World<'_>, policy: CleanPodPolicy) -> Vec<Action> {
    let goes = |pod: &&Pod| match policy {
        CleanPodPolicy::All => true,
        CleanPodPolicy::Running => !pod.finished(),
        CleanPodPolicy::None => false,
    };
    let pods = world.pods.iter().filter(goes).filter(|pod| !pod.terminating);
    let needed = world.pods.iter().any(|pod| pod.terminating || goes(&pod));
    let services = world
        .others(ChildKind::Service)
        .filter(|service| !needed && !service.terminating && world.pod(&service.name).is_none());
    pods.map(Action::delete_pod)
        .chain(services.map(Action::delete))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fixture::{self, Scene, master_and_workers};
    use crate::planner::{Phase, Plan};

    /// One pod of each kind, each with its service, and a service whose pod has vanished.
    fn scene() -> Scene {
        let mut scene = master_and_workers(5).scene();
        for (name, phase) in [
            ("job-master-0", Phase::Succeeded),
            ("job-worker-0", Phase::Running),
            ("job-worker-1", Phase::Pending),
            ("job-worker-2", Phase::Failed),
            ("job-worker-3", Phase::Unknown),
        ] {
            scene.add_pod(name).phase = phase;
            scene.add_service(name);
        }
        scene.add_service("job-worker-4");
        scene
    }

    fn deletions(scene: &Scene, policy: CleanPodPolicy) -> Vec<String> {
        let actions = clean_up(&scene.world(), policy);
        fixture::actions(&Plan {
            actions,
            ..Plan::default()
        })
    }

    #[test]
    fn an_unset_policy_stops_what_runs_when_the_job_failed_and_keeps_everything_when_it_succeeded() {
        use CleanPodPolicy::{All, None as Nothing, Running};
        for (policy, failed, expected) in [
            (None, false, Nothing),
            (None, true, Running),
            (Some(Nothing), false, Nothing),
            (Some(Nothing), true, Nothing),
            (Some(Running), false, Running),
            (Some(Running), true, Running),
            (Some(All), false, All),
            (Some(All), true, All),
        ] {
            assert_eq!(effective(policy, failed), expected, "{policy:?}, failed: {failed}");
        }
    }

    #[test]
    fn all_deletes_every_pod() {
        assert_eq!(
            deletions(&scene(), CleanPodPolicy::All),
            [
                "delete pod master-0",
                "delete pod worker-0",
                "delete pod worker-1",
                "delete pod worker-2",
                "delete pod worker-3",
            ]
        );
    }

    #[test]
    fn running_deletes_what_has_not_finished_pending_pods_included() {
        assert_eq!(
            deletions(&scene(), CleanPodPolicy::Running),
            ["delete pod worker-0", "delete pod worker-1", "delete pod worker-3",]
        );
    }

    #[test]
    fn none_deletes_no_pod_and_no_service_that_a_pod_has() {
        assert_eq!(deletions(&scene(), CleanPodPolicy::None), ["delete service worker-4"]);
    }

    #[test]
    fn services_stay_while_any_pod_terminates_and_go_when_the_last_one_is_gone() {
        let mut scene = scene();
        scene.others.truncate(2);
        scene.pods.truncate(2);
        for gone in ["job-master-0", "job-worker-0"] {
            scene.pods.iter_mut().for_each(|pod| pod.terminating = true);
            assert!(
                deletions(&scene, CleanPodPolicy::All).is_empty(),
                "before {gone} is gone"
            );
            scene.remove(gone);
        }
        assert_eq!(
            deletions(&scene, CleanPodPolicy::All),
            ["delete service master-0", "delete service worker-0"]
        );
    }

    #[test]
    fn w14_services_go_even_when_their_pods_vanished_first() {
        for policy in [CleanPodPolicy::None, CleanPodPolicy::Running, CleanPodPolicy::All] {
            let mut scene = scene();
            scene.pods.clear();
            assert_eq!(deletions(&scene, policy).len(), 6, "{policy:?}");
        }
    }

    #[test]
    fn what_is_being_deleted_is_not_deleted_again() {
        let mut scene = scene();
        scene.pods.iter_mut().for_each(|pod| pod.terminating = true);
        scene.others.iter_mut().for_each(|service| service.terminating = true);
        assert!(deletions(&scene, CleanPodPolicy::All).is_empty());
    }
}
