//! Random edits of random jobs, in a simulation and against an admission like the API server's.

pub mod admission;
pub mod edit;
pub mod generator;
pub mod law;
pub mod schema_walk;
pub mod simulation;
pub mod template_edits;
pub mod walk;

use std::env;

/// Steps of a walk.
pub const STEPS: usize = 40;
/// Walks; `DIFFERENTIAL_WALKS` sets another number.
const WALKS: u64 = 90;

/// The seeds to walk from: the one in `DIFFERENTIAL_SEED`, or all.
pub fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
    number("DIFFERENTIAL_SEED").map_or_else(
        || (0..number("DIFFERENTIAL_WALKS").unwrap_or(WALKS)).collect(),
        |seed| vec![seed],
    )
}
