//! What every reconcile shares.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType};

use crate::cache::{Index, NamespacedName};
use crate::controller::pacing::Pacing;
use crate::controller::permits::{Limits, Permit, Permits};
use crate::controller::settings::CurrentSettings;
use crate::planner;
use crate::platform::client::RateLimit;
use crate::platform::events::EventSink;
use crate::platform::health::Health;
use crate::platform::metrics::{Metrics, Workqueue};

/// Creations at once, over all jobs, that a pass waits for, and as many other requests: an admission webhook that hangs
/// holds creations up, and neither a status nor a deletion is to wait behind them. kube opens a connection for each;
/// those that are given up keep theirs until they are answered, for 35 s at most.
///
/// As many as one namespace has beside others keep an API server with two processors busy. More of them would be
/// answered no sooner there, and what others ask for would wait behind them.
const REQUESTS: Limits = Limits {
    most: 64,
    alone: 56,
    beside_others: 8,
};
/// Action of every event: what the controller was doing.
const EVENT_ACTION: &str = "Reconcile";

/// What every reconcile shares.
pub(crate) struct Context {
    pub client: Client,
    pub index: Arc<Index>,
    pub settings: CurrentSettings,
    pub pacing: Pacing,
    pub metrics: Metrics,
    pub workqueue: Workqueue<NamespacedName>,
    events: EventSink,
    creations: Arc<Permits>,
    requests: Arc<Permits>,
    pub health: Health,
    /// Set once it has been said that the definition prunes fields of the status.
    pub pruned: OnceLock<()>,
}

impl Context {
    /// A context in which nothing is known yet.
    pub(super) fn new(
        client: Client,
        settings: CurrentSettings,
        metrics: Metrics,
        events: EventSink,
        health: Health,
        limit: Option<RateLimit>,
    ) -> Self {
        let requests = limit.map_or(REQUESTS, requests_within);
        Self {
            client,
            index: Arc::default(),
            settings,
            pacing: Pacing::default(),
            workqueue: metrics.workqueue(),
            metrics,
            health,
            pruned: OnceLock::new(),
            events,
            creations: Permits::new(requests),
            requests: Permits::new(requests),
        }
    }

    /// Waits until one more object may be created, in turn with the other namespaces.
    pub(super) async fn creation_permit(&self, namespace: &str) -> Option<Permit> {
        self.creations.acquire(namespace).await
    }

    /// Waits until one more of the other [`REQUESTS`] may be made, in turn with the other namespaces.
    pub(super) async fn permit(&self, namespace: &str) -> Option<Permit> {
        self.requests.acquire(namespace).await
    }

    /// Publishes an event about a job.
    pub(super) fn publish(&self, regarding: &ObjectReference, event: planner::Event) {
        let event = Event {
            type_: if event.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: event.reason.to_owned(),
            note: Some(event.message),
            action: EVENT_ACTION.to_owned(),
            secondary: None,
        };
        self.events.publish(event, regarding.clone());
    }
}

/// With a limit as many as it lets through in a tenth of a second: what waits for the limit waits in the order of
/// arrival, and what waits for a permit in turn with the other namespaces.
fn requests_within(limit: RateLimit) -> Limits {
    let tenth = usize::try_from(limit.qps.get() / 10).unwrap_or(REQUESTS.most);
    let most = tenth.clamp(4, REQUESTS.most);
    Limits {
        most,
        alone: most - most.div_ceil(8),
        beside_others: most.div_ceil(8),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn with_a_limit_of_requests_few_are_under_way_and_one_namespace_leaves_some_to_the_others() {
        for (qps, most, alone, beside_others) in [(1, 4, 3, 1), (20, 4, 3, 1), (200, 20, 17, 3), (100_000, 64, 56, 8)] {
            let qps = NonZeroU32::new(qps).unwrap();
            let limits = requests_within(RateLimit { qps, burst: qps });
            assert_eq!(
                (limits.most, limits.alone, limits.beside_others),
                (most, alone, beside_others),
                "{qps}"
            );
        }
    }
}
