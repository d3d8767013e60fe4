//! Everything that is stored in the namespaces of plans, version by version, by watches that bypass the proxies.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use pytorchjob_operator::platform::clock;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Job,
    Pod,
    Service,
    Group,
    Event,
}

impl Kind {
    const ALL: [(Self, &str, &str, &str, &str); 5] = [
        (Self::Job, "kubeflow.org", "v1", "PyTorchJob", "pytorchjobs"),
        (Self::Pod, "", "v1", "Pod", "pods"),
        (Self::Service, "", "v1", "Service", "services"),
        (Self::Group, "scheduling.volcano.sh", "v1beta1", "PodGroup", "podgroups"),
        (Self::Event, "events.k8s.io", "v1", "Event", "events"),
    ];

    /// For requests.
    pub fn resource(self) -> ApiResource {
        let (_, group, version, kind, plural) = Self::ALL
            .into_iter()
            .find(|(of, ..)| *of == self)
            .expect("every kind has a row");
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: if group.is_empty() {
                version.to_owned()
            } else {
                format!("{group}/{version}")
            },
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// An object as it was stored at a moment, or as it was last when it was deleted.
#[derive(Clone, Debug)]
pub struct Record {
    /// The revision of the store: one order for all kinds.
    pub version: u64,
    pub kind: Kind,
    pub name: String,
    pub gone: bool,
    /// When the observer heard of it, in seconds since the epoch.
    pub heard: i64,
    pub object: Arc<Value>,
}

/// What is stored in a namespace now.
#[derive(Clone, Debug, Default)]
pub struct State(BTreeMap<(Kind, String), Arc<Value>>);

impl State {
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.0.get(&(kind, name.to_owned())).map(AsRef::as_ref)
    }

    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.0.iter().filter(move |((of, _), _)| *of == kind);
        all.map(|((_, name), object)| (name.as_str(), object.as_ref()))
    }

    pub fn apply(&mut self, record: &Record) {
        let key = (record.kind, record.name.clone());
        if record.gone {
            self.0.remove(&key);
        } else {
            self.0.insert(key, record.object.clone());
        }
    }
}

/// A namespace: what is stored in it, and everything that ever was.
#[derive(Default)]
pub struct Space {
    seen: Mutex<(State, Vec<Record>)>,
    changed: watch::Sender<()>,
}

impl Space {
    fn take(&self, record: Record) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.apply(&record);
        seen.1.push(record);
        drop(seen);
        self.changed.send_replace(());
    }

    /// What is stored now.
    pub fn state(&self) -> State {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Everything that was stored, in the order of the store.
    pub fn history(&self) -> Vec<Record> {
        let mut records = self.seen.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        records.sort_by_key(|record| record.version);
        records
    }

    /// Forgets what was stored and is not any more.
    pub fn begin_again(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until something holds of what is stored. False when it took too long.
    pub async fn wait(&self, within: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let mut changes = self.changes();
        let wait = async {
            while !holds(&self.state()) {
                changes.borrow_and_update();
                if holds(&self.state()) {
                    return;
                }
                let _changed = changes.changed().await;
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }
}

/// Watches all namespaces, until it is dropped.
pub struct Observer {
    spaces: Arc<Mutex<HashMap<String, Arc<Space>>>>,
    _watches: JoinSet<()>,
}

impl Observer {
    pub fn start(client: &Client) -> Self {
        let spaces = Arc::<Mutex<HashMap<String, Arc<Space>>>>::default();
        let mut watches = JoinSet::new();
        for (kind, ..) in Kind::ALL {
            let (api, spaces) = (
                Api::<DynamicObject>::all_with(client.clone(), &kind.resource()),
                spaces.clone(),
            );
            watches.spawn(async move {
                let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
                while let Some(event) = events.next().await {
                    let (object, gone) = match event {
                        Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                        Ok(Event::Delete(object)) => (object, true),
                        Ok(Event::Init | Event::InitDone) | Err(_) => continue,
                    };
                    let space = {
                        let spaces = spaces.lock().unwrap_or_else(PoisonError::into_inner);
                        spaces.get(&object.namespace().unwrap_or_default()).cloned()
                    };
                    if let Some(space) = space {
                        space.take(record(kind, object, gone));
                    }
                }
            });
        }
        Self {
            spaces,
            _watches: watches,
        }
    }

    /// Begins to keep what happens in a namespace. Nothing has happened in it before.
    pub fn observe(&self, namespace: &str) -> Arc<Space> {
        let space = Arc::<Space>::default();
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.insert(namespace.to_owned(), space.clone());
        space
    }

    /// Keeps nothing of a namespace any more.
    pub fn forget(&self, namespace: &str) {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.remove(namespace);
    }
}

fn record(kind: Kind, mut object: DynamicObject, gone: bool) -> Record {
    object.metadata.managed_fields = None;
    Record {
        version: object
            .resource_version()
            .and_then(|version| version.parse().ok())
            .unwrap_or_default(),
        kind,
        name: object.name_any(),
        gone,
        heard: clock::now().as_second(),
        object: Arc::new(serde_json::to_value(object).unwrap()),
    }
}
