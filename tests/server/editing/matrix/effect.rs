//! What enforcing an edit means: in words for the page, and as something a test can see.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Resource as _, ResourceExt as _};
use pytorchjob_operator::api::{ConditionType, PyTorchJob};
use pytorchjob_test_cluster::{PodPhase, bind_pod, wait_for, wait_gone};
use serde_json::{Value, json};

use super::base::Base;
use super::phase::{Phase, end, overrun, succeed};
use crate::editing::rig::{Rig, SOON, finished, is, status};

/// How late a timer may be, its rounding to whole seconds included.
const LATE: Duration = Duration::from_secs(3);
/// How long before a timer fires an edit disarms it.
const ARMED: Duration = Duration::from_secs(8);

/// What becomes of the live job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    DeadlineHolds,
    DeadlineLifted,
    LimitHolds,
    LimitLifted,
    StartHolds,
    StartLifted,
    StartFails,
    StartSuspends,
    GivesUp,
    NeverGivesUp,
    Excludes,
    ExcludesNone,
    WindowHolds,
    WindowLifted,
    CleansAll,
    CleansAsUnset,
    Expires,
    NeverExpires,
    PoliciesGone,
    Suspends,
    Resumes,
    /// This many workers.
    Scales(u32),
    /// This many workers, of a job that is suspended for it.
    Resizes(u32),
    /// Pods are built again; the Worker's have this at this place.
    Rebuilds(&'static str, &'static str),
    /// As the former, for the Master.
    RebuildsMaster(&'static str, &'static str),
    HoldsDeletion,
    EndsDeletion,
}

use Effect::{
    CleansAll, CleansAsUnset, DeadlineHolds, DeadlineLifted, EndsDeletion, Excludes, ExcludesNone, Expires, GivesUp,
    HoldsDeletion, LimitHolds, LimitLifted, NeverExpires, NeverGivesUp, PoliciesGone, Rebuilds, RebuildsMaster,
    Resizes, Resumes, Scales, StartFails, StartHolds, StartLifted, StartSuspends, Suspends, WindowHolds, WindowLifted,
};

impl Effect {
    /// How it is enforced, and by when.
    pub fn text(self, phase: Phase) -> String {
        let text = match self {
            DeadlineHolds => {
                "the job fails when the new time has passed since `startTime`, at most 1 s late; at once if it has passed already"
            }
            DeadlineLifted | StartLifted => "the timer is disarmed at once",
            StartFails => "the job fails, and is not suspended, when its pods do not run in time",
            StartSuspends => "the job is suspended, and does not fail, when its pods do not run in time",
            LimitHolds => "the restarts so far and the next ones are measured by the new limit at once",
            StartHolds => {
                "the job fails when the new time has passed since pods were created that do not run, at most 1 s late; at once if it has passed already"
            }
            GivesUp => {
                "a pod that its node does not end is replaced when the new time has passed since it should have ended; at once if it has passed already"
            }
            Excludes => "pods to come stay away from the nodes where ranks have failed too often, and will have",
            ExcludesNone => "pods to come may go to every node",
            NeverGivesUp => "pods that their nodes do not end are waited for",
            WindowHolds => "the restarts of late and the next ones are measured by the new window at once",
            LimitLifted | WindowLifted => "the next restart is not measured by it any more",
            CleansAll if phase.finished() => "all pods are deleted at once, and then their services",
            CleansAll => "when the job has finished, all pods are deleted, and then their services",
            CleansAsUnset if phase.finished() => {
                "what still runs is deleted at once, as an absent policy says for a job that failed"
            }
            CleansAsUnset => {
                "when the job has finished, what an absent policy says is done: nothing after success; after failure, what still runs is deleted"
            }
            Expires if phase.finished() => {
                "the job is deleted when the new time has passed since `completionTime`, at most 1 s late; at once if it has passed already"
            }
            Expires => "the job is deleted that long after `completionTime`, at most 1 s late",
            NeverExpires | PoliciesGone if phase.finished() => "the timer is disarmed at once, and the job stays",
            NeverExpires => "the finished job stays",
            PoliciesGone if phase == Phase::Suspended => "the job is resumed, and none of its policies holds any more",
            PoliciesGone => "none of its policies holds any more, from now on",
            Suspends if phase == Phase::JustCreated => "no pod is created until the job is resumed",
            Suspends => {
                "pods are deleted at once, and then their services; `active` counts the pods until they are really gone"
            }
            Resumes => {
                "once the old pods are gone the job is resumed: pods and services are created; `startTime` is set and the deadline starts again"
            }
            Scales(_) if matches!(phase, Phase::JustCreated | Phase::Suspended) => "as many workers are created",
            Scales(_) => "workers are created or deleted at once, the highest index first",
            Resizes(_) | Rebuilds(..) | RebuildsMaster(..) if phase != Phase::Suspended => {
                "the job is suspended, and on resume its pods are built from the new value"
            }
            Resizes(_) | Rebuilds(..) | RebuildsMaster(..) => "the pods are built from the new value",
            HoldsDeletion => "the API server keeps the deleted job until the finalizer is removed",
            EndsDeletion => "the job is gone with its last finalizer",
        };
        let later = phase == Phase::Suspended && !matches!(self, Resumes | HoldsDeletion | EndsDeletion | PoliciesGone);
        if later {
            format!("on resume: {text}")
        } else {
            text.to_owned()
        }
    }

    /// Looks at the job until the effect is seen. The job is in this phase, and has been edited.
    pub async fn check(self, rig: &Rig, base: Base, phase: Phase, job: &str) {
        let keeps_suspended = matches!(self, Suspends | HoldsDeletion | EndsDeletion);
        let stored = rig.jobs.get_opt(job).await.unwrap();
        if !keeps_suspended && stored.is_some_and(|stored| stored.spec.suspended()) {
            rig.until_bare(job).await;
            rig.until(job, |job| is(job, ConditionType::Suspended)).await;
            rig.suspend(job, false).await;
            rig.until(job, |job| !is(job, ConditionType::Suspended)).await;
        }
        match self {
            DeadlineHolds => deadline_holds(rig, job).await,
            DeadlineLifted => deadline_lifted(rig, job).await,
            LimitHolds => limit_holds(rig, base, phase, job, "reached the specified backoff limit (").await,
            StartHolds | StartFails => start_holds(rig, phase, job).await,
            StartLifted => start_lifted(rig, phase, job).await,
            StartSuspends => start_suspends(rig, phase, job).await,
            GivesUp | NeverGivesUp => self.gives_up(rig, base, job).await,
            Excludes | ExcludesNone => self.excludes(rig, base, job).await,
            WindowHolds => limit_holds(rig, base, phase, job, "than restartWindow allows (0 in 7200 s)").await,
            LimitLifted | WindowLifted => limit_lifted(rig, base, phase, job).await,
            CleansAll => cleans_all(rig, base, phase, job).await,
            CleansAsUnset => cleans_as_unset(rig, base, phase, job).await,
            Expires => expires(rig, base, phase, job).await,
            NeverExpires => never_expires(rig, base, phase, job).await,
            PoliciesGone => policies_gone(rig, base, phase, job).await,
            Suspends => {
                rig.until_bare(job).await;
                rig.until(job, |job| is(job, ConditionType::Suspended)).await;
            }
            Resumes => resumes(rig, base, job).await,
            Scales(workers) | Resizes(workers) => scales(rig, base, job, workers).await,
            Rebuilds(..) | RebuildsMaster(..) => self.rebuilt(rig, base, job).await,
            HoldsDeletion | EndsDeletion => self.deletion(rig, job).await,
        }
        if phase.observed() {
            settled(rig, job).await;
        }
    }

    async fn rebuilt(self, rig: &Rig, base: Base, job: &str) {
        let (Rebuilds(pointer, expected) | RebuildsMaster(pointer, expected)) = self else {
            return;
        };
        let replica = if matches!(self, RebuildsMaster(..)) {
            "master-0"
        } else {
            "worker-0"
        };
        let pods = rig.until_pods(job, base.replicas()).await;
        let pod = pods
            .iter()
            .find(|pod| pod.name_any() == format!("{job}-{replica}"))
            .unwrap();
        let pod = serde_json::to_value(pod).unwrap();
        let found = pod.pointer(pointer).unwrap_or(&Value::Null).to_string();
        assert!(
            found.contains(expected),
            "{job}: {pointer} is {found}, expected {expected}"
        );
    }

    /// A pod is on a node that nobody runs, and is deleted.
    async fn gives_up(self, rig: &Rig, base: Base, job: &str) {
        rig.run(job, base.replicas()).await;
        let name = format!("{job}-worker-0");
        bind_pod(&rig.client, &rig.namespace, &name, "lost-node").await.unwrap();
        let soon = kube::api::DeleteParams::default().grace_period(1);
        let old = rig.pods.get(&name).await.unwrap().uid();
        rig.pods.delete(&name, &soon).await.unwrap();
        if self == GivesUp {
            let replaced = |pod: &Pod| pod.uid() != old;
            wait_for(&rig.pods, &name, SOON, replaced).await.unwrap();
        } else {
            tokio::time::sleep(LATE + LATE).await;
            assert_eq!(rig.pods.get(&name).await.unwrap().uid(), old, "{job}: it was given up");
            rig.bury(job, "worker-0").await;
        }
    }

    /// A rank fails on a node.
    async fn excludes(self, rig: &Rig, base: Base, job: &str) {
        rig.run(job, base.replicas()).await;
        let name = format!("{job}-worker-0");
        bind_pod(&rig.client, &rig.namespace, &name, "bad-node").await.unwrap();
        let old = rig.pods.get(&name).await.unwrap().uid();
        rig.fail(job, "worker-0").await;
        let replaced = |pod: &Pod| pod.uid() != old;
        let new = wait_for(&rig.pods, &name, SOON, replaced).await.unwrap();
        let affinity = serde_json::to_string(&new.spec.unwrap().affinity).unwrap();
        assert_eq!(affinity.contains("bad-node"), self == Excludes, "{job}: {affinity}");
    }

    async fn deletion(self, rig: &Rig, job: &str) {
        if self == HoldsDeletion {
            rig.jobs
                .delete(job, &kube::api::DeleteParams::background())
                .await
                .unwrap();
            rig.until(job, |job| job.meta().deletion_timestamp.is_some()).await;
            rig.edit(job, json!({ "metadata": { "finalizers": [] } })).await;
        }
        wait_gone(&rig.jobs, job, SOON).await.unwrap();
    }
}

/// An edit that has been acted on is told so, unless the job is gone.
async fn settled(rig: &Rig, job: &str) {
    let Some(stored) = rig.jobs.get_opt(job).await.unwrap() else {
        return;
    };
    if stored.meta().deletion_timestamp.is_none() {
        rig.until_observed(job).await;
    }
}

/// Lets pods run that do not yet, if the job waits for that.
async fn running(rig: &Rig, base: Base, phase: Phase, job: &str) {
    if phase != Phase::Running {
        rig.run(job, base.replicas()).await;
    }
}

async fn deadline_holds(rig: &Rig, job: &str) {
    let failed = rig.until(job, finished).await;
    let status = status(&failed);
    let last = status.conditions.last().unwrap().message.clone().unwrap();
    assert!(
        last.contains("because it was active longer than specified deadline ("),
        "{job}: {last}"
    );
    let (start, end) = (status.start_time.unwrap().0, status.completion_time.unwrap().0);
    assert!(
        end.duration_since(start).as_secs() >= 1,
        "{job} failed before its deadline"
    );
}

/// Lets a pod of the job not run. Pods that are created run only when a test says so.
async fn wait_for_start(rig: &Rig, phase: Phase, job: &str) {
    if phase == Phase::Running {
        let now = kube::api::DeleteParams::default().grace_period(0);
        rig.pods.delete(&format!("{job}-worker-0"), &now).await.unwrap();
    }
}

async fn start_holds(rig: &Rig, phase: Phase, job: &str) {
    wait_for_start(rig, phase, job).await;
    let failed = rig.until(job, finished).await;
    let last = status(&failed).conditions.last().unwrap().message.clone().unwrap();
    let why = "because not all of its pods ran within startupDeadlineSeconds (";
    assert!(last.contains(why), "{job}: {last}");
}

async fn start_suspends(rig: &Rig, phase: Phase, job: &str) {
    wait_for_start(rig, phase, job).await;
    rig.until(job, |job| is(job, ConditionType::Suspended)).await;
    rig.until_bare(job).await;
}

async fn start_lifted(rig: &Rig, phase: Phase, job: &str) {
    wait_for_start(rig, phase, job).await;
    tokio::time::sleep(ARMED + LATE).await;
    assert!(
        !finished(&rig.job(job).await),
        "{job}: a deadline for the start that was removed has fired"
    );
}

async fn deadline_lifted(rig: &Rig, job: &str) {
    tokio::time::sleep(ARMED + LATE).await;
    assert!(
        !finished(&rig.job(job).await),
        "{job}: a deadline that was removed has fired"
    );
}

async fn limit_holds(rig: &Rig, base: Base, phase: Phase, job: &str, why: &str) {
    if phase != Phase::Restarting {
        running(rig, base, phase, job).await;
        rig.fail(job, "worker-0").await;
    }
    let failed = rig.until(job, finished).await;
    let last = status(&failed).conditions.last().unwrap().message.clone().unwrap();
    assert!(last.contains(why), "{job}: {last}");
}

/// Two restarts more than before: one more than the limit allowed that was removed.
async fn limit_lifted(rig: &Rig, base: Base, phase: Phase, job: &str) {
    running(rig, base, phase, job).await;
    for _ in 0..2 {
        let before = status(&rig.job(job).await).restarts.unwrap_or(0);
        rig.fail(job, "worker-0").await;
        let after = rig
            .until(job, |job| {
                finished(job) || (status(job).restarts > Some(before) && status(job).replaced_pods.is_empty())
            })
            .await;
        assert!(!finished(&after), "{job}: a limit that was removed has failed the job");
        rig.run(job, base.replicas()).await;
    }
}

async fn cleans_all(rig: &Rig, base: Base, phase: Phase, job: &str) {
    if !phase.finished() {
        running(rig, base, phase, job).await;
        succeed(rig, base, job).await;
    }
    rig.until_bare(job).await;
}

async fn cleans_as_unset(rig: &Rig, base: Base, phase: Phase, job: &str) {
    if !phase.finished() {
        running(rig, base, phase, job).await;
        rig.report(job, "worker-0", PodPhase::Succeeded).await;
        let counted = |job: &PyTorchJob| {
            let counts = status(job).replica_statuses;
            counts.get("Worker").and_then(|workers| workers.succeeded) == Some(1)
        };
        rig.until(job, counted).await;
        overrun(rig, base, job).await;
    }
    rig.until_pods(job, &["worker-0"]).await;
}

async fn expires(rig: &Rig, base: Base, phase: Phase, job: &str) {
    if !phase.finished() {
        running(rig, base, phase, job).await;
        // Its outcome may be seen by nobody before the job is gone.
        end(rig, base, job).await;
    }
    wait_gone(&rig.jobs, job, SOON).await.unwrap();
}

async fn never_expires(rig: &Rig, base: Base, phase: Phase, job: &str) {
    if !phase.finished() {
        running(rig, base, phase, job).await;
        succeed(rig, base, job).await;
    }
    tokio::time::sleep(ARMED + LATE).await;
    assert!(
        rig.jobs
            .get_opt(job)
            .await
            .unwrap()
            .is_some_and(|job| job.meta().deletion_timestamp.is_none()),
        "{job}: a TTL that was removed has fired"
    );
}

/// The policies went, and with them what suspended the job. The job outlives its deadline, and its restarts are not
/// limited.
async fn policies_gone(rig: &Rig, base: Base, phase: Phase, job: &str) {
    if phase.finished() {
        return never_expires(rig, base, phase, job).await;
    }
    rig.run(job, base.replicas()).await;
    deadline_lifted(rig, job).await;
    limit_lifted(rig, base, Phase::Pending, job).await;
}

async fn resumes(rig: &Rig, base: Base, job: &str) {
    rig.run(job, base.replicas()).await;
    rig.until_services(job, base.replicas()).await;
    let resumed = rig.job(job).await;
    assert!(!is(&resumed, ConditionType::Suspended), "{job}: still Suspended");
}

async fn scales(rig: &Rig, base: Base, job: &str, workers: u32) {
    let workers: Vec<String> = (0..workers).map(|index| format!("worker-{index}")).collect();
    let master = base
        .replicas()
        .iter()
        .copied()
        .filter(|replica| replica.starts_with("master"));
    let replicas: Vec<&str> = master.chain(workers.iter().map(String::as_str)).collect();
    rig.until_pods(job, &replicas).await;
    rig.until_services(job, &replicas).await;
}

/// Fills in the `given` of a row: a timer stands there as 0, and becomes one that fires in [`ARMED`] from now on.
pub fn arm(mut given: Value, phase: Phase, job: &PyTorchJob) -> Value {
    let status = status(job);
    let (deadline, ttl) = match phase {
        Phase::Suspended => (None, None),
        _ => (status.start_time, status.completion_time),
    };
    for (timer, since) in [("activeDeadlineSeconds", deadline), ("ttlSecondsAfterFinished", ttl)] {
        let passed = since.map_or(SignedDuration::ZERO, |since| now().duration_since(since.0));
        for parent in ["/spec", "/spec/runPolicy"] {
            if let Some(seconds) = given.pointer_mut(parent).and_then(|parent| parent.get_mut(timer)) {
                *seconds = json!(passed.as_secs() + 1 + i64::try_from(ARMED.as_secs()).unwrap());
            }
        }
    }
    given
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test compares with the clock of the cluster, which is this one"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
