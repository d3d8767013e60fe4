//! The planner by API field, parity with Kubeflow, and laws that hold in every history.

use pytorchjob_planner::{api, planner};

mod accounting;
mod attempts;
mod autoscaler;
mod clean_up;
mod conditions;
mod failure_policy;
mod first_failure;
mod graceful_stop;
mod laws;
mod limits;
mod node_exclusion;
mod parity;
mod progress_policy;
mod refusals;
mod replicas;
mod restart_scope;
mod restart_strategy;
mod restart_window;
mod restarts;
mod scheduling_policy;
mod startup_deadline;
mod stopped_pods;
mod suspension;
mod unreachable;
mod waiting;
mod worlds;

/// What other test binaries use too, as far as it needs no admission.
#[allow(dead_code, reason = "this binary uses the part it needs")]
#[path = "../support"]
mod support {
    pub mod bad_jobs;
    pub mod cluster;
    pub mod dice;
    pub mod environment;
    pub mod fixture;
}
