//! Two real electors, one lease, and everything that can go wrong between them, drawn at random.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::Config as ProptestConfig;
use proptest::{prop_assert, proptest};
use tokio::time::{Instant, interval, sleep_until};

use super::super::{Config, Elector, Timing};
use super::fake::{FakeApi, Fault};
use crate::platform::clock::Clock;
use crate::platform::metrics::Metrics;

/// Simulated seconds of one run, and how often the fences are looked at.
const RUN: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(20);

/// One of the two machines.
#[derive(Clone, Debug)]
struct Machine {
    /// Seconds its clock counts in a true second.
    rate: f64,
    /// When its process is stopped, as start and length in milliseconds.
    stops: Vec<(u64, u64)>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    led: [bool; 2],
    both: bool,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::Lost),
        1 => Just(Fault::AnswerLost),
        2 => (1..4000_u64).prop_map(|ms| Fault::Slow(Duration::from_millis(ms))),
    ]
}

fn machine() -> impl Strategy<Value = Machine> {
    // Two clocks may differ by up to 1.15 / 0.85, which is less than lease duration / renew deadline.
    (0.85..1.15_f64, vec((0..90_000_u64, 100..30_000_u64), 0..4)).prop_map(|(rate, stops)| Machine { rate, stops })
}

/// Does not poll `work` while the process is stopped.
async fn stoppable(work: impl Future<Output = ()>, start: Instant, stops: Vec<(u64, u64)>) {
    let mut work = pin!(work);
    let mut wake = pin!(sleep_until(start));
    std::future::poll_fn(|context| {
        let now = start.elapsed();
        let stopped = stops
            .iter()
            .map(|(from, length)| (Duration::from_millis(*from), Duration::from_millis(from + length)));
        if let Some((_, end)) = stopped
            .filter(|(from, end)| (*from..*end).contains(&now))
            .max_by_key(|(_, end)| *end)
        {
            wake.as_mut().reset(start + end);
            if wake.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        work.as_mut().poll(context)
    })
    .await;
}

async fn compete(mut elector: Elector) {
    loop {
        elector.acquire().await;
        elector.hold().await;
    }
}

fn run(timing: Timing, machines: [Machine; 2], faults: Vec<Fault>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fake = FakeApi::default();
        fake.state().faults = faults;
        let start = Instant::now();
        let [one, other] = machines.map(|machine| {
            let rate = machine.rate;
            let clock: Clock = Arc::new(move || start.elapsed().mul_f64(rate));
            let config = Config {
                name: "lock".to_owned(),
                identity: format!("rate {rate}"),
                timing,
            };
            let elector = Elector::on_clock(fake.api(), config, Metrics::new().unwrap(), clock);
            let fence = elector.fence();
            tokio::spawn(stoppable(compete(elector), start, machine.stops));
            fence
        });
        let mut seen = Seen::default();
        let mut look = interval(LOOK);
        while look.tick().await < start + RUN {
            let open = [one.check().is_ok(), other.check().is_ok()];
            seen.both |= open == [true, true];
            seen.led[0] |= open[0];
            seen.led[1] |= open[1];
        }
        seen
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn two_fences_are_never_open_at_once(
        machines in [machine(), machine()],
        faults in vec(fault(), 0..120),
    ) {
        let seen = run(Timing::default(), machines, faults);
        prop_assert!(!seen.both);
    }
}

#[test]
fn a_leader_that_stops_for_long_is_replaced_and_comes_back_fenced() {
    let stopped = Machine {
        rate: 1.0,
        stops: vec![(20_000, 40_000)],
    };
    let standby = Machine {
        rate: 1.01,
        stops: vec![(0, 5_000)],
    };
    let seen = run(Timing::default(), [stopped, standby], Vec::new());
    assert_eq!(seen.led, [true, true]);
    assert!(!seen.both);
}

#[test]
fn the_simulation_sees_two_leaders_when_the_lease_is_shorter_than_the_renew_deadline() {
    let timing = Timing {
        lease_duration: Duration::from_secs(5),
        ..Timing::default()
    };
    let stopped = Machine {
        rate: 1.0,
        stops: vec![(20_000, 40_000)],
    };
    let standby = Machine {
        rate: 1.01,
        stops: vec![(0, 5_000)],
    };
    assert!(run(timing, [stopped, standby], Vec::new()).both);
}
