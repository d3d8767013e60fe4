//! The planner as a whole: tables by API field, parity with Kubeflow, and laws that hold in every history.

use pytorchjob_operator::{api, planner};

mod cluster;
mod fixture;
mod laws;
