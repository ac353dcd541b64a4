//! `payonce migrate`: brings a database up to date.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use shared::db::{self, Blocker, Patience};
use sqlx::PgPool;

use crate::{output, progress};

/// Bring the database up to date, or say what is missing.
///
/// Safe to run again, by several at once, and while payments are made: it waits half a second at most for whoever holds a
/// table, lets all others go on for two, and tries again. Who is waited for stands on standard error, by the pid.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgres://user:password@localhost/payonce payonce migrate

Exit codes: 0 up to date, 1 failed (also where somebody held a table until the end of --wait; standard output is empty then)
or (with --check) migrations are pending, 2 called wrongly.")]
pub(crate) struct Args {
    /// Only say which migrations are pending; exit 1 if any are
    #[arg(long)]
    check: bool,
    /// How long to try, where others hold what a migration needs
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u32,
    /// Print one line of JSON: {"applied":[…],"pending":[…]}
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let pool = connect().await?;
    let before = db::pending_migrations(&pool).await?;
    if !args.check && !before.is_empty() {
        migrate(&pool, Duration::from_secs(args.wait.into())).await?;
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

/// Migrates, and says what takes long and who is in the way.
pub(crate) async fn migrate(pool: &PgPool, longest: Duration) -> Result<(), db::Error> {
    let patience = Patience { longest, ..Patience::default() };
    let tell = |blockers: &[Blocker]| {
        for blocker in blockers {
            progress::say(&format!("a migration waits for {blocker}"));
        }
    };
    progress::during("migrating the database", db::migrate_patiently(pool, patience, tell)).await
}

/// Connects to the database that `DATABASE_URL` names.
pub(crate) async fn connect() -> Result<PgPool> {
    let example = "postgres://user:password@localhost/payonce (payonce dev prints the one it uses)";
    let url = shared::config::required("DATABASE_URL", example)?;
    db::connect(&url, 2).await.context("check DATABASE_URL, and that the server runs")
}
