//! `payonce rebuild`: the table of payments made again from the event log alone, and compared with the one
//! that is there.
//!
//! Invariants: nothing is read for it but events, so that any change of a row is found and mended. Nothing
//! here writes into the table that is in use. It is exchanged, whole and in one transaction, behind closed
//! doors only, and kept.

mod carry;
mod compare;
mod report;
mod swap;
mod write;

use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use shared::database;
use shared::platform::config;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use terminal::dsn::{self, Place};
use terminal::progress;

use self::report::{Mode, Report};

/// The names of three tables: the one that is in use, the one made from events, and the one that was in
/// use before.
const IN_USE: &str = "payments";
const REBUILT: &str = "payments_rebuilt";
const KEPT: &str = "payments_before_rebuild";

/// The number of the lock that keeps two rebuilds from running at a time.
const ONE_AT_A_TIME: i64 = 0x0070_6179_6f6e_6365;

/// The exit code where the table is not what the events make.
const DIFFERENCES: u8 = 1;

/// Make the table of payments again from its events alone, and say in what it differs
///
/// Events are the truth, and the table only follows from them. With --check it folds all events and compares
/// the result with the table, column by column, and writes nothing. Without it, it also writes what follows
/// from the events into the new table `payments_rebuilt`. With --swap it puts that table in the place of
/// `payments`, which stays as `payments_before_rebuild`: stop all APIs and workers first. Needs
/// `DATABASE_URL`, of the tables' owner except for --check.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce rebuild --check
  payonce rebuild          # while payments go on
  payonce rebuild --swap   # with all APIs and workers stopped

Exit codes: 0 the table is what the events make; 1 it differs, or the command failed (then --json prints nothing);
2 called wrongly.")]
pub(crate) struct Args {
    /// Only compare; write nothing. Safe at any time, also under load
    #[arg(long)]
    check: bool,
    /// Exchange the tables, once nobody else is connected
    #[arg(long, conflicts_with = "check")]
    swap: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let mode = match (args.check, args.swap) {
        (true, _) => Mode::Check,
        (_, true) => Mode::Swap,
        _ => Mode::Write,
    };
    let mut connection = connect().await?;
    let mut report = Report::new(mode, args.json);
    if mode == Mode::Check {
        compare::all(&mut connection, IN_USE, &mut report).await?;
    } else {
        begin(&mut connection).await?;
        if mode == Mode::Write {
            write::anew(&mut connection, &mut report).await?;
        } else {
            swap::run(&mut connection, &mut report).await?;
        }
        compare::all(&mut connection, IN_USE, &mut report).await?;
    }
    // Nobody waits for the answer: everything to be written is committed.
    let _ = connection.close().await;
    report.print()?;
    Ok(if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCES) })
}

/// How long the server may take to answer at first.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection. Its statements may take as long as the log requires, and wait for locks only for a moment.
async fn connect() -> Result<PgConnection> {
    let example = "postgres://user:password@localhost/payonce (payonce dev prints the one it uses)";
    let url = config::required("DATABASE_URL", example)?;
    let url = dsn::checked(&url).map_err(Error::msg).context("DATABASE_URL is no Postgres URL")?;
    let options = PgConnectOptions::from_str(&url).context("DATABASE_URL is no Postgres URL")?;
    let options = options.application_name("payonce rebuild").options([
        ("lock_timeout", "5s"),
        // The server waits no longer for this program, which may be frozen with the tables locked.
        ("idle_in_transaction_session_timeout", "60s"),
        // These hold whatever is set for the role or the database.
        ("search_path", "public"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_read_only", "off"),
        ("statement_timeout", "0"),
        ("timezone", "UTC"),
        // The log is read along its key, whatever the planner believes of it.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("jit", "off"),
    ]);
    // One connection from beginning to end, so that no other one of ours is there when the doors must
    // be closed.
    let cannot = "cannot connect: check DATABASE_URL, and that the server runs";
    let place = Place::new(options.get_host(), options.get_socket(), options.get_port());
    place.reach(PATIENCE).await.map_err(Error::msg).context(cannot)?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options);
    let pool = match pool.await {
        Err(sqlx::Error::PoolTimedOut) => return Err(Error::msg(place.is_silent(PATIENCE)).context(cannot)),
        done => done.context(cannot)?,
    };
    database::require_migrated(&pool).await?;
    Ok(pool.acquire().await?.detach())
}

/// Refuses where this role may not write, or another rebuild is running.
async fn begin(connection: &mut PgConnection) -> Result<()> {
    let owner: Option<String> = sqlx::query_scalar(
        "select relowner::regrole::text from pg_class
          where oid = 'payments'::regclass and not pg_has_role(relowner, 'usage')",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(owner) = owner {
        bail!("only the owner of the tables may do this: give a DATABASE_URL of {owner}");
    }
    let is_free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(ONE_AT_A_TIME)
        .fetch_one(&mut *connection)
        .await?;
    ensure!(is_free, "another payonce rebuild is at work here: wait until it has ended");
    Ok(())
}

/// Says every few seconds how far a walk over all payments has come.
#[derive(Debug)]
struct Pace {
    what: &'static str,
    said_at: std::time::Instant,
}

impl Pace {
    fn new(what: &'static str) -> Self {
        Self { what, said_at: std::time::Instant::now() }
    }

    fn say(&mut self, payments: u64) {
        if self.said_at.elapsed().as_secs() >= 5 {
            progress::say(&format!("{} … {payments} payments", self.what));
            self.said_at = std::time::Instant::now();
        }
    }
}
