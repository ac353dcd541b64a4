//! Connections: how they are made, to which server, and what becomes of them.
//!
//! Read in this order:
//! - `hosts`: the hosts of `DATABASE_URL`;
//! - `primary`: which host takes writes;
//! - `session`: what each session is set to, and who its server is;
//! - `site`: the generation that pools, seats and claims belong to;
//! - `lend`: connections for statements that are sent all the time;
//! - [`batch`]: one statement for many tasks;
//! - [`durable`](fn@durable): a statement that commits;
//! - [`failure`]: what an error means;
//! - [`standby`]: commits that wait for a standby.
//!
//! This wing may use `platform`. Of the tables it knows what migrations and rights need, and no more.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgDatabaseError, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::platform::config::InvalidSetting;

pub mod batch;
mod durable;
pub mod failure;
mod fitness;
mod hosts;
mod lend;
mod migrate;
mod pooler;
mod primary;
mod ready;
mod refusal;
mod roles;
mod session;
mod site;
pub mod standby;
mod standing;
pub mod watermark;

pub use durable::durable;
use failure::Failure;
pub use fitness::{NEWEST_SERVER, OLDEST_SERVER};
use hosts::Host;
pub use lend::{Lend, Lent, Seat};
pub use migrate::{
    Blocker, Patience, Schema, migrate, migrate_patiently, pending_migrations, require_rights, schema,
};
pub use ready::{not_ready, require_migrated};
pub use refusal::Refusal;
pub use roles::{APP, MODULES, READER, lines_for_administrator};
use session::Durability;
pub use session::Identity;
pub use site::Site;
pub use standing::Standing;

/// How long a request waits for a free connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest wait for an answer. A server that lives has answered any statement by then, if only to say
/// that it took too long. So the connection is dead, and its other end too far gone to say so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that comes back to the pool may take to show that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that was used within this time is taken to live.
const FRESH: Duration = Duration::from_secs(1);

/// How long a caller without a connection waits for the cause.
const CAUSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no usable database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `DATABASE_URL` cannot be used as it is.
    #[error("cannot connect to the database at DATABASE_URL: {0}")]
    Url(String),
    /// None of its hosts can be used; the text gives each host's own cause.
    #[error("cannot connect to the database {0}: check DATABASE_URL, and that the server runs")]
    Connect(String),
    /// The tables could not be set up.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Other sessions held what a migration needs until the time was over. The migrations before it stay
    /// applied.
    #[error(
        "migrating the database waited {} s in vain for {}: wait until that has ended, or end it (select \
         pg_terminate_backend(<pid>)), then run `payonce migrate` again; what was applied stays, and nothing is half-applied",
        .waited.as_secs(), migrate::named(.by)
    )]
    LockedOut {
        /// How long the migration was tried.
        waited: Duration,
        /// The sessions that were last seen to hold it.
        by: Vec<Blocker>,
    },
    /// A statement failed; the database's error says how.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The program is newer than the schema; the list names the pending migrations.
    #[error("the database is behind this program by {}: run `payonce migrate`", .0.join(", "))]
    Behind(Vec<String>),
    /// The schema is newer than the program; the list names the unknown migrations.
    #[error(
        "the database is newer than this program, which does not know its migrations {}: run the program that migrated it, or a \
         newer one (where these migrations say that old code may run meanwhile: ALLOW_NEWER_DATABASE=true)",
        .0.join(", ")
    )]
    Newer(Vec<String>),
    /// Payments could not live in this database, or the caller may not migrate it.
    #[error("{0}")]
    Unfit(String),
    /// A setting cannot be read.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

/// Connects to the host that takes writes, with the settings that the rules about money need. Commits are
/// durable, and no statement, lock or forgotten transaction holds others up for long.
///
/// # Errors
/// The URL cannot be read, or none of its hosts can be used.
pub async fn connect(url: &str, max_connections: u32) -> Result<PgPool, Error> {
    connect_as(url, max_connections, "payonce").await
}

/// Connects as [`connect`] does, under a name that the database shows to others, of at most 63 bytes.
///
/// # Errors
/// See [`connect`].
pub async fn connect_as(url: &str, max_connections: u32, name: &str) -> Result<PgPool, Error> {
    let named = |host: Host| Host { options: host.options.application_name(name), ..host };
    let site = Site::at(hosts::parse(url)?.into_iter().map(named).collect());
    let mut connection = site.find().await?;
    let options = site.options().application_name(name);
    Box::pin(pooler::refuse_transaction_mode(&mut connection, &options)).await?;
    let _ = within(PING_TIMEOUT, connection.close()).await;
    let pool = pool_options(&site, max_connections, Durability::Promised).connect_lazy_with(options);
    site.adopt(&pool, max_connections);
    site.watch();
    // One connection exists from the beginning: by it others see that this process lives.
    drop(pool.acquire().in_time().await?);
    Ok(pool)
}

/// A further pool for the same database, whose connections are made when they are needed. It is for code that
/// may never give one back, and whose commits may be lost with the server. Those are answered before they
/// reach the disk.
#[must_use]
pub fn apart(pool: &PgPool, max_connections: u32) -> PgPool {
    let (site, options) = (site(pool), (*pool.connect_options()).clone());
    let apart = pool_options(&site, max_connections, Durability::Hints).connect_lazy_with(options);
    site.adopt(&apart, max_connections);
    apart
}

/// A pool of one further connection, for migrations. They may take as long as they need, but wait for each
/// lock only this long.
pub(crate) fn for_migrations(pool: &PgPool, lock_timeout_ms: &str) -> PgPool {
    let (site, options) = (site(pool), (*pool.connect_options()).clone().application_name("payonce migrate"));
    let limits = format!(
        "select set_config('statement_timeout', '0', false), set_config('lock_timeout', '{lock_timeout_ms}', false)"
    );
    let own = pool_options(&site, 1, Durability::Promised).after_connect({
        let site = site.clone();
        move |connection, _| {
            let (site, limits) = (site.clone(), AssertSqlSafe(limits.clone()));
            Box::pin(async move {
                welcome(&site, connection, Durability::Promised).await?;
                sqlx::raw_sql(limits).execute(connection).await.map(drop)
            })
        }
    });
    own.connect_lazy_with(options)
}

/// The site of a pool: all hosts of its database, and which one takes writes.
#[must_use]
pub fn site(pool: &PgPool) -> Arc<Site> {
    Site::of(pool).unwrap_or_else(|| Site::at(vec![Host::of((*pool.connect_options()).clone())]))
}

/// The server that takes this pool's writes, as it was last seen. None before one was seen.
#[must_use]
pub fn identity(pool: &PgPool) -> Option<Identity> {
    site(pool).identity()
}

/// The standing of now: what begins now is valid while [`Standing::holds`].
#[must_use]
pub fn standing(pool: &PgPool) -> Standing {
    site(pool).standing()
}

/// Makes sure that the server which answers is the primary, and no standby that knows only of the past. A
/// caller that says of something that it does not exist asks this before. It costs nothing if a connection
/// said so a moment ago.
///
/// # Errors
/// The server is not the primary; or the database's error.
pub async fn confirm_primary(pool: &PgPool) -> sqlx::Result<()> {
    let site = site(pool);
    if site.is_known_to_be_primary(FRESH) {
        return Ok(());
    }
    let mut connection = pool.acquire().await?;
    match site.lives(&mut connection, FRESH).await? {
        true => Ok(()),
        false => Err(Refusal::Another.into()),
    }
}

/// Warns at start if the server has fewer connections left than this process may take.
///
/// # Errors
/// Returns the database's error.
pub async fn check_room(pool: &PgPool, connections: u32) -> sqlx::Result<()> {
    let site = site(pool);
    site.may_take(connections);
    let taken: i64 =
        sqlx::query_scalar("select count(*) from pg_stat_activity where backend_type = 'client backend'")
            .fetch_one(pool)
            .in_time()
            .await?;
    if let Some((room, ours)) = site.room() {
        let left = i64::from(room.max) - i64::from(room.reserved) - taken;
        if left < i64::from(ours) {
            tracing::warn!(
                event = "few_connections",
                taken,
                left,
                "the server has fewer connections left than this process may need: {}",
                primary::advice(Some((room, ours)))
            );
        }
    }
    Ok(())
}

fn pool_options(site: &Arc<Site>, max_connections: u32, durability: Durability) -> PgPoolOptions {
    let [made, lent, returned] = [site.clone(), site.clone(), site.clone()];
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            let site = made.clone();
            Box::pin(async move { welcome(&site, connection, durability).await })
        })
        // The library's own tests of a connection may wait for ever: one that vanished would keep its place
        // in the pool.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let site = lent.clone();
            Box::pin(async move {
                Ok(site.is_of_now(meta.age)
                    && (meta.idle_for < FRESH || site.lives(connection, FRESH).await?))
            })
        })
        .after_release(move |connection, meta| {
            let site = returned.clone();
            Box::pin(async move { Ok(site.is_of_now(meta.age) && site.lives(connection, FRESH).await?) })
        })
}

/// A connection's first statement. It sets the session, and the server must be the one that takes writes.
async fn welcome(
    site: &Arc<Site>,
    connection: &mut PgConnection,
    durability: Durability,
) -> sqlx::Result<()> {
    let seen = session::begin(connection, durability, site.tells_all()).await;
    let admitted = seen.and_then(|seen| site.admit(&seen).map_err(sqlx::Error::from));
    if admitted.is_err() {
        site.alarm();
        // The pool would try again at once.
        site.settled(CAUSE_TIMEOUT).await;
    }
    admitted
}

/// A statement that is not waited for without end. Where the network or the server's host is gone, no packet
/// comes any more, not even one that says so. The wait also ends once another server takes writes: an old
/// primary that was never told may keep a statement for ever.
pub trait InTime<T: Send>: Future<Output = sqlx::Result<T>> + Send + Sized {
    /// The statement's answer, or the error of a broken connection if none comes. Where the database is away,
    /// a task asks the hosts who is there.
    fn in_time(self) -> impl Future<Output = sqlx::Result<T>> + Send {
        async move {
            // Boxed, since it is a large part of the future that waits for it.
            let done = tokio::select! {
                biased;
                done = within(ANSWER_TIMEOUT, Box::pin(self)) => done,
                () = standing::any_ends() => Err(moved()),
            };
            match done {
                Err(error) if Failure::of(&error).is_away() => Err(Box::pin(with_cause(error)).await),
                done => done,
            }
        }
    }
}

impl<T: Send, S: Future<Output = sqlx::Result<T>> + Send> InTime<T> for S {}

fn moved() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, "another server takes writes now"))
}

async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = || sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// Has a task ask who is there. If a pool gave up, the error then says why it got no connection.
async fn with_cause(error: sqlx::Error) -> sqlx::Error {
    caused_by(error, site::all()).await
}

/// The same for these sites.
async fn caused_by(error: sqlx::Error, sites: Vec<Arc<Site>>) -> sqlx::Error {
    sites.iter().for_each(Site::alarm);
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    let mut troubles = Vec::new();
    for site in sites {
        site.settled(CAUSE_TIMEOUT).await;
        troubles.extend(site.trouble().map(|trouble| trouble.to_string()));
    }
    let cause = match troubles.is_empty() {
        true => "all of this process's are in use; more of them (DATABASE_CONNECTIONS) or fewer calls at a time would help".to_owned(),
        false => troubles.join("; "),
    };
    sqlx::Error::Io(io::Error::other(failure::NoConnection(cause)))
}

fn names_a_row(told: &str) -> bool {
    told.starts_with("while ")
}

/// Whether a statement waited in vain for what another session has locked.
#[must_use]
pub fn is_locked_out(error: &sqlx::Error) -> bool {
    Failure::of(error) == Failure::LockedOut
}

/// The server's words about the row of another transaction that a statement waited for in vain, with the
/// table's name. None if it waited for no row, but for a whole table.
#[must_use]
pub fn row_waited_for(error: &sqlx::Error) -> Option<&str> {
    let told = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    // "while inserting index tuple (0,1) in relation …". For a table the server says nothing of the kind, but
    // may name the functions that the statement was in.
    told.r#where().filter(|told| is_locked_out(error) && names_a_row(told))
}

/// Whether a statement waited in vain for a whole table.
#[must_use]
pub fn is_table_locked(error: &sqlx::Error) -> bool {
    is_locked_out(error) && row_waited_for(error).is_none()
}

/// A duration in whole milliseconds, as statements take it.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Closes a pool, without waiting for a connection whose server does not answer any more.
pub async fn close(pool: &PgPool) {
    if tokio::time::timeout(ACQUIRE_TIMEOUT, pool.close()).await.is_err() {
        tracing::warn!("a database connection did not end in time");
    }
}
