//! What decisions need to know of a pod whose training container can start again in it, and how it is asked to.
//!
//! The kubelet restarts a container whose cpu or memory is changed, where the pod says so (`resizePolicy:
//! RestartContainer`): SIGTERM, the grace period and preStop, then the same container again, without back-off. So a pod
//! is asked by the smallest step, down and, the next time, up again. Where it stands, the pod itself remembers, in its
//! resources and in an annotation that is written before the step: an operator that stops in between goes on from
//! there.

use std::fmt;
use std::str::FromStr;

use crate::planner::amount::Amount;
use crate::planner::failure::EarlierFailure;

/// The resource by which a container is asked to start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `cpu`, counted in thousandths.
    Cpu,
    /// `memory`, counted in bytes.
    Memory,
}

impl Resource {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// What a quantity amounts to. The kubelet counts in the same units.
    #[must_use]
    pub fn count(self, quantity: &str) -> Option<i64> {
        self.units(Amount::parse(quantity)?)
    }

    /// The same of an amount.
    #[must_use]
    pub(crate) fn units(self, amount: Amount) -> Option<i64> {
        match self {
            Self::Cpu => amount.in_units_of(1_000_000),
            Self::Memory => amount.in_units_of(1_000_000_000),
        }
    }

    /// The quantity of so much.
    #[must_use]
    pub fn quantity(self, amount: i64) -> String {
        match self {
            Self::Cpu => format!("{amount}m"),
            Self::Memory => amount.to_string(),
        }
    }

    const fn step(self) -> i64 {
        match self {
            Self::Cpu => 1,
            Self::Memory => 1 << 20,
        }
    }

    /// An amount for which there is always room, and which differs from this one and from the one that is one step from
    /// it.
    #[must_use]
    pub const fn below(self, amount: i64) -> i64 {
        amount - 2 * self.step()
    }

    /// One step from this amount, and from there one step back: down from an even number of steps, for which there is
    /// always room, and up from an odd one.
    #[must_use]
    pub const fn other(self, amount: i64) -> i64 {
        let step = self.step();
        if (amount / step) % 2 == 0 && amount > step {
            amount - step
        } else {
            amount + step
        }
    }
}

/// What the annotation of a pod says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// By which resource its container is asked to start again.
    pub resource: Resource,
    /// What it was asked last, if it was.
    pub asked: Option<Asked>,
}

/// A restart that a pod was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The amount of the resource that asks for it.
    pub amount: i64,
    /// How often the container has ended when it runs again by it: no failures of the attempt that then begins.
    pub restarts: i32,
    /// Whether it was asked once more in its attempt.
    pub again: bool,
}

/// What the annotation says too, of a pod that was asked once more. Further words are for operators that know them.
const AGAIN: &str = "again";

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource.name())?;
        if let Some(asked) = self.asked {
            let amount = self.resource.quantity(asked.amount);
            write!(f, "={amount},restarts={}", asked.restarts)?;
            if asked.again {
                write!(f, ",{AGAIN}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (step, rest) = text.split_once(",restarts=").unzip();
        let mut words = rest.into_iter().flat_map(|rest| rest.split(','));
        let restarts = words.next();
        let again = words.any(|word| word == AGAIN);
        let (name, amount) = step.unwrap_or(text).split_once('=').unzip();
        let resources = [Resource::Cpu, Resource::Memory];
        let named = |resource: &Resource| resource.name() == name.unwrap_or(text);
        let resource = resources.into_iter().find(named).ok_or(())?;
        let asked = match (amount, restarts) {
            (Some(amount), Some(restarts)) => Some(Asked {
                amount: resource.count(amount).ok_or(())?,
                restarts: restarts.parse().map_err(|_| ())?,
                again,
            }),
            (None, None) => None,
            _ => return Err(()),
        };
        Ok(Self { resource, asked })
    }
}

/// What the training container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Doing {
    /// It is about to be started, for the first time or again.
    #[default]
    Waits,
    /// It runs.
    Runs,
    /// It has ended with exit code 0, and is not started again.
    Done,
}

/// What decisions need to know of a pod whose training container can start again in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPlace {
    /// What its annotation says.
    pub mark: Mark,
    /// Place of the container among those of the pod.
    pub container: usize,
    /// How much of the resource it requests now.
    pub amount: i64,
    /// Whether that is its limit too.
    pub limit: bool,
    /// Seconds that it has to end.
    pub grace: i64,
    /// How often it has ended and was started again, or is about to be.
    pub ends: i32,
    /// How it failed last, if that is accounted for. A failure that is not is the pod's.
    pub earlier: Option<EarlierFailure>,
    /// What it does.
    pub doing: Doing,
    /// Whether it was started with the amount that it requests now.
    pub applied: bool,
    /// Whether the node has no room for the step up.
    pub deferred: bool,
    /// Why the kubelet does not restart it, if it says so.
    pub refused: Option<String>,
}

impl InPlace {
    /// How often it may have ended without a failure of its attempt.
    #[must_use]
    pub fn expected(&self) -> i32 {
        self.mark.asked.map_or(0, |asked| asked.restarts)
    }

    /// How often it will have ended when it starts by a step that is made now.
    #[must_use]
    pub fn ends_when_asked(&self) -> i32 {
        self.ends.saturating_add((self.doing == Doing::Runs).into())
    }

    /// Whether it has failed in its attempt. One that the kubelet has started again and that has completed has not: for
    /// a moment its pod still runs.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.has_ended() && self.doing != Doing::Done
    }

    /// Whether it has ended by itself in its attempt, and was or will be started again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ends > self.expected()
    }

    /// Whether it was ever asked to start again.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.mark.asked.is_some()
    }

    /// Whether it was asked once more in its attempt.
    #[must_use]
    pub fn was_asked_again(&self) -> bool {
        self.mark.asked.is_some_and(|asked| asked.again)
    }

    /// Whether it has yet to end by what it was asked for.
    #[must_use]
    pub fn is_to_restart(&self) -> bool {
        self.ends < self.expected()
    }

    /// Whether the step has been made that asks for the restart.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.mark.asked.is_none_or(|asked| asked.amount == self.amount)
    }

    /// Whether it is to be asked once more, and the step has not been made. Once it runs, it needs none: whoever else
    /// has changed the amount is left alone.
    #[must_use]
    pub fn waits_for_its_step(&self) -> bool {
        self.was_asked_again() && self.doing == Doing::Waits && !self.is_asked()
    }

    /// Whether it runs, since it was asked to start again if it was.
    #[must_use]
    pub fn runs(&self) -> bool {
        let again = !self.was_asked() || (self.applied && self.ends >= self.expected());
        self.doing == Doing::Runs && self.is_asked() && again
    }
}

/// How a pod is asked to start its training container again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// What to write into its annotations first: the attempt that begins with it, and what it is asked for.
    pub attempt: i32,
    /// The same in its annotation.
    pub mark: Mark,
    /// Whether the annotations are written.
    pub annotate: bool,
    /// Place of the container whose request is set to the amount; nothing where only the annotations are written.
    pub container: Option<usize>,
    /// Whether its limit is set too.
    pub limit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_goes_down_where_that_is_possible_and_the_next_one_back() {
        for (resource, amount, other) in [
            (Resource::Cpu, 4_000, 3_999),
            (Resource::Cpu, 10, 9),
            (Resource::Cpu, 333, 334),
            (Resource::Cpu, 1, 2),
            (Resource::Memory, 64 << 30, (64 << 30) - (1 << 20)),
        ] {
            assert_eq!(resource.other(amount), other, "{resource:?} {amount}");
            assert_eq!(resource.other(other), amount, "{resource:?} {other}");
        }
    }

    #[test]
    fn where_a_step_up_has_no_room_one_down_has_by_the_same_resource() {
        for (resource, amount, below) in [
            (Resource::Cpu, 10, 8),
            (Resource::Cpu, 2, 0),
            (Resource::Memory, 64 << 30, (64 << 30) - (2 << 20)),
        ] {
            assert_eq!(resource.below(amount), below, "{resource:?} {amount}");
        }
    }

    #[test]
    fn an_annotation_says_what_was_written_into_it_and_others_say_nothing() {
        for text in [
            "cpu",
            "memory",
            "cpu=3999m,restarts=2",
            "memory=1048576,restarts=1",
            "cpu=2m,restarts=3,again",
        ] {
            let mark: Mark = text.parse().unwrap();
            assert_eq!(mark.to_string(), text);
        }
        let later: Mark = "cpu=2m,restarts=3,new,again".parse().unwrap();
        assert_eq!(
            later.to_string(),
            "cpu=2m,restarts=3,again",
            "words of a later operator"
        );
        for text in [
            "",
            "gpu",
            "cpu=1",
            "cpu,restarts=1",
            "cpu=x,restarts=1",
            "cpu=1,restarts=x",
        ] {
            assert_eq!(text.parse::<Mark>(), Err(()), "{text}");
        }
    }
}
