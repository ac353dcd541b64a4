//! Whether the doors are closed: no other session is connected to the database, and no worker was heard
//! of lately.
//!
//! A worker without a connection may be frozen, or cut off with a payment in hand. It counts for as long as
//! the queue lets it.

use anyhow::{Result, ensure};
use shared::queue::ORPHANED_AFTER;
use sqlx::{PgConnection, PgPool};

/// How many sessions or workers that are in the way are named.
const NAMED: usize = 10;

/// Refuses to go on while another session is connected.
pub(crate) async fn require_alone(connection: &mut PgConnection) -> Result<()> {
    let sessions: Vec<String> = sqlx::query_scalar(
        "select format('process %s of %s (%s)', pid, usename, coalesce(nullif(application_name, ''), host(client_addr), 'local'))
           from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()
            and backend_type in ('client backend', 'parallel worker', 'walsender')
          order by pid",
    )
    .fetch_all(&mut *connection)
    .await?;
    ensure!(
        sessions.is_empty(),
        "{} others are connected to this database: {}. Stop all APIs and workers, and close other programs",
        sessions.len(),
        some_of(&sessions)
    );
    Ok(())
}

/// Refuses to go on while another session is connected, or a worker may be at work.
pub(crate) async fn require_closed(connection: &mut PgConnection) -> Result<()> {
    require_alone(connection).await?;
    let workers: Vec<String> = sqlx::query_scalar(
        "select format('%s, %s s ago', id, extract(epoch from clock_timestamp() - last_seen)::bigint) from apalis.workers
          where last_seen > clock_timestamp() - $1::bigint * interval '1 millisecond' order by last_seen desc",
    )
    .bind(shared::database::millis(ORPHANED_AFTER))
    .fetch_all(connection)
    .await?;
    ensure!(
        workers.is_empty(),
        "{} workers were heard of less than {} s ago: {}. Stop them, wait for so long, and ask again",
        workers.len(),
        ORPHANED_AFTER.as_secs(),
        some_of(&workers)
    );
    Ok(())
}

/// The first few by name, and how many more there are.
pub(crate) fn some_of(all: &[String]) -> String {
    let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    if all.len() > NAMED { format!("{named}; and {} more", all.len() - NAMED) } else { named }
}

/// Sessions of APIs and workers that may be older than derived keys. Newer ones say by their name that they
/// know them.
pub(crate) async fn older_sessions(pool: &PgPool) -> Result<Vec<String>> {
    let sessions = sqlx::query_scalar(
        "select format('process %s of %s (%s)', pid, usename, coalesce(nullif(application_name, ''), 'without a name'))
           from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
            and (application_name = ''
                 or application_name like 'payonce worker %' and application_name not like 'payonce worker (keys 2) %')
          order by pid",
    );
    Ok(sessions.fetch_all(pool).await?)
}
