//! What the two test binaries share.
#![allow(dead_code, reason = "each of the two binaries uses the part it needs")]

pub mod bad_jobs;
pub mod cluster;
pub mod dice;
pub mod differential;
pub mod environment;
pub mod fixture;
pub mod page;
pub mod plot;
