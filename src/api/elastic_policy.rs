//! `spec.elasticPolicy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds::{MAX_PORT, MAX_PROCESSES, MAX_REPLICAS, MAX_RESTARTS};
use crate::api::raw::RawJson;

/// Makes the job elastic: torchrun starts with as few as `minReplicas` workers and takes up to `maxReplicas`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ElasticPolicy {
    /// Restarts torchrun makes of its worker processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_RESTARTS))]
    pub max_restarts: Option<i32>,

    /// Most workers. Default: `minReplicas`, or without that Worker.replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_REPLICAS))]
    pub max_replicas: Option<i32>,

    /// Metrics for a horizontal pod autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<k8s_openapi::api::autoscaling::v2::MetricSpec>>")]
    pub metrics: Option<RawJson>,

    /// Fewest workers. Default: `maxReplicas`, or without that Worker.replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_REPLICAS))]
    pub min_replicas: Option<i32>,

    /// Deprecated: use spec.nprocPerNode.
    #[serde(rename = "nProcPerNode", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_PROCESSES))]
    pub n_proc_per_node: Option<i32>,

    /// Rendezvous backend. Default: c10d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdzv_backend: Option<String>,

    /// Further settings of the rendezvous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdzv_conf: Option<Vec<RdzvConf>>,

    /// Host of the rendezvous. Default: worker 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdzv_host: Option<String>,

    /// Identity of the rendezvous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdzv_id: Option<String>,

    /// Port of the rendezvous. Default: the port pytorchjob-port of the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_PORT))]
    pub rdzv_port: Option<i32>,

    /// True makes each pod rendezvous with itself alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standalone: Option<bool>,
}

impl ElasticPolicy {
    /// Fewest and most of `workers` workers: a missing bound equals the other one, and both missing equal the number of
    /// workers.
    #[must_use]
    pub fn bounds(&self, workers: u32) -> (i64, i64) {
        let min = self.min_replicas.or(self.max_replicas).map(i64::from);
        let max = self.max_replicas.or(self.min_replicas).map(i64::from);
        let workers = i64::from(workers);
        (min.unwrap_or(workers), max.unwrap_or(workers))
    }

    /// Whether the number of workers may change while they run: one bound at least is given, so the number is none
    /// itself. Without bounds (as Kubeflow permits) torchrun is told to expect exactly as many workers as there are.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.min_replicas.is_some() || self.max_replicas.is_some()
    }
}

/// One setting of the rendezvous.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct RdzvConf {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}
