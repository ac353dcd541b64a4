//! `payonce reconcile`: one reconciliation, now.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use shared::database;
use shared::gateway::settings;
use shared::operations::reconciliation::{self, Counts, GatewayBooks, Report, Trigger};
use shared::payment::transition::Waits;
use terminal::{output, progress};
use tokio_util::sync::CancellationToken;

use crate::migrate::connect;

/// The exit code if there is something for a person.
const FOR_A_PERSON: u8 = 3;

/// Compare the books with each other and with the gateway's, repair the queue, and report
///
/// It does over all payments at once what a worker's schedule does now and then. It gives overdue payments a
/// job, and puts lost and stray jobs right. It opens a break wherever payments, their events, the ledger and
/// the gateway's journal contradict each other; money is never moved. Safe to run at any time, also beside
/// workers. Needs `DATABASE_URL`; without `GATEWAY_URL` or
/// `GATEWAYS` no gateway is asked for anything new.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce reconcile

Exit codes: 0 clean, or all repaired; 1 failed, or the gateway did not show its books to their end; 2 called wrongly;
3 breaks are open, for a person.")]
pub(crate) struct Args {
    /// Print one line of JSON: the report, and whether it needs a person
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    let gateways = settings::gateways(&settings::from_env_if_any()?)?;
    // Somebody waits for it.
    let hurry = CancellationToken::new();
    hurry.cancel();
    let run = reconciliation::run(&pool, &gateways, Waits::UNKNOWN, Trigger::Command, &hurry);
    let report = progress::during("reconciling", run).await?.context("somebody else ended this run")?;
    pool.close().await;
    if args.json {
        output::json(&as_json(&report)?)?;
    } else {
        print(&report)?;
    }
    Ok(match report.findings.gateway_books {
        _ if report.needs_a_person() => ExitCode::from(FOR_A_PERSON),
        GatewayBooks::Partly | GatewayBooks::Unreachable | GatewayBooks::Faulty => ExitCode::FAILURE,
        GatewayBooks::NotAsked | GatewayBooks::Compared | GatewayBooks::NotOffered => ExitCode::SUCCESS,
    })
}

fn as_json(report: &Report) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(report)?;
    value["needs_a_person"] = json!(report.needs_a_person());
    Ok(value)
}

fn print(report: &Report) -> Result<()> {
    let row = |(what, counts): (&str, Counts)| {
        let Counts { checked, found, repaired, breaks } = counts;
        let mut cells = vec![what.to_owned()];
        cells.extend([checked, found, repaired, breaks].map(|count| count.to_string()));
        cells
    };
    output::table(&["", "CHECKED", "WRONG", "REPAIRED", "BREAKS OPENED"], &report.findings.each().map(row))?;
    let gateway = match report.findings.gateway_books {
        GatewayBooks::NotAsked => {
            "the gateway was not asked: set GATEWAY_URL (or GATEWAYS) to compare its books too"
        }
        GatewayBooks::Compared => "the gateway's books were compared",
        GatewayBooks::NotOffered => "the gateway shows no books, so only ours were compared",
        GatewayBooks::Partly => "the gateway's books were not read to their end: run this again to go on",
        GatewayBooks::Unreachable => "the gateway did not show its books: run this again when it answers",
        GatewayBooks::Faulty => {
            "the gateway's books cannot be followed: ask the gateway, then run this again"
        }
    };
    output::line(gateway)?;
    if let Some(why) = &report.findings.gateway_books_why {
        output::line(why)?;
    }
    match report.findings.breaks_open {
        0 => output::line("no break is open"),
        open => output::line(&format!("{open} open: payonce breaks list shows them")),
    }
}
