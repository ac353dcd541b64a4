//! Commits that wait for a synchronous standby, and what is known of one whose wait was cut short.
//!
//! Where `synchronous_standby_names` is set, a commit's wait may be cancelled by a timeout, an operator or a
//! shutdown. Such a commit is answered like any other, with a warning beside it. It stands here, and may be
//! gone after a failover. The warning has no code and may be in any language. So *any* warning beside a
//! writing statement makes its commit unknown.
//!
//! Invariants: what may rest on an unknown commit leaves this process only after a *barrier*. That is a later
//! commit which a standby did confirm, so it comes after everything that was written before it. Nothing of
//! this costs anything where no standby is waited for.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::InTime as _;
use super::failure::UnknownCommit;
use super::site::Site;
use crate::platform::notices;

/// The longest time between the instant that a statement wrote down and its commit.
const LATEST_COMMIT: TimeDelta = TimeDelta::seconds(60);

static IS_WAITED_FOR: AtomicBool = AtomicBool::new(false);

static BARRIERS: Mutex<Barriers> =
    Mutex::new(Barriers { unsure_since: None, confirmed: None, failed: None, covers: None });

/// One barrier at a time: the callers that wait meanwhile share the next one.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What this process knows of its barriers.
struct Barriers {
    /// When an unreliable commit was last answered that no barrier came after.
    unsure_since: Option<Instant>,
    /// When the last confirmed barrier began, and the last one that failed.
    confirmed: Option<Instant>,
    failed: Option<Instant>,
    /// The time, by the database's clock, up to which all is confirmed, and the run of the server in which it
    /// is.
    covers: Option<(DateTime<Utc>, String)>,
}

/// Notes what sessions say of `synchronous_standby_names`.
pub(super) fn is_waited_for(is_it: bool) {
    IS_WAITED_FOR.store(is_it, Ordering::Relaxed);
}

/// Runs a statement that commits.
///
/// # Errors
/// The statement's error; or a standby was to confirm the commit and did not, so it is unknown.
pub(super) async fn confirmed<T, S: Future<Output = sqlx::Result<T>>>(
    statement: Pin<Box<S>>,
) -> sqlx::Result<T> {
    if !IS_WAITED_FOR.load(Ordering::Relaxed) {
        return statement.await;
    }
    let (done, is_warned) = notices::beside(statement).await;
    if !is_warned {
        return done;
    }
    tracing::error!(event = "commit_unknown", "a commit was answered before a standby had it");
    barriers(|it| it.unsure_since = Some(Instant::now()));
    Err(sqlx::Error::Io(io::Error::other(UnknownCommit("the server cut the wait short"))))
}

/// Whether a commit was answered here of which it is not known that a standby has it.
#[must_use]
pub fn is_unsure() -> bool {
    IS_WAITED_FOR.load(Ordering::Relaxed) && barriers(|it| it.unsure_since.is_some())
}

/// Waits until what was written at that time may be told. It waits only where commits wait for a standby, and
/// if nothing has confirmed that commit since.
///
/// # Errors
/// The database's error; or no standby confirms anything at the moment.
pub async fn before_telling(pool: &PgPool, written_at: DateTime<Utc>) -> sqlx::Result<()> {
    if !IS_WAITED_FOR.load(Ordering::Relaxed) {
        return Ok(());
    }
    let run = Site::of(pool).and_then(|site| site.running_since());
    let is_covered = barriers(|it| {
        let covers = it.covers.as_ref().filter(|(_, since)| run.as_ref() == Some(since));
        it.unsure_since.is_none() && covers.is_some_and(|(at, _)| written_at < *at - LATEST_COMMIT)
    });
    if is_covered { Ok(()) } else { barrier(pool).await }
}

/// Waits until a standby has all that was committed before.
///
/// # Errors
/// The database's error; or no standby confirms anything at the moment.
pub async fn barrier(pool: &PgPool) -> sqlx::Result<()> {
    if !IS_WAITED_FOR.load(Ordering::Relaxed) {
        return Ok(());
    }
    let came_at = Instant::now();
    let _turn = TURN.lock().await;
    let is_later = |began: Option<Instant>| began.is_some_and(|began| began >= came_at);
    let (has_one, has_failed) = barriers(|it| (is_later(it.confirmed), is_later(it.failed)));
    if has_one {
        return Ok(());
    }
    if has_failed {
        return Err(sqlx::Error::Io(io::Error::other(UnknownCommit("no standby confirms anything"))));
    }
    let began = Instant::now();
    let run = Site::of(pool).and_then(|site| site.running_since());
    let message = "select clock_timestamp(), pg_logical_emit_message(true, 'payonce', '')::text";
    let sent: sqlx::Result<(DateTime<Utc>, String)> =
        confirmed(Box::pin(sqlx::query_as(message).fetch_one(pool).in_time())).await;
    match sent {
        Ok((at, _)) => {
            barriers(|it| {
                it.confirmed = Some(began);
                it.unsure_since = it.unsure_since.filter(|since| *since > began);
                it.covers = run.map(|run| (at, run));
            });
            Ok(())
        }
        Err(why) => {
            barriers(|it| it.failed = Some(began));
            Err(why)
        }
    }
}

fn barriers<T>(look: impl FnOnce(&mut Barriers) -> T) -> T {
    // Nothing panics while it is held.
    look(&mut BARRIERS.lock().unwrap_or_else(PoisonError::into_inner))
}
