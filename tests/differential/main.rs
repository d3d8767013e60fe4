//! The differential law of editing: a job edited step by step into a state is like a job created in that state, or the edit was refused.

mod admission;
mod dice;
mod edit;
mod generator;
mod law;
mod schema_walk;
mod simulation;
mod template_edits;
mod walk;

use std::env;

use crate::admission::Admission;
use crate::simulation::Operator;
use crate::walk::{Tally, walk};

/// Steps of a walk.
const STEPS: usize = 40;
/// Walks; `DIFFERENTIAL_WALKS` sets another number.
const WALKS: u64 = 90;
/// Transitions that must have been tried.
const TRANSITIONS: usize = 2_000;

/// The seeds to walk from: the one in `DIFFERENTIAL_SEED`, or all.
fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
    number("DIFFERENTIAL_SEED").map_or_else(
        || (0..number("DIFFERENTIAL_WALKS").unwrap_or(WALKS)).collect(),
        |seed| vec![seed],
    )
}

#[test]
fn a_job_edited_into_a_state_is_like_one_created_in_it() {
    let (admission, operator) = (Admission::checked_in(), Operator::real());
    let mut tally = Tally::default();
    let mut violations = Vec::new();
    for seed in seeds() {
        match walk(&admission, &operator, seed, STEPS) {
            Ok(walked) => tally.add(walked),
            Err(violation) => violations.push(violation.to_string()),
        }
    }
    println!("{} transitions: {tally:?}", tally.transitions());
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
    assert!(seeds().len() == 1 || tally.transitions() >= TRANSITIONS, "{tally:?}");
}
