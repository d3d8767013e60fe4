//! What needs no cluster and more than the planner: the definition, random edits past its rules, the command line, the
//! documentation and the layout of the source.

use pytorchjob_operator::{api, planner};

mod architecture;
mod command_line;
mod completion;
mod crd;
mod dependabot;
mod differential;
mod docs;
mod faults;
mod imports;
mod kubernetes_version;
mod logs;
mod progress_probe;
mod recorded;
#[path = "../support/mod.rs"]
mod support;
