//! PyTorchJobs as a client sees them: JSON, without the types of the operator.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A stored job, whatever is in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Job {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: Value,
    #[serde(default)]
    pub status: Value,
}

impl Job {
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether the condition of this type is True.
    pub fn is(&self, condition: &str) -> bool {
        self.condition(condition).is_some_and(|entry| entry["status"] == "True")
    }

    /// Whether the job has finished.
    pub fn finished(&self) -> bool {
        self.is("Succeeded") || self.is("Failed")
    }

    pub fn condition(&self, condition: &str) -> Option<&Value> {
        self.status["conditions"]
            .as_array()?
            .iter()
            .find(|entry| entry["type"] == condition)
    }

    /// Type, status, reason and message of every condition, in their order.
    pub fn conditions(&self) -> Vec<[&str; 4]> {
        let text = |entry: &'_ Value, field: &str| entry[field].as_str().map(ToOwned::to_owned);
        let entries = self.status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        for entry in entries {
            for time in ["lastUpdateTime", "lastTransitionTime"] {
                let stored = text(entry, time).unwrap_or_default();
                assert!(stored.parse::<Timestamp>().is_ok(), "{time} of {entry}");
            }
        }
        entries
            .iter()
            .map(|entry| ["type", "status", "reason", "message"].map(|field| entry[field].as_str().unwrap_or_default()))
            .collect()
    }

    /// Types of the conditions, in their order; a minus stands before one that is not True.
    pub fn outline(&self) -> Vec<String> {
        let outlined = |[type_, status, ..]: [&str; 4]| {
            if status == "True" {
                type_.to_owned()
            } else {
                format!("-{type_}")
            }
        };
        self.conditions().into_iter().map(outlined).collect()
    }

    /// A time of the status, in seconds since the epoch.
    pub fn second(&self, field: &str) -> Option<i64> {
        let time: Timestamp = self.status[field].as_str()?.parse().unwrap();
        Some(time.as_second())
    }

    /// Seconds from `status.startTime` to `status.completionTime`.
    pub fn duration(&self) -> i64 {
        self.second("completionTime").unwrap() - self.second("startTime").unwrap()
    }

    /// A count of `status.replicaStatuses`; zero when it is left out.
    pub fn count(&self, role: &str, count: &str) -> i64 {
        self.status["replicaStatuses"][role][count].as_i64().unwrap_or(0)
    }

    /// The message of the outcome.
    pub fn why(&self) -> &str {
        self.conditions().last().map_or("", |[.., message]| message)
    }
}

impl Resource for Job {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "PyTorchJob".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "kubeflow.org".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pytorchjobs".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A replica spec: one container, and a scheduler that nobody runs, so that only the test decides what becomes of the
/// pod.
pub fn replica(replicas: u32, restart_policy: &str) -> Value {
    json!({
        "replicas": replicas,
        "restartPolicy": restart_policy,
        "template": { "spec": {
            "schedulerName": "the-test",
            "containers": [{ "name": "pytorch", "image": "registry.example/training:v1" }],
        } },
    })
}

/// A job with one Master and, unless that is zero, some Workers; all restart as `OnFailure`.
pub fn job(name: &str, workers: u32) -> Value {
    job_with_policy(name, workers, "OnFailure")
}

/// The same with another restart policy.
pub fn job_with_policy(name: &str, workers: u32, restart_policy: &str) -> Value {
    let mut job = json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": { "name": name },
        "spec": { "pytorchReplicaSpecs": { "Master": replica(1, restart_policy) } },
    });
    if workers > 0 {
        job["spec"]["pytorchReplicaSpecs"]["Worker"] = replica(workers, restart_policy);
    }
    job
}

/// `target` with `patch` merged in, as RFC 7396 says.
pub fn with(mut target: Value, patch: &Value) -> Value {
    merge(&mut target, patch);
    target
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(field);
        } else {
            merge(&mut target[field], value);
        }
    }
}

/// Merge patch: suspend, or resume.
pub fn suspend(suspend: bool) -> Value {
    json!({ "spec": { "runPolicy": { "suspend": suspend } } })
}

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `spec.POLICY`.
    Flat,
    /// `spec.runPolicy.POLICY`.
    RunPolicy,
}

impl Spelling {
    /// A name for the job of this spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::RunPolicy => "run-policy",
        }
    }

    /// The merge patch that sets a policy, or removes it with `null`.
    pub fn policy(self, policy: &str, value: impl Into<Value>) -> Value {
        match self {
            Self::Flat => json!({ "spec": { policy: value.into() } }),
            Self::RunPolicy => json!({ "spec": { "runPolicy": { policy: value.into() } } }),
        }
    }
}

/// Runs the same with one job a spelling, at the same time.
pub async fn in_both_spellings(test: impl AsyncFn(Spelling)) {
    tokio::join!(test(Spelling::Flat), test(Spelling::RunPolicy));
}
