//! Whether a process can do its work with the database that it has.
//!
//! Invariant: the answer comes in time, also where the server's does not.

use std::time::Duration;

use sqlx::PgPool;

use super::migrate::{Schema, schema};
use super::{Error, Refusal, site};
use crate::platform::config;

/// How long the questions about readiness may take.
const READY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Refuses to go on with a database that cannot be one of ours, that lacks migrations, or that has migrations
/// which this program does not know.
///
/// `ALLOW_NEWER_DATABASE`: whether to go on with a newer one, as when a deployment is taken back.
///
/// # Errors
/// The error says what is wrong with the database, and what to do.
pub async fn require_migrated(pool: &PgPool) -> Result<(), Error> {
    let Schema { pending, unknown } = schema(pool).await?;
    if !pending.is_empty() {
        return Err(Error::Behind(pending));
    }
    if !unknown.is_empty() {
        if !config::parsed("ALLOW_NEWER_DATABASE", false)? {
            return Err(Error::Newer(unknown));
        }
        tracing::warn!(?unknown, "the database is newer than this program, which goes on as it was told to");
    }
    Ok(())
}

/// Why a process that needs this database cannot do its work; none if it can. The answer comes within two
/// seconds, also while the server is frozen.
pub async fn not_ready(pool: &PgPool) -> Option<String> {
    let site = site(pool);
    // A task keeps asking already, and will know first.
    if let Some(trouble) = site.trouble() {
        site.alarm();
        return Some(format!("no server takes writes {trouble}"));
    }
    let asked = tokio::time::timeout(READY_TIMEOUT, async {
        let mut connection = pool.acquire().await?;
        // Asked now, and not a moment ago.
        if !site.lives(&mut connection, Duration::ZERO).await? {
            return Err(sqlx::Error::from(Refusal::Another).into());
        }
        drop(connection);
        // A database that a newer program migrated meanwhile is no reason: each migration says that old code
        // may run on, or how it is ended first.
        let Schema { pending, .. } = schema(pool).await?;
        if pending.is_empty() { Ok(()) } else { Err(Error::Behind(pending)) }
    });
    let why = match asked.await {
        Ok(Ok(())) => return None,
        Ok(Err(Error::Behind(_))) => return Some("the database lacks migrations".to_owned()),
        Ok(Err(Error::Unfit(why))) => {
            tracing::warn!(why, "not ready");
            return Some("the database is none that payments can live in; the log says why".to_owned());
        }
        Ok(Err(why)) => why.to_string(),
        Err(_) => format!("no answer within {READY_TIMEOUT:?}"),
    };
    site.alarm();
    // Most likely the cause is known for long. If not, it is asked for right now.
    site.settled(READY_TIMEOUT / 4).await;
    let trouble = site.trouble();
    tracing::warn!(why, trouble = trouble.as_deref(), "not ready");
    Some(match trouble {
        Some(trouble) => format!("no server takes writes {trouble}"),
        None => "the database does not answer".to_owned(),
    })
}
