//! What needs no cluster: the planner by API field, parity with Kubeflow, laws that hold in every history, the
//! definition, the documentation and the layout of the source.

use pytorchjob_operator::{api, planner};

mod architecture;
mod autoscaler;
mod clean_up;
mod command_line;
mod conditions;
mod crd;
mod differential;
mod docs;
mod faults;
mod imports;
mod laws;
mod limits;
mod parity;
mod refusals;
mod replicas;
mod restart_scope;
mod restarts;
mod scheduling_policy;
mod stopped_pods;
#[path = "../support/mod.rs"]
mod support;
mod suspension;
mod waiting;
