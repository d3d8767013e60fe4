//! The only place where the program asks what time it is.
//!
//! Decisions receive the time as an argument, so that they can be replayed. Durations that must survive a pause of the
//! process are measured on [`boottime`], everything else waits on tokio's clock, which tests can pause.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A clock that counts without a gap since some fixed moment: [`boottime`], or a simulated one in tests.
pub type Clock = std::sync::Arc<dyn Fn() -> Duration + Send + Sync>;

#[cfg(target_os = "linux")]
const BOOTTIME: ClockId = ClockId::Boottime;
/// On macOS `CLOCK_MONOTONIC` counts while the machine sleeps.
#[cfg(not(target_os = "linux"))]
const BOOTTIME: ClockId = ClockId::Monotonic;

/// The wall clock, to the nanosecond. Objects of the API hold whole seconds, so the shell truncates before it compares.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one door through which wall-clock time enters"
)]
pub fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = simulation::now() {
        return now;
    }
    Timestamp::now()
}

/// Time since the machine was started, `CLOCK_BOOTTIME`: it never goes back, nobody can set it, and it goes on counting
/// while the process is stopped or the machine is suspended.
#[must_use]
pub fn boottime() -> Duration {
    #[cfg(test)]
    if let Some(time) = simulation::boottime() {
        return time;
    }
    since_zero(clock_gettime(BOOTTIME))
}

/// CPU time that this process has used, in user and in kernel mode, of all threads, those that have ended included.
#[must_use]
pub fn cpu_time() -> Duration {
    since_zero(clock_gettime(ClockId::ProcessCPUTime))
}

/// Both parts are non-negative on a clock that starts at zero and never goes back.
fn since_zero(time: Timespec) -> Duration {
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// `base`, shortened at random by up to `spread` (0 to 1) of itself, so that replicas which started together do not
/// stay in step.
#[must_use]
pub fn jittered(base: Duration, spread: f64) -> Duration {
    base.mul_f64(1.0 - spread * f64::from(random()) / f64::from(u32::MAX))
}

fn random() -> u32 {
    #[cfg(test)]
    if let Some(random) = simulation::random() {
        return random;
    }
    // The standard library keys each of these hashers from the system's random numbers.
    u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_agrees_with_the_file_system() {
        let file = std::env::temp_dir().join(format!("pytorchjob-operator-clock-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let written = Timestamp::try_from(std::fs::metadata(&file).unwrap().modified().unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(now().duration_since(written).abs().as_secs() < 60);
    }

    #[test]
    fn boottime_never_goes_back_and_moves_on() {
        let first = boottime();
        let moved = std::iter::repeat_with(boottime)
            .take(1_000_000)
            .inspect(|t| assert!(*t >= first))
            .any(|t| t > first);
        assert!(moved);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn boottime_is_the_kernels_uptime() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((boottime().as_secs_f64() - seconds).abs() < 5.0);
    }

    #[test]
    fn jitter_stays_within_its_spread_and_varies() {
        let base = Duration::from_secs(10);
        let drawn: Vec<Duration> = (0..100).map(|_| jittered(base, 0.2)).collect();
        assert!(drawn.iter().all(|d| (Duration::from_secs(8)..=base).contains(d)));
        assert!(drawn.iter().any(|d| *d != drawn[0]));
        assert_eq!(jittered(base, 0.0), base);
    }
}
