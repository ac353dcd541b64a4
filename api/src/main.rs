//! The HTTP API as a program of its own; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    api::main()
}
