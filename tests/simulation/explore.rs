//! Many runs, and what to make of the first that fails.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::run::run;
use super::schedule::Schedule;
use crate::defects::{Defect, bring_back};

/// The number that an environment variable holds.
pub(super) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs all these seeds on all cores, with a defect or without, until one fails, and tells of it, made as small as it
/// gets.
pub(super) fn explore(seeds: Range<u64>, defect: Option<Defect>) -> Option<String> {
    let failed = search(seeds, defect, &[""]);
    let mut told = String::new();
    for (seed, law) in &failed {
        let _infallible = write!(told, "{}", shrunk(&Schedule::draw(*seed), law));
    }
    (!failed.is_empty()).then_some(told)
}

/// The first seeds that break one of these laws, and how. With a defect other laws break as well.
pub(super) fn search(seeds: Range<u64>, defect: Option<Defect>, laws: &[&str]) -> Vec<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Vec<(u64, String)>> = Mutex::default();
    let limit = usize::try_from(number("FAILURES").unwrap_or(1)).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                bring_back(defect);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= limit {
                        break;
                    }
                    let broken = run(&Schedule::draw(seed), false, false).broken;
                    if let Some(law) = broken.filter(|broken| laws.iter().any(|law| broken.contains(law))) {
                        failed.lock().unwrap().push((seed, law));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

/// A failure with only the steps that it takes.
fn shrunk(schedule: &Schedule, law: &str) -> String {
    let (mut smallest, mut law) = (schedule.clone(), law.to_owned());
    let mut at = 0;
    while at < smallest.steps.len() {
        let mut less = smallest.clone();
        less.steps.remove(at);
        match run(&less, false, false).broken {
            Some(broken) => (smallest, law, at) = (less, broken, 0),
            None => at += 1,
        }
    }
    let steps: Vec<_> = smallest.steps.iter().map(|(number, ..)| number.to_string()).collect();
    format!(
        "a law is broken: {law}\n{smallest}replay: SEED={} STEPS={} cargo test --lib simulation::replay -- --nocapture\n",
        schedule.seed,
        steps.join(",")
    )
}
