//! Limits that the definition and the validation of stored jobs share.

/// Longest name of a service, and of a label value.
pub const MAX_NAME: usize = 63;
/// Most pods of one replica type.
pub const MAX_REPLICAS: i32 = 10_000;
/// Longest time in seconds.
pub const MAX_SECONDS: i64 = 2_147_483_647;
