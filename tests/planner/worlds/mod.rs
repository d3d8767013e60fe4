//! Small worlds, each searched to its end: two replicas, at most a failure, a disruption, a mishap, a crash of the
//! operator and an edit or two, in every order in which they can happen between any two writes of the operator, with
//! watches as late as they can be. The laws hold in every state, and from every state the job comes to rest.
//!
//! Own, and not a model checker off the shelf: those find a law that is broken, and none can say that from every state a
//! state of rest is reached.

mod model;
mod search;
mod state;
mod steps;
mod world;
mod writes;

use std::time::Instant;

use serde_json::json;

use crate::api::{CleanPodPolicy, PyTorchJob, RawJson, Replica, ReplicaType};
use crate::support::fixture::{JobBuilder, elastic_workers, master_and_workers, workers};

use model::Model;
use search::Search;
use world::{TICK, World};

/// Searches a world with what may happen in it, more of it when `SMALL_WORLDS` says so, and checks that the search has
/// not become smaller than it was.
fn explore(world: World, at_least: usize) {
    let more = std::env::var("SMALL_WORLDS").ok().and_then(|more| more.parse().ok());
    let begun = Instant::now();
    let search = Search::all(&mut Model::new(world.larger(more.unwrap_or(0))));
    let (states, rests) = (search.len(), search.at_rest());
    println!(
        "{states} states, {rests} of them at rest, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(
        states >= at_least,
        "only {states} states were found, of at least {at_least}"
    );
}

fn pair(job: JobBuilder) -> World {
    World::new(
        job,
        [
            Replica::new(ReplicaType::Master, 0),
            Replica::new(ReplicaType::Worker, 0),
        ],
    )
}

fn crew(job: JobBuilder) -> World {
    World::new(
        job,
        [
            Replica::new(ReplicaType::Worker, 0),
            Replica::new(ReplicaType::Worker, 1),
        ],
    )
}

/// A Master and a Worker with this policy, one restart allowed.
fn policy(policy: &str) -> JobBuilder {
    let roles = [ReplicaType::Master, ReplicaType::Worker].into_iter();
    roles
        .fold(master_and_workers(1), |job, role| job.restart(role, policy))
        .policy("backoffLimit", 1)
}

fn suspend(job: &mut PyTorchJob) {
    job.spec.run_policy.suspend = Some(true);
}

fn resume(job: &mut PyTorchJob) {
    job.spec.run_policy.suspend = Some(false);
}

fn deadline(job: &mut PyTorchJob) {
    job.spec.active_deadline_seconds = Some(TICK);
}

fn no_restarts(job: &mut PyTorchJob) {
    job.spec.run_policy.backoff_limit = Some(0);
}

fn ttl(job: &mut PyTorchJob) {
    job.spec.ttl_seconds_after_finished = Some(5);
}

fn clean_all(job: &mut PyTorchJob) {
    job.spec.clean_pod_policy = Some(CleanPodPolicy::All.into());
}

fn one_worker(job: &mut PyTorchJob) {
    scale(job, 1);
}

fn two_workers(job: &mut PyTorchJob) {
    scale(job, 2);
}

fn scale(job: &mut PyTorchJob, workers: i32) {
    let worker = job.spec.pytorch_replica_specs.get_mut(ReplicaType::Worker.key());
    worker.expect("there are workers").replicas = Some(workers);
}

/// Resumes the job with other templates.
fn resume_with_another_image(job: &mut PyTorchJob) {
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "train:2" }] } });
    for replica in job.spec.pytorch_replica_specs.values_mut() {
        replica.template = RawJson::new(&template).expect("a template is JSON");
    }
    resume(job);
}

#[test]
fn a_failure_a_crash_and_a_lost_answer() {
    explore(pair(policy("OnFailure")).fail(1, &[1]).mishaps(1), 17_000);
}

#[test]
fn failures_beyond_the_limit_in_pods_and_in_place() {
    explore(pair(policy("OnFailure")).fail(2, &[1]).in_place(), 83_000);
}

#[test]
fn exit_codes_of_the_program_and_of_signals() {
    explore(pair(policy("ExitCode")).fail(2, &[1, 137]), 11_000);
}

#[test]
fn a_failure_under_never_with_all_pods_cleaned_up() {
    let job = policy("Never").policy("cleanPodPolicy", "All");
    explore(pair(job).fail(1, &[1]).mishaps(1), 34_000);
}

#[test]
fn a_failure_under_never_with_running_pods_cleaned_up() {
    let job = policy("Never").policy("cleanPodPolicy", "Running");
    explore(pair(job).fail(1, &[1]).disrupt(1), 48_000);
}

#[test]
fn workers_without_a_master() {
    explore(
        crew(
            workers(2)
                .restart(ReplicaType::Worker, "OnFailure")
                .policy("backoffLimit", 1),
        )
        .fail(1, &[1])
        .disrupt(1),
        75_000,
    );
}

#[test]
fn the_whole_job_restarts() {
    explore(
        pair(policy("OnFailure").policy("restartScope", "Job")).fail(2, &[1]),
        10_000,
    );
}

#[test]
fn the_whole_job_restarts_and_is_suspended() {
    explore(
        pair(policy("OnFailure").policy("restartScope", "Job"))
            .fail(1, &[1])
            .edit(suspend),
        130_000,
    );
}

#[test]
fn the_whole_crew_restarts() {
    let job = workers(2)
        .restart(ReplicaType::Worker, "OnFailure")
        .policy("backoffLimit", 1)
        .policy("restartScope", "Job");
    explore(crew(job).fail(1, &[1]).disrupt(1), 98_000);
}

#[test]
fn drained_and_deleted_pods() {
    explore(pair(policy("Never")).disrupt(1).mishaps(1), 99_000);
}

#[test]
fn late_services() {
    explore(pair(policy("Never")).disrupt(1).late_services().no_crash(), 7_200);
}

#[test]
fn suspended_at_any_time_while_a_pod_fails() {
    explore(pair(policy("OnFailure")).edit(suspend).fail(1, &[1]), 110_000);
}

#[test]
fn suspended_and_resumed_at_any_time() {
    explore(pair(policy("Never")).edit(suspend).edit(resume), 160_000);
}

#[test]
fn born_suspended_and_resumed() {
    explore(
        pair(policy("Never").policy("suspend", true)).edit(resume).mishaps(1),
        15_000,
    );
}

#[test]
fn suspended_and_resumed_with_another_image() {
    explore(
        pair(policy("Never")).edit(suspend).edit(resume_with_another_image),
        180_000,
    );
}

#[test]
fn suspended_with_a_lost_answer() {
    explore(pair(policy("Never")).edit(suspend).mishaps(1).no_crash(), 69_000);
}

#[test]
fn a_deadline_set_at_any_time() {
    explore(pair(policy("OnFailure")).edit(deadline).ticks(1), 41_000);
}

#[test]
fn a_limit_lowered_at_any_time() {
    explore(pair(policy("OnFailure")).edit(no_restarts).fail(2, &[1]), 64_000);
}

#[test]
fn a_time_to_live_set_at_any_time() {
    explore(pair(policy("Never")).edit(ttl).ticks(1).fail(1, &[1]), 68_000);
}

#[test]
fn a_clean_up_asked_for_at_any_time() {
    explore(pair(policy("Never")).edit(clean_all).fail(1, &[1]), 29_000);
}

#[test]
fn scaled_down_and_up() {
    explore(
        crew(elastic_workers(2, 1, 2).restart(ReplicaType::Worker, "OnFailure"))
            .edit(one_worker)
            .edit(two_workers),
        51_000,
    );
}

#[test]
fn scaled_down_while_a_worker_fails() {
    explore(
        crew(elastic_workers(2, 1, 2).restart(ReplicaType::Worker, "OnFailure"))
            .edit(one_worker)
            .fail(1, &[1]),
        38_000,
    );
}

#[test]
fn deleted_at_any_time() {
    explore(pair(policy("Never")).delete().no_crash(), 63_000);
}
