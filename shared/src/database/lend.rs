//! Connections for statements that are sent all the time: a seat keeps one for each kind, beside the pool's.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{PgConnection, PgPool, Postgres};

use super::site::Site;
use super::{ACQUIRE_TIMEOUT, FRESH, InTime as _, PING_TIMEOUT, Standing, caused_by, site};

/// A kept connection is replaced after this time, as the pool does with its own. The server keeps memory for
/// each connection that only its end gives back.
const LONGEST_KEPT: Duration = Duration::from_mins(30);

/// Has each statement planned once for a connection, and not at each call for that call's number of rows. The
/// server would do the latter, as it takes a plan for few rows to be cheaper than one for any number, and
/// counts almost nothing for making it. The statements of a seat are long and come all the time, and planning
/// one takes longer than running it for a single payment.
const PLAN_ONCE: &str = "set plan_cache_mode = force_generic_plan";

/// How long a server's role is taken as known for a connection in constant use.
const ROLE_KNOWN: Duration = Duration::from_secs(5);

/// The source of a statement's connection: a pool, which lends any of its own, or a [`Seat`], which lends the
/// same one each time.
pub trait Lend: Sync {
    /// The pool behind it.
    fn pool(&self) -> &PgPool;

    /// The standing of now: what begins now is valid while it holds.
    fn standing(&self) -> Standing;

    /// Lends a connection for one statement.
    ///
    /// # Errors
    /// No connection was free in time, or none could be made.
    fn lend(&self) -> impl Future<Output = sqlx::Result<Lent<'_>>> + Send;
}

impl Lend for PgPool {
    fn pool(&self) -> &PgPool {
        self
    }

    fn standing(&self) -> Standing {
        super::standing(self)
    }

    async fn lend(&self) -> sqlx::Result<Lent<'_>> {
        // Boxed, since it is a large part of the future that waits for it.
        match Box::pin(self.acquire()).await {
            Ok(connection) => Ok(Lent::Pooled(Pooled(connection))),
            Err(error) => Err(Box::pin(caused_by(error, vec![site(self)])).await),
        }
    }
}

/// A connection that one kind of statement has to itself, beside those of the pool.
///
/// The server's process behind it finds its plans in the processor's caches, where it left them. A pool hands
/// its connections out in turn, so that each statement comes to the process that has waited longest. A pool
/// also asks a connection after each statement whether it lives; a seat does not. docs/PERFORMANCE.md says
/// what that is worth.
///
/// A task that needs the seat while another has it gets another connection. The last connection to come back
/// is kept.
#[derive(Debug)]
pub struct Seat {
    pool: PgPool,
    site: Arc<Site>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: PgConnection,
    generation: u64,
    born: Instant,
    used: Instant,
}

impl Seat {
    /// A seat that takes its connection out of the pool when it is needed. The pool may then make another.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { site: site(&pool), pool, kept: Mutex::new(None) }
    }

    /// Returns once no task asks which server takes writes. After a statement that met none, a task asks.
    pub async fn settled(&self) {
        self.site.settled(ACQUIRE_TIMEOUT).await;
    }

    /// A connection out of the pool that plans once.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.pool.acquire().await?.detach();
        sqlx::raw_sql(PLAN_ONCE).execute(&mut connection).in_time().await?;
        Ok(connection)
    }

    fn take(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the connection need not be asked. It was used a moment ago, and some connection said lately
    /// that the server is the primary.
    fn is_fresh(&self, kept: &Kept) -> bool {
        kept.used.elapsed() < FRESH && self.site.is_known_to_be_primary(ROLE_KNOWN)
    }

    fn keep(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
}

impl Lend for Seat {
    fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn standing(&self) -> Standing {
        self.site.standing()
    }

    async fn lend(&self) -> sqlx::Result<Lent<'_>> {
        let generation = self.site.generation();
        let is_usable = |kept: &Kept| kept.generation == generation && kept.born.elapsed() < LONGEST_KEPT;
        if let Some(mut kept) = self.take().filter(is_usable)
            && (self.is_fresh(&kept)
                || matches!(self.site.lives(&mut kept.connection, FRESH).await, Ok(true)))
        {
            return Ok(Lent::Kept(kept, self));
        }
        let connection = match Box::pin(self.connect()).await {
            Ok(connection) => connection,
            Err(error) => return Err(Box::pin(caused_by(error, vec![self.site.clone()])).await),
        };
        let now = Instant::now();
        Ok(Lent::Kept(Kept { connection, generation, born: now, used: now }, self))
    }
}

/// A connection for one statement. A kept one that is dropped before [`Lent::back`] is closed: nobody knows
/// what is still to be read from it.
#[derive(Debug)]
pub enum Lent<'a> {
    /// A connection of the pool.
    Pooled(Pooled),
    /// The connection of a seat.
    #[expect(private_interfaces, reason = "nobody else makes or reads one")]
    Kept(Kept, &'a Seat),
}

impl Lent<'_> {
    /// Gives the connection back after its statement, unless it broke.
    ///
    /// # Errors
    /// Returns the statement's error.
    pub fn back<T>(self, done: sqlx::Result<T>) -> sqlx::Result<T> {
        let is_whole = match &done {
            Ok(_) => true,
            Err(sqlx::Error::Database(why)) => !ends_connections(why.as_ref()),
            Err(_) => false,
        };
        if let (Self::Kept(kept, seat), true) = (self, is_whole) {
            seat.keep(Kept { used: Instant::now(), ..kept });
        }
        done
    }
}

/// Whether an error is the server's last word on its connection.
fn ends_connections(why: &dyn DatabaseError) -> bool {
    let severity = why.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
    matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
}

impl Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Pooled(pooled) => &pooled.0,
            Self::Kept(kept, _) => &kept.connection,
        }
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Pooled(pooled) => &mut pooled.0,
            Self::Kept(kept, _) => &mut kept.connection,
        }
    }
}

/// A connection of a pool that comes back to it in time, or is closed.
///
/// The pool asks each connection that comes back whether it lives, and waits for the answer without end. A
/// connection that falls silent at that moment would keep its place for ever, and with many statements there
/// are many such moments.
#[derive(Debug)]
pub struct Pooled(PoolConnection<Postgres>);

impl Drop for Pooled {
    fn drop(&mut self) {
        let comes_back = self.0.return_to_pool();
        // A connection that is given up is closed, and its place is free.
        tokio::spawn(tokio::time::timeout(PING_TIMEOUT, comes_back));
    }
}
