//! One program that can be any of Payonce's processes, so that tests of a crash need a single build: the first
//! argument says which. What is none of them is for the command line, which starts itself again for some commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    match arguments.peek().and_then(|role| role.to_str()) {
        Some("api") => api::main(),
        Some("worker") => worker::main(),
        Some("simgateway") => simgateway::main(),
        Some("payonce") => cli::run(arguments),
        _ => cli::main(),
    }
}
