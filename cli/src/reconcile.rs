//! `payonce reconcile`: one reconciliation, now.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use shared::db;
use shared::reconciliation::{self, Counts, Report, Trigger};

use crate::migrate::connect;
use crate::{output, progress};

/// What it exits with if there is something for a person.
const FOR_A_PERSON: u8 = 3;

/// Compare the books with each other, repair the queue, and report
///
/// What every worker's schedule does now and then, over the whole ledger. Gives overdue payments a job, puts lost and
/// stray jobs right, and opens a break for each payment that the ledger does not agree with; money is never moved.
/// Safe to run at any time, also beside workers. Needs `DATABASE_URL`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce reconcile

Exit codes: 0 clean, or all repaired; 1 failed; 2 called wrongly; 3 found something for a person.")]
pub(crate) struct Args {
    /// Print one line of JSON: the report, and whether it needs a person
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let pool = connect().await?;
    db::require_migrated(&pool).await?;
    let reconciled = progress::during("reconciling", reconciliation::run(&pool, Trigger::Command)).await;
    let report = reconciled?.context("the run was taken for finished before it began")?;
    pool.close().await;
    if args.json {
        output::json(&as_json(&report)?)?;
    } else {
        print(&report)?;
    }
    Ok(if report.needs_a_person() { ExitCode::from(FOR_A_PERSON) } else { ExitCode::SUCCESS })
}

fn as_json(report: &Report) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(report)?;
    value["needs_a_person"] = json!(report.needs_a_person());
    Ok(value)
}

fn print(report: &Report) -> Result<()> {
    let findings = report.findings;
    let row = |what: &str, counts: Counts| {
        let Counts { checked, found, repaired, breaks } = counts;
        vec![
            what.to_owned(),
            checked.to_string(),
            found.to_string(),
            repaired.to_string(),
            breaks.to_string(),
        ]
    };
    output::table(
        &["", "CHECKED", "WRONG", "REPAIRED", "BREAKS OPENED"],
        &[
            row("overdue payments", findings.overdue),
            row("queue rows", findings.queue),
            row("ledger", findings.ledger),
        ],
    )?;
    output::line(if report.needs_a_person() {
        "the ledger differs from the payments: look at the open breaks"
    } else {
        "the books agree"
    })
}
