//! The jobs that the edits of the table are made to.

use serde_json::{Value, json};

use crate::editing::rig::{bare, template};
use crate::job::with;

/// A job to edit. Between them, they have every field that an edit changes or removes, and lack every one that an edit
/// adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// Master and Worker, and nothing that can be left out.
    Bare,
    /// The policies under `runPolicy`, and everything about the replicas that can be left out.
    Nested,
    /// The policies flat.
    Flat,
    /// `managedBy`, a whole `schedulingPolicy`, and restart policies that are not the default.
    Gang,
    /// `restartScope: Job` and what needs it.
    Whole,
    /// The policies about failures that cannot change.
    Fixed,
    /// Workers with an empty `elasticPolicy`.
    ElasticBare,
    /// Workers with a whole `elasticPolicy`.
    Elastic,
    /// A Master alone.
    Master,
    /// Workers alone.
    Workers,
}

impl Base {
    /// Its replicas.
    pub const fn replicas(self) -> &'static [&'static str] {
        match self {
            Self::Bare | Self::Nested | Self::Flat | Self::Gang | Self::Whole | Self::Fixed => {
                &["master-0", "worker-0"]
            }
            Self::ElasticBare | Self::Elastic | Self::Workers => &["worker-0", "worker-1"],
            Self::Master => &["master-0"],
        }
    }

    /// The replicas whose state is the state of the job.
    pub const fn deciding(self) -> &'static [&'static str] {
        match self {
            Self::ElasticBare | Self::Elastic | Self::Workers => &["worker-0", "worker-1"],
            _ => &["master-0"],
        }
    }

    /// The replicas that start again when those fail whose state is the state of the job.
    pub const fn restarted(self) -> &'static [&'static str] {
        match self {
            Self::Whole => self.replicas(),
            _ => self.deciding(),
        }
    }

    /// Its spec.
    pub fn spec(self) -> Value {
        let workers = json!({ "pytorchReplicaSpecs": { "Worker": { "replicas": 2, "template": template() } } });
        match self {
            Self::Bare => bare(),
            Self::Nested => with(bare(), &nested()),
            Self::Flat => with(bare(), &policies()),
            Self::Gang => with(bare(), &gang()),
            Self::Whole => with(bare(), &whole()),
            Self::Fixed => with(bare(), &fixed()),
            Self::Workers => workers,
            Self::ElasticBare => with(workers, &json!({ "elasticPolicy": {} })),
            Self::Elastic => with(workers, &json!({ "elasticPolicy": elastic_policy() })),
            Self::Master => with(bare(), &json!({ "pytorchReplicaSpecs": { "Worker": null } })),
        }
    }
}

/// The four policies that have two spellings, with values under which nothing happens for hours.
fn policies() -> Value {
    json!({ "activeDeadlineSeconds": 7200, "backoffLimit": 3, "cleanPodPolicy": "None", "ttlSecondsAfterFinished": 7200 })
}

fn nested() -> Value {
    let replica = json!({ "replicas": 1, "restartPolicy": "OnFailure" });
    json!({
        "runPolicy": with(policies(), &json!({ "schedulingPolicy": { "minAvailable": 2 } })),
        "nprocPerNode": "2",
        "pytorchReplicaSpecs": { "Master": replica, "Worker": replica },
    })
}

fn gang() -> Value {
    json!({
        "runPolicy": {
            "managedBy": "kubeflow.org/training-operator",
            "schedulingPolicy": {
                "minAvailable": 2,
                "minResources": { "cpu": "1" },
                "priorityClass": "high",
                "queue": "research",
                "scheduleTimeoutSeconds": 60,
            },
        },
        "pytorchReplicaSpecs": { "Master": { "restartPolicy": "Always" }, "Worker": { "restartPolicy": "ExitCode" } },
    })
}

/// A window that lets nothing happen for hours.
fn whole() -> Value {
    let window = json!({ "restarts": 3, "seconds": 7200 });
    json!({ "runPolicy": { "restartScope": "Job", "restartWindow": window } })
}

fn fixed() -> Value {
    json!({ "runPolicy": {
        "failurePolicy": { "rules": [{ "class": "ImportError", "action": "FailJob" }] },
        "gracefulStopSeconds": 60,
        "progressPolicy": { "file": "/ckpt", "deadlineSeconds": 600, "startupSeconds": 7200, "action": "Restart" },
    } })
}

fn elastic_policy() -> Value {
    json!({
        "maxReplicas": 3,
        "maxRestarts": 5,
        "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }],
        "minReplicas": 1,
        "nProcPerNode": 1,
        "rdzvBackend": "c10d",
        "rdzvConf": [{ "key": "timeout", "value": "900" }],
        "rdzvHost": "etcd",
        "rdzvId": "42",
        "rdzvPort": 2379,
        "standalone": false,
    })
}
