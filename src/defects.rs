//! Defects that this operator has had or must not get. The simulation brings each of them back and has to find it:
//! a test that cannot fail proves nothing.
//!
//! A defect is one line at the place of its remedy, and outside of tests that line is not there: [`back`] is a constant
//! then.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Objects are told apart by the UID of their owner alone, which anybody may write in a namespace of theirs.
    ForgedChild,
    /// What a list shows does not replace what is kept under a greater version, as after a restore of etcd.
    Ghosts,
    /// A watch whose connection is half-open is noticed after five minutes.
    HalfOpenWatch,
    /// A deletion names no UID.
    DeletionByName,
    /// Nothing looks at a job when its deadline comes.
    NoTimer,
}

/// Whether a defect is back.
#[cfg(not(test))]
pub(crate) const fn back(_: Defect) -> bool {
    false
}

#[cfg(test)]
pub(crate) use simulated::{back, bring_back};

#[cfg(test)]
mod simulated {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static BACK: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Whether a defect is back on this thread.
    pub(crate) fn back(defect: Defect) -> bool {
        BACK.get() == Some(defect)
    }

    /// Brings one defect back on this thread, or none.
    pub(crate) fn bring_back(defect: Option<Defect>) {
        BACK.set(defect);
    }
}
