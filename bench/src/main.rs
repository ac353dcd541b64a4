//! The program behind `make bench`: measures, prints the table, and writes JSON and plots.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bench::{Scale, measure};
use clap::Parser;
use tokio::process::Command;

/// Measure Payonce beside the bare database, on a private Postgres of this run. Nothing else should
/// run meanwhile.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = "Needs api, worker and simgateway beside it; make bench builds them.")]
struct Args {
    /// Measure with 10,000 payments stored at most
    #[arg(long)]
    quick: bool,
    /// Where the results go [default: bench/results/<time>]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

// One thread: the load generator takes as little as it can from what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let scale = if args.quick { Scale::quick() } else { Scale::full() };
    let beside = std::env::current_exe()?.parent().context("no directory")?.to_owned();
    let programs = move |name: &str| Command::new(beside.join(name));
    // /tmp may be memory, where a commit costs nothing.
    let directory = PathBuf::from(format!("/var/tmp/payonce-bench-{}", std::process::id()));

    let report = Box::pin(measure(&scale, &programs, directory)).await?;
    let now = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("bench/results/{now}")));
    report.write(&out)?;
    let table = report.table();
    writeln!(std::io::stdout(), "{table}\nreport.json, table.txt and plots are in {}", out.display())?;
    Ok(())
}
