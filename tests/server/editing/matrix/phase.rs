//! The phases of a job, and how a test brings a job there.

use pytorchjob_operator::api::ConditionType;
use pytorchjob_test_cluster::PodPhase;
use serde_json::{Value, json};

use super::base::Base;
use crate::editing::rig::{Rig, is};
use crate::job::with;

/// Where a job stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    JustCreated,
    Pending,
    Running,
    Restarting,
    Suspended,
    Succeeded,
    Failed,
    Deleting,
    Elsewhere,
}

/// Holds the deletion of a job back.
const FINALIZER: &str = "example.com/hold";

impl Phase {
    pub const ALL: [Self; 9] = [
        Self::JustCreated,
        Self::Pending,
        Self::Running,
        Self::Restarting,
        Self::Suspended,
        Self::Succeeded,
        Self::Failed,
        Self::Deleting,
        Self::Elsewhere,
    ];

    /// Head of its column.
    pub const fn title(self) -> &'static str {
        match self {
            Self::JustCreated => "just created",
            Self::Pending => "pods pending",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Suspended => "suspended",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Deleting => "being deleted",
            Self::Elsewhere => "managed elsewhere",
        }
    }

    /// Name of its namespace.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::JustCreated => "created",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Suspended => "suspended",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// Whether the operator acts on edits of such a job, and tells so in `observedGeneration`.
    pub const fn observed(self) -> bool {
        !matches!(self, Self::Deleting | Self::Elsewhere)
    }

    /// Whether the job has finished.
    pub const fn finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// The metadata of a job that is to be brought here.
    pub fn metadata(self, name: &str) -> Value {
        let finalizers: &[&str] = if self == Self::Deleting { &[FINALIZER] } else { &[] };
        json!({ "name": name, "finalizers": finalizers, "labels": { "team": "a" }, "annotations": { "note": "a" } })
    }

    /// The spec of a job that is to be brought here.
    pub fn spec(self, base: Base) -> Value {
        if self == Self::Elsewhere {
            // MultiKueue takes no job with flat policies.
            let base = if base == Base::Flat { Base::Bare } else { base };
            return with(
                base.spec(),
                &json!({ "runPolicy": { "managedBy": "kueue.x-k8s.io/multikueue" } }),
            );
        }
        base.spec()
    }

    /// Brings the job, which was just created, into this phase.
    pub async fn reach(self, rig: &Rig, base: Base, job: &str) {
        match self {
            Self::JustCreated | Self::Elsewhere => {}
            Self::Pending => drop(rig.until_pods(job, base.replicas()).await),
            Self::Running => drop(rig.run(job, base.replicas()).await),
            Self::Restarting => restart(rig, base, job).await,
            Self::Suspended => {
                rig.run(job, base.replicas()).await;
                rig.suspend(job, true).await;
                rig.until_bare(job).await;
                rig.until(job, |job| is(job, ConditionType::Suspended)).await;
            }
            Self::Succeeded => {
                rig.run(job, base.replicas()).await;
                succeed(rig, base, job).await;
            }
            Self::Failed => fail(rig, base, job).await,
            Self::Deleting => {
                rig.run(job, base.replicas()).await;
                rig.jobs
                    .delete(job, &kube::api::DeleteParams::background())
                    .await
                    .unwrap();
            }
        }
    }
}

/// Lets the replicas that decide succeed, and waits for the outcome.
pub async fn succeed(rig: &Rig, base: Base, job: &str) {
    end(rig, base, job).await;
    rig.until(job, |job| is(job, ConditionType::Succeeded)).await;
}

/// Lets the replicas that decide succeed.
pub async fn end(rig: &Rig, base: Base, job: &str) {
    for replica in base.deciding() {
        rig.report(job, replica, PodPhase::Succeeded).await;
    }
}

/// Fails the job by a deadline that has passed, and takes the deadline away again. A worker has succeeded before and is
/// kept.
async fn fail(rig: &Rig, base: Base, job: &str) {
    rig.run(job, base.replicas()).await;
    if base.deciding() == ["master-0"] && base.replicas().len() > 1 {
        rig.report(job, "worker-0", PodPhase::Succeeded).await;
        rig.until(job, |job| {
            crate::editing::rig::status(job).replica_statuses["Worker"].succeeded == Some(1)
        })
        .await;
    }
    let stored = serde_json::to_value(&rig.job(job).await.spec).unwrap();
    overrun(rig, base, job).await;
    let back = json!({
        "activeDeadlineSeconds": stored["activeDeadlineSeconds"],
        "runPolicy": { "activeDeadlineSeconds": stored["runPolicy"]["activeDeadlineSeconds"] },
    });
    rig.edit(job, json!({ "spec": back })).await;
    rig.until_observed(job).await;
}

/// Fails the job by a deadline that has passed.
pub async fn overrun(rig: &Rig, base: Base, job: &str) {
    let patch = if base == Base::Flat {
        json!({ "spec": { "activeDeadlineSeconds": 0 } })
    } else {
        json!({ "spec": { "activeDeadlineSeconds": null, "runPolicy": { "activeDeadlineSeconds": 0 } } })
    };
    rig.edit(job, patch).await;
    rig.until(job, |job| is(job, ConditionType::Failed)).await;
}

/// Fails the replicas that decide. Their replacements stay pending, and so the job stays Restarting.
async fn restart(rig: &Rig, base: Base, job: &str) {
    rig.run(job, base.replicas()).await;
    let old = uids(rig, job).await;
    for replica in base.deciding() {
        rig.report(
            job,
            replica,
            PodPhase::Evicted {
                reason: "Evicted".into(),
                message: String::new(),
            },
        )
        .await;
    }
    rig.until(job, |job| is(job, ConditionType::Restarting)).await;
    pytorchjob_test_cluster::wait_for_all(&rig.pods, &crate::rig::of_job(job), crate::editing::rig::SOON, |pods| {
        pods.len() == base.replicas().len()
            && pods
                .iter()
                .filter(|pod: &&k8s_openapi::api::core::v1::Pod| old.contains(&pod.metadata.uid))
                .count()
                == base.replicas().len() - base.restarted().len()
    })
    .await
    .unwrap();
    // The last of the failed pods is gone from the status, too: nothing is under way when the edit is made.
    rig.until(job, |job| crate::editing::rig::status(job).replaced_pods.is_empty())
        .await;
}

async fn uids(rig: &Rig, job: &str) -> Vec<Option<String>> {
    rig.pods_of(job).await.into_iter().map(|pod| pod.metadata.uid).collect()
}
