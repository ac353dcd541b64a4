//! Finds out whether a pooler in between gives each transaction another session.
//!
//! With such a pooler settings, prepared statements and notifications belong to nobody, and a session is
//! found in whatever state others left it. It is recognised by one session's number: another connection shows
//! it while the first one is idle.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::failure::Failure;
use super::refusal::Refusal;
use super::{PING_TIMEOUT, within};

/// The number of tries, since other clients may take the session in between.
const TRIES: u32 = 10;

/// Asks within a transaction, which no limit of the role cuts short.
const ASK: &str = "begin; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; select pg_backend_pid()";

/// Refuses a pooler that hands sessions out by transaction. If no second connection can be had, nothing is
/// refused.
///
/// # Errors
/// There is such a pooler, or a connection broke.
pub(super) async fn refuse_transaction_mode(
    idle: &mut PgConnection,
    options: &PgConnectOptions,
) -> sqlx::Result<()> {
    let Ok(mut other) = within(PING_TIMEOUT, PgConnection::connect_with(options)).await else {
        return Ok(());
    };
    let mut is_shared = false;
    for _ in 0..TRIES {
        let ours = pid(idle, "select pg_backend_pid()").await?;
        match pid(&mut other, ASK).await {
            Ok(theirs) => is_shared |= theirs == ours,
            // A limit that was about to be lifted cut the question short.
            Err(why) if Failure::of(&why) == Failure::Canceled => {}
            Err(why) => return Err(why),
        }
        sqlx::raw_sql("rollback").execute(&mut other).await?;
    }
    let _ = other.close().await;
    if is_shared { Err(Refusal::TransactionPooling.into()) } else { Ok(()) }
}

/// A session's number, asked for in the simple protocol, which every pooler bears.
async fn pid(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<String> {
    let rows = within(PING_TIMEOUT, sqlx::raw_sql(sql).fetch_all(connection)).await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get_unchecked(0)
}
