//! The differential law of editing: a job edited step by step into a state is like a job created in that state, or the edit was refused.

mod admission;
mod dice;
mod edit;
mod faults;
mod generator;
mod law;
mod live;
mod schema_walk;
mod simulation;
mod template_edits;
mod walk;

use std::num::NonZero;
use std::path::Path;
use std::{env, thread};

use futures::future::join_all;
use pytorchjob_test_cluster::{self as process, Cluster, not_applicable};

use crate::admission::Admission;
use crate::simulation::Operator;
use crate::walk::{Tally, Violation, walk};

/// Steps of a walk.
const STEPS: usize = 40;
/// Walks; `DIFFERENTIAL_WALKS` sets another number.
const WALKS: u64 = 90;
/// Transitions that must have been tried.
const TRANSITIONS: usize = 2_000;
/// Walks on the real API server, all at once.
const LIVE_WALKS: usize = 14;
/// Transitions that must have been tried there.
const LIVE_TRANSITIONS: usize = 300;

/// The seeds to walk from: the one in `DIFFERENTIAL_SEED`, or all.
fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
    number("DIFFERENTIAL_SEED").map_or_else(
        || (0..number("DIFFERENTIAL_WALKS").unwrap_or(WALKS)).collect(),
        |seed| vec![seed],
    )
}

/// Walks from every seed, on as many threads as there are processors.
fn walks(seeds: &[u64]) -> Vec<Result<Tally, Box<Violation>>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let some = |nth: usize| {
        let (admission, operator) = (Admission::checked_in(), Operator::real());
        let mine = seeds.iter().skip(nth).step_by(threads);
        mine.map(|&seed| walk(&admission, &operator, seed, STEPS))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|nth| scope.spawn(move || some(nth))).collect();
        let done = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a walk ends"));
        done.collect()
    })
}

#[test]
fn a_job_edited_into_a_state_is_like_one_created_in_it() {
    let (mut tally, mut violations) = (Tally::default(), Vec::new());
    for result in walks(&seeds()) {
        match result {
            Ok(walked) => tally.add(walked),
            Err(violation) => violations.push(violation.to_string()),
        }
    }
    println!("{} transitions: {tally:?}", tally.transitions());
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
    assert!(seeds().len() == 1 || tally.transitions() >= TRANSITIONS, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_api_server_and_operator_go_the_same_way() {
    let cluster = Cluster::shared().await;
    if !cluster.is_ours() {
        return not_applicable("needs an operator for all namespaces");
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_pytorchjob-operator"));
    let operator = process::Operator::start(binary, cluster.admin_kubeconfig(), &[]).unwrap();
    operator.ready().await.unwrap();
    let seeds: Vec<_> = seeds().into_iter().take(LIVE_WALKS).collect();
    let results = join_all(seeds.iter().map(|&seed| live::walk(cluster, seed, STEPS))).await;
    let (walked, failures): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut tally = Tally::default();
    walked.into_iter().flatten().for_each(|walked| tally.add(walked));
    println!("{} transitions: {tally:?}", tally.transitions());
    let failures: Vec<_> = failures.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(seeds.len() == 1 || tally.transitions() >= LIVE_TRANSITIONS, "{tally:?}");
}
