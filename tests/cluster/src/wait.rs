//! Waiting for the cluster by watching it: nothing here sleeps or polls.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// What can be watched.
pub trait Watchable:
    Resource<DynamicType: Default> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static
{
}

impl<K> Watchable for K where
    K: Resource<DynamicType: Default> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static
{
}

/// Waits until the object `name` exists and `predicate` holds for it, and returns it.
///
/// After `timeout` the error shows the object as it was seen last.
pub async fn wait_for<K: Watchable>(
    api: &Api<K>,
    name: &str,
    timeout: Duration,
    predicate: impl Fn(&K) -> bool,
) -> Result<K, Error> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watch(api, name, config, timeout, |objects| {
        objects.values().find(|object| predicate(object)).cloned()
    })
    .await
}

/// Waits until no object `name` exists.
pub async fn wait_gone<K: Watchable>(api: &Api<K>, name: &str, timeout: Duration) -> Result<(), Error> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watch(api, name, config, timeout, |objects| objects.is_empty().then_some(())).await
}

/// Waits until `predicate` holds for all the objects with the labels `selector` (all objects when it is empty),
/// sorted by namespace and name, and returns them.
pub async fn wait_for_all<K: Watchable>(
    api: &Api<K>,
    selector: &str,
    timeout: Duration,
    predicate: impl Fn(&[K]) -> bool,
) -> Result<Vec<K>, Error> {
    let config = watcher::Config::default().labels(selector);
    watch(api, selector, config, timeout, |objects| {
        let all: Vec<K> = objects.values().cloned().collect();
        predicate(&all).then_some(all)
    })
    .await
}

type Objects<K> = BTreeMap<(Option<String>, String), K>;

/// Follows a watch until `done` gives a result. Errors of the watch are retried, and told when the time is up.
async fn watch<K: Watchable, T>(
    api: &Api<K>,
    subject: &str,
    config: watcher::Config,
    timeout: Duration,
    done: impl Fn(&Objects<K>) -> Option<T>,
) -> Result<T, Error> {
    let mut seen = Seen {
        objects: Objects::new(),
        listed: Objects::new(),
        complete: false,
        error: None,
    };
    let follow = async {
        let mut events = pin!(watcher(api.clone(), config).default_backoff());
        while let Some(event) = events.next().await {
            seen.take(event);
            if let Some(result) = seen.complete.then(|| done(&seen.objects)).flatten() {
                return Some(result);
            }
        }
        None
    };
    match tokio::time::timeout(timeout, follow).await {
        Ok(Some(result)) => Ok(result),
        _ => Err(Error::Condition {
            subject: format!("{} {subject}", K::kind(&K::DynamicType::default())),
            timeout,
            last_seen: seen.describe(),
        }),
    }
}

/// What a watch has told so far.
struct Seen<K> {
    objects: Objects<K>,
    /// A list that is not complete yet.
    listed: Objects<K>,
    /// Whether the first list is complete: before, an object that is not there may still be about to come.
    complete: bool,
    error: Option<String>,
}

impl<K: Watchable> Seen<K> {
    fn take(&mut self, event: Result<Event<K>, watcher::Error>) {
        let key = |object: &K| (object.namespace(), object.name_any());
        match event {
            Ok(Event::Init) => self.listed.clear(),
            Ok(Event::InitApply(object)) => {
                self.listed.insert(key(&object), object);
            }
            Ok(Event::InitDone) => {
                self.objects = std::mem::take(&mut self.listed);
                self.complete = true;
            }
            Ok(Event::Apply(object)) => {
                self.objects.insert(key(&object), object);
            }
            Ok(Event::Delete(object)) => {
                self.objects.remove(&key(&object));
            }
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    fn describe(mut self) -> String {
        for object in self.objects.values_mut() {
            object.meta_mut().managed_fields = None;
        }
        let objects: Vec<&K> = self.objects.values().collect();
        let text = match objects.as_slice() {
            [] => "nothing".to_owned(),
            objects => serde_saphyr::to_string(&objects).unwrap_or_else(|error| error.to_string()),
        };
        match self.error {
            Some(error) => format!("{text}\nlast error of the watch: {error}"),
            None => text,
        }
    }
}
