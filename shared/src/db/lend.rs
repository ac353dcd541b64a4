//! Connections for statements that are sent all the time.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{PgConnection, PgPool, Postgres};

use super::{FRESH, PING_TIMEOUT, lives};

/// A kept connection is replaced then, as the pool does with its own: the server keeps memory for each that only its end
/// gives back.
const LONGEST_KEPT: Duration = Duration::from_mins(30);

/// Where a statement gets a connection: a pool, which has any of its own, or a [`Seat`], which has the same one each time.
pub trait Lend: Sync {
    /// The pool behind it.
    fn pool(&self) -> &PgPool;

    /// A connection for one statement.
    ///
    /// # Errors
    /// None was free in time, or none could be made.
    fn lend(&self) -> impl Future<Output = sqlx::Result<Lent<'_>>> + Send;
}

impl Lend for PgPool {
    fn pool(&self) -> &PgPool {
        self
    }

    async fn lend(&self) -> sqlx::Result<Lent<'_>> {
        // Boxed, since it is a large part of whoever waits for it.
        Box::pin(self.acquire()).await.map(|connection| Lent::Pooled(Pooled(connection)))
    }
}

/// A connection that one kind of statement has to itself, beside those of the pool.
///
/// The server's process behind it finds its plans and what else it needs where it left them, in the processor's caches, too:
/// a pool hands its connections out in turn, so that each statement comes to the process that has waited longest. Nor is it
/// asked, as a pool does, whether it lives whenever a statement is done. What that is worth stands in docs/PERFORMANCE.md.
///
/// Who needs it while somebody else has it gets another one, and the last to come back is kept.
#[derive(Debug)]
pub struct Seat {
    pool: PgPool,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: PgConnection,
    born: Instant,
    used: Instant,
}

impl Seat {
    /// One that takes its connection out of the pool when it is needed; the pool may then make another.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self { pool, kept: Mutex::new(None) }
    }

    fn take(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
}

impl Lend for Seat {
    fn pool(&self) -> &PgPool {
        &self.pool
    }

    async fn lend(&self) -> sqlx::Result<Lent<'_>> {
        if let Some(mut kept) = self.take().filter(|kept| kept.born.elapsed() < LONGEST_KEPT)
            && (kept.used.elapsed() < FRESH || lives(&mut kept.connection).await.is_ok())
        {
            return Ok(Lent::Kept(kept, self));
        }
        let connection = Box::pin(self.pool.acquire()).await?.detach();
        let now = Instant::now();
        Ok(Lent::Kept(Kept { connection, born: now, used: now }, self))
    }
}

/// A connection for one statement. Dropped before [`Lent::back`], a kept one is closed: nobody knows what is still to be
/// read from it.
#[derive(Debug)]
pub enum Lent<'a> {
    /// One of the pool's.
    Pooled(Pooled),
    /// A seat's.
    #[expect(private_interfaces, reason = "nobody else makes or reads one")]
    Kept(Kept, &'a Seat),
}

impl Lent<'_> {
    /// Gives it back after its statement, unless it broke.
    ///
    /// # Errors
    /// The statement's.
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

/// Whether it is the server's last word on its connection.
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

/// A connection of a pool that comes back to it in time, or not at all.
///
/// The pool asks each connection that comes back whether it lives, and waits for the answer without end. One that falls silent
/// in that moment would keep its place for ever, and these moments are many where statements are.
#[derive(Debug)]
pub struct Pooled(PoolConnection<Postgres>);

impl Drop for Pooled {
    fn drop(&mut self) {
        let comes_back = self.0.return_to_pool();
        // Given up, it is closed, and its place is free.
        tokio::spawn(tokio::time::timeout(PING_TIMEOUT, comes_back));
    }
}
