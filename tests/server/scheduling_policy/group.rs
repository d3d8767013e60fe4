//! PodGroups as a scheduler sees them, and a scheduler that does what the test says.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::PathBuf;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams, TypeMeta};
use pytorchjob_test_cluster::{Cluster, wait_for, wait_gone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rig::{Rig, TIMEOUT, install_identity, shipped_identity};

/// A gang scheduler's API.
pub trait Scheduler: Clone + Debug + Default + Send + Sync + 'static {
    const GROUP: &str;
    const VERSION: &str;
}

macro_rules! scheduler {
    ($name:ident, $group:literal, $version:literal) => {
        #[derive(Clone, Debug, Default)]
        pub struct $name;

        impl Scheduler for $name {
            const GROUP: &str = $group;
            const VERSION: &str = $version;
        }
    };
}

scheduler!(Volcano, "scheduling.volcano.sh", "v1beta1");
scheduler!(Coscheduling, "scheduling.x-k8s.io", "v1alpha1");
scheduler!(Kubernetes, "scheduling.k8s.io", "v1beta1");

/// A `PodGroup` of a scheduler.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PodGroup<S> {
    #[serde(flatten)]
    types: Option<TypeMeta>,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub status: Value,
    #[serde(skip)]
    scheduler: PhantomData<S>,
}

impl<S: Scheduler> PodGroup<S> {
    pub fn new(name: &str, spec: Value) -> Self {
        Self {
            types: Some(TypeMeta {
                api_version: Self::api_version(&()).into_owned(),
                kind: Self::kind(&()).into_owned(),
            }),
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            spec,
            status: Value::Null,
            scheduler: PhantomData,
        }
    }
}

impl<S: Scheduler> Resource for PodGroup<S> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "PodGroup".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        S::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        S::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "podgroups".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A cluster and who the operator is on it.
#[derive(Clone)]
pub struct Place {
    pub cluster: &'static Cluster,
    pub kubeconfig: PathBuf,
}

impl Place {
    /// This cluster, with the shipped roles.
    pub async fn on(cluster: &'static Cluster) -> Self {
        let kubeconfig = install_identity(cluster).await;
        Self { cluster, kubeconfig }
    }

    /// The shared cluster, which has no gang scheduler.
    pub async fn shared() -> Self {
        let cluster = Cluster::shared().await;
        let kubeconfig = shipped_identity(cluster).await;
        Self { cluster, kubeconfig }
    }

    /// A rig whose operator makes gangs for this scheduler.
    pub async fn rig(self, scheduler: &str) -> Rig {
        let Self { cluster, kubeconfig } = self;
        let namespace = cluster.namespace("gang").await.unwrap();
        let flag = format!("--gang-scheduler-name={scheduler}");
        Rig::start_with(cluster, namespace, kubeconfig, &[&flag]).await
    }
}

impl Rig {
    /// Waits for the `PodGroup` of a job.
    pub async fn wait_group<S: Scheduler>(&self, name: &str, predicate: impl Fn(&PodGroup<S>) -> bool) -> PodGroup<S> {
        wait_for(&self.api(), name, TIMEOUT, predicate).await.unwrap()
    }

    pub async fn wait_group_gone<S: Scheduler>(&self, name: &str) {
        wait_gone::<PodGroup<S>>(&self.api(), name, TIMEOUT).await.unwrap();
    }

    /// Writes the status of a `PodGroup`, as its scheduler does.
    pub async fn schedule<S: Scheduler>(&self, name: &str, status: &Value) -> PodGroup<S> {
        let patch = json!({ "status": status });
        self.api::<PodGroup<S>>()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap()
    }

    /// Stores a `PodGroup`, as somebody else does.
    pub async fn create_group<S: Scheduler>(&self, group: &PodGroup<S>) -> PodGroup<S> {
        self.api().create(&PostParams::default(), group).await.unwrap()
    }
}
