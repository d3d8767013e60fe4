//! Which requests meet a fault, and which lack a guard.

use std::sync::{Mutex, PoisonError};

use crate::dice::Dice;
use crate::fault::Fault;
use crate::proxy::Step;

/// A guard that an operator puts into its requests, and that is taken out to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The resourceVersion of a status.
    Version,
    /// The UID of a deletion.
    Uid,
}

/// Which requests meet a fault.
pub enum Aim {
    /// None.
    Nothing,
    /// One request.
    At(Step, Fault),
    /// One in so many meets one of these faults. What is asked of the lease meets none.
    AtRandom(Box<Mutex<Dice>>, usize, Vec<Fault>),
}

impl Aim {
    /// Faults at random by this seed.
    pub fn at_random(seed: u64, one_in: usize, faults: Vec<Fault>) -> Self {
        Self::AtRandom(Box::new(Mutex::new(Dice::new(seed))), one_in, faults)
    }

    /// The fault that this request meets. There are none at random when all is `over`.
    pub fn fault(&self, step: &Step, over: bool) -> Option<Fault> {
        match self {
            Self::At(target, fault) if target == step => Some(*fault),
            Self::AtRandom(dice, times, faults) if !over && !step.is_of_lease() => {
                let mut dice = dice.lock().unwrap_or_else(PoisonError::into_inner);
                dice.one_in(*times).then(|| dice.pick(faults))
            }
            _ => None,
        }
    }
}
