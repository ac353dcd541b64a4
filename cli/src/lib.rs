//! The payonce command line.
//!
//! There is one file per command. The answer of a command goes to standard output. Everything else, progress
//! and errors included, goes to standard error.
//!
//! Exit codes of every command: 0 done, 1 failed, 2 called wrongly; 3, where a command says so, left to
//! a person.

mod breaks;
mod check;
mod completions;
mod corrections;
mod dead_letters;
mod dev;
mod doors;
mod gateway;
mod keys;
mod ledger;
mod load;
mod migrate;
mod moved;
mod openapi;
mod orphans;
mod pages;
mod rebuild;
mod reconcile;
mod recovery;
mod refunds;
mod restored;
mod reviews;
mod rules;
mod seed;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chaos::service;
use clap::{CommandFactory as _, Parser, Subcommand};
use terminal::progress;

/// Durable payment jobs: run them, look after them, prove them.
#[derive(Parser)]
#[command(
    name = "payonce",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 called wrongly.\nStart with: payonce dev"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Dev(dev::Args),
    Migrate(migrate::Args),
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    Gateway(gateway::Command),
    Load(load::Args),
    #[command(subcommand)]
    Check(check::Command),
    Rebuild(rebuild::Args),
    Restored(restored::Args),
    Moved(moved::Args),
    #[command(subcommand)]
    Orphans(orphans::Command),
    Reconcile(reconcile::Args),
    Chaos(chaos::Args),
    #[command(subcommand)]
    Service(service::Command),
    Verify(verify::Args),
    #[command(subcommand)]
    Recovery(recovery::Command),
    #[command(subcommand)]
    Breaks(breaks::Command),
    Corrections(corrections::Args),
    #[command(subcommand, alias = "dlq")]
    DeadLetters(dead_letters::Command),
    #[command(subcommand)]
    Refunds(refunds::Command),
    #[command(subcommand)]
    Reviews(reviews::Command),
    #[command(subcommand)]
    Rules(rules::Command),
    #[command(subcommand)]
    Ledger(ledger::Command),
    Seed(seed::Args),
    Completions(completions::Args),
    Openapi(openapi::Args),
}

/// Runs the whole program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the whole program. The first of `arguments` is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help that was asked for is an answer as well. Where nobody reads it, nothing can be done
            // about it.
            let _ = answer.print();
            return u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // This command has a runtime of its own, and reads its settings itself.
    if let Command::Service(command) = cli.command {
        return service::run(command);
    }
    if let Err(why) = shared::platform::config::load() {
        progress::say(&format!("error: {why}"));
        return ExitCode::FAILURE;
    }
    let done = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(execute(cli.command)));
    match done {
        Ok(code) => code,
        Err(error) => {
            progress::say(&format!("error: {}", in_one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Dev(args) => Box::pin(dev::run(args)).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Keys(command) => keys::run(command).await,
        Command::Gateway(command) => gateway::run(command).await,
        Command::Load(args) => load::run(args).await,
        Command::Check(command) => check::run(command).await,
        Command::Rebuild(args) => Box::pin(rebuild::run(args)).await,
        Command::Restored(args) => Box::pin(restored::run(args)).await,
        Command::Moved(args) => Box::pin(moved::run(args)).await,
        Command::Orphans(command) => orphans::run(command).await,
        Command::Reconcile(args) => reconcile::run(args).await,
        Command::Chaos(args) => Box::pin(chaos::run(args)).await,
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Openapi(openapi::Args {}) => openapi::run(),
        Command::Service(_) => unreachable!("a service has a runtime of its own"),
        Command::Verify(args) => Box::pin(verify::run(args)).await,
        Command::Recovery(command) => recovery::run(command).await,
        Command::Breaks(command) => breaks::run(command).await,
        Command::Corrections(args) => corrections::run(args).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Refunds(command) => refunds::run(command).await,
        Command::Reviews(command) => reviews::run(command).await,
        Command::Rules(command) => rules::run(command).await,
        Command::Ledger(command) => ledger::run(command).await,
        Command::Seed(args) => seed::run(args).await,
    }
}

/// The error and its causes, without those that the one before already quotes.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.ends_with(&cause) {
            continue;
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&cause);
    }
    told
}
