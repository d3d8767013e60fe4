//! The whole operator in a deterministic simulation.
//!
//! The real watches, cache, queue, requests, lease and events run on a simulated clock, against a simulated API server,
//! its garbage collector, nodes and users. A seed determines what happens: a job, what becomes of it, and which requests
//! get lost, come late or twice, which operator stops, for how long, between which two requests. Every write is held to
//! the laws when it reaches the server, and when all faults are over the job has to be as its spec says, and silent.
//!
//! A failure prints its seed and the few steps that it takes. To see what happens:
//!
//! ```text
//! SEED=17 cargo test --lib simulation::replay -- --nocapture
//! SEED=17 STEPS=2,5 cargo test --lib simulation::replay -- --nocapture
//! RUST_LOG=debug SEED=17 cargo test --lib simulation::replay -- --nocapture
//! DEFECT=Ghosts cargo test --lib simulation::every_defect -- --include-ignored --nocapture
//! SCHEDULES=1000000 cargo test --lib simulation::every_schedule -- --nocapture
//! ```

pub(crate) mod api_server;
mod explore;
mod jobs;
mod laws;
mod nodes;
mod policies;
mod process;
mod random;
mod run;
mod schedule;
mod wire;
mod world;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use self::explore::{explore, number, search};
use self::policies::Policies;
use self::run::run;
use self::schedule::{Restarts, Schedule, Shape, Step};
use crate::defects::Defect;

/// What the operator allocates with; a quarter of a run is allocation.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Schedules within which a defect has to be found.
const BUDGET: u64 = 2_000;

/// Schedules where `SCHEDULES` names no number: a build without optimization takes its time.
const SCHEDULES: u64 = 200;

#[test]
fn every_schedule_obeys_the_laws_and_comes_to_rest() {
    let schedules = number("SCHEDULES").unwrap_or(SCHEDULES);
    let first = number("FIRST").unwrap_or(0);
    assert!(schedules > 0, "nothing would be tested");
    if let Some(failure) = explore(first..first + schedules, None) {
        panic!("{failure}");
    }
}

/// What is brought back, and a part of how each law is told that it breaks.
const DEFECTS: [(Defect, &[&str]); 15] = [
    (
        Defect::ForgedChild,
        &["no pod of it has", "a job of another namespace controls it"],
    ),
    (
        Defect::Ghosts,
        &["does not run: ", "again and again for a job that is gone"],
    ),
    (Defect::LateList, &["was restored to an earlier state"]),
    (Defect::HalfOpenWatch, &["does not run: ", "was not acted upon"]),
    (Defect::DeletionByName, &["was deleted without its UID"]),
    (Defect::NoTimer, &["has passed unnoticed"]),
    (Defect::RefutedJob, &["for a version that was refuted"]),
    (Defect::StaleStandby, &["and the operator knew"]),
    (Defect::Recreation, &["again and again for a job that is gone"]),
    (Defect::LongPass, &["and the operator knew"]),
    (Defect::LateCount, &["before its failure was counted"]),
    (Defect::Unadmitted, &["before its gang was admitted"]),
    (Defect::NoNote, &["was asked again for attempt"]),
    (Defect::NoLimit, &["with a backoffLimit of"]),
    (
        Defect::UnseenEdit,
        &["is said to run with", "from before the templates were edited"],
    ),
];

#[test]
#[ignore = "takes minutes; make test runs it"]
fn every_defect_that_is_brought_back_is_found() {
    let mut missed = Vec::new();
    let only = std::env::var("DEFECT").unwrap_or_default();
    let chosen = DEFECTS.into_iter();
    let chosen: Vec<_> = chosen
        .filter(|(defect, _)| format!("{defect:?}").contains(&only))
        .collect();
    assert!(!chosen.is_empty(), "there is no defect {only}");
    for (defect, laws) in chosen {
        match search(0..BUDGET, Some(defect), laws).first() {
            Some((seed, broken)) => eprintln!("{defect:?} is found by seed {seed}: {broken}"),
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "not found within {BUDGET} schedules: {missed:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 1_000, 77_777] {
        let schedule = Schedule::draw(seed);
        let [one, other] = [(); 2].map(|()| run(&schedule, true, false).trace);
        assert!(one.len() > 20, "{one:?}");
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), other.len());
    }
}

/// One job, one operator, and these steps.
fn scheduled(seed: u64, workers: u32, deadline: Option<i64>, steps: &[(u64, Step)]) -> Schedule {
    let shape = Shape {
        master: workers == 0,
        workers,
        restart_policy: "Never",
        restarts: Restarts::Replica,
        backoff_limit: None,
        clean_pod_policy: Some("All"),
        deadline,
        ttl: None,
        elastic: false,
        suspended: false,
        policies: Policies::default(),
    };
    let steps = steps.iter().enumerate();
    Schedule {
        seed,
        shapes: vec![shape],
        gang: false,
        streams_lists: true,
        replicas: 1,
        steps: steps.map(|(number, (time, step))| (number, *time, 0, *step)).collect(),
    }
}

/// The watch of pods hangs while somebody deletes the pod, and later the history is gone: the operator learns by its own
/// deletion, and by nothing else, that there is none.
#[test]
fn a_job_that_ends_when_its_pod_is_gone_counts_no_active_pod() {
    let steps = [
        (3_000, Step::WatchDeaf(0, "pods")),
        (5_000, Step::DeletePod(0, true)),
        (6_000, Step::Compact),
    ];
    let schedule = scheduled(1, 0, Some(8), &steps);
    assert_eq!(run(&schedule, false, false).broken, None);
}

/// The watch shows late that a job is gone and another one of its name there. A read of the name shows the other one.
#[test]
fn a_job_created_again_and_suspended_gets_nothing_when_a_read_has_said_so_before_the_watch() {
    let steps = [
        (3_000, Step::WatchLate(0, "pytorchjobs", 25_000, 20_000)),
        (4_500, Step::Delete(None)),
        (5_500, Step::Recreate),
        (15_000, Step::Suspend(true)),
    ];
    for seed in 0..10 {
        let schedule = scheduled(seed, 4, None, &steps);
        assert_eq!(run(&schedule, false, false).broken, None, "seed {seed}");
    }
}

/// Each of its lives is long enough for a few requests, and the next one goes on from there.
#[test]
fn a_job_comes_to_run_under_an_operator_that_is_killed_three_times_a_second() {
    let crashes: Vec<_> = (2..100).map(|number| (300 * number, Step::Crash(0, 1))).collect();
    let outcome = run(&scheduled(1, 3, None, &crashes), true, false);
    assert_eq!(outcome.broken, None);
    let runs = |line: &&String| line.contains("/status ") && line.contains("PyTorchJobRunning");
    let told = outcome.trace.iter().find(runs).expect("the job runs");
    let at: u64 = told.trim_start().split(' ').next().unwrap().parse().unwrap();
    assert!(at < 15_000, "{told}");
}

#[test]
fn a_job_that_goes_while_its_status_is_written_again_is_left_alone() {
    let steps = [
        (500, Step::Slow(3_283, 40_000)),
        (5_894, Step::Label),
        (15_170, Step::Delete(Some("Orphan"))),
    ];
    for seed in 0..10 {
        let schedule = scheduled(seed, 60, None, &steps);
        assert_eq!(run(&schedule, false, false).broken, None, "seed {seed}");
    }
}

/// The watch shows that the job goes while the operator reads a service of it, after which it plans.
#[test]
fn a_job_that_goes_while_what_it_owns_is_read_is_left_alone() {
    let steps = [
        (500, Step::Slow(2_352, 40_000)),
        (822, Step::Suspend(true)),
        (5_358, Step::Freeze(0, 31_890)),
        (26_949, Step::Delete(Some("Foreground"))),
    ];
    for seed in 0..10 {
        let schedule = scheduled(seed, 60, None, &steps);
        assert_eq!(run(&schedule, false, false).broken, None, "seed {seed}");
    }
}

/// After a restore the list of the standby takes half a minute. Meanwhile it begins to lead, and the job that the list
/// then shows was suspended since by the replica that led before.
#[test]
fn a_job_that_a_list_from_before_the_take_over_shows_is_read_before_anything_is_created_for_it() {
    let steps = [
        (1_087, Step::Delete(None)),
        (1_976, Step::Restore(3)),
        (3_000, Step::WatchLate(1, "pytorchjobs", 25_000, 10_000)),
        (5_101, Step::Suspend(true)),
        (5_487, Step::Crash(0, 20_000)),
    ];
    for seed in 0..60 {
        let mut schedule = scheduled(seed, 3, None, &steps);
        schedule.replicas = 2;
        schedule.shapes[0].clean_pod_policy = Some("Running");
        assert_eq!(run(&schedule, false, false).broken, None, "seed {seed}");
    }
}

/// The replica that takes over knows a pod whose name another one has by now, and the watch that would say so hangs.
#[test]
fn a_pod_whose_name_another_one_has_is_not_asked_over_and_over_to_start_again() {
    let steps = [
        (1_500, Step::WatchDeaf(1, "pods")),
        (7_000, Step::Evict(1)),
        (8_000, Step::Freeze(0, 40_000)),
    ];
    for seed in 0..10 {
        let mut schedule = scheduled(seed, 2, None, &steps);
        schedule.replicas = 2;
        schedule.shapes[0].restart_policy = "OnFailure";
        schedule.shapes[0].restarts = Restarts::JobInPlace;
        let outcome = run(&schedule, true, false);
        assert_eq!(outcome.broken, None, "seed {seed}");
        let patches = |line: &&String| line.contains(" 1 (") && line.contains("PATCH /api/v1/");
        let asked = outcome.trace.iter().filter(patches).count();
        assert!((1..10).contains(&asked), "seed {seed}: asked {asked} times");
    }
}

/// The replica that takes over is shown a failed pod that the leader before it has counted and replaced.
#[test]
fn a_failure_that_the_leader_before_has_counted_is_not_counted_again() {
    let steps = [
        (1_500, Step::WatchLate(1, "pods", 10_000, 30_000)),
        (7_000, Step::Evict(1)),
        (8_000, Step::Terminate(0)),
    ];
    for seed in 0..10 {
        let mut schedule = scheduled(seed, 2, None, &steps);
        schedule.replicas = 2;
        schedule.shapes[0].restart_policy = "OnFailure";
        assert_eq!(run(&schedule, false, false).broken, None, "seed {seed}");
    }
}

/// Shows a run step by step: `SEED`, and `STEPS` if not all of them.
#[test]
fn replay() {
    let Some(seed) = number("SEED") else { return };
    let schedule = Schedule::draw(seed);
    let schedule = match std::env::var("STEPS") {
        Ok(steps) => schedule.only(
            &steps
                .split(',')
                .filter_map(|step| step.parse().ok())
                .collect::<Vec<_>>(),
        ),
        Err(_) => schedule,
    };
    eprint!("{schedule}");
    let filter: Targets = std::env::var("RUST_LOG").unwrap_or_default().parse().unwrap();
    let log = tracing_subscriber::fmt::layer()
        .without_time()
        .with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(log.with_filter(filter));
    let outcome = tracing::subscriber::with_default(log, || run(&schedule, true, true));
    assert_eq!(outcome.broken, None);
}
