//! What goes wrong at one request.

use std::fmt;
use std::str::FromStr;

/// A fault. Its name is part of the name of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The API server is away from this request on, for a moment: every connection ends, none is taken.
    Refused,
    /// The connection ends before the request reaches the API server.
    CutBefore,
    /// The connection ends after the request was carried out: the answer is lost.
    CutAfter,
    /// The request was carried out, and the answer is that of a time-out: 504.
    TimedOut,
    /// The API server answers 503 and does nothing.
    Unavailable,
    /// The API server answers 429 and does nothing.
    Throttled,
    /// The request takes long to reach the API server.
    Slow,
    /// The answer takes long.
    Late,
    /// The request arrives twice, and the second answer is given.
    Twice,
    /// The operator dies, and the request never arrives.
    KilledBefore,
    /// The operator dies when the request has been carried out.
    KilledAfter,
    /// The operator dies, and its request arrives when the next one has made the same.
    Overtaken,
    /// The operator dies, and its request arrives when all is over.
    Belated,
    /// The operator dies, and its creation arrives when what the next one created under the name is gone.
    Misplaced,
    /// The operator is stopped until a second replica leads, and goes on then.
    Frozen,
    /// The watch of jobs is late.
    JobsHeld,
    /// The watch of pods is late.
    PodsHeld,
    /// All watches are late.
    AllHeld,
    /// All watches lose what happens for a while and end with 410.
    Gone,
    /// Somebody else writes to the job just before.
    Conflict,
}

impl Fault {
    pub const ALL: [(Self, &str); 20] = [
        (Self::Refused, "refused"),
        (Self::CutBefore, "cut-before"),
        (Self::CutAfter, "cut-after"),
        (Self::TimedOut, "timed-out"),
        (Self::Unavailable, "unavailable"),
        (Self::Throttled, "throttled"),
        (Self::Slow, "slow"),
        (Self::Late, "late"),
        (Self::Twice, "twice"),
        (Self::KilledBefore, "killed-before"),
        (Self::KilledAfter, "killed-after"),
        (Self::Overtaken, "overtaken"),
        (Self::Belated, "belated"),
        (Self::Misplaced, "misplaced"),
        (Self::Frozen, "frozen"),
        (Self::JobsHeld, "jobs-held"),
        (Self::PodsHeld, "pods-held"),
        (Self::AllHeld, "all-held"),
        (Self::Gone, "gone"),
        (Self::Conflict, "conflict"),
    ];

    /// Whether it has happened as soon as its request comes. Others depend on what follows.
    pub fn is_at_once(self) -> bool {
        let first_passed = matches!(self, Self::CutAfter | Self::TimedOut | Self::Twice | Self::KilledAfter);
        let stray = matches!(self, Self::Overtaken | Self::Belated | Self::Misplaced);
        !first_passed && !stray && !matches!(self, Self::Frozen | Self::Conflict)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find_map(|(fault, name)| (fault == self).then_some(name))
            .expect("every fault has a name")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find_map(|(fault, name)| (name == text).then_some(fault))
            .ok_or_else(|| format!("{text} is no fault"))
    }
}
