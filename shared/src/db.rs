//! Connections and migrations.

use std::future::Future;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

mod lend;
mod migrate;

pub use lend::{Lend, Lent, Seat};
pub use migrate::{Blocker, Patience, migrate, migrate_patiently, pending_migrations};

/// How long a request waits for a free connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that lives has answered any statement by then, if only to say that it took too long: the connection is dead,
/// and its other end too far gone to say so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that comes back to the pool may take to show that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that was used so recently is taken to live.
const FRESH: Duration = Duration::from_secs(1);

/// Why there is no usable database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none, or nobody answers there.
    #[error("cannot connect to the database at {place}: {source}")]
    Connect {
        /// Host, port and database, without the password.
        place: String,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The queue library's own tables could not be set up.
    #[error("cannot migrate the queue: {0}")]
    Queue(#[from] apalis_postgres::Error),
    /// Our tables could not be set up.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Others held what a migration needs, for as long as it was to be tried. Those before it stay applied.
    #[error(
        "migrating the database waited {} s in vain for {}: wait until that has ended, or end it (select \
         pg_terminate_backend(<pid>)), then run `payonce migrate` again; what was applied stays, and nothing is half-applied",
        .waited.as_secs(), migrate::named(.by)
    )]
    LockedOut {
        /// For how long it was tried.
        waited: Duration,
        /// Who was seen to hold it at last.
        by: Vec<Blocker>,
    },
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The program is newer than the schema.
    #[error("the database is behind this program by {}: run `payonce migrate`", .0.join(", "))]
    Behind(Vec<String>),
}

/// Connects, with the settings that the rules about money need: durable commits, and no statement, lock or forgotten
/// transaction that holds others up for long.
///
/// # Errors
/// The URL cannot be read, or the database cannot be reached.
pub async fn connect(url: &str, max_connections: u32) -> Result<PgPool, Error> {
    connect_with(url, max_connections, None).await
}

/// The same, under a name that the database shows to others, of at most 63 bytes.
///
/// # Errors
/// See [`connect`].
pub async fn connect_as(url: &str, max_connections: u32, name: &str) -> Result<PgPool, Error> {
    connect_with(url, max_connections, Some(name)).await
}

async fn connect_with(url: &str, max_connections: u32, name: Option<&str>) -> Result<PgPool, Error> {
    let unreachable = |place: String| move |source| Error::Connect { place, source };
    let options = PgConnectOptions::from_str(url).map_err(unreachable("DATABASE_URL".to_owned()))?;
    let place = format!(
        "{}:{}/{}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or(options.get_username())
    );
    let options = match name {
        Some(name) => options.application_name(name),
        None => options,
    };
    let options = options.options([
        ("synchronous_commit", "on"),
        ("lock_timeout", "1s"),
        ("statement_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("timezone", "UTC"),
        // The tables are empty or small whenever their statistics are taken, so the planner would scan them whole; the
        // plan stays, also of foreign key checks, while they grow, and every payment reads all others. Each of our
        // statements names its rows by key.
        ("enable_seqscan", "off"),
        // Nor does it read and sort all of a merchant's payments for the newest of them, which an index has in order.
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]);
    pool_options(max_connections).connect_with(options).await.map_err(unreachable(place))
}

/// Further connections to the same database, made when they are needed, for code that may never give one back and whose
/// commits may be lost with the server: they are answered before they reach the disk.
#[must_use]
pub fn apart(pool: &PgPool, max_connections: u32) -> PgPool {
    let options = (*pool.connect_options()).clone().options([("synchronous_commit", "off")]);
    pool_options(max_connections).connect_lazy_with(options)
}

fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The library's own tests of a connection may wait for ever: one that vanished would keep its place in the pool.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { if meta.idle_for < FRESH { Ok(true) } else { lives(connection).await } })
        })
        .after_release(|connection, _| Box::pin(lives(connection)))
}

/// An error, upon which the pool drops the connection, unless it answers.
async fn lives(connection: &mut PgConnection) -> sqlx::Result<bool> {
    within(PING_TIMEOUT, connection.ping()).await.map(|()| true)
}

/// A statement that is not waited for without end. Where the network or the server's host is gone, nothing else would ever
/// tell: no packet comes any more, not even one that says so.
pub trait InTime<T>: Future<Output = sqlx::Result<T>> + Send + Sized {
    /// Its answer; the error of a broken connection where none comes.
    fn in_time(self) -> impl Future<Output = sqlx::Result<T>> + Send {
        within(ANSWER_TIMEOUT, self)
    }
}

impl<T, S: Future<Output = sqlx::Result<T>> + Send> InTime<T> for S {}

async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = || sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// Whether a statement waited in vain for what another session has locked.
#[must_use]
pub fn is_locked_out(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
}

/// Where that was a row of another transaction: what the server says of it, with the name of its table. None where it was no
/// row, but a whole table.
#[must_use]
pub fn row_waited_for(error: &sqlx::Error) -> Option<&str> {
    let told = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    // "while inserting index tuple (0,1) in relation …": nothing of the kind is said of a wait for a table.
    told.r#where().filter(|_| is_locked_out(error))
}

/// Whether that was a whole table.
#[must_use]
pub fn is_table_locked(error: &sqlx::Error) -> bool {
    is_locked_out(error) && row_waited_for(error).is_none()
}

/// A duration in whole milliseconds, as statements take it.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Gives the connections back, without waiting for one whose server does not answer any more.
pub async fn close(pool: &PgPool) {
    if tokio::time::timeout(ACQUIRE_TIMEOUT, pool.close()).await.is_err() {
        tracing::warn!("a database connection did not end in time");
    }
}

/// Refuses to go on with a database that lacks migrations.
///
/// # Errors
/// Which ones are missing, and how to apply them.
pub async fn require_migrated(pool: &PgPool) -> Result<(), Error> {
    let pending = pending_migrations(pool).await?;
    if pending.is_empty() { Ok(()) } else { Err(Error::Behind(pending)) }
}

/// Why a process that needs this database cannot do its work; none if it can.
pub async fn not_ready(pool: &PgPool) -> Option<&'static str> {
    match require_migrated(pool).await {
        Ok(()) => None,
        Err(Error::Behind(_)) => Some("the database lacks migrations"),
        Err(
            why @ (Error::Connect { .. }
            | Error::Queue(_)
            | Error::Migrate(_)
            | Error::LockedOut { .. }
            | Error::Database(_)),
        ) => {
            tracing::warn!(%why, "not ready");
            Some("the database does not answer")
        }
    }
}
