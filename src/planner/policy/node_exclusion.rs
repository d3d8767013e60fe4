//! `runPolicy.nodeExclusion`: no new pod of the job goes to a node where its ranks failed too often. Ours.
//!
//! Everything is in the status: the failures that count (`nodeFailures`), stored in the same write as the restart that
//! they cause, and what follows from them (`excludedNodes`), stored before a pod is created with it. So neither a crash
//! of the operator nor an edit of the policy loses anything, and nodes are not read.
//!
//! Only what the machine may have caused counts against it, and of a job that starts again as a whole only the failure
//! that caused the others. A job is not to wait for nodes that it has excluded itself: when a pod cannot be scheduled
//! for a while, the exclusion that ends first goes, and with it the failures behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::names::reason;
use crate::api::{Attempt, ConditionType, ExcludedNode, FailureClass, JobStatus, NodeExclusion, NodeFailure};
use crate::planner::child::{Pod, Trouble};
use crate::planner::plan::{Action, Event};
use crate::planner::status::conditions::stored_time;
use crate::planner::world::World;

/// Most failures that are stored.
const MOST: usize = 128;
/// How long a pod may wait for a node before the job lets an exclusion go: a cluster that grows needs minutes to bring
/// another node.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Stores the failures of these pods, of a job whose replicas are replaced one by one, as far as they count against
/// their nodes.
pub(crate) fn count(world: &World<'_>, status: &mut JobStatus, failed: &[&Pod]) {
    if world.job.spec.run_policy.node_exclusion.is_none() || world.restarts_as_a_whole() {
        return;
    }
    let counted = failed.iter().filter(|pod| pod.failure_class().may_be_the_nodes());
    let failures = counted.filter_map(|pod| {
        Some(NodeFailure {
            node: pod.failure.as_ref()?.node.clone()?,
            time: stored_time(pod.finished_at.unwrap_or(world.now)),
            pod: pod.name.clone(),
            class: pod.failure_class().to_string(),
        })
    });
    status.node_failures.extend(failures);
}

/// Stores the failures by which attempts ended that others have followed, as far as they count against their nodes. A
/// cause that is seen after that takes the place of what was stored.
pub(crate) fn count_attempts(world: &World<'_>, stored: &JobStatus, status: &mut JobStatus) {
    if world.job.spec.run_policy.node_exclusion.is_none() {
        return;
    }
    let failure = |of: &JobStatus, number: i32| {
        let attempt = of.attempts.iter().find(|attempt| attempt.number == number);
        attempt.filter(|_| number < of.attempt()).and_then(of_attempt)
    };
    let numbers: Vec<i32> = status.attempts.iter().map(|attempt| attempt.number).collect();
    for number in numbers {
        let (known, now) = (failure(stored, number), failure(status, number));
        if known != now {
            status.node_failures.retain(|failure| Some(failure) != known.as_ref());
            status.node_failures.extend(now);
        }
    }
}

/// The failure that ended the attempt, if the job started again because of it and it counts against its node.
fn of_attempt(attempt: &Attempt) -> Option<NodeFailure> {
    let restarted = attempt.why.as_deref() == Some(ConditionType::Restarting.as_str());
    let failure = attempt.first_failure.as_ref().filter(|_| restarted)?;
    let class = failure.class.as_deref().and_then(FailureClass::parse);
    Some(NodeFailure {
        node: failure.node.clone()?,
        time: failure.finished_at.clone().or_else(|| attempt.ended.clone())?,
        pod: failure.pod.clone(),
        class: class.filter(|class| class.may_be_the_nodes())?.to_string(),
    })
}

/// Writes which nodes are excluded now, and forgets what is over. Says what is new.
#[must_use]
pub(crate) fn refresh(world: &World<'_>, status: &mut JobStatus) -> Vec<Event> {
    let Some(policy) = world.job.spec.run_policy.node_exclusion else {
        status.node_failures.clear();
        status.excluded_nodes.clear();
        return Vec::new();
    };
    let failures = &mut status.node_failures;
    failures.retain(|failure| end(policy, &failure.time).is_some_and(|end| end > world.now));
    failures.sort_by(|a, b| a.time.cmp(&b.time));
    failures.drain(..failures.len().saturating_sub(MOST));
    let excluded = excluded(policy, failures);
    let before = std::mem::replace(&mut status.excluded_nodes, excluded);
    let known: BTreeSet<&str> = before.iter().map(|node| node.name.as_str()).collect();
    let new = status.excluded_nodes.iter();
    new.filter(|node| !known.contains(node.name.as_str()))
        .map(told)
        .collect()
}

/// The nodes with enough failures, those that failed last if they are too many, the first to come back first.
fn excluded(policy: NodeExclusion, failures: &[NodeFailure]) -> Vec<ExcludedNode> {
    let mut by_node: BTreeMap<&str, Vec<&NodeFailure>> = BTreeMap::new();
    for failure in failures {
        by_node.entry(&failure.node).or_default().push(failure);
    }
    let needed = usize::try_from(policy.after_failures).unwrap_or(1).max(1);
    let mut nodes: Vec<(&Time, ExcludedNode)> = by_node
        .into_iter()
        .filter_map(|(name, failures)| {
            // It comes back when so many are no longer within the window.
            let decisive = failures.iter().rev().nth(needed - 1)?;
            let node = ExcludedNode {
                name: name.to_owned(),
                until: stored_time(end(policy, &decisive.time)?),
                because: because(policy, &failures),
            };
            Some((&failures.last()?.time, node))
        })
        .collect();
    nodes.sort_by(|(a, one), (b, other)| (a, &one.until, &one.name).cmp(&(b, &other.until, &other.name)));
    let max = usize::try_from(policy.max).unwrap_or(0);
    let surplus = nodes.len().saturating_sub(max);
    let mut kept: Vec<_> = nodes.into_iter().skip(surplus).map(|(_, node)| node).collect();
    kept.sort_by(|a, b| (&a.until, &a.name).cmp(&(&b.until, &b.name)));
    kept
}

fn because(policy: NodeExclusion, failures: &[&NodeFailure]) -> String {
    let last = failures
        .last()
        .map(|last| format!(", the last of {} ({})", last.pod, last.class));
    let plural = if failures.len() == 1 { "" } else { "s" };
    format!(
        "{} failure{plural} within {} s{}",
        failures.len(),
        policy.window_seconds,
        last.unwrap_or_default()
    )
}

fn told(node: &ExcludedNode) -> Event {
    let (name, Time(until), because) = (&node.name, &node.until, &node.because);
    Event {
        warning: true,
        reason: reason::NODE_EXCLUDED,
        message: format!("New pods do not go to node {name} until {until}: {because}."),
    }
}

fn end(policy: NodeExclusion, Time(failure): &Time) -> Option<Timestamp> {
    let window = SignedDuration::from_secs(policy.window_seconds.into());
    failure.checked_add(window).ok()
}

/// Lets the exclusion go that ends first, if a pod that was built with it has waited for a node for too long.
#[must_use]
pub(crate) fn relent(world: &World<'_>, status: &mut JobStatus) -> Option<Event> {
    let first = status.excluded_nodes.first()?.name.clone();
    let built_now = |trouble: &Trouble| trouble.excludes.iter().all(|node| excludes(status, node));
    let mut pods = unschedulable(world).filter(|(_, trouble)| trouble.excludes.contains(&first) && built_now(trouble));
    let (pod, _) = pods.find(|(_, trouble)| trouble.since.is_some_and(|since| since + PATIENCE <= world.now))?;
    status.excluded_nodes.remove(0);
    status.node_failures.retain(|failure| failure.node != first);
    Some(Event {
        warning: true,
        reason: reason::NODE_READMITTED,
        message: format!(
            "Node {first} is excluded no longer: pod {} cannot be scheduled without it, or at all, for {} s.",
            pod.name,
            PATIENCE.as_secs()
        ),
    })
}

/// Deletes pods that no node can take and that were built without a node that is excluded no longer. They have never
/// run, and are created again.
#[must_use]
pub(crate) fn outdated(world: &World<'_>) -> Vec<Action> {
    let stored = world.job.status.as_ref();
    let is_over = |node: &String| stored.is_none_or(|status| !excludes(status, node));
    let pods = unschedulable(world).filter(|(_, trouble)| trouble.excludes.iter().any(is_over));
    let counted = world.counted();
    let pods = pods.filter(|(pod, _)| !counted.contains(pod) && !world.is_of_ended_attempt(pod));
    pods.map(|(pod, _)| Action::delete_pod(pod)).collect()
}

/// The node of the pod, if it is excluded. A pod stays there, but does not start again there.
#[must_use]
pub(crate) fn excluded_node<'a>(world: &World<'a>, pod: &'a Pod) -> Option<&'a str> {
    let node = pod.node.as_deref()?;
    let status = world.job.status.as_ref()?;
    excludes(status, node).then_some(node)
}

fn excludes(status: &JobStatus, node: &str) -> bool {
    status.excluded_nodes.iter().any(|excluded| excluded.name == node)
}

fn unschedulable<'a>(world: &World<'a>) -> impl Iterator<Item = (&'a Pod, &'a Trouble)> {
    let pods = world.desired_pods();
    let pods = pods.filter(|(_, pod)| !pod.terminating && !pod.finished());
    let troubled = pods.filter_map(|(_, pod)| Some((pod, pod.trouble.as_deref()?)));
    troubled.filter(|(_, trouble)| trouble.reason == reason::UNSCHEDULABLE)
}

/// When the next exclusion ends, or is let go.
#[must_use]
pub(crate) fn next(world: &World<'_>, status: &JobStatus) -> Option<Duration> {
    let first = status.excluded_nodes.first()?;
    let waits = unschedulable(world).filter(|(_, trouble)| trouble.excludes.contains(&first.name));
    let patience = waits.filter_map(|(_, trouble)| trouble.since?.checked_add(PATIENCE).ok());
    let left = patience
        .chain([first.until.0])
        .map(|time| time.duration_since(world.now));
    left.filter_map(|left| Duration::try_from(left).ok())
        .filter(|left| !left.is_zero())
        .min()
}
