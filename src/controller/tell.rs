//! Tells what happened: events and counters.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::JobStatus;
use crate::cache::{NamespacedName, Snapshot, identity};
use crate::controller::context::Context;
use crate::controller::events;
use crate::controller::job_ref::JobRef;
use crate::planner::{self, Count, Event};

/// Tells and counts what comes with a status whose write was not answered, now that `kept` shows whether it is stored.
pub(super) fn tell_late(context: &Context, job: &ObjectMeta, kept: Option<&JobStatus>, reference: &ObjectReference) {
    let [namespace, name, uid] = identity(job);
    let key = NamespacedName::new(namespace, name);
    let certain = context
        .index
        .jobs()
        .is_certain_at(&key, job.resource_version.as_deref());
    if let Some(write) = context.pacing.turned_out(uid, kept, certain) {
        tell(context, namespace, reference, &write.counts, write.events);
    }
}

/// Says what happened, once the status that shows it is stored.
pub(super) fn tell(
    context: &Context,
    namespace: &str,
    reference: &ObjectReference,
    counts: &[Count],
    events: Vec<Event>,
) {
    for count in counts {
        count_transition(context, namespace, *count);
    }
    publish(context, reference, events);
}

/// What is told of pods that went since the last pass.
pub(super) fn of_departures(context: &Context, job: &JobRef<'_>, owned: &Snapshot) -> Vec<Event> {
    let departures = context.index.departures();
    let lost = departures.disrupted.take(&job.id());
    let waits = planner::scales_down(job.object, &owned.pods);
    let stopped = departures.stopped.take_if(&job.id(), |pod| !(waits && pod.ours));
    let lost = events::of_departures(job.object, &lost);
    let stopped = planner::stops(job.object, &stopped);
    lost.into_iter().chain(stopped).collect()
}

/// Publishes events about an object.
pub(super) fn publish(context: &Context, regarding: &ObjectReference, events: Vec<Event>) {
    for event in events {
        context.publish(regarding, event);
    }
}

/// Counts what a status shows.
fn count_transition(context: &Context, namespace: &str, count: Count) {
    match count {
        Count::Job(step) => context.metrics.job(step, namespace),
        Count::Ran(after) => context.metrics.job_ran(after),
        Count::DeadlineExceeded(by) => context.metrics.deadline_exceeded(by),
        Count::Spent {
            on,
            seconds,
            gpu_seconds,
        } => context.metrics.job_spent(on.as_str(), seconds, gpu_seconds),
        Count::Lost { seconds, gpu_seconds } => context.metrics.job_lost(seconds, gpu_seconds),
        Count::PodsFailed(pods) => context.metrics.pods_failed(pods),
    }
}
