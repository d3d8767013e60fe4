//! `plan` and `validate` read any file to its end.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| pytorchjob_operator::fuzz::manifests(text));
