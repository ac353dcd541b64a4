//! `payonce migrate`: brings a database up to date.

use std::process::ExitCode;

use anyhow::{Context, Result};
use shared::db;
use sqlx::PgPool;

use crate::{output, progress};

/// Bring the database up to date, or say what is missing.
///
/// Safe to run again, and by several at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgres://user:password@localhost/payonce payonce migrate

Exit codes: 0 up to date, 1 failed or (with --check) migrations are pending, 2 called wrongly.")]
pub(crate) struct Args {
    /// Only say which migrations are pending; exit 1 if any are
    #[arg(long)]
    check: bool,
    /// Print one line of JSON: {"applied":[…],"pending":[…]}
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let pool = connect().await?;
    let before = db::pending_migrations(&pool).await?;
    if !args.check && !before.is_empty() {
        progress::during("migrating the database", db::migrate(&pool)).await?;
    }
    let (applied, pending) = if args.check { (Vec::new(), before) } else { (before, Vec::new()) };
    pool.close().await;

    if args.json {
        output::json(&serde_json::json!({ "applied": applied, "pending": pending }))?;
    } else {
        for migration in &applied {
            output::line(&format!("applied {migration}"))?;
        }
        for migration in &pending {
            output::line(&format!("pending {migration}"))?;
        }
        let state = if pending.is_empty() { "up to date" } else { "behind; run payonce migrate" };
        output::line(&format!("the database is {state}"))?;
    }
    Ok(if pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connects to the database that `DATABASE_URL` names.
pub(crate) async fn connect() -> Result<PgPool> {
    let example = "postgres://user:password@localhost/payonce (payonce dev prints the one it uses)";
    let url = shared::config::required("DATABASE_URL", example)?;
    db::connect(&url, 2).await.context("check DATABASE_URL, and that the server runs")
}
