//! The documentation against the program: tables of flags, metrics, permissions, fields, conditions and events are read
//! from the pages and compared with what they describe, and every link, file and test that a page names exists.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod api;
mod differences;
mod examples;
mod fields;
mod flags;
mod krew;
mod metrics;
mod operations;
mod references;
