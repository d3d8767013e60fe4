//! `status.replicaStatuses` and `status.ready`: the pods, counted.

use std::collections::BTreeMap;

use crate::api::{ReplicaStatus, ReplicaType, names};
use crate::planner::child::{Phase, Pod};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::world::World;

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
pub fn counts(world: &World<'_>, moment: Moment, completed: &CompletedIndexes) -> BTreeMap<String, ReplicaStatus> {
    roles(world)
        .map(|role| {
            let of_type = |pod: &&Pod| world.replica_of(&pod.name).is_some_and(|replica| replica.type_ == role);
            let active = world
                .pods
                .iter()
                .filter(of_type)
                .filter(|pod| holds_resources(pod, moment));
            // A pod beyond the replicas holds resources until it is gone, and is nothing else.
            let desired = || world.desired_pods().filter(|(replica, _)| replica.type_ == role);
            let succeeded = desired().filter(|(replica, pod)| pod.succeeded() && !completed.contains(*replica));
            let failed = desired().filter(|(_, pod)| pod.phase == Phase::Failed && !pod.disrupted);
            let status = ReplicaStatus {
                active: nonzero(active.count()),
                succeeded: nonzero(succeeded.count() + completed.of_type(role)),
                failed: nonzero(failed.count()),
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
    let mut counts = counts(world, Moment::Working, &CompletedIndexes::of(world, &world.status()));
    for (role, status) in stored {
        let now = counts.entry(role.clone()).or_default();
        now.succeeded = now.succeeded.max(status.succeeded);
        now.failed = status.failed;
    }
    counts
}

/// Replicas that run or have succeeded, out of all.
#[must_use]
pub fn ready(world: &World<'_>, completed: &CompletedIndexes) -> String {
    let ready = world
        .desired_pods()
        .filter(|(replica, pod)| (pod.running() || pod.succeeded()) && !completed.contains(*replica));
    format!(
        "{}/{}",
        ready.count() + completed.count(),
        world.job.spec.total_replicas()
    )
}

/// The label selector of a role's pods, keys sorted, as in Kubeflow. The scale subresource hands it to autoscalers.
#[must_use]
pub fn selector(job: &str, role: ReplicaType) -> String {
    format!(
        "{}={job},{}={},{}={}",
        names::LABEL_JOB_NAME,
        names::LABEL_OPERATOR_NAME,
        names::CONTROLLER_NAME,
        names::LABEL_REPLICA_TYPE,
        role.label(),
    )
}

fn roles(world: &World<'_>) -> impl Iterator<Item = ReplicaType> {
    let spec = &world.job.spec;
    ReplicaType::ALL
        .into_iter()
        .filter(move |&role| spec.replica(role).is_some())
}

fn holds_resources(pod: &Pod, moment: Moment) -> bool {
    match moment {
        Moment::Working => pod.phase == Phase::Running || (pod.terminating && !pod.finished()),
        Moment::Suspended => !pod.finished(),
    }
}

/// Zero counts are left out, as in Kubeflow.
fn nonzero(count: usize) -> Option<i32> {
    i32::try_from(count).ok().filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fixture::{Scene, elastic_workers, master, master_and_workers};

    /// A job whose worker 0 is in this state.
    fn worker(phase: Phase, terminating: bool) -> Scene {
        let mut scene = master_and_workers(1).scene();
        let pod = scene.add_pod("job-worker-0");
        (pod.phase, pod.terminating) = (phase, terminating);
        scene
    }

    fn triple(status: &ReplicaStatus) -> (Option<i32>, Option<i32>, Option<i32>) {
        (status.active, status.succeeded, status.failed)
    }

    #[test]
    fn active_is_what_holds_resources_until_it_is_gone() {
        use Moment::{Suspended, Working};
        use Phase::{Failed, Pending, Running, Succeeded, Unknown};
        const ONE: Option<i32> = Some(1);
        for (phase, terminating, moment, expected) in [
            (Running, false, Working, (ONE, None, None)),
            (Running, true, Working, (ONE, None, None)),
            (Pending, false, Working, (None, None, None)),
            (Pending, true, Working, (ONE, None, None)),
            (Unknown, false, Working, (None, None, None)),
            (Unknown, true, Working, (ONE, None, None)),
            (Succeeded, false, Working, (None, ONE, None)),
            (Succeeded, true, Working, (None, ONE, None)),
            (Failed, false, Working, (None, None, ONE)),
            (Failed, true, Working, (None, None, ONE)),
            (Running, false, Suspended, (ONE, None, None)),
            (Running, true, Suspended, (ONE, None, None)),
            (Pending, false, Suspended, (ONE, None, None)),
            (Unknown, false, Suspended, (ONE, None, None)),
            (Succeeded, false, Suspended, (None, ONE, None)),
            (Failed, true, Suspended, (None, None, ONE)),
        ] {
            let scene = worker(phase, terminating);
            let counted = counts(&scene.world(), moment, &CompletedIndexes::default());
            assert_eq!(
                triple(&counted["Worker"]),
                expected,
                "{phase:?}, terminating: {terminating}, {moment:?}"
            );
            assert_eq!(triple(&counted["Master"]), (None, None, None), "the pod is no Master");
        }
    }

    #[test]
    fn every_role_of_the_job_has_an_entry_with_its_selector_and_no_other_has() {
        let scene = master().scene();
        let counted = counts(&scene.world(), Moment::Working, &CompletedIndexes::default());
        assert_eq!(counted.keys().collect::<Vec<_>>(), ["Master"]);
        assert_eq!(
            counted["Master"].selector.as_deref(),
            Some(
                "training.kubeflow.org/job-name=job,training.kubeflow.org/operator-name=pytorchjob-controller,training.kubeflow.org/replica-type=master"
            )
        );
        let scene = elastic_workers(2, 1, 3).scene();
        assert_eq!(
            counts(&scene.world(), Moment::Working, &CompletedIndexes::default())
                .keys()
                .collect::<Vec<_>>(),
            ["Worker"]
        );
    }

    #[test]
    fn a_pod_of_another_name_counts_nowhere() {
        let mut scene = master_and_workers(1).scene();
        scene.add_pod("job-launcher-0").phase = Phase::Running;
        let counted = counts(&scene.world(), Moment::Suspended, &CompletedIndexes::default());
        assert!(counted.values().all(|status| triple(status) == (None, None, None)));
    }

    #[test]
    fn after_the_verdict_active_follows_the_pods_and_failures_stay() {
        let mut scene = worker(Phase::Running, false);
        let stored = ReplicaStatus {
            active: Some(7),
            succeeded: Some(3),
            failed: Some(2),
            selector: None,
        };
        let stored = BTreeMap::from([("Worker".to_owned(), stored)]);
        let last = final_counts(&scene.world(), &stored);
        assert_eq!(triple(&last["Worker"]), (Some(1), Some(3), Some(2)));
        scene.pods.clear();
        let last = final_counts(&scene.world(), &stored);
        assert_eq!(
            triple(&last["Worker"]),
            (None, Some(3), Some(2)),
            "the pods are cleaned up, the counts stay"
        );
    }

    #[test]
    fn after_the_verdict_a_late_success_is_counted_and_a_late_failure_is_not() {
        let stored = BTreeMap::from([("Worker".to_owned(), ReplicaStatus::default())]);
        let succeeded = final_counts(&worker(Phase::Succeeded, false).world(), &stored);
        assert_eq!(triple(&succeeded["Worker"]), (None, Some(1), None));
        let failed = final_counts(&worker(Phase::Failed, false).world(), &stored);
        assert_eq!(triple(&failed["Worker"]), (None, None, None));
    }

    #[test]
    fn ready_is_what_runs_or_has_succeeded_out_of_what_is_wanted() {
        let mut scene = master_and_workers(4).scene();
        assert_eq!(ready(&scene.world(), &CompletedIndexes::default()), "0/5");
        for (name, phase) in [
            ("job-master-0", Phase::Running),
            ("job-worker-0", Phase::Succeeded),
            ("job-worker-1", Phase::Pending),
            ("job-worker-2", Phase::Failed),
            ("job-worker-3", Phase::Running),
            ("job-worker-4", Phase::Running),
        ] {
            scene.add_pod(name).phase = phase;
        }
        assert_eq!(
            ready(&scene.world(), &CompletedIndexes::default()),
            "3/5",
            "worker 4 is not wanted"
        );
        scene.terminate("job-worker-3");
        assert_eq!(
            ready(&scene.world(), &CompletedIndexes::default()),
            "2/5",
            "worker 3 is on its way out"
        );
    }
}
