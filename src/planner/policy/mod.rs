//! One file a policy, named after the API field.

pub(crate) mod active_deadline_seconds;
pub(crate) mod autoscaler;
pub(crate) mod backoff_limit;
pub(crate) mod clean_pod_policy;
pub(crate) mod failure_policy;
pub(crate) mod graceful_stop_seconds;
pub(crate) mod node_exclusion;
pub(crate) mod progress_policy;
pub(crate) mod replicas;
pub(crate) mod restart_policy;
pub(crate) mod restart_scope;
pub(crate) mod restart_strategy;
pub(crate) mod restart_window;
pub(crate) mod scheduling_policy;
pub(crate) mod service_policy;
pub(crate) mod startup_deadline_seconds;
pub(crate) mod success;
pub(crate) mod suspend;
pub(crate) mod ttl_seconds_after_finished;
pub(crate) mod unreachable_seconds;
