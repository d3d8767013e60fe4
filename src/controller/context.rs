//! What every reconcile shares.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::cache::Index;
use crate::controller::gang::CurrentSettings;
use crate::controller::pacing::Memory;
use crate::planner::Note;
use crate::platform::events::EventSink;
use crate::platform::health::Health;
use crate::platform::metrics::Metrics;

/// Requests under way at once, over all jobs. kube opens a connection for each.
const REQUESTS: usize = 64;
/// Action of every event: what the controller was doing.
const EVENT_ACTION: &str = "Reconcile";

/// What every reconcile shares.
pub(crate) struct Context {
    pub client: Client,
    pub index: Arc<Index>,
    pub settings: CurrentSettings,
    pub memory: Memory,
    pub metrics: Metrics,
    events: EventSink,
    requests: Semaphore,
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
            memory: Memory::default(),
            metrics,
            health,
            pruned: OnceLock::new(),
            events,
            requests: Semaphore::new(REQUESTS),
        }
    }

    /// Waits for one of the [`REQUESTS`].
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there is always a permit.
        self.requests.acquire().await.ok()
    }

    /// Publishes an event about a job.
    pub(super) fn publish(&self, regarding: &ObjectReference, note: Note) {
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.to_owned(),
            note: Some(note.message),
            action: EVENT_ACTION.to_owned(),
            secondary: None,
        };
        self.events.publish(event, regarding.clone());
    }
}
