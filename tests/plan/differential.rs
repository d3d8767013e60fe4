//! The differential law of editing: a job edited step by step into a state is like a job created in that state, or the
//! edit was refused.

use std::num::NonZero;
use std::thread;

use crate::support::differential::admission::Admission;
use crate::support::differential::simulation::Operator;
use crate::support::differential::walk::{Tally, Violation, walk};
use crate::support::differential::{STEPS, seeds};

/// Transitions that must have been tried.
const TRANSITIONS: usize = 2_000;

/// Walks from every seed, on as many threads as there are processors.
fn walks(seeds: &[u64]) -> Vec<Result<Tally, Box<Violation>>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let some = |nth: usize| {
        let (definitions, operator) = ([Admission::checked_in(), Admission::preserving()], Operator::real());
        let mine = seeds.iter().skip(nth).step_by(threads);
        // With any number of threads, a seed walks under the same definition.
        mine.map(|&seed| walk(&definitions[usize::from(seed % 2 == 1)], &operator, seed, STEPS))
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
