//! Permission to write, which runs out by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::platform::clock::{self, Clock};

/// A fence that is open forever: 584 years of uptime.
const ALWAYS: u64 = u64::MAX;
/// A fence that is shut.
const NEVER: u64 = 0;

/// The request was not sent, because this replica must not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sent: this replica does not hold the leader lease, or could not renew it in time")]
pub(crate) struct Fenced;

/// Tells whether this replica may write now. Clones are one fence.
///
/// It is open from a renewal of the lease until [`Timing::renew_deadline`](super::Timing::renew_deadline) after that
/// renewal was *sent*, on a clock that goes on while the process is stopped. No task has to run for it to shut.
#[derive(Clone)]
pub(crate) struct Fence {
    /// Nanoseconds since boot.
    open_until: Arc<AtomicU64>,
    clock: Clock,
    closed: CancellationToken,
}

impl Fence {
    /// The fence of an operator without leader election. It never shuts.
    #[must_use]
    pub(crate) fn open() -> Self {
        Self {
            open_until: Arc::new(AtomicU64::new(ALWAYS)),
            clock: Arc::new(clock::boottime),
            closed: CancellationToken::new(),
        }
    }

    /// A fence that shuts at `until` on `clock`.
    #[cfg(test)]
    pub(crate) fn until(until: Duration, clock: Clock) -> Self {
        let fence = Self::shut_on(clock);
        fence.extend(until);
        fence
    }

    /// A fence that is shut until [`Fence::extend`].
    pub(super) fn shut_on(clock: Clock) -> Self {
        Self {
            open_until: Arc::new(AtomicU64::new(NEVER)),
            clock,
            closed: CancellationToken::new(),
        }
    }

    /// Fails when this replica must not write. To be called just before a mutating request is sent.
    pub(crate) fn check(&self) -> Result<(), Fenced> {
        if self.remaining().is_zero() {
            Err(Fenced)
        } else {
            Ok(())
        }
    }

    /// How much longer the fence is open.
    pub(super) fn remaining(&self) -> Duration {
        let until = self.open_until.load(Ordering::Acquire);
        Duration::from_nanos(until.saturating_sub(nanoseconds((self.clock)())))
    }

    /// Opens the fence until `until`, time since boot.
    pub(super) fn extend(&self, until: Duration) {
        self.open_until
            .store(nanoseconds(until).min(ALWAYS - 1), Ordering::Release);
    }

    /// Shuts the fence at once, and lets go of what it let through and nobody waits for.
    pub(crate) fn close(&self) {
        self.open_until.store(NEVER, Ordering::Release);
        self.closed.cancel();
    }

    /// Returns when the fence has been shut by [`Fence::close`], not when its time is over.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("open", &self.check().is_ok()).finish()
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(ALWAYS)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fence_shuts_by_itself_the_moment_its_time_is_over() {
        let now = Arc::new(Mutex::new(100 * SECOND));
        let reading = now.clone();
        let fence = Fence::shut_on(Arc::new(move || *reading.lock().unwrap()));
        assert_eq!(fence.check(), Err(Fenced));

        let seen_elsewhere = fence.clone();
        fence.extend(110 * SECOND);
        assert_eq!(seen_elsewhere.check(), Ok(()));
        *now.lock().unwrap() = Duration::new(109, 999_999_999);
        assert_eq!(seen_elsewhere.check(), Ok(()));
        *now.lock().unwrap() = 110 * SECOND;
        assert_eq!(seen_elsewhere.check(), Err(Fenced));

        fence.extend(120 * SECOND);
        assert_eq!(fence.check(), Ok(()));
        seen_elsewhere.close();
        assert_eq!(fence.check(), Err(Fenced));
    }

    #[test]
    fn without_election_the_fence_is_always_open() {
        assert_eq!(Fence::open().check(), Ok(()));
    }
}
