//! Numbers without which, or with others than which, a job can run.

use crate::api::PyTorchJob;
use crate::api::bounds::{
    MAX_EXCLUDED_NODES, MAX_FAILURES, MAX_PORT, MAX_PROCESSES, MAX_REPLICAS, MAX_RESTARTS, MAX_SECONDS,
    MAX_SECONDS_OF_A_POD,
};
use crate::planner::validate::Found;

/// A field under `spec`, its value and its bounds.
type Number = (&'static str, Option<i32>, i32, i32);

/// Checks them.
pub(crate) fn check(job: &PyTorchJob, found: &mut Found) {
    for (field, value, min, max) in elastic_policy(job).into_iter().chain(run_policy(job)) {
        if value.is_some_and(|value| !(min..=max).contains(&value)) {
            found.tolerable(format!("spec.{field}"), format!("must be between {min} and {max}"));
        }
    }
}

fn elastic_policy(job: &PyTorchJob) -> Vec<Number> {
    let policy = job.spec.elastic_policy.clone().unwrap_or_default();
    vec![
        ("elasticPolicy.maxRestarts", policy.max_restarts, 0, MAX_RESTARTS),
        ("elasticPolicy.maxReplicas", policy.max_replicas, 1, MAX_REPLICAS),
        ("elasticPolicy.minReplicas", policy.min_replicas, 1, MAX_REPLICAS),
        ("elasticPolicy.nProcPerNode", policy.n_proc_per_node, 1, MAX_PROCESSES),
        ("elasticPolicy.rdzvPort", policy.rdzv_port, 1, MAX_PORT),
    ]
}

fn run_policy(job: &PyTorchJob) -> Vec<Number> {
    let policy = &job.spec.run_policy;
    let scheduling = policy.scheduling_policy.clone().unwrap_or_default();
    let window = policy.restart_window;
    let exclusion = policy.node_exclusion;
    let (failures, max) = (
        exclusion.map(|policy| policy.after_failures),
        exclusion.map(|policy| policy.max),
    );
    let for_long = exclusion.map(|policy| policy.window_seconds);
    let (restarts, seconds) = (
        window.map(|window| window.restarts),
        window.map(|window| window.seconds),
    );
    let (start, timeout) = (policy.startup_deadline_seconds, scheduling.schedule_timeout_seconds);
    vec![
        (
            "runPolicy.gracefulStopSeconds",
            policy.graceful_stop_seconds,
            1,
            MAX_SECONDS_OF_A_POD,
        ),
        ("runPolicy.nodeExclusion.afterFailures", failures, 1, MAX_FAILURES),
        ("runPolicy.nodeExclusion.max", max, 1, MAX_EXCLUDED_NODES),
        ("runPolicy.nodeExclusion.windowSeconds", for_long, 1, MAX_SECONDS),
        ("runPolicy.restartWindow.restarts", restarts, 0, MAX_FAILURES),
        ("runPolicy.restartWindow.seconds", seconds, 1, MAX_SECONDS),
        (
            "runPolicy.schedulingPolicy.minAvailable",
            scheduling.min_available,
            0,
            MAX_REPLICAS + 1,
        ),
        (
            "runPolicy.schedulingPolicy.scheduleTimeoutSeconds",
            timeout,
            0,
            MAX_SECONDS,
        ),
        ("runPolicy.startupDeadlineSeconds", start, 1, MAX_SECONDS),
        (
            "runPolicy.unreachableSeconds",
            policy.unreachable_seconds,
            1,
            MAX_SECONDS,
        ),
    ]
}
