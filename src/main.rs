//! The binary: an allocator, and the command line.

use std::process::ExitCode;

use pytorchjob_operator::cli;

/// Gives memory back after a burst, which the C library's allocator does badly.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
