//! The parts of a status and how they are derived.

pub(crate) mod accounting;
pub(crate) mod attempts;
pub(crate) mod completed_indexes;
pub(crate) mod conditions;
pub(crate) mod first_failure;
pub(crate) mod replica_statuses;
pub(crate) mod stalls;
pub(crate) mod transition;
pub(crate) mod urgency;
