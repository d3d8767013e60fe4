//! A Kubernetes operator for `kubeflow.org/v1` PyTorchJob.
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | what users write and read: types, schema, rules, names |
//! | [`planner`] | the decisions, pure: a snapshot and the time go in, a plan comes out; one file a policy |
//! | [`cache`] | what is known: slim views of pods and services, by owning job, with our own writes on top |
//! | [`controller`] | the shell: observe, plan, act, store the status; back-off, slow start, shutdown |
//! | [`platform`] | client, lease, events, metrics, probes, logs, the clock |
//! | [`cli`] | the subcommands: `run`, `crd`, `plan`, `validate`, `convert` |
//!
//! Start reading at [`planner::plan`] for what it does, at [`controller::run`] for how.

#![warn(unreachable_pub)]

mod cache;
pub mod cli;
mod controller;
mod defects;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod platform;
#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

pub use pytorchjob_planner::{api, planner};
