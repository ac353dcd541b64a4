//! One program that can be any of Payonce's processes, so that tests of a crash need a single build. The
//! first argument says which. Other first arguments are for the command line, which starts itself again for
//! some commands. As `settings <program>` it only prints how that program understands its environment, and as
//! `unseen <directory>` which answers of the contract no test has seen that left its notes there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use terminal::program;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    match arguments.peek().and_then(|role| role.to_str()) {
        Some("api") => program::called(&program::API, arguments.skip(1), api::main),
        Some("worker") => program::called(&program::WORKER, arguments.skip(1), worker::main),
        Some("simgateway") => program::called(&program::SIMGATEWAY, arguments.skip(1), simgateway::main),
        Some("payonce") => cli::run(arguments),
        Some("unseen") => print_unseen(arguments.nth(1)),
        Some("settings") => print_settings(arguments.nth(1).and_then(|program| program.into_string().ok())),
        _ => cli::main(),
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what a person reads")]
fn print_unseen(notes: Option<OsString>) -> ExitCode {
    match tests::contract::unseen(&PathBuf::from(notes.unwrap_or_default())) {
        Ok(unseen) if unseen.is_empty() => {
            println!("the tests have seen every answer of the contract");
            ExitCode::SUCCESS
        }
        Ok(unseen) => {
            println!("no test has seen these answers of the contract (operation, status, code):");
            unseen.iter().for_each(|entry| println!("  {entry}"));
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("cannot read the notes: {why}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what a test reads")]
fn print_settings(program: Option<String>) -> ExitCode {
    let settings = match program.as_deref() {
        Some("api") => api::Settings::from_env().map(|it| format!("{it:#?}")).map_err(anyhow::Error::from),
        Some("worker") => {
            worker::Settings::from_env().map(|it| format!("{it:#?}")).map_err(anyhow::Error::from)
        }
        Some("simgateway") => simgateway::Settings::from_env().map(|it| format!("{it:#?}")),
        other => Err(anyhow::anyhow!("no program {other:?} has settings")),
    };
    match settings {
        Ok(settings) => {
            println!("{settings}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}
