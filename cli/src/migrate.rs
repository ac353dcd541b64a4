//! `payonce migrate`: brings a database up to date.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use shared::database::{self, Blocker, Patience, Schema};
use shared::operations::installation;
use sqlx::PgPool;
use terminal::{output, progress};

use crate::doors;

/// Bring the database up to date, or say what is missing
///
/// Safe to run again, by several at once, and while payments are made. It waits at most half a second for a
/// session that holds a table, lets all others go on for two, and tries again. Standard error names the
/// sessions that it waits for, by their pid.
///
/// Before anything is written it refuses some databases: a server older than Postgres 15, a database that is
/// not encoded in UTF8, and one that a newer program migrated. It also refuses a role that may not make what
/// is needed. At the end it makes the roles `payonce_app` (for APIs and workers) and `payonce_reader` (for
/// `payonce verify` and dashboards), and grants them only what they need.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgres://user:password@localhost/payonce payonce migrate

Exit codes: 0 up to date, 1 failed (also where somebody held a table until the end of --wait; standard output is empty then)
or (with --check) migrations are pending, or (with --finish) older processes are connected, 2 called wrongly, 3 the database
is newer than this program.")]
pub(crate) struct Args {
    /// Only say which migrations are pending; exit 1 if any are, 3 if the database has some that this program
    /// does not know
    #[arg(long)]
    check: bool,
    /// How long to try while others hold what a migration needs
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u32,
    /// Derive the gateway's keys of new payments, once all processes are of this version
    ///
    /// Refuses while an older process is connected.
    #[arg(long, conflicts_with = "check")]
    finish: bool,
    /// Print one line of JSON: {"applied":[…],"pending":[…],"unknown":[…]}, with --finish
    /// also "finished"
    #[arg(long)]
    json: bool,
}

/// The exit code where the database is newer than this program.
const NEWER: u8 = 3;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let pool = connect().await?;
    let patience = Duration::from_secs(args.wait.into());
    let Schema { pending, unknown } = database::schema(&pool).await?;
    let (mut applied, mut pending) = (Vec::new(), pending);
    if args.check {
        if !pending.is_empty()
            && let Err(why) = database::require_rights(&pool).await
        {
            progress::say(&format!("payonce migrate would fail: {why}"));
        }
    } else if unknown.is_empty() {
        // Done even where none is pending: roles may have been made meanwhile.
        migrate(&pool, patience).await?;
        (applied, pending) = (pending, applied);
        advise(&pool).await?;
    }
    let is_finished = args.finish && unknown.is_empty();
    if is_finished {
        finish(&pool).await?;
        // What the older programs left behind is not needed any more.
        migrate(&pool, patience).await?;
    }
    pool.close().await;

    if args.json {
        let mut done = serde_json::json!({ "applied": applied, "pending": pending, "unknown": unknown });
        if args.finish {
            done["finished"] = is_finished.into();
        }
        output::json(&done)?;
    } else {
        print(&applied, &pending, &unknown)?;
        if is_finished {
            output::line("the gateway's keys of new payments are derived from now on")?;
        }
    }
    Ok(match (unknown.is_empty(), pending.is_empty()) {
        (false, _) => ExitCode::from(NEWER),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    })
}

fn print(applied: &[String], pending: &[String], unknown: &[String]) -> Result<()> {
    for (what, migrations) in [("applied", applied), ("pending", pending), ("unknown", unknown)] {
        for migration in migrations {
            output::line(&format!("{what} {migration}"))?;
        }
    }
    let state = match (unknown.is_empty(), pending.is_empty()) {
        (false, _) => "newer than this program; run the program that migrated it, or a newer one",
        (true, false) => "behind; run payonce migrate",
        (true, true) => "up to date",
    };
    output::line(&format!("the database is {state}"))
}

/// Says on standard error what an administrator still has to do. Without it everything works under the
/// owner's name.
async fn advise(pool: &PgPool) -> Result<()> {
    let lines = database::lines_for_administrator(pool).await?;
    if !lines.is_empty() {
        progress::say(&format!(
            "for separate roles an administrator must run: {} Then run payonce migrate again",
            lines.join(" ")
        ));
    }
    Ok(())
}

/// Derives the gateway's keys of new payments from now on. No process may be connected that knows no such
/// keys, since such a worker could charge none of them.
async fn finish(pool: &PgPool) -> Result<()> {
    let older = doors::older_sessions(pool).await?;
    ensure!(
        older.is_empty(),
        "{} sessions may belong to older processes: {}. Stop those, and run this again",
        older.len(),
        doors::some_of(&older)
    );
    installation::finish_migration(pool).await?;
    Ok(())
}

/// Migrates, and says what takes long and which sessions are in the way.
pub(crate) async fn migrate(pool: &PgPool, longest: Duration) -> Result<(), database::Error> {
    let patience = Patience { longest, ..Patience::default() };
    let tell = |blockers: &[Blocker]| {
        for blocker in blockers {
            progress::say(&format!("a migration waits for {blocker}"));
        }
    };
    progress::during("migrating the database", database::migrate_patiently(pool, patience, tell)).await
}

/// Connects to the database that `DATABASE_URL` names.
pub(crate) async fn connect() -> Result<PgPool> {
    let example = "postgres://user:password@localhost/payonce (payonce dev prints the one it uses)";
    let url = shared::platform::config::required("DATABASE_URL", example)?;
    Ok(database::connect_as(&url, 2, "payonce").await?)
}
