//! Everything between the operator and the world outside its decisions: clocks, logs, metrics.

pub mod clock;
pub mod lease;
pub mod logs;
pub mod metrics;
