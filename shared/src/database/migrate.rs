//! Migrations: the queue library's tables, then ours, without standing in anybody's way.
//!
//! A statement that changes a table waits for its readers, and all later statements on the table wait behind
//! it. Payments would stand still until the longest reader has ended. So no try waits long, and between two
//! tries everybody else goes on.
//!
//! Invariant: each migration is one transaction, so a try that fails leaves those before it applied and
//! nothing of its own.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use apalis_postgres::PostgresStorage;
use chrono::{DateTime, Utc};
use sqlx::migrate::{Migrate as _, Migration, Migrator};
use sqlx::{AssertSqlSafe, FromRow, PgPool, SqlSafeStr as _};
use tokio::time::{Instant, sleep};

use super::{Error, InTime as _, fitness, for_migrations, millis, roles};

/// Indexes that are made while payments are accepted and settled, each with its name: to make one, the whole
/// table is read. A try that was broken off leaves it invalid, and it is made anew. By the first, each
/// gateway's due payments are found. By the second, a merchant's held ones are listed.
const INDEXES: [(&str, &str); 2] = [
    ("payments_due_by_gateway", "payments (gateway, due_at) where due_at is not null"),
    ("payments_held_by_merchant", "payments (merchant_id, id) where held_reason is not null"),
];

/// Drops what only programs older than the derived keys read, once none of them can run. It comes at the end,
/// since no migration knows when that is.
const RETIRE: &str = "
    do $$ begin
        if exists (select from installation where key_scheme = 2) then
            drop index if exists payments_by_merchant, payments_by_customer;
        end if;
        drop index if exists payments_due;
    end $$";

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// The pause between two looks at the sessions that hold what a migration needs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long to wait for sessions that hold what a migration needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest wait for each lock. Statements that come after the migration wait as long; our own give up
    /// after a second.
    pub lock: Duration,
    /// The pause between two tries, in which everybody else goes on.
    pub pause: Duration,
    /// The time after which no further try is begun.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            lock: Duration::from_millis(500),
            pause: Duration::from_secs(2),
            longest: Duration::from_mins(5),
        }
    }
}

/// A session that holds what a migration needs, or waits in front of it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Blocker {
    /// The process at the server; 0 for a prepared transaction.
    pub pid: i32,
    /// The name that the session gave itself.
    pub application_name: Option<String>,
    /// What the session does: `active`, `idle in transaction`. None where we may not see that.
    pub state: Option<String>,
    /// The start of its query. None where we may not see that.
    pub query_start: Option<DateTime<Utc>>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a prepared transaction (see pg_prepared_xacts)");
        }
        write!(f, "pid {}", self.pid)?;
        let name =
            self.application_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("without a name");
        write!(f, " ({name}, {}", self.state.as_deref().unwrap_or("doing what we may not see"))?;
        if let Some(start) = self.query_start {
            write!(f, ", query started {}", start.format("%Y-%m-%d %H:%M:%S UTC"))?;
        }
        f.write_str(")")
    }
}

/// The sessions' names in one sentence.
pub(super) fn named(blockers: &[Blocker]) -> String {
    let names: Vec<String> = blockers.iter().map(ToString::to_string).collect();
    if names.is_empty() { "a session that was gone when we looked".to_owned() } else { names.join(", ") }
}

/// Brings the database up to date, with the usual patience, and tells nothing meanwhile.
///
/// # Errors
/// See [`migrate_patiently`].
pub async fn migrate(pool: &PgPool) -> Result<(), Error> {
    migrate_patiently(pool, Patience::default(), |_| ()).await
}

/// Brings the database up to date: the queue library's tables, then ours, then the roles' rights. Several
/// processes may run it at once, and again. `tell` hears which sessions are waited for whenever that changes.
///
/// # Errors
/// The database cannot be one of ours, is newer than this program, or may not be changed by this role: then
/// nothing was written. Or a migration failed, or waited in vain; those before it stay applied.
pub async fn migrate_patiently(
    pool: &PgPool,
    patience: Patience,
    mut tell: impl FnMut(&[Blocker]),
) -> Result<(), Error> {
    let schema = schema(pool).await?;
    if !schema.unknown.is_empty() {
        return Err(Error::Newer(schema.unknown));
    }
    if !schema.pending.is_empty() {
        fitness::require_rights(pool).await?;
    }
    let started = Instant::now();
    let mut told: Vec<Blocker> = Vec::new();
    loop {
        let mut seen = |blockers: Vec<Blocker>| {
            if !blockers.iter().map(|it| it.pid).eq(told.iter().map(|it| it.pid)) {
                tell(&blockers);
            }
            told = blockers;
        };
        match try_once(pool, patience.lock, &mut seen).await {
            Err(why) if is_in_the_way(&why) => {}
            done => return done,
        }
        let waited = started.elapsed();
        if waited + patience.pause >= patience.longest {
            return Err(Error::LockedOut { waited, by: told });
        }
        sleep(patience.pause).await;
    }
}

/// One try, in which no lock is waited for longer than `lock`. `see` is told meanwhile which sessions are
/// waited for.
async fn try_once(pool: &PgPool, lock: Duration, see: &mut impl FnMut(Vec<Blocker>)) -> Result<(), Error> {
    // A connection of its own: a migration may take longer than the limits of a request allow. It ends with
    // the try, and so does the lock by which one migrator at a time goes on.
    let lock = millis(lock).to_string();
    let own = for_migrations(pool, &lock);
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&own).await?;
    let work = async {
        queue_migrator(&own).await?.run(&own).await?;
        MIGRATOR.run(&own).await?;
        make_indexes(&own).await?;
        sqlx::raw_sql(RETIRE).execute(&own).await?;
        roles::grant(&mut *own.acquire().await?).await
    };
    let done = tokio::select! {
        done = work => done,
        never = watch(pool, pid, see) => match never {},
    };
    own.close().await;
    done
}

/// The number of the lock by which one process at a time makes the indexes.
const ONE_AT_A_TIME: i64 = 0x0070_6179_6f6e_6402;

async fn make_indexes(pool: &PgPool) -> sqlx::Result<()> {
    let mut own = pool.acquire().await?;
    // Asked for again and again, and not waited for: who makes an index waits for all statements under way.
    let lock = || sqlx::query_scalar::<_, bool>("select pg_try_advisory_lock($1)").bind(ONE_AT_A_TIME);
    while !lock().fetch_one(&mut *own).await? {
        sleep(LOOK_EVERY).await;
    }
    for (name, of) in INDEXES {
        let is_valid =
            sqlx::query_scalar("select indisvalid from pg_index where indexrelid = to_regclass($1)");
        let is_valid = is_valid.bind(name).fetch_optional(&mut *own).await?;
        if is_valid == Some(false) {
            sqlx::raw_sql(AssertSqlSafe(format!("drop index {name}"))).execute(&mut *own).await?;
        }
        if is_valid != Some(true) {
            let make = format!("create index concurrently {name} on {of}");
            sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *own).await?;
        }
    }
    // The lock goes with the connection, which ends with this try.
    Ok(())
}

/// Looks now and then at the sessions that hold what this one waits for.
async fn watch(pool: &PgPool, pid: i32, see: &mut impl FnMut(Vec<Blocker>)) -> Infallible {
    let blockers = "select distinct b.pid, a.application_name, a.state, a.query_start
                      from unnest(pg_blocking_pids($1)) as b (pid)
                      left join pg_stat_activity a on a.pid = b.pid
                     order by b.pid";
    loop {
        sleep(LOOK_EVERY).await;
        let blockers = sqlx::query_as(blockers).bind(pid).fetch_all(pool).in_time().await;
        // A database that does not answer now is asked again.
        if let Ok(blockers) = blockers
            && !blockers.is_empty()
        {
            see(blockers);
        }
    }
}

/// Whether a try failed by what other sessions hold: it waited too long, or two waited for each other.
fn is_in_the_way(why: &Error) -> bool {
    let causes = std::iter::successors(why.source(), |&why| why.source());
    let codes = causes.filter_map(|why| why.downcast_ref::<sqlx::Error>()?.as_database_error()?.code());
    codes.into_iter().any(|code| matches!(&*code, "55P03" | "40P01"))
}

/// The queue library's migrations, without what asks for more rights than are needed.
async fn queue_migrator(pool: &PgPool) -> sqlx::Result<Migrator> {
    let library = PostgresStorage::migrations();
    let mut ours = Migrator::with_migrations(library.iter().cloned().map(without_pgcrypto).collect());
    ours.dangerous_set_table_name(library.table_name.clone());
    // Even where the schema exists, asking for it would need the right to make one.
    let schema = "select to_regnamespace('apalis') is not null";
    if !sqlx::query_scalar::<_, bool>(schema).fetch_one(pool).await? {
        ours.create_schema("apalis");
    }
    Ok(ours)
}

/// Two old migrations make the extension `pgcrypto` for a function. A later one replaces that function by
/// another, which does without. The recorded checksum is that of the library's own text.
fn without_pgcrypto(mut migration: Migration) -> Migration {
    let text = migration.sql.as_str();
    if text.contains(PGCRYPTO) {
        migration.sql = AssertSqlSafe(text.replace(PGCRYPTO, "")).into_sql_str();
    }
    migration
}

const PGCRYPTO: &str = "CREATE EXTENSION IF NOT EXISTS pgcrypto;";

/// The differences between this program's migrations and a database's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// The migrations that the program has and the database lacks, oldest first.
    pub pending: Vec<String>,
    /// The migrations that the database has and the program does not know, since a newer program migrated it.
    pub unknown: Vec<String>,
}

/// Compares the migrations, in a database that can be one of ours.
///
/// # Errors
/// The database cannot be one ([`Error::Unfit`]); or the database's error.
pub async fn schema(pool: &PgPool) -> Result<Schema, Error> {
    fitness::require_fit(pool).await?;
    let mut schema = Schema::default();
    for migrator in [&PostgresStorage::migrations(), &MIGRATOR] {
        compare(pool, migrator, &mut schema).await?;
    }
    Ok(schema)
}

/// The migrations that this program has and the database lacks, oldest first.
///
/// # Errors
/// See [`schema`].
pub async fn pending_migrations(pool: &PgPool) -> Result<Vec<String>, Error> {
    Ok(schema(pool).await?.pending)
}

/// Makes sure that this role may bring the database up to date.
///
/// # Errors
/// [`Error::Unfit`], with the lines for an administrator; or the database's error.
pub async fn require_rights(pool: &PgPool) -> Result<(), Error> {
    fitness::require_rights(pool).await
}

async fn compare(pool: &PgPool, migrator: &Migrator, schema: &mut Schema) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    let exists: Option<String> = sqlx::query_scalar("select to_regclass($1)::text")
        .bind(&*migrator.table_name)
        .fetch_one(&mut *connection)
        .await?;
    let applied = match exists {
        Some(_) => connection.list_applied_migrations(&migrator.table_name).await?,
        None => Vec::new(),
    };
    let is_pending = |version: i64| !applied.iter().any(|migration| migration.version == version);
    let pending = migrator.iter().filter(|migration| is_pending(migration.version));
    schema.pending.extend(pending.map(|it| format!("{} {}", it.version, it.description)));
    let unknown = applied.iter().filter(|migration| !migrator.version_exists(migration.version));
    schema.unknown.extend(unknown.map(|it| it.version.to_string()));
    Ok(())
}
