//! The planner as a whole: tables by API field, parity with Kubeflow, and laws that hold in every history.

use pytorchjob_operator::{api, planner};

mod clean_up;
mod cluster;
mod conditions;
#[allow(
    dead_code,
    reason = "shared with the tests beside the code and with tests/crd.rs, which use the rest"
)]
mod fixture;
mod laws;
mod limits;
mod parity;
mod refusals;
mod replicas;
mod restarts;
mod suspension;
