//! `status.replicaStatuses` and `status.ready`: the pods, counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{JobStatus, Replica, ReplicaStatus, ReplicaType, names};
use crate::planner::child::{Phase, Pod};
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::world::World;

/// Counts of each role the job has, in place of the stored ones.
///
/// Kueue frees quota by `active`, so it counts every pod until it has ended or is gone, and, if the job `works`, every
/// replica that has no pod and is about to get one: see [`claims_more`]. Kubeflow counts running pods only, drops the
/// count to zero as soon as the job is suspended, and counts a running pod that is being deleted as failed.
#[must_use]
pub(crate) fn counts(world: &World<'_>, completed: &CompletedIndexes, works: bool) -> BTreeMap<String, ReplicaStatus> {
    roles(world)
        .map(|role| {
            let missing = if works { missing(world, role, completed) } else { 0 };
            let active = existing(world, role) + missing;
            // A pod beyond the replicas is active until it is gone, and is nothing else.
            let desired = || world.desired_pods().filter(|(replica, _)| replica.type_ == role);
            let succeeded = desired().filter(|(replica, pod)| pod.succeeded() && !completed.contains(*replica));
            let failed = desired().filter(|(_, pod)| pod.phase == Phase::Failed && !pod.disrupted);
            let status = ReplicaStatus {
                active: nonzero(active),
                succeeded: nonzero(succeeded.count() + completed.of_type(role)),
                failed: nonzero(failed.count()),
                selector: Some(selector(world.name(), role)),
            };
            (role.key().to_owned(), status)
        })
        .collect()
}

/// The counts of a job that has finished: what succeeded and failed stays as it was then, even when the pods are
/// cleaned up; `active` follows the pods. Kubeflow reports running pods of a succeeded job as succeeded, and never
/// corrects those of a failed one.
#[must_use]
pub(crate) fn final_counts(
    world: &World<'_>,
    stored: &BTreeMap<String, ReplicaStatus>,
) -> BTreeMap<String, ReplicaStatus> {
    let mut counts = counts(world, &CompletedIndexes::of(world, &world.status()), false);
    for (role, status) in stored {
        let now = counts.entry(role.clone()).or_default();
        now.succeeded = now.succeeded.max(status.succeeded);
        now.failed = status.failed;
    }
    counts
}

/// Whether `new` counts pods as active that neither exist nor are counted in `stored`. Such a status is stored before
/// they are created: otherwise an eviction between the two would find no active pod, and their quota would be given
/// away.
#[must_use]
pub(crate) fn claims_more(world: &World<'_>, stored: &JobStatus, new: &JobStatus) -> bool {
    roles(world).any(|role| active(new, role) > active(stored, role).max(existing(world, role)))
}

/// Whether `new` counts more pods as active than `stored`, of one type at least.
#[must_use]
pub(crate) fn rises(world: &World<'_>, stored: &JobStatus, new: &JobStatus) -> bool {
    roles(world).any(|role| active(new, role) > active(stored, role))
}

fn active(status: &JobStatus, role: ReplicaType) -> usize {
    let counts = status.replica_statuses.get(role.key());
    let active = counts.and_then(|counts| counts.active).unwrap_or(0);
    usize::try_from(active).unwrap_or(0)
}

/// Replicas that are ready or have succeeded, out of all.
#[must_use]
pub(crate) fn ready(world: &World<'_>, completed: &CompletedIndexes) -> String {
    let ready = world
        .desired_pods()
        .filter(|(replica, pod)| ((pod.running() && !pod.unready) || pod.succeeded()) && !completed.contains(*replica));
    format!(
        "{}/{}",
        ready.count() + completed.count(),
        world.job.spec.total_replicas()
    )
}

/// The label selector of a role's pods, keys sorted, as in Kubeflow. The scale subresource hands it to autoscalers.
#[must_use]
pub(crate) fn selector(job: &str, role: ReplicaType) -> String {
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

/// Pods that exist and have not ended, those beyond the replicas included.
fn existing(world: &World<'_>, role: ReplicaType) -> usize {
    let of_type = |pod: &Pod| world.replica_of(&pod.name).is_some_and(|replica| replica.type_ == role);
    world.pods.iter().filter(|pod| of_type(pod) && !pod.finished()).count()
}

/// Replicas that have no pod and have not finished.
fn missing(world: &World<'_>, role: ReplicaType, completed: &CompletedIndexes) -> usize {
    let desired = world.desired().filter(|replica| replica.type_ == role);
    let served: BTreeSet<Replica> = world.desired_pods().map(|(replica, _)| replica).collect();
    desired
        .filter(|replica| !served.contains(replica) && !completed.contains(*replica))
        .count()
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
    fn active_is_every_pod_that_has_not_ended_until_it_is_gone() {
        use Phase::{Failed, Pending, Running, Succeeded, Unknown};
        const ONE: Option<i32> = Some(1);
        for (phase, expected) in [
            (Pending, (ONE, None, None)),
            (Running, (ONE, None, None)),
            (Unknown, (ONE, None, None)),
            (Succeeded, (None, ONE, None)),
            (Failed, (None, None, ONE)),
        ] {
            for terminating in [false, true] {
                let scene = worker(phase, terminating);
                let counted = counts(&scene.world(), &CompletedIndexes::default(), false);
                assert_eq!(
                    triple(&counted["Worker"]),
                    expected,
                    "{phase:?}, terminating: {terminating}"
                );
                assert_eq!(triple(&counted["Master"]), (None, None, None), "the pod is no Master");
            }
        }
    }

    #[test]
    fn every_role_of_the_job_has_an_entry_with_its_selector_and_no_other_has() {
        let scene = master().scene();
        let counted = counts(&scene.world(), &CompletedIndexes::default(), false);
        assert_eq!(counted.keys().collect::<Vec<_>>(), ["Master"]);
        assert_eq!(
            counted["Master"].selector.as_deref(),
            Some(
                "training.kubeflow.org/job-name=job,training.kubeflow.org/operator-name=pytorchjob-controller,training.kubeflow.org/replica-type=master"
            )
        );
        let scene = elastic_workers(2, 1, 3).scene();
        assert_eq!(
            counts(&scene.world(), &CompletedIndexes::default(), false)
                .keys()
                .collect::<Vec<_>>(),
            ["Worker"]
        );
    }

    #[test]
    fn what_is_about_to_be_created_is_claimed_before_it_is() {
        let scene = worker(Phase::Running, false);
        let status = |works| JobStatus {
            replica_statuses: counts(&scene.world(), &CompletedIndexes::default(), works),
            ..JobStatus::default()
        };
        let (new, seen) = (status(true), status(false));
        assert_eq!(triple(&new.replica_statuses["Master"]).0, Some(1));
        assert_eq!(triple(&new.replica_statuses["Worker"]).0, Some(1));
        assert!(claims_more(&scene.world(), &seen, &new));
        assert!(!claims_more(&scene.world(), &new, &new), "they are claimed");
        assert!(
            !claims_more(&scene.world(), &JobStatus::default(), &seen),
            "the pod exists"
        );
    }

    #[test]
    fn a_pod_of_another_name_counts_nowhere() {
        let mut scene = master_and_workers(1).scene();
        scene.add_pod("job-launcher-0").phase = Phase::Running;
        let counted = counts(&scene.world(), &CompletedIndexes::default(), false);
        assert!(counted.values().all(|status| triple(status) == (None, None, None)));
    }

    #[test]
    fn after_the_outcome_active_follows_the_pods_and_failures_stay() {
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
    fn after_the_outcome_a_late_success_is_counted_and_a_late_failure_is_not() {
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
            "worker 3 is terminating"
        );
    }
}
