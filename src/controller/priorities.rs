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

use crate::controller::context::Context;

/// Watches them for ever. Without the right to, as in an operator of one namespace, pods have no priorities.
pub(super) async fn watch(client: Client, context: Arc<Context>) {
    let events = watcher(Api::<PriorityClass>::all(client), watcher::Config::default()).default_backoff();
    let mut events = pin!(events);
    let mut classes = BTreeMap::new();
    let mut told = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => classes.clear(),
            Ok(Event::InitApply(class) | Event::Apply(class)) => {
                classes.insert(class.name_any(), class.value.unwrap_or_default());
            }
            Ok(Event::Delete(class)) => {
                classes.remove(&class.name_any());
            }
            Ok(Event::InitDone) => {}
            Err(error) => {
                if !told {
                    warn!(%error, "cannot watch priority classes; minResources of gangs counts the Master first");
                }
                told = true;
                continue;
            }
        }
        context.settings.set_priorities(&classes);
    }
}
