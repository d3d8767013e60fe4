//! `status.accounting`: what the time of a job was spent on. Ours.
//!
//! A period begins with the newest time that is stored, of a condition or of the start, and is added when it ends. So
//! it makes no difference who was there meanwhile, and nothing is written because time passes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::{Accounting, ConditionType, JobStatus, ReplicaType, Spent};
use crate::planner::amount::Amount;
use crate::planner::build::template;
use crate::planner::plan::{Count, Plan, Use};
use crate::planner::status::conditions::{finished, is_stalled, is_true, stored_time};
use crate::planner::world::World;

/// Adds the period that ends with this status, if one does.
pub(crate) fn keep(world: &World<'_>, stored: &JobStatus, status: &mut JobStatus, plan: &mut Plan) {
    let (before, after) = (spent_on(stored), spent_on(status));
    let edited = stored.observed_generation != status.observed_generation;
    // The next period would begin with a restart also where a job waits before and after it.
    let turned = before != after || (before.is_some() && begun(status) != begun(stored));
    if !(turned || edited && stored.accounting.is_some()) {
        return;
    }
    let known = stored.accounting.as_deref();
    let (mut accounting, gpus) = (known.cloned().unwrap_or_default(), gpus(world));
    let asked = known.map_or(gpus, |known| known.gpus);
    if !turned && gpus == asked {
        return;
    }
    let Time(now) = stored_time(world.now);
    let begun = begun(stored).unwrap_or(now);
    let seconds = now.duration_since(begun).as_secs().max(0);
    let lost = restarts(status) && !restarts(stored) || is_true(status, ConditionType::Failed);
    for (spent, amount) in [
        (&mut accounting.seconds, seconds),
        (&mut accounting.gpu_seconds, seconds.saturating_mul(asked)),
    ] {
        add(spent, before, amount);
        let attempt = spent.running - spent.ended;
        if lost {
            spent.lost = spent.lost.saturating_add(attempt);
        }
        if lost || after == Some(Use::Queued) {
            spent.ended = spent.running;
        }
    }
    accounting.gpus = gpus;
    accounting.since = (!turned).then(|| stored_time(world.now));
    accounting.goodput = share(&accounting.seconds, after.is_none());
    count(known, &accounting, before, plan);
    status.accounting = (accounting != Accounting::default()).then(|| Box::new(accounting));
}

/// [`Accounting::goodput`] of a status as of now, the period that has not ended included.
#[must_use]
pub fn goodput(status: &JobStatus, now: Timestamp) -> Option<String> {
    let mut spent = status
        .accounting
        .as_deref()
        .map(|known| known.seconds)
        .unwrap_or_default();
    let now_on = spent_on(status);
    if let Some(begun) = begun(status) {
        add(&mut spent, now_on, now.duration_since(begun).as_secs().max(0));
    }
    share(&spent, now_on.is_none())
}

/// What time is spent on in this status; nothing of a job that nobody has seen, and once it has finished.
fn spent_on(status: &JobStatus) -> Option<Use> {
    if finished(status) || !is_true(status, ConditionType::Created) {
        None
    } else if is_true(status, ConditionType::Suspended) {
        Some(Use::Queued)
    } else if !is_true(status, ConditionType::Running) {
        Some(Use::Waiting)
    } else if is_stalled(status) {
        Some(Use::Stalled)
    } else {
        Some(Use::Running)
    }
}

/// When the period began that goes on.
fn begun(status: &JobStatus) -> Option<Timestamp> {
    let conditions = status.conditions.iter();
    let turns = conditions.filter_map(|entry| entry.last_transition_time.as_ref());
    let resized = status
        .accounting
        .as_ref()
        .and_then(|accounting| accounting.since.as_ref());
    let times = turns.chain(&status.start_time).chain(resized);
    times.map(|Time(time)| *time).max()
}

fn restarts(status: &JobStatus) -> bool {
    is_true(status, ConditionType::Restarting)
}

fn add(spent: &mut Spent, on: Option<Use>, amount: i64) {
    let sum = match on {
        None => return,
        Some(Use::Queued) => &mut spent.queued,
        Some(Use::Waiting) => &mut spent.waiting,
        Some(Use::Running) => &mut spent.running,
        Some(Use::Stalled) => &mut spent.stalled,
    };
    *sum = sum.saturating_add(amount);
}

fn share(spent: &Spent, ended: bool) -> Option<String> {
    let held = spent
        .waiting
        .saturating_add(spent.running)
        .saturating_add(spent.stalled);
    let says = held > 0 && (spent.running > 0 || ended);
    says.then(|| format!("{}%", spent.running.saturating_mul(100) / held))
}

/// What is counted of the period that has ended, which was spent on `on`.
fn count(known: Option<&Accounting>, new: &Accounting, on: Option<Use>, plan: &mut Plan) {
    let of = |spent: &Spent| match on {
        None => 0,
        Some(Use::Queued) => spent.queued,
        Some(Use::Waiting) => spent.waiting,
        Some(Use::Running) => spent.running,
        Some(Use::Stalled) => spent.stalled,
    };
    let old = known.cloned().unwrap_or_default();
    let more = |new: i64, old: i64| u64::try_from(new - old).unwrap_or(0);
    let (seconds, gpu_seconds) = (
        more(of(&new.seconds), of(&old.seconds)),
        more(of(&new.gpu_seconds), of(&old.gpu_seconds)),
    );
    if let Some(on) = on.filter(|_| seconds > 0) {
        plan.counts.push(Count::Spent {
            on,
            seconds,
            gpu_seconds,
        });
    }
    let lost = more(new.seconds.lost, old.seconds.lost);
    if lost > 0 {
        plan.counts.push(Count::Lost {
            seconds: lost,
            gpu_seconds: more(new.gpu_seconds.lost, old.gpu_seconds.lost),
        });
    }
}

/// GPUs that all pods of the job ask for.
fn gpus(world: &World<'_>) -> i64 {
    let spec = &world.job.spec;
    let roles = ReplicaType::ALL.into_iter().zip(template::of_roles(spec));
    let of_role = roles.map(|(role, template)| {
        let of_pod = template.as_ref().map_or(0, gpus_of_pod);
        i64::from(spec.replicas(role)).saturating_mul(of_pod)
    });
    of_role.fold(0, i64::saturating_add)
}

fn gpus_of_pod(template: &Value) -> i64 {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let of_container = containers.into_iter().flatten().map(|container| {
        let resources = ["limits", "requests"].map(|kind| gpus_in(&container["resources"][kind]));
        resources.into_iter().find(|gpus| *gpus > 0).unwrap_or(0)
    });
    of_container.fold(0, i64::saturating_add)
}

fn gpus_in(amounts: &Value) -> i64 {
    let amounts = amounts.as_object().into_iter().flatten();
    let gpus = amounts.filter(|(resource, _)| resource.ends_with("/gpu"));
    gpus.filter_map(|(_, amount)| Amount::of(amount)?.whole())
        .fold(0, i64::saturating_add)
}
