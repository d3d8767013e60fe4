//! The parts of a status and how they are derived.

pub mod completed_indexes;
pub mod conditions;
pub mod replica_statuses;
pub mod transition;
pub mod urgency;
pub mod waiting;
