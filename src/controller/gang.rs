//! The gang scheduler, as the cluster has it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kube::Client;
use tracing::{info, warn};

use crate::api::{ChildKind, names};
use crate::controller::options::Options;
use crate::planner::{Gang, GangScheduler, Settings};

/// Pause before the API server is asked again what it serves.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// The settings; part of them is whether the API server serves the PodGroups of the gang scheduler.
#[derive(Debug)]
pub(super) struct CurrentSettings(RwLock<Arc<Settings>>);

impl CurrentSettings {
    /// The settings from the flags.
    pub(super) fn new(settings: Settings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    /// The settings as they are now.
    pub(super) fn get(&self) -> Arc<Settings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records whether PodGroups are served. Returns whether that is news.
    pub(super) fn set_served(&self, served: bool) -> bool {
        let mut settings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if settings.gang.as_ref().is_none_or(|gang| gang.served == served) {
            return false;
        }
        if let Some(gang) = &mut Arc::make_mut(&mut settings).gang {
            gang.served = served;
        }
        true
    }
}

/// The settings from the flags, with the gang scheduler of the cluster if that is to be found out.
pub(super) async fn settings(options: &Options, client: &Client) -> CurrentSettings {
    let mut settings = options.settings.clone();
    if options.discover_gang_scheduler {
        settings.gang = discover(client).await;
    }
    CurrentSettings::new(settings)
}

/// The gang scheduler of the cluster: the first whose PodGroups are served. Asks until there is an answer.
async fn discover(client: &Client) -> Option<Gang> {
    let candidates = [
        GangScheduler::Volcano,
        GangScheduler::SchedulerPlugins(names::SCHEDULER_PLUGINS.into()),
        GangScheduler::Kubernetes,
    ];
    for scheduler in candidates {
        if serves(client, scheduler.kind()).await {
            info!(?scheduler, "found the gang scheduler");
            return Some(Gang {
                scheduler,
                served: true,
            });
        }
    }
    info!("found no gang scheduler; pods are scheduled one by one until the operator is started again");
    None
}

async fn serves(client: &Client, kind: ChildKind) -> bool {
    loop {
        match client.list_api_group_resources(&kind.api_version()).await {
            Ok(list) => return list.resources.iter().any(|resource| resource.name == kind.plural()),
            // Of a group that it does not know the API server says so in plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => return false,
            Err(error) => warn!(%error, "cannot ask which gang schedulers there are; trying again"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
