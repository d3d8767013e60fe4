//! The part of the operator that knows nothing of a cluster: what users write, and what is decided about it.
//!
//! A package of its own, `pytorchjob-planner`, because it builds and is tested within a minute. The operator shows both
//! modules as its own.

#![warn(unreachable_pub)]

pub mod api;
pub mod planner;
