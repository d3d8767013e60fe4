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

use std::num::NonZero;
use std::{env, thread};

use crate::admission::Admission;
use crate::simulation::Operator;
use crate::walk::{Tally, Violation, walk};

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

#[test]
fn zz_timing() {
    use std::time::Instant;
    let t = Instant::now();
    let (admission, operator) = (Admission::checked_in(), Operator::real());
    println!("admission {:?}", t.elapsed());
    let mut dice = dice::Dice::new(3);
    for _ in 0..6 {
        let base = generator::base(&mut dice, "ns");
        let t = Instant::now();
        let x = admission.admit(base.clone(), None).unwrap();
        println!("admit create {:?}", t.elapsed());
        let t = Instant::now();
        let mut y = x.clone();
        y["spec"]["backoffLimit"] = 3.into();
        drop(admission.admit(y, Some(&x)));
        println!("admit update {:?}", t.elapsed());
        let t = Instant::now();
        let mut sim = simulation::Simulation::create(&admission, &operator, true, &base).unwrap();
        println!("create {:?}", t.elapsed());
        let t = Instant::now();
        sim.rest().unwrap();
        println!("rest {:?}", t.elapsed());
        let t = Instant::now();
        let tw = law::twin(&sim).unwrap();
        println!("twin {:?}", t.elapsed());
        let t = Instant::now();
        law::compare(&law::image(&sim), &law::image(&tw)).unwrap();
        println!("image {:?}", t.elapsed());
    }
}
