//! `payonce recovery`: what workers found under way when they started after a crash, and how it went on.

use std::process::ExitCode;

use anyhow::{Context, Result};
use domain::ids::PaymentId;
use shared::database;
use shared::operations::json;
use shared::operations::recovery::{self, Recovered, Report};
use shared::platform::time::rfc3339;
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;
use crate::pages::{Before, Page};

/// List and show what workers found under way when they started after a crash. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the starts that found something, newest first
    #[command(after_help = "\
Example:
  payonce recovery list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        #[command(flatten)]
        before: Before,
        #[command(flatten)]
        page: Page,
        /// Print one line of JSON: an object of the reports as `data`, and `has_more`
        #[arg(long)]
        json: bool,
    },
    /// Show one start: each payment that was under way, in which worker, and where it stands now
    #[command(after_help = "\
Example:
  payonce recovery show 17

Exit codes: 0 shown; 1 no such report, or failed; 2 called wrongly.")]
    Show {
        /// Its number, as `payonce recovery list` shows it
        id: i64,
        /// Print one line of JSON: the report, with each payment's events since
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    match command {
        Command::List { before, page, json } => list(&pool, before.before, page, json).await?,
        Command::Show { id, json } => show(&pool, id, json).await?,
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(pool: &PgPool, before: Option<i64>, page: Page, json: bool) -> Result<()> {
    let found = page.of(recovery::list(pool, before, page.asked()).await?);
    if json {
        return found.json(json::recovery_report);
    }
    let empty = match before {
        None => "no start has found anything under way",
        Some(_) => "no start before that one has found anything under way",
    };
    let row = |it: &Report| {
        vec![it.id.to_string(), rfc3339(it.found_at), (it.payments + it.more).to_string(), it.worker.clone()]
    };
    let next = |it: &Report| format!("--before {}", it.id);
    found.print(&["ID", "FOUND AT", "PAYMENTS", "BY"], row, (empty, next))
}

async fn show(pool: &PgPool, id: i64, json: bool) -> Result<()> {
    let no_such = || format!("there is no recovery report {id}; payonce recovery list shows those there are");
    let (report, recovered) = recovery::find(pool, id).await?.with_context(no_such)?;
    if json {
        return output::json(&json::recovery(&report, &recovered));
    }
    output::line(&format!("found by {} at {}", report.worker, rfc3339(report.found_at)))?;
    let row = |it: &Recovered| {
        vec![
            PaymentId::from(it.payment_id).to_string(),
            rfc3339(it.claimed_at),
            it.was_doing.to_owned(),
            if it.came_back { format!("{}, by its own worker", it.became) } else { it.became.clone() },
            by(it),
            it.lost_worker.clone().unwrap_or_default(),
        ]
    };
    let headings = ["PAYMENT", "CLAIMED AT", "FOR", "BECAME", "BY", "WORKER LOST"];
    output::table(&headings, &recovered.iter().map(row).collect::<Vec<_>>())?;
    match report.more {
        0 => Ok(()),
        more => output::line(&format!("and {more} more, which are not listed")),
    }
}

/// The evidence, in short.
fn by(it: &Recovered) -> String {
    let said = it.charge_id.as_ref().or(it.failure_code.as_ref()).or(it.held_reason.as_ref());
    said.cloned().unwrap_or_else(|| "-".to_owned())
}
