//! What every reconcile shares.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType};

use crate::cache::{Index, NamespacedName};
use crate::controller::pacing::Pacing;
use crate::controller::permits::{Permit, Permits};
use crate::controller::settings::CurrentSettings;
use crate::planner;
use crate::platform::events::EventSink;
use crate::platform::health::Health;
use crate::platform::metrics::{Metrics, Workqueue};

/// Requests at once, over all jobs, that a pass waits for. kube opens a connection for each; those that are given up
/// keep theirs until they are answered, for 35 s at most.
const MAX_IN_FLIGHT: usize = 64;
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
    ) -> Self {
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
            requests: Permits::new(MAX_IN_FLIGHT),
        }
    }

    /// Waits for one of the [`MAX_IN_FLIGHT`], in turn with the other namespaces.
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
