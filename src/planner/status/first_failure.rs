//! `status.firstFailure`: the failure of the job that caused the others.
//!
//! When one rank of a training ends, the others lose their connections and end too, some before the first one is seen
//! to have failed. So of failures that are seen together the one that explains the others is remembered, and when it
//! is seen later it takes the place of what was remembered.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{FailureClass, FirstFailure, ReplicaType, Standing, names};
use crate::planner::child::Pod;
use crate::planner::failure::Failure;
use crate::planner::status::conditions::stored_time;
use crate::planner::status::stalls;
use crate::planner::world::World;

/// How much later than what follows from it a cause may end: a process that runs out of memory may take a while to
/// write its core and to leave, and clocks of nodes differ.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What decides which of two failures came first: how well it explains the other, when it ended, and whether it says
/// much. The smaller one came first.
type Order = (Standing, Reverse<Option<Reverse<Timestamp>>>, bool);

fn order(class: FailureClass, ended: Option<Timestamp>) -> Order {
    (class.standing(), Reverse(ended.map(Reverse)), class.is_vague())
}

/// Remembers the first of these failures, of pods in the order of their replicas, unless one is known already.
pub(crate) fn remember(world: &World<'_>, known: &mut Option<FirstFailure>, failed: &[&Pod]) {
    let first = failed.iter().map(|pod| Ended::of(pod)).min_by_key(Ended::order);
    if let Some(first) = first.filter(|_| known.is_none()) {
        *known = Some(describe(world, &first));
    }
}

/// Puts the failure that caused the remembered one in its place, if it is seen only now: it ran at that time, nobody
/// ended it, and it ended earlier, or explains more and ended soon after.
pub(crate) fn correct(world: &World<'_>, known: &mut Option<FirstFailure>) {
    put_cause(world, known, |pod| Some(Ended::of(pod)));
}

/// The same for an attempt that began to run and was ended at these times, and whose pods go on in another: their
/// containers may have been started again since.
pub(crate) fn correct_earlier(
    world: &World<'_>,
    known: &mut Option<FirstFailure>,
    began: Timestamp,
    requested: Timestamp,
) {
    put_cause(world, known, |pod| {
        let ended = Ended::earlier(pod)?;
        let by_itself = ended.came_before(requested) || ended.is_killed_early(requested);
        (ended.finished > Some(began) && by_itself).then_some(ended)
    });
}

fn put_cause<'a>(world: &World<'a>, known: &mut Option<FirstFailure>, ended: impl Fn(&'a Pod) -> Option<Ended<'a>>) {
    let Some(first) = known else { return };
    let class = first.class.as_deref().and_then(FailureClass::parse);
    let (Some(class), Some(Time(at))) = (class, first.finished_at.clone()) else {
        return;
    };
    let others = world.pods.iter().filter(|pod| pod.name != first.pod);
    let causes = others.filter_map(ended).filter(|ended| ended.caused(class, at));
    if let Some(cause) = causes.min_by_key(Ended::order) {
        *known = Some(describe(world, &cause));
    }
}

/// How a pod, or its container that starts again in place, ended.
struct Ended<'a> {
    pod: &'a Pod,
    failure: Option<&'a Failure>,
    class: FailureClass,
    finished: Option<Timestamp>,
}

impl<'a> Ended<'a> {
    fn of(pod: &'a Pod) -> Self {
        Self {
            pod,
            failure: pod.failure.as_deref(),
            class: pod.failure_class(),
            finished: pod.finished_at,
        }
    }

    fn earlier(pod: &'a Pod) -> Option<Self> {
        let earlier = pod.in_place.as_ref()?.earlier.as_ref()?;
        Some(Self {
            pod,
            failure: Some(&earlier.failure),
            class: earlier.failure.class,
            finished: Some(earlier.finished_at),
        })
    }

    fn order(&self) -> Order {
        order(self.class, self.finished)
    }

    /// Whether it came before a failure of this class that ended at this time.
    fn caused(&self, class: FailureClass, ended: Timestamp) -> bool {
        let started = self.failure.and_then(|failure| failure.started_at);
        let ran = started.is_some_and(|started| started <= ended);
        let late = ended.checked_add(WINDOW).unwrap_or(ended);
        let soon = self.finished.is_some_and(|finished| finished <= late);
        ran && soon && self.by_itself() && self.order() < order(class, Some(ended))
    }

    /// Whether no deletion and no disruption has ended the pod.
    fn by_itself(&self) -> bool {
        let before_deletion = match self.pod.deletion_requested {
            None => !self.pod.terminating,
            Some(requested) => self.came_before(requested),
        };
        before_deletion && !self.pod.disrupted
    }

    /// Whether its container was killed while it had time to end what was asked for then: that did not kill it.
    fn is_killed_early(&self, requested: Timestamp) -> bool {
        let grace = self.pod.in_place.as_ref().map_or(0, |training| training.grace);
        let due = requested.checked_add(SignedDuration::from_secs(grace));
        let early = due.is_ok_and(|due| self.finished.is_some_and(|finished| finished < due));
        self.class == FailureClass::Killed && early
    }

    /// Whether it came before what was asked for at this time. In that second only what says why is believed.
    fn came_before(&self, requested: Timestamp) -> bool {
        let says_why = !self.class.is_vague();
        self.finished
            .is_some_and(|finished| finished < requested || (finished == requested && says_why))
    }
}

fn describe(world: &World<'_>, ended: &Ended<'_>) -> FirstFailure {
    let pod = ended.pod;
    let stall = stalls::cause_of(world, pod);
    let has_master = world.job.spec.replica(ReplicaType::Master).is_some();
    let failure = ended.failure.cloned().unwrap_or_default();
    let class = stall.as_ref().map(|_| names::STALLED.to_owned());
    let replica = world.replica_of(&pod.name);
    let number = |number: u32| i32::try_from(number).ok();
    FirstFailure {
        pod: pod.name.clone(),
        replica_type: replica.map(|replica| replica.type_.key().to_owned()),
        index: replica.and_then(|replica| number(replica.index)),
        rank: replica.and_then(|replica| number(replica.rank(has_master))),
        node: failure
            .node
            .or_else(|| pod.node.clone().filter(|_| stall.is_some()))
            .or_else(|| pod.disrupted_on().map(str::to_owned)),
        exit_code: failure.container.as_ref().map(|container| container.exit_code),
        container: failure.container.map(|container| container.name),
        reason: failure.reason,
        message: failure.message,
        class: class.or_else(|| Some(ended.class.to_string())),
        excerpt: failure.excerpt.or(stall),
        finished_at: ended.finished.map(stored_time),
    }
}
