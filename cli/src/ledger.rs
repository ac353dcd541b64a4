//! `payonce ledger`: whether the books of customers' accounts add up.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use shared::account::audit::{self, Audit, Book};
use shared::database;
use terminal::{output, progress};

use crate::migrate::connect;

/// Audit the books of customers' accounts. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make each account again from its entries, and add up each book
    ///
    /// It writes nothing, and may be run at any time. `payonce verify` checks the same by code of its own.
    #[command(after_help = "\
Example:
  payonce ledger audit

Exit codes: 0 all adds up; 1 something does not, or failed; 2 called wrongly.")]
    Audit {
        /// Print one line of JSON: the counts, the first wrong accounts, and `books`
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let Command::Audit { json } = command;
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    let audit = progress::during("adding up all accounts", audit::audit(&pool)).await?;
    pool.close().await;
    if json {
        output::json(&shown(&audit))?;
    } else {
        print(&audit)?;
    }
    Ok(if audit.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(audit: &Audit) -> serde_json::Value {
    let book = |it: &Book| {
        json!({
            "merchant": it.merchant, "currency": it.currency, "accounts": it.accounts, "has": it.has, "owes": it.owes,
            "rest": it.rest, "balanced": it.is_balanced,
        })
    };
    json!({
        "accounts": audit.accounts,
        "entries": audit.entries,
        "wrong": audit.wrong,
        "first": audit.first,
        "books": audit.books.iter().map(book).collect::<Vec<_>>(),
    })
}

fn print(audit: &Audit) -> Result<()> {
    let row = |it: &Book| {
        vec![
            it.merchant.clone(),
            it.currency.clone(),
            it.accounts.to_string(),
            it.has.clone(),
            it.owes.clone(),
            it.rest.clone(),
        ]
    };
    let headings = ["MERCHANT", "CURRENCY", "ACCOUNTS", "HAS", "OWES", "REST"];
    output::table(&headings, &audit.books.iter().map(row).collect::<Vec<_>>())?;
    output::line(&format!(
        "{} accounts of {} entries, of which {} do not add up",
        audit.accounts, audit.entries, audit.wrong
    ))?;
    audit.first.iter().try_for_each(|id| output::line(&format!("{id} is not what its entries add up to")))
}
