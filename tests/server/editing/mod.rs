//! The edit contract: every edit of a job is enforced or refused, on a real API server.
//!
//! `matrix` holds the table from which `docs/editing.md` is written and every cell of which is exercised; the other
//! modules hold what a table cannot say: order in time, several editors at once, other ways to write than a merge
//! patch.

mod autoscaler;
mod concurrent;
mod matrix;
mod rig;
mod rules;
mod scale;
mod suspend;
mod warnings;
mod ways;
