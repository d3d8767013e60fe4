//! Limits that the definition and the validation of stored jobs share.

/// Longest name of a service, and of a label value.
pub const MAX_NAME: usize = 63;
/// Most pods of one replica type.
pub const MAX_REPLICAS: i32 = 10_000;
/// Most restarts.
pub const MAX_RESTARTS: i32 = i32::MAX;
/// Longest time in seconds.
pub const MAX_SECONDS: i32 = i32::MAX;
/// Longest time in seconds of what happens during the life of a pod: a day.
pub const MAX_SECONDS_OF_A_POD: i32 = 86_400;
/// Highest port.
pub const MAX_PORT: i32 = 65_535;
/// Most processes that `elasticPolicy.nProcPerNode` may ask for in a pod.
pub const MAX_PROCESSES: i32 = 1_024;
/// Most failures that a policy may wait for before it acts.
pub const MAX_FAILURES: i32 = 100;
/// Most nodes that a job may keep away from.
pub const MAX_EXCLUDED_NODES: i32 = 64;
