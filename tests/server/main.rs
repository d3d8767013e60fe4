//! The operator, the binary that is shipped under the roles that are shipped, against a real API server.
//!
//! Every test has a namespace and an operator of its own, so tests run side by side and may kill theirs. Pods are
//! played: they name a scheduler that nobody runs, and [`pytorchjob_test_cluster::set_pod_phase`] says what became of
//! them. What the operator does is waited for by watches. That it does *not* do something is shown by an edit that asks
//! for nothing, see [`rig::Rig::settle`]: once the operator has acted on that, it has done whatever it was going to do
//! because of what came before. Times are compared as the API server stores them, in whole seconds, so that a busy
//! machine does not blur them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use pytorchjob_operator::{api, planner};

mod accounting;
mod admission_webhook;
mod apply;
mod bad_input;
mod browser;
mod chart;
mod clean_pod_policy;
mod convert;
mod definitions;
mod differential;
mod editing;
mod etcd;
mod failure_policy;
mod faults;
mod first_failure;
mod forged_children;
mod graceful_stop;
mod installing;
mod job;
mod kubectl;
mod kubeflow;
mod kubeflow_examples;
mod kueue;
mod large_jobs;
mod live;
mod memory;
mod monitoring;
mod namespaced;
mod node_exclusion;
mod openshift;
mod operations;
mod pages;
mod progress_policy;
mod queue_manager;
mod real_node;
mod recorded;
mod restart_policy;
mod restart_scope;
mod restart_strategy;
mod restart_window;
mod rig;
mod scale;
mod scheduling_policy;
mod sdk;
mod seed;
mod service_policy;
mod simulated;
mod startup_deadline;
mod status_codes;
mod steady_state;
mod stopped_pods;
#[path = "../support/mod.rs"]
mod support;
mod suspend;
mod taken_over;
mod timers;
mod training_operator;
mod unreachable;
mod validate;
mod waiting;
