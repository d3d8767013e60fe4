//! One file a policy, named after the API field.

pub mod active_deadline_seconds;
pub mod autoscaler;
pub mod backoff_limit;
pub mod clean_pod_policy;
pub mod replicas;
pub mod restart_policy;
pub mod scheduling_policy;
pub mod success;
pub mod suspend;
pub mod ttl_seconds_after_finished;
