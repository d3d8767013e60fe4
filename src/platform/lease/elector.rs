//! The loop around the rule: ask, decide, write, wait.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::platform::clock::{self, Clock, jittered};
use crate::platform::lease::decide::{Decision, Observation, Timing, decide, held, released};
use crate::platform::lease::error::{Error, LeadershipLost};
use crate::platform::lease::fence::Fence;
use crate::platform::logs::with_causes;
use crate::platform::metrics::Metrics;

/// Pauses are shortened at random by up to this part.
const JITTER: f64 = 0.2;
/// Why a renewal is late when no request failed.
const STOPPED: &str = "the process was stopped or starved of CPU time";
/// A release that fails is tried again for so long: an API server that was away for less than half a minute finds the
/// leader that lost its lease by that still there, and the next one need not wait for the lease to expire.
const RELEASE_PATIENCE: Duration = Duration::from_secs(18);

/// What to compete for, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Name of the `Lease`.
    pub name: String,
    /// Who competes; see [`identity`](super::identity()).
    pub identity: String,
    /// The durations.
    pub timing: Timing,
}

/// One participant in the election.
///
/// [`acquire`](Self::acquire), then [`hold`](Self::hold) beside the work, then stop the work and
/// [`release`](Self::release). All three may be dropped at any await: a write whose answer was not seen is looked up
/// before the next one. Dropping the elector shuts its fence.
pub(crate) struct Elector {
    api: Api<Lease>,
    config: Config,
    metrics: Metrics,
    clock: Clock,
    fence: Fence,
    observed: Observation,
    /// The server may know more than `observed`: read before deciding.
    stale: bool,
    /// Whether a claim was ever sent: only then there may be something to release.
    claimed: bool,
    /// When the last write was begun.
    attempted: Instant,
    /// Holder that was last named in the log.
    announced: Option<String>,
}

impl Elector {
    /// A participant that does not compete yet. `api` needs a client of its own, without rate limit and without a
    /// layer that repeats requests, in the namespace of the lease.
    #[must_use]
    pub(crate) fn new(api: Api<Lease>, config: Config, metrics: Metrics) -> Self {
        Self::on_clock(api, config, metrics, Arc::new(clock::boottime))
    }

    pub(super) fn on_clock(api: Api<Lease>, config: Config, metrics: Metrics, clock: Clock) -> Self {
        metrics.set_leader(&config.name, false);
        let fence = Fence::shut_on(clock.clone());
        let observed = Observation::default();
        Self {
            api,
            config,
            metrics,
            clock,
            fence,
            observed,
            stale: true,
            claimed: false,
            attempted: Instant::now(),
            announced: None,
        }
    }

    /// What every mutating request has to consult.
    #[must_use]
    pub(crate) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Returns when this participant leads. Requests that fail are logged and tried again, without end.
    pub(crate) async fn acquire(&mut self) {
        loop {
            let pause = match self.compete().await {
                Ok(Decision::Wait(left)) => {
                    self.announce();
                    // The end of a lease is worth meeting exactly.
                    if left < self.config.timing.poll_period {
                        left
                    } else {
                        jittered(left, JITTER)
                    }
                }
                Ok(_) if self.fence.check().is_ok() => break,
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "cannot acquire the Lease");
                    jittered(self.config.timing.retry_period, JITTER)
                }
            };
            sleep(pause).await;
        }
        self.announced = None;
        self.metrics.set_leader(&self.config.name, true);
        tracing::info!(lease = self.lease(), identity = self.config.identity, "leading");
    }

    /// Renews the lease until it is lost, and returns why. The fence is shut by then. The caller stops its work.
    pub(crate) async fn hold(&mut self) -> LeadershipLost {
        let lost = self.renew_until_lost().await;
        self.step_down();
        lost
    }

    /// Gives the lease up, so that the next leader need not wait for it to expire. Stop all work first: the fence
    /// shuts. Without an answer of the API server it ends after 24 s. One that never claimed the lease asks nothing.
    pub(crate) async fn release(mut self) -> Result<(), Error> {
        self.step_down();
        if !self.claimed {
            return Ok(());
        }
        let last = Instant::now() + RELEASE_PATIENCE;
        loop {
            match self.try_release().await {
                Err(error) if Instant::now() < last => {
                    tracing::debug!(error = with_causes(&error), "lease not released; trying again");
                }
                done => return done,
            }
            sleep(self.config.timing.poll_period).await;
        }
    }

    async fn try_release(&mut self) -> Result<(), Error> {
        self.refresh().await?;
        let Some(lease) = released(&self.observed, &self.config.identity, clock::now()) else {
            return Ok(());
        };
        self.stale = true;
        self.write(&lease).await?;
        tracing::info!(lease = self.lease(), "lease released");
        Ok(())
    }

    async fn renew_until_lost(&mut self) -> LeadershipLost {
        let mut cause: Option<String> = None;
        loop {
            let due = self.attempted + jittered(self.config.timing.retry_period, JITTER);
            sleep_until(due.min(Instant::now() + self.fence.remaining())).await;
            let left = self.fence.remaining();
            if left.is_zero() {
                return LeadershipLost::Expired {
                    lease: self.lease(),
                    deadline: self.config.timing.renew_deadline,
                    cause: cause.unwrap_or_else(|| STOPPED.to_owned()),
                };
            }
            match timeout(left, self.renew()).await {
                Ok(Ok(Decision::Renew)) => cause = None,
                Ok(Ok(_)) => {
                    let holder = self.observed.holder().map(str::to_owned);
                    return LeadershipLost::Taken {
                        lease: self.lease(),
                        holder,
                    };
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = with_causes(&error), "lease not renewed");
                    cause = Some(error.to_string());
                }
                Err(_) => cause = Some("the API server did not answer".to_owned()),
            }
        }
    }

    /// One round of a candidate: read, decide, and write if that is the decision.
    async fn compete(&mut self) -> Result<Decision, Error> {
        self.refresh().await?;
        let decision = self.decide();
        if let Decision::Wait(_) = decision {
            self.stale = true;
            return Ok(decision);
        }
        match self.claim().await {
            // Another candidate was faster.
            Err(error) if error.is_conflict() => Ok(Decision::Wait(self.config.timing.poll_period)),
            claimed => claimed.map(|()| decision),
        }
    }

    /// One round of a leader, which does not take back what it has lost.
    async fn renew(&mut self) -> Result<Decision, Error> {
        self.attempted = Instant::now();
        self.refresh().await?;
        let decision = self.decide();
        if decision == Decision::Renew {
            self.claim().await?;
        }
        Ok(decision)
    }

    fn decide(&self) -> Decision {
        decide(
            &self.observed,
            &self.config.identity,
            (self.clock)(),
            &self.config.timing,
        )
    }

    async fn refresh(&mut self) -> Result<(), Error> {
        if self.stale {
            let lease = self.in_time("read", self.api.get_opt(&self.config.name)).await?;
            self.observed.update(lease, (self.clock)());
            self.stale = false;
        }
        Ok(())
    }

    /// Writes this participant into the record and, when that succeeds, opens the fence for a time that began before
    /// the request was sent.
    async fn claim(&mut self) -> Result<(), Error> {
        let mut lease = held(&self.observed, &self.config.identity, clock::now(), &self.config.timing);
        lease.metadata.name.get_or_insert_with(|| self.config.name.clone());
        // Until the answer is here nobody knows whether the write took place.
        self.stale = true;
        self.claimed = true;
        self.attempted = Instant::now();
        let sent = (self.clock)();
        let written = self.write(&lease).await?;
        self.observed.update(Some(written), (self.clock)());
        self.stale = false;
        self.fence.extend(sent + self.config.timing.renew_deadline);
        Ok(())
    }

    /// Guarded by the resource version that was read, or by there being no object.
    async fn write(&self, lease: &Lease) -> Result<Lease, Error> {
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            self.in_time("update", self.api.replace(&self.config.name, &parameters, lease))
                .await
        } else {
            self.in_time("create", self.api.create(&parameters, lease)).await
        }
    }

    async fn in_time<T>(&self, verb: &'static str, request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        let after = self.config.timing.request_timeout;
        match timeout(after, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(Error::Api {
                verb,
                lease: self.lease(),
                source: Box::new(source),
            }),
            Err(_) => Err(Error::Timeout {
                verb,
                lease: self.lease(),
                after,
            }),
        }
    }

    fn step_down(&mut self) {
        self.fence.close();
        self.metrics.set_leader(&self.config.name, false);
    }

    /// Says whom this candidate waits for, once per holder.
    fn announce(&mut self) {
        let holder = self.observed.holder().map(str::to_owned);
        if self.announced != holder {
            tracing::info!(lease = self.lease(), holder, "standing by: another replica leads");
            self.announced = holder;
        }
    }

    fn lease(&self) -> String {
        format!("{}/{}", self.api.namespace().unwrap_or_default(), self.config.name)
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.step_down();
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
