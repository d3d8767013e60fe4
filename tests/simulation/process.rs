//! The process of an operator: a runtime and a clock of its own, which can be stopped and ended at any moment.

use std::num::NonZeroUsize;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep_until};
use tokio_util::sync::CancellationToken;

use super::wire::{Outgoing, Wire};
use crate::controller::{Election, Options, operate};
use crate::planner::{Gang, GangScheduler, Settings};
use crate::platform::client;
use crate::platform::clock::simulation::Machine;
use crate::platform::health::Health;
use crate::platform::http::BindAddress;
use crate::platform::lease::{self, Elector, Fence};
use crate::platform::metrics::Metrics;

/// Milliseconds since the simulation began.
pub(super) type Millis = u64;

/// Namespace of the operator.
pub(super) const NAMESPACE: &str = "kubeflow";

/// What the clocks on the walls show.
pub(super) fn wall(now: Millis) -> Timestamp {
    let begin: Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
    begin + SignedDuration::from_millis(i64::try_from(now).unwrap())
}

/// A running operator.
pub(super) struct Process {
    runtime: Runtime,
    begun: Millis,
    zero: Instant,
    machine: Machine,
    wire: Wire,
    operator: JoinHandle<Result<(), String>>,
    shutdown: CancellationToken,
    health: Health,
}

impl Process {
    /// Starts an operator under this name, which competes for leadership or leads alone, and makes gangs or does not.
    pub(super) fn start(name: &str, now: Millis, elects: bool, gang: bool) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (wire, shutdown, health) = (Wire::default(), CancellationToken::new(), Health::new(&["pytorchjobs"]));
        let _in_runtime = runtime.enter();
        let zero = Instant::now();
        let machine = Machine {
            then: zero,
            wall: wall(now),
            running: Duration::from_hours(1),
        };
        machine.enter();
        let (options, metrics) = (options(name, elects, gang), Metrics::new().unwrap());
        let elector = elects.then(|| {
            let client = client::on(wire.service(), &metrics, &Fence::open(), None);
            elector(client, name, &metrics)
        });
        let fence = elector.as_ref().map_or_else(Fence::open, Elector::fence);
        let client = client::on(wire.service(), &metrics, &fence, None);
        let (asked, watched) = (shutdown.clone(), health.clone());
        let operator = runtime.spawn(async move {
            let ended = operate(&options, client, elector, metrics, watched, &asked).await;
            ended.map_err(|error| error.to_string())
        });
        Self {
            runtime,
            begun: now,
            zero,
            machine,
            wire,
            operator,
            shutdown,
            health,
        }
    }

    /// The time up to which it has run.
    pub(super) fn now(&self) -> Millis {
        let _in_runtime = self.runtime.enter();
        self.begun + u64::try_from(self.zero.elapsed().as_millis()).unwrap()
    }

    /// Runs until `until`, or until it sends something, and returns that.
    pub(super) fn run(&self, until: Millis) -> Vec<Outgoing> {
        self.machine.enter();
        let until = self.zero + Duration::from_millis(until - self.begun);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.wire.sent() => {}
                () = sleep_until(until) => {}
            }
        });
        self.wire.take()
    }

    /// Goes on after a stop: its clocks have gone on meanwhile, its tasks have not.
    pub(super) fn thaw(&self, now: Millis) {
        self.machine.enter();
        let stopped = Duration::from_millis(now - self.now());
        self.runtime.block_on(advance(stopped));
    }

    /// Asks it to end in order.
    pub(super) fn terminate(&self) {
        self.shutdown.cancel();
    }

    pub(super) fn was_terminated(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// How it ended, once it has.
    pub(super) fn ended(&mut self) -> Option<Result<(), String>> {
        if !self.operator.is_finished() {
            return None;
        }
        let ended = self.runtime.block_on(&mut self.operator);
        Some(ended.unwrap_or_else(|error| Err(format!("panic: {error}"))))
    }

    /// Why its liveness probe fails, if it does.
    pub(super) fn broken(&self) -> Option<String> {
        let _in_runtime = self.runtime.enter();
        self.health.broken()
    }
}

fn options(name: &str, elects: bool, gang: bool) -> Options {
    let gang = gang.then_some(Gang {
        scheduler: GangScheduler::Volcano,
        served: true,
    });
    Options {
        kubeconfig: None,
        namespace: None,
        threads: NonZeroUsize::new(4).unwrap(),
        limit: None,
        metrics: BindAddress::Off,
        probes: BindAddress::Off,
        election: elects.then(|| Election {
            namespace: Some(NAMESPACE.into()),
            name: "lock".into(),
        }),
        pod_name: Some(name.into()),
        settings: Settings {
            gang,
            ..Settings::default()
        },
        discover_gang_scheduler: false,
    }
}

fn elector(client: Client, name: &str, metrics: &Metrics) -> Elector {
    let config = lease::Config {
        name: "lock".into(),
        identity: name.into(),
        timing: lease::Timing::default(),
    };
    Elector::new(Api::namespaced(client, NAMESPACE), config, metrics.clone())
}
