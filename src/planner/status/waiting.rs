//! What an unfinished job waits for, told at the end of the message of the condition that is its state.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus};
use crate::planner::child::{Deletion, Pod};
use crate::planner::plan::{Action, Note, Plan};
use crate::planner::status::conditions::{TRUE, stored_time};
use crate::planner::world::World;

/// Stands between the message of the condition and what the job waits for.
const WAITING: &str = " Waiting: ";
/// How long after its grace period a pod may still be terminating: the kubelet has to unmount its volumes and to report.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// The conditions that can be the state of an unfinished job.
const STATES: [ConditionType; 4] = [
    ConditionType::Created,
    ConditionType::Running,
    ConditionType::Restarting,
    ConditionType::Suspended,
];

/// Writes into the status what the job waits for, and takes out what is over. A pod that is stuck has a Warning as well; a
/// creation that was refused has one by whoever tried.
pub fn tell(world: &World<'_>, status: &mut JobStatus, plan: &mut Plan) {
    let stuck = stuck(world);
    let creates = plan.actions.iter().any(|action| matches!(action, Action::Create(_)));
    let refusal = world.refusal.filter(|_| creates);
    let state = status.conditions.iter().rposition(|entry| entry.status == TRUE);
    for (place, entry) in status.conditions.iter_mut().enumerate() {
        if !STATES.iter().any(|state| entry.type_ == state.as_str()) {
            continue;
        }
        let stored = entry.message.clone().unwrap_or_default();
        let (own, told) = stored.split_once(WAITING).unwrap_or((&stored, ""));
        let mut message = own.to_owned();
        if state == Some(place) && (stuck.is_some() || refusal.is_some()) {
            plan.notes
                .extend(stuck.as_deref().filter(|stuck| !told.starts_with(stuck)).map(warning));
            message = [own, WAITING, &causes(told, stuck.as_deref(), refusal)].concat();
        }
        if message != stored {
            entry.message = Some(message);
            entry.last_update_time = Some(stored_time(world.now));
        }
    }
    plan.requeue = plan.requeue.into_iter().chain(next_stuck(world)).min();
}

/// What the job waits for, in the words of last time where only numbers are others, such as how much of a quota is used: each
/// attempt would cost a write.
fn causes(told: &str, stuck: Option<&str>, refusal: Option<&str>) -> String {
    let before = stuck
        .and_then(|stuck| told.strip_prefix(stuck))
        .unwrap_or(told)
        .trim_start();
    let refusal = refusal.map(|refusal| if same_cause(before, refusal) { before } else { refusal });
    stuck.into_iter().chain(refusal).collect::<Vec<_>>().join(" ")
}

/// Whether two refusals are about the same object and differ in numbers at most.
fn same_cause(one: &str, other: &str) -> bool {
    let words = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
    let object = |text: &str| text.split_once(": ").map(|(object, _)| object.to_owned());
    object(one) == object(other) && words(one) == words(other)
}

fn warning(stuck: &str) -> Note {
    Note {
        warning: true,
        reason: reason::STUCK_POD,
        message: stuck.to_owned(),
    }
}

/// The first pod that should be gone by now, what would free its name, and how many others there are.
fn stuck(world: &World<'_>) -> Option<String> {
    let mut late = deletions(world).filter(|(_, deletion)| deletion.due + PATIENCE <= world.now);
    let (pod, Deletion { due, node }) = late.next()?;
    let name = &pod.name;
    let others = match late.count() {
        0 => String::new(),
        others => format!(" The same is true of {others} more."),
    };
    Some(match node.as_ref().filter(|_| !pod.finished()) {
        Some(node) => format!(
            "pod {name} on node {node} should have ended by {due} and is still terminating. If the node is gone, taint it with \
             node.kubernetes.io/out-of-service or delete the pod with `kubectl delete pod {name} --force`.{others}"
        ),
        None => format!(
            "pod {name} should have ended by {due} and is still terminating. None of its containers runs: a finalizer holds it.{others}"
        ),
    })
}

/// When the next pod will be late, if it is not gone by then.
fn next_stuck(world: &World<'_>) -> Option<Duration> {
    let left = deletions(world).map(|(_, deletion)| (deletion.due + PATIENCE).duration_since(world.now));
    left.filter_map(|left| Duration::try_from(left).ok())
        .filter(|left| !left.is_zero())
        .min()
}

fn deletions<'a>(world: &World<'a>) -> impl Iterator<Item = (&'a Pod, &'a Deletion)> {
    world
        .pods
        .iter()
        .filter_map(|pod| Some((pod, pod.deletion.as_deref()?)))
}
