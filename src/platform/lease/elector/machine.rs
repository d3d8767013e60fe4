//! The clock of a machine that sleeps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::platform::clock::Clock;

/// Time since boot that follows tokio's paused clock, plus what the process slept through.
#[derive(Clone)]
pub(super) struct Machine {
    started: Instant,
    stopped: Arc<Mutex<Duration>>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            stopped: Arc::default(),
        }
    }

    pub(super) fn clock(&self) -> Clock {
        let machine = self.clone();
        Arc::new(move || Duration::from_secs(1000) + machine.started.elapsed() + *machine.stopped.lock().unwrap())
    }

    pub(super) fn stop_for(&self, time: Duration) {
        *self.stopped.lock().unwrap() += time;
    }
}
