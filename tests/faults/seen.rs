//! What operators have sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::Fault;
use crate::proxy::Step;

/// What has been sent and answered so far.
#[derive(Default)]
pub struct Seen {
    pub counts: BTreeMap<String, usize>,
    /// All requests, in the order of their arrival.
    pub steps: Vec<Step>,
    pub mutating: usize,
    pub answered: BTreeMap<String, usize>,
    /// The replica that has written the lease.
    pub leads: Option<usize>,
    /// How many requests were to meet a fault.
    pub aimed: usize,
    /// Faults that have happened.
    pub met: BTreeSet<Fault>,
    /// UIDs of what requests created that nobody waited for any more.
    pub strays: BTreeSet<String>,
    /// A replica that was frozen, and has been thawed when another led.
    pub thawed: Option<usize>,
    pub violations: Vec<String>,
}
