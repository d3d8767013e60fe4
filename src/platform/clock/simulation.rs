//! The clocks and the random numbers of a machine that is simulated on this thread.

use std::cell::Cell;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

thread_local! {
    static MACHINE: Cell<Option<Machine>> = const { Cell::new(None) };
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The clocks of a machine; they go with tokio's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// A moment on tokio's clock.
    pub(crate) then: Instant,
    /// What the machine's wall clock showed then.
    pub(crate) wall: Timestamp,
    /// How long the machine had been running.
    pub(crate) running: Duration,
}

impl Machine {
    /// From now on this thread is on this machine.
    pub(crate) fn enter(self) {
        MACHINE.set(Some(self));
    }
}

/// From now on the random numbers of this thread follow from `seed`; without one they are random again, and so is the
/// clock.
pub(crate) fn seed(seed: Option<u64>) {
    RANDOM.set(seed);
    if seed.is_none() {
        MACHINE.set(None);
    }
}

pub(super) fn now() -> Option<Timestamp> {
    let machine = MACHINE.get()?;
    let elapsed = SignedDuration::try_from(machine.then.elapsed()).ok()?;
    machine.wall.checked_add(elapsed).ok()
}

pub(super) fn boottime() -> Option<Duration> {
    let machine = MACHINE.get()?;
    Some(machine.running + machine.then.elapsed())
}

pub(super) fn random() -> Option<u32> {
    // A linear congruential generator is enough to shorten pauses.
    let state = RANDOM
        .get()?
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    RANDOM.set(Some(state));
    u32::try_from(state >> 32).ok()
}
