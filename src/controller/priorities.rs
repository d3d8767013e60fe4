//! The priority classes of the cluster, by which `minResources` of a gang counts pods.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tracing::warn;

use crate::cache::watch::{WATCH_SECONDS, WatchBackoff};
use crate::controller::queue::{JobQueue, PRIORITIES};
use crate::platform::logs::with_causes;
use crate::platform::metrics::Metrics;

/// Watches them for ever. Without the right to, as in an operator of one namespace, pods have no priorities: no error
/// that would be counted.
pub(super) async fn watch(client: Client, queue: Arc<JobQueue>, metrics: Metrics) {
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let events = watcher(Api::<PriorityClass>::all(client), config);
    let mut events = pin!(events.backoff(WatchBackoff::default()));
    let mut classes = BTreeMap::new();
    let (mut known, mut told) = (false, false);
    while let Some(event) = events.next().await {
        match event {
            // A list counts when it is complete: half of one would write to every group that the other half is about.
            Ok(Event::Init) => classes.clear(),
            Ok(Event::InitApply(class)) => insert(&mut classes, &class),
            Ok(Event::InitDone) => {
                queue.set_priorities(&classes);
                queue.asked_for_priorities();
                metrics.relist(PRIORITIES);
                known = true;
            }
            Ok(Event::Apply(class)) => {
                insert(&mut classes, &class);
                queue.set_priorities(&classes);
            }
            Ok(Event::Delete(class)) => {
                classes.remove(&class.name_any());
                queue.set_priorities(&classes);
            }
            // Those that were listed once are still known.
            Err(error) if known => {
                metrics.watch_error(PRIORITIES);
                warn!(
                    kind = PRIORITIES,
                    error = with_causes(&error),
                    "watch failed; trying again"
                );
            }
            Err(_) if told => {}
            Err(error) => {
                warn!(
                    error = with_causes(&error),
                    "cannot watch priority classes; minResources of gangs counts the Master first"
                );
                told = true;
                queue.asked_for_priorities();
            }
        }
    }
}

fn insert(classes: &mut BTreeMap<String, i32>, class: &PriorityClass) {
    classes.insert(class.name_any(), class.value.unwrap_or_default());
}
