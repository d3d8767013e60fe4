//! One run: a schedule from its begin to the rest after it, and what has to be so then.

use serde_json::Value;

use super::api_server::{Resource, finished};
use super::jobs::{CHILDREN, NAMESPACE, born};
use super::laws::{is_true, of_another_image, policy, replica_of, replicas, rests, terminal};
use super::nodes::{deleting, owner, pending_group, pods, running, still, uid};
use super::process::{Millis, wall};
use super::schedule::Schedule;
use super::world::{QUIET, World};

/// The latest that a job is as it should be after the last fault: a watch that hangs is noticed after a minute, a quota
/// that refused for half a minute is asked again within another one, and a container that was asked to start again has
/// two minutes and its grace period, after which its job may meet its startup deadline.
const REST: Millis = QUIET + 180_000;
/// How long nothing is written then.
const SILENCE: Millis = 70_000;
/// How long a job takes to end after its pods have.
const END: Millis = 20_000;

/// What came of a run.
pub(super) struct Outcome {
    /// The law that was broken.
    pub(super) broken: Option<String>,
    pub(super) trace: Vec<String>,
}

/// Runs a schedule.
pub(super) fn run(schedule: &Schedule, traces: bool, prints: bool) -> Outcome {
    let mut world = World::new(schedule, traces, prints);
    let result = live(&mut world);
    let trace = world.trace.take().unwrap_or_default();
    Outcome {
        broken: result.err().map(|law| format!("{law} (at {} ms)", world.now)),
        trace,
    }
}

fn live(world: &mut World) -> Result<(), String> {
    let jobs = 0..world.schedule.shapes.len();
    let mut births: Vec<_> = jobs.clone().map(|job| (born(&world.schedule, job), job)).collect();
    births.sort_unstable();
    for (time, job) in births {
        world.run_until(time)?;
        world.create_job(job);
    }
    world.run_until(REST)?;
    at_rest(world)?;
    world.run_until(REST + SILENCE)?;
    let begin = if expects_deadline(world) { REST + SILENCE } else { REST };
    if let Some((at, write)) = &world.last_write
        && *at > begin
    {
        return Err(format!("a settled job was written at {at} ms: {write}"));
    }
    let works = |job: &Value| !terminal(job) && !rests(job);
    if world.jobs().any(works) {
        jobs.filter(|job| world.job(*job).is_some_and(works))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|job| world.finish_job(job));
        world.run_until(REST + SILENCE + END)?;
        if world.jobs().any(works) {
            return Err("the job has not ended, although its pods have".into());
        }
        at_rest(world)?;
    }
    within_budget(world)
}

/// Whether a deadline or a TTL may end the silence.
fn expects_deadline(world: &World) -> bool {
    let limited = |job: &Value| {
        !policy(job, "activeDeadlineSeconds").is_null()
            || !job["status"]["startingSince"].is_null()
            || own_pods(world, uid(job)).into_iter().any(|pod| still(pod).is_some())
    };
    let expects = |job: &Value| limited(job) && !terminal(job) && !rests(job);
    world.jobs().any(expects)
}

/// No schedule costs more writes than its job and its steps explain.
fn within_budget(world: &World) -> Result<(), String> {
    let shapes = &world.schedule.shapes;
    let jobs = u32::try_from(shapes.len()).unwrap();
    let pods: u32 = shapes.iter().map(|shape| shape.workers + 1).sum();
    let steps = u32::try_from(world.schedule.steps.len()).unwrap();
    let budget = 12 * jobs + 6 * pods + steps * (10 * jobs + 5 * pods);
    if world.writes > budget {
        return Err(format!("{} writes, more than {budget}", world.writes));
    }
    Ok(())
}

/// What has to be so when nothing happens any more.
fn at_rest(world: &World) -> Result<(), String> {
    nothing_is_left(world)?;
    let mut jobs = world.jobs();
    jobs.try_for_each(|job| job_at_rest(world, job))
}

fn job_at_rest(world: &World, job: &Value) -> Result<(), String> {
    if deleting(job) {
        return Err("the deletion of the job does not come to its end".into());
    }
    has_its_gang(world, job)?;
    let own: Vec<&Value> = own_pods(world, uid(job));
    let unfinished = own.iter().filter(|pod| !finished(pod)).count();
    if own.iter().any(|pod| deleting(pod)) {
        return Err("a pod does not go".into());
    }
    if terminal(job) {
        return finished_job(world, job, own.len(), unfinished);
    }
    if active(job) != unfinished {
        return Err(format!(
            "{} pods are active, and the status says {}",
            unfinished,
            active(job)
        ));
    }
    if rests(job) {
        return match (own.len(), is_true(job, "Suspended")) {
            (0, true) => Ok(()),
            (pods, told) => Err(format!("a suspended job has {pods} pods; Suspended: {told}")),
        };
    }
    if let Some(seconds) = policy(job, "activeDeadlineSeconds").as_i64() {
        let start = job["status"]["startTime"].as_str().and_then(|time| time.parse().ok());
        let start: k8s_openapi::jiff::Timestamp = start.ok_or("a job that works has no startTime")?;
        if wall(world.now).as_second() > start.as_second() + seconds + 1 {
            return Err("the deadline has passed unnoticed".into());
        }
    }
    works(job, &own)
}

/// A job that works has a `PodGroup` where there are gangs, and no other has one.
fn has_its_gang(world: &World, job: &Value) -> Result<(), String> {
    let groups = world.server.store.all(Resource::named("podgroups"), NAMESPACE);
    let groups: Vec<_> = groups.filter(|group| owner(group) == Some(uid(job))).collect();
    let wanted = usize::from(world.schedule.gang && !terminal(job) && !rests(job));
    if groups.len() != wanted {
        return Err(format!(
            "there are {} PodGroups, and there should be {wanted}",
            groups.len()
        ));
    }
    match groups.iter().find(|group| pending_group(group)) {
        Some(_) => Err("a PodGroup is not admitted".into()),
        None => Ok(()),
    }
}

fn works(job: &Value, own: &[&Value]) -> Result<(), String> {
    let status = &job["status"];
    let completed = status["completedIndexes"].as_str().unwrap_or_default();
    for role in ["Master", "Worker"] {
        for index in 0..replicas(job, role) {
            let pod = own.iter().find(|pod| replica_of(pod) == Some((role, index)));
            let runs = pod.is_some_and(|pod| running(pod) || pod["status"]["phase"] == "Succeeded");
            let done = role == "Worker" && is_in(completed, index);
            if !runs && !done {
                return Err(format!(
                    "{role} {index} does not run: {}",
                    pod.map_or(&Value::Null, |pod| &pod["status"])
                ));
            }
        }
        let beyond = own
            .iter()
            .filter(|pod| replica_of(pod).is_some_and(|(of, index)| of == role && index >= replicas(job, role)));
        if beyond.count() > 0 {
            return Err(format!("there are more pods than {role} has replicas"));
        }
    }
    if let Some(older) = of_another_image(job, own.iter().copied()) {
        return Err(format!(
            "{} is left from before the templates were edited",
            older["metadata"]["name"]
        ));
    }
    if !is_true(job, "Running") {
        return Err(format!("all pods run, and the job does not: {}", status["conditions"]));
    }
    if status["observedGeneration"] != job["metadata"]["generation"] {
        return Err("an edit was not acted upon".into());
    }
    Ok(())
}

/// Whether intervals such as `0-2,5` have an index.
fn is_in(intervals: &str, index: u64) -> bool {
    intervals.split(',').any(|interval| {
        let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
        let bounds = first.parse().ok().zip(last.parse().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&index))
    })
}

fn finished_job(world: &World, job: &Value, own: usize, unfinished: usize) -> Result<(), String> {
    let done: k8s_openapi::jiff::Timestamp = job["status"]["completionTime"]
        .as_str()
        .and_then(|time| time.parse().ok())
        .ok_or("an outcome without completionTime")?;
    if let Some(seconds) = policy(job, "ttlSecondsAfterFinished").as_i64()
        && wall(world.now).as_second() > done.as_second() + seconds + 1
    {
        return Err("the TTL has passed unnoticed".into());
    }
    let left = match policy(job, "cleanPodPolicy").as_str() {
        Some("All") => own,
        Some("Running") => unfinished,
        None if is_true(job, "Failed") => unfinished,
        _ => 0,
    };
    if left > 0 {
        return Err(format!("{left} pods of a finished job are left"));
    }
    // Of pods that end one by one after the job only the last is worth a write.
    if active(job) < unfinished || (unfinished == 0 && active(job) > 0) {
        return Err(format!(
            "{unfinished} pods are active after the end, and the status says {}",
            active(job)
        ));
    }
    Ok(())
}

fn active(job: &Value) -> usize {
    let roles = job["status"]["replicaStatuses"].as_object().into_iter().flatten();
    let active = roles.map(|(_, counts)| counts["active"].as_u64().unwrap_or(0));
    usize::try_from(active.sum::<u64>()).unwrap()
}

fn own_pods<'a>(world: &'a World, job: &str) -> Vec<&'a Value> {
    pods(&world.server.store, NAMESPACE)
        .map(|(_, pod)| pod)
        .filter(|pod| owner(pod) == Some(job))
        .collect()
}

/// Of jobs that are gone nothing is left.
fn nothing_is_left(world: &World) -> Result<(), String> {
    for plural in CHILDREN {
        let mut objects = world.server.store.all(Resource::named(plural), "");
        let gone = |owner| world.jobs().all(|job| uid(job) != owner);
        let left = objects.find(|object| owner(object).is_some_and(gone));
        if let Some(left) = left {
            return Err(format!(
                "{plural} {} of a job that is gone is left",
                left["metadata"]["name"]
            ));
        }
    }
    Ok(())
}
