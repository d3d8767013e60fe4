//! `backoffLimit`: how many restarts a job may have.
//!
//! Two things are restarts: a container that the kubelet restarts in place, and a failed pod that the operator
//! replaces. Kubeflow 1.9 counts only the first, only in pods that run, and forgets them with the pod. Here a replaced
//! pod is counted in `status.restarts` before it is deleted, together with the container restarts it takes with it.

use crate::api::JobStatus;
use crate::planner::child::Pod;
use crate::planner::policy::restart_window;
use crate::planner::replaced_pods::ReplacedPods;
use crate::planner::world::World;

/// The number of restarts, if the job has had all it may have.
///
/// * `limit`: the policy.
/// * `counted`: `status.restarts`, the failures seen now included.
/// * `in_place`: those of [`in_place`].
///
/// Container restarts fail the job when their number reaches the limit, or is above a limit of 0, as in Kubeflow and in
/// a Kubernetes Job with restartPolicy OnFailure. With replaced pods in the sum it fails beyond the limit, as a
/// Kubernetes Job counts failed pods: a limit of 1 allows one replacement.
#[must_use]
fn exceeded(limit: i32, counted: i32, in_place: i32) -> Option<i32> {
    let restarts = in_place.saturating_add(counted);
    (in_place >= limit.max(1) || restarts > limit).then_some(restarts)
}

/// Restarts of containers in the pods that are there and whose failure is not counted in `status.restarts`.
#[must_use]
pub fn in_place(pods: &[Pod], status: &JobStatus) -> i32 {
    let counted = ReplacedPods::of(status);
    let living = pods.iter().filter(|pod| !counted.contains(pod));
    living.map(|pod| pod.restarts).fold(0, i32::saturating_add)
}

/// The message of the Failed condition, if the job has had all restarts that it may have, in its life or within its
/// `restartWindow`. `status` has counted the failures seen now.
#[must_use]
pub(crate) fn message(world: &World<'_>, status: &JobStatus) -> Option<String> {
    in_all(world, status).or_else(|| restart_window::exceeded(world, status))
}

/// Kubeflow's message, with the numbers.
fn in_all(world: &World<'_>, status: &JobStatus) -> Option<String> {
    let limit = world.job.spec.backoff_limit()?;
    let restarts = exceeded(limit, status.restarts.unwrap_or(0), in_place(world.pods, status))?;
    let (job, plural) = (world.name(), if restarts == 1 { "" } else { "s" });
    Some(format!(
        "Job {job} has failed because it has reached the specified backoff limit ({limit}): {restarts} restart{plural}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(restarts: &[i32]) -> Vec<Pod> {
        restarts
            .iter()
            .map(|&restarts| Pod {
                restarts,
                ..Pod::default()
            })
            .collect()
    }

    #[test]
    fn the_limit_bounds_restarts_in_place_and_replacements() {
        for (limit, counted, in_place, expected, why) in [
            (0, 0, &[0][..], false, "Kubeflow: limit 0 without restarts goes on"),
            (3, 0, &[3], true, "Kubeflow: limit 3 and a pod with three restarts"),
            (4, 0, &[1, 1, 1, 1], true, "Kubeflow: the sum over pods counts"),
            (4, 0, &[1, 1, 1], false, "below the limit"),
            (0, 0, &[1], true, "any restart exceeds limit 0"),
            (0, 1, &[], true, "any replacement exceeds limit 0"),
            (1, 1, &[], false, "limit 1 allows one replacement"),
            (1, 2, &[], true, "and no second"),
            (3, 2, &[1], false, "both kinds together within the limit"),
            (3, 2, &[2], true, "both kinds together beyond it"),
            (5, i32::MAX, &[i32::MAX], true, "no overflow"),
        ] {
            let restarts = exceeded(limit, counted, super::in_place(&pods(in_place), &JobStatus::default()));
            assert_eq!(restarts.is_some(), expected, "{why}");
        }
    }
}
