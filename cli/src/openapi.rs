//! `payonce openapi`: the contract of the HTTP API, for whoever generates a client.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Print the contract of the HTTP API, as a document of OpenAPI 3.1
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(after_help = "\
Example:
  payonce openapi > openapi.json

A running API has the same document at /openapi.json, and a page of it at /docs.

Exit codes: 0 printed, 1 failed, 2 called wrongly.")]
pub(crate) struct Args {}

/// Prints the document.
pub(crate) fn run() -> Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(api::openapi().as_bytes()).and_then(|()| stdout.flush());
    written.context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
