//! The program `payonce`; see the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// A payment takes a tenth less CPU than with the allocator of glibc (docs/PERFORMANCE.md, "What limits it").
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
