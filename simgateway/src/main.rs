//! The gateway as a program of its own; see the library.

use std::process::ExitCode;

use terminal::program;
use tikv_jemallocator::Jemalloc;

/// A payment takes a tenth less CPU than with the allocator of glibc (docs/PERFORMANCE.md, "What limits it").
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    program::called(&program::SIMGATEWAY, std::env::args_os().skip(1), simgateway::main)
}
