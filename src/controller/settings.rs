//! The settings: what the flags say, and what the cluster is found to have.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kube::Client;
use tracing::{info, warn};

use crate::api::names;
use crate::controller::options::Options;
use crate::planner::{Gang, GangScheduler, InitContainer, Settings};
use crate::platform::logs::with_causes;

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

    /// Records the priority classes. Returns whether they are news.
    pub(super) fn set_priorities(&self, classes: &BTreeMap<String, i32>) -> bool {
        let mut settings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let news = settings.priorities != *classes;
        if news {
            Arc::make_mut(&mut settings).priorities.clone_from(classes);
        }
        news
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

/// Group version and resource of the constraints by which OpenShift assigns user IDs.
const SECURITY_CONTEXT_CONSTRAINTS: (&str, &str) = ("security.openshift.io/v1", "securitycontextconstraints");

/// The settings from the flags. Asks whether the cluster assigns user IDs, and, if that is to be found out, which gang
/// scheduler it has; again and again, until there is an answer.
pub(super) async fn settings(options: &Options, client: &Client) -> CurrentSettings {
    let mut settings = options.settings.clone();
    if let InitContainer::BuiltIn { assigned_user, .. } = &mut settings.init_container {
        let (group_version, resource) = SECURITY_CONTEXT_CONSTRAINTS;
        *assigned_user = serves(client, group_version, resource).await;
        info!(assigned = *assigned_user, "user of the init container");
    }
    if options.discover_gang_scheduler {
        settings.gang = discover(client).await;
    }
    CurrentSettings::new(settings)
}

/// The gang scheduler of the cluster: the first whose PodGroups are served.
async fn discover(client: &Client) -> Option<Gang> {
    let candidates = [
        GangScheduler::Volcano,
        GangScheduler::SchedulerPlugins(names::SCHEDULER_PLUGINS.into()),
        GangScheduler::Kubernetes,
    ];
    for scheduler in candidates {
        let kind = scheduler.kind();
        if serves(client, &kind.api_version(), kind.plural()).await {
            info!(pod_groups = kind.api_version(), "found the gang scheduler");
            return Some(Gang {
                scheduler,
                served: true,
            });
        }
    }
    info!("found no gang scheduler; pods are scheduled one by one until the operator is started again");
    None
}

async fn serves(client: &Client, group_version: &str, plural: &str) -> bool {
    loop {
        match client.list_api_group_resources(group_version).await {
            Ok(list) => return list.resources.iter().any(|resource| resource.name == plural),
            // Of a group that it does not know the API server says so in plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => return false,
            Err(error) => warn!(
                error = with_causes(&error),
                group_version, "cannot ask what the API server serves; trying again"
            ),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
