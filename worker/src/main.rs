//! The worker as a program of its own; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main()
}
